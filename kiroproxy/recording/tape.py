"""What is held of an exchange while it runs: references, within bounds, and nothing copied.

Nobody knows in advance which exchange will fail, so all of them are held as far as memory allows;
a success costs a list entry for each read and each write.
"""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

import msgspec

from kiroproxy import errors as e

BODY_BYTES: Final = 4 * 1024 * 1024
"""A larger request, or body of Kiro's, is not held: its size is noted."""
RECORD_BYTES: Final = 12 * 1024 * 1024
"""So much is held of one exchange."""
LIVE_BYTES: Final = 64 * 1024 * 1024
"""So much is held of all exchanges of this process that are under way."""
TAIL_BYTES: Final = 64 * 1024
"""Beyond those bounds the end of a stream is held, but not its middle."""

OURS: Final = (e.NotAuthenticated, e.NotAllowed, e.LimitExceeded, e.ServerStopping)
"""Refusals that explain themselves, and would drive out what does not."""
TELLING: Final = (e.EventStreamError, e.EmptyReply, e.ServerFault, e.Refused, e.AccessDenied)
"""What is worth a recording although fail-over hid it from the client. Throttling, spent credits,
stale tokens and the network are everyday matters: the trace has them."""


class Readable(Protocol):
    """An open response (`transport.Exchange`)."""

    status: int
    headers: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether the body was read to its announced end."""

    @property
    def announced_end(self) -> bool:
        """Whether the body says where it ends."""

    def read(self, timeout_s: float) -> bytes | None:
        """More of the body; `b""` at its end, None when nothing came in time."""

    def close(self) -> None:
        """Give the connection back, or close it."""


class Live:
    """How much the tapes of a process hold. For the event loop's thread alone."""

    def __init__(self, limit_bytes: int = LIVE_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0


class Share:
    """One exchange's share of what may be held; it returns by itself with the last reference."""

    __slots__ = ("_live", "held_bytes")

    def __init__(self, live: Live) -> None:
        self._live = live
        self.held_bytes = 0

    def take(self, size: int) -> bool:
        """Whether so much more may be held."""
        live = self._live
        if self.held_bytes + size > RECORD_BYTES or live.held_bytes + size > live.limit_bytes:
            return False
        self.held_bytes += size
        live.held_bytes += size
        return True

    def give_back(self) -> None:
        """It is somebody else's now; harmless when repeated."""
        if self.held_bytes:  # else the last reference may be another thread's
            self._live.held_bytes -= self.held_bytes
            self.held_bytes = 0

    def __del__(self) -> None:
        self.give_back()


class Pieces:
    """A stream in the pieces in which it came, each with the milliseconds since `began`.

    The beginning as far as there is room, then the end; `lost` bytes lie between them.
    """

    __slots__ = ("_began", "_share", "_tail_bytes", "head", "lost", "tail")

    def __init__(self, share: Share, began: float) -> None:
        self.head: list[tuple[int, bytes]] = []
        self.tail: deque[tuple[int, bytes]] = deque()
        self.lost = 0
        self._tail_bytes = 0
        self._share = share
        self._began = began

    def add(self, data: bytes) -> None:
        """Hold another piece."""
        piece = (int((time.monotonic() - self._began) * 1000), data)
        size = len(data)
        if not (self.tail or self.lost) and self._share.take(size):
            self.head.append(piece)
            return
        self.tail.append(piece)
        self._tail_bytes += size
        while self._tail_bytes > TAIL_BYTES and len(self.tail) > 1:
            gone = len(self.tail.popleft()[1])
            self._tail_bytes -= gone
            self.lost += gone

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        yield from self.head
        yield from self.tail

    @property
    def size(self) -> int:
        """How many bytes it had, those that were lost among them."""
        return sum(len(data) for _, data in self) + self.lost


class Call:
    """One request to Kiro and what came of it."""

    def __init__(
        self, began_s: float, credential_id: int, endpoint: str, url: str, pieces: Pieces
    ) -> None:
        self.began_s = began_s
        self.credential_id = credential_id
        self.endpoint = endpoint
        self.url = url
        self.headers: Mapping[str, str] = {}
        self.body: bytes | None = None
        self.body_size = 0
        self.status = 0
        self.answer_headers: Mapping[str, str] = {}
        self.framing = ""
        self.pieces = pieces
        self.end = ""
        """How the body ended: `complete`, `eof` (the connection did), `broken`, or `left` (we
        waited no longer, or had enough); empty where there was no answer."""
        self.error: BaseException | None = None

    def answered(self, exchange: Readable) -> None:
        """Kiro has begun to answer."""
        self.status = exchange.status
        self.answer_headers = exchange.headers
        counted = "content-length" in exchange.headers
        self.framing = "length" if counted else "chunked" if exchange.announced_end else "close"

    def watch(self, exchange: Readable) -> "Watched":
        """The exchange, with its reads noted."""
        return Watched(exchange, self)

    def answered_whole(self, body: bytes, *, complete: bool) -> None:
        """The body of an answer that is no stream."""
        self.pieces.add(body)
        self.end = "complete" if complete else "eof"


class Watched:
    """An exchange whose reads go onto a tape."""

    def __init__(self, exchange: Readable, call: Call) -> None:
        self.status = exchange.status
        self.headers = exchange.headers
        self._exchange = exchange
        self._call = call
        self._add = call.pieces.add

    @property
    def complete(self) -> bool:
        """As the exchange."""
        return self._exchange.complete

    @property
    def announced_end(self) -> bool:
        """As the exchange."""
        return self._exchange.announced_end

    def read(self, timeout_s: float) -> bytes | None:
        """As the exchange."""
        try:
            data = self._exchange.read(timeout_s)
        except e.KiroProxyError as error:
            self._call.end = "broken"
            self._call.error = error
            raise
        if data:
            self._add(data)
        elif data is not None:
            self._call.end = "complete" if self._exchange.complete else "eof"
        return data

    def close(self) -> None:
        """As the exchange."""
        call = self._call
        if not call.end:
            call.end = "complete" if self._exchange.complete else "left"
        self._exchange.close()


class Verdict(msgspec.Struct):
    """How an exchange ended; `why` it is kept: `error`, `truncated` or `hidden`."""

    why: str
    status: int
    ending: str
    error: BaseException | None
    duration_s: float


class Keeper(Protocol):
    """Takes tapes that are worth it."""

    def keep(self, tape: "Tape", verdict: Verdict, trace: Any) -> None:
        """Write it, some time soon; never waits, never raises."""


class Tape:
    """One exchange, from the moment when its client's key was found good.

    `headers` are the request's own, read when they are needed.
    """

    def __init__(
        self, keeper: Keeper, live: Live, request_id: str, method: str, path: str, query: str,
        headers: Any,
    ) -> None:  # fmt: skip
        self.id = request_id
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body: bytes | None = None
        self.body_size = 0
        self.dialect = ""
        self.model = ""
        self.stream = False
        self.calls: list[Call] = []
        self.truncated = False
        """Kiro's answer lacked its end, and the client was told `max_tokens`."""
        self.at = time.time()
        self.began = time.monotonic()
        self.share = Share(live)
        self.sent = Pieces(self.share, self.began)
        """What the client got."""
        self._keeper: Keeper | None = keeper
        self.ended: tuple[int, str, BaseException | None] | None = None
        """Status, how the answer ended, and the error if that was one."""

    # ---- on the way ------------------------------------------------------------------------

    def request_body(self, body: bytes) -> None:
        """The request's body, as it was after its Content-Encoding."""
        self.body_size = len(body)
        if len(body) <= BODY_BYTES and self.share.take(len(body)):
            self.body = body

    def call(
        self,
        credential_id: int,
        endpoint: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> Call:
        """A request to Kiro is about to be sent."""
        now = time.monotonic()
        one = Call(now - self.began, credential_id, endpoint, url, Pieces(self.share, now))
        one.headers = headers
        one.body_size = len(body or b"")
        before = self.calls[-1].body if self.calls else None
        if body is not None and body == before:
            one.body = before
        elif body is not None and len(body) <= BODY_BYTES and self.share.take(len(body)):
            one.body = body
        self.calls.append(one)
        return one

    def watch(self, body: Any) -> "WatchedBody":
        """A streamed answer, with its writes noted."""
        return WatchedBody(body, self)

    def failed(self, error: BaseException) -> None:
        """The last call failed, or its answer was no good."""
        if self.calls and self.calls[-1].error is None:
            self.calls[-1].error = error

    # ---- the end ---------------------------------------------------------------------------

    def end(self, status: int, ending: str, error: BaseException | None = None) -> None:
        """How the answer ended; the first word counts."""
        if self.ended is None:
            self.ended = status, ending, error

    def settle(self, trace: Any = None) -> None:
        """The exchange is over: keep it if it failed. Does nothing before `end`, or twice."""
        if self.ended is None or self._keeper is None:
            return
        keeper, self._keeper = self._keeper, None
        status, ending, error = self.ended
        why = self._why(error)
        if why:
            duration_s = time.monotonic() - self.began
            keeper.keep(self, Verdict(why, status, ending, error, duration_s), trace)

    def _why(self, error: BaseException | None) -> str:
        if isinstance(error, OURS):
            return ""
        if error is not None:
            return "error"
        if self.truncated:
            return "truncated"
        return "hidden" if any(isinstance(one.error, TELLING) for one in self.calls) else ""


class WatchedBody:
    """A streamed answer whose writes go onto a tape."""

    def __init__(self, body: Any, tape: Tape) -> None:
        self._body = body
        self._add = tape.sent.add

    def __iter__(self) -> "WatchedBody":
        return self

    def __next__(self) -> bytes:
        data: bytes = next(self._body)
        self._add(data)
        return data

    def close(self) -> None:
        """As the body."""
        self._body.close()
