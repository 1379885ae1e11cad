"""gunicorn's gevent worker, with an orderly end (design, Q6).

TERM, at a stop or a reload: no new connections; connections without a request are closed after a
few seconds; running answers may go on for `gracefulTimeoutSec`, then they end with their dialect's
error, and upstream is closed. QUIT and INT: the same at once.
"""

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import gevent
from gunicorn.http import wsgi
from gunicorn.workers.ggevent import GeventWorker

from kiroproxy.web.draining import Answers, LastPiece

IDLE_S = 2.0
"""So long a connection without a request may stay: a client that uses it again meanwhile is told
`Connection: close`, and nobody sends a request into a connection that is being closed."""
LAST_WORDS_S = 2.0
"""For clients to take the error with which their answer ends."""
QUICK_S = 1.0
"""The same when the master is in a hurry: it waits two seconds altogether."""
TICK_S = 0.25


class _Between(gevent.Timeout):  # type: ignore[misc]
    """The wait for a connection's next request; ends it early when told to."""

    def __init__(self, waiting: "set[_Between]", seconds: float) -> None:
        super().__init__(seconds, False)
        self._waiting = waiting
        self._greenlet = gevent.getcurrent()
        self.since = time.monotonic()

    def __enter__(self) -> "_Between":
        self._waiting.add(self)
        super().__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self._waiting.discard(self)
        suppressed: bool | None = super().__exit__(kind, error, trace)
        return suppressed

    def expire(self) -> None:
        """As if the time were over; to be called by the event loop."""
        if self in self._waiting:
            self._greenlet.throw(self)


class _Pieces:
    """Takes what is sent, for a moment."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self._pieces.append(data)

    def joined(self) -> bytes:
        return b"".join(self._pieces)


class Response(wsgi.Response):  # type: ignore[misc]
    """Sends an answer's head along with the beginning of its body, and the end with the last piece.

    Each is a system call and a packet less, 20 µs.
    """

    headers_sent: bool
    sock: Any
    _client: Any = None
    """The client's socket while something is held back."""

    def write(self, data: bytes) -> None:
        """Put a piece of the body on the wire; the last one when the answer is closed."""
        last = type(data) is LastPiece
        if self.headers_sent and not last:
            super().write(data)
            return
        begun = self.headers_sent
        self._hold()
        try:
            super().write(data)
        except BaseException:
            self.headers_sent = begun  # nothing has left: it may still become a 500
            self._let_go()
            raise
        if not last:
            held = self._let_go()
            self.sock.sendall(held)

    def close(self) -> None:
        """End the body."""
        self._hold()
        super().close()
        if data := self._let_go():
            self.sock.sendall(data)

    def _hold(self) -> None:
        if self._client is None:
            self._client, self.sock = self.sock, _Pieces()

    def _let_go(self) -> bytes:
        pieces, self.sock = self.sock, self._client
        self._client = None
        held: bytes = pieces.joined()
        return held


wsgi.Response = Response
"""gunicorn asks for it by this name and has no setting."""


class Worker(GeventWorker):  # type: ignore[misc]
    """What `worker_class` names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting: set[_Between] = set()
        self._ending: gevent.Greenlet | None = None
        self.grace_s = float(self.cfg.graceful_timeout)
        """For running answers; `serving.post_fork` puts gunicorn's limit, which kills, above it."""

    def timeout_ctx(self) -> AbstractContextManager[Any]:
        """What gunicorn wraps its wait for a connection's next request in."""
        return _Between(self._waiting, self.cfg.keepalive)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """TERM; the master may repeat it."""
        super().handle_exit(sig, frame)
        if self._ending is None:
            self._ending = gevent.spawn(self._drain)

    def handle_quit(self, sig: int, frame: Any) -> None:
        """QUIT or INT."""
        gevent.spawn(self._quit, sig, frame)

    def _answers(self) -> Answers:
        parts = getattr(self.wsgi, "extensions", {}).get("kiroproxy")
        answers: Answers = Answers() if parts is None else parts.answers
        return answers

    def _drain(self) -> None:
        began = time.monotonic()
        while time.monotonic() < began + self.grace_s:
            self._close_idle()
            gevent.sleep(TICK_S)
        answers = self._answers()
        late = answers.break_off()
        if late:
            self.log.warning("%d answers took longer than %g s: broken off", late, self.grace_s)
        if not answers.wait(LAST_WORDS_S):
            answers.kill()
        while True:  # gunicorn waits for the next request of each connection, until the end
            self._close_idle(0)
            gevent.sleep(TICK_S)

    def _close_idle(self, idle_s: float = IDLE_S) -> None:
        loop = gevent.get_hub().loop
        now = time.monotonic()
        for connection in self._waiting:
            if now >= connection.since + idle_s:
                loop.run_callback(connection.expire)

    def _quit(self, sig: int, frame: Any) -> None:
        answers = self._answers()
        answers.break_off()
        answers.wait(QUICK_S)
        super().handle_quit(sig, frame)
