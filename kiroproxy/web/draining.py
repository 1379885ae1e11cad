"""The end of a worker: answers that outlive `gracefulTimeoutSec` are broken off in words (Q6).

gunicorn would kill their greenlets, and a client would see a connection that breaks. An answer is
broken off only while it waits for Kiro: in the middle of a write to its client there is no place
left for an error.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any

import gevent


class LastPiece(bytes):
    """The end of a streamed answer: our worker sends it along with the mark behind the body."""


class TimeIsUp(gevent.GreenletExit):  # type: ignore[misc]
    """Raised inside a handler that waits for Kiro; no handler of plain errors may swallow it."""


class Work:
    """One answer in the making, of the greenlet that made this.

    Wrap in `with` what may be broken off. `late` is set when time was up meanwhile or outside of
    it: the answer ends at the next chance.
    """

    __slots__ = ("_forget", "_greenlet", "_waits", "late")

    def __init__(self, forget: Callable[["Work"], None]) -> None:
        self.late = False
        self._forget = forget
        self._greenlet = gevent.getcurrent()
        self._waits = False

    def __enter__(self) -> "Work":
        self._waits = True
        if self.late:
            self._waits = False
            raise TimeIsUp
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waits = False

    def break_off(self) -> None:
        """Tell it that time is up; to be called by the event loop, not by a greenlet.

        Thrown from there, as gevent's timeouts are: no other greenlet runs between the look at
        `_waits` and the throw.
        """
        self.late = True
        if self._waits:
            self._greenlet.throw(TimeIsUp)

    def kill(self) -> None:
        """End it without words; what it has open is closed."""
        self._greenlet.kill(block=False)

    def done(self) -> None:
        """It needs no end any more; harmless when repeated."""
        self._forget(self)


class Answers:
    """What a worker is answering at the moment."""

    def __init__(self) -> None:
        self._open: set[Work] = set()
        self._over = False

    def __len__(self) -> int:
        return len(self._open)

    def begin(self) -> Work:
        """Register the answer that the running greenlet works on; `done` takes it out."""
        work = Work(self._open.discard)
        work.late = self._over
        self._open.add(work)
        return work

    def break_off(self) -> int:
        """Let every answer end now, and each that begins from here on; returns how many."""
        self._over = True
        loop: Any = gevent.get_hub().loop
        for work in self._open:
            loop.run_callback(work.break_off)
        return len(self._open)

    def kill(self) -> None:
        """End those that are left: their clients do not take what is sent to them."""
        for work in list(self._open):
            work.kill()

    def wait(self, timeout_s: float, step_s: float = 0.02) -> bool:
        """Whether all came to their end in time."""
        with gevent.Timeout(timeout_s, False):
            while self._open:
                gevent.sleep(step_s)
        return not self._open
