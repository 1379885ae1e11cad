"""A Conversation in, ReplyEvents out: the whole data path on one screen.

Upstream's bytes → `Decoder` → Frames → `parse_events` → `Reply` → ReplyEvents. The answer starts
(and with it ends the chance to fail over) at the first event that means something, or a few
seconds after upstream accepted (design 4).
"""

import re
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from kiroproxy.conversation import Conversation, Failed, ReplyEvent, Usage
from kiroproxy.credentials.pool import Lease
from kiroproxy.errors import (
    EventStreamError,
    KiroProxyError,
    TruncatedStream,
    Unreachable,
    UpstreamTimeout,
)
from kiroproxy.eventstream import Decoder
from kiroproxy.kiro.events import INVALID_STATE, QUIET, parse_events
from kiroproxy.kiro.models import Choice
from kiroproxy.kiro.reply import Reply
from kiroproxy.kiro.request import RequestSettings, build_request
from kiroproxy.metrics import CORRUPT, FRAMES, PASSED_OVER, TRUNCATIONS
from kiroproxy.observability import log
from kiroproxy.token_count import Calibration
from kiroproxy.upstream import failover
from kiroproxy.upstream.client import KiroClient

if TYPE_CHECKING:
    from kiroproxy.recording.tape import Readable, Tape

UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
MAX_TOLD = 100
NAMESPACE = uuid.UUID("5b2f8a52-3f0e-4d4e-9d0c-6b6b1d9a7c11")
"""Makes UUIDs of session names that are none: Kiro's clients send nothing else."""


class Timing(msgspec.Struct, frozen=True):
    """Seconds: `firstFrameWaitSec`, `pingIntervalSec`, `idleTimeoutSec`."""

    first_frame_s: float = 5.0
    ping_s: float = 25.0
    idle_s: float = 120.0


class ReplyStream:
    """The reply to one request, in batches: one per upstream read, None for a silence.

    An object and no generator, since a generator that is closed before its first `next` never
    runs its `finally`. `close` closes upstream and gives the credential back.
    """

    def __init__(
        self,
        exchange: "Readable",
        reply: Reply,
        timing: Timing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.error: Exception | None = None
        self.input_tokens = reply.input_tokens
        """Our estimate, for the beginning of the answer."""
        self.held = False
        """The client sees nothing but pings: they are due by the clock, not by silence."""
        self._exchange = exchange
        self._decoder = Decoder()
        self._frames = 0
        self._reply = reply
        self._timing = timing
        self._clock = clock
        self._ready: list[list[ReplyEvent]] = []
        """Batches read while priming."""
        self._last_byte = self._last_sent = clock()
        self._on_close: Callable[[Exception | None], None] | None = None
        self._closed = False

    def prime(self, *, whole: bool) -> None:
        """Read until the answer starts; all of it if `whole`.

        Raises:
            KiroProxyError: it failed before anything was passed on.
        """
        deadline = self._clock() + self._timing.first_frame_s
        while whole or not self._ready:
            if self._reply.done or (not whole and self._clock() >= deadline):
                break
            batch = self._pull(None if whole else deadline)
            if batch:
                self._ready.append(batch)
        if self._ready:
            decisive = self._ready[-1][-1] if whole else self._ready[0][0]
            if type(decisive) is Failed:
                raise decisive.error
        # with nothing to say yet a ping is due at once: it carries the headers (S37, X20)
        self._last_sent = self._clock() - (0 if self._ready else self._timing.ping_s)

    def __iter__(self) -> "ReplyStream":
        return self

    def __next__(self) -> list[ReplyEvent] | None:
        if self._ready:
            return self._ready.pop(0)
        if self.held and self._clock() >= self._last_sent + self._timing.ping_s:
            self._last_sent = self._clock()
            return None
        while not self._reply.done:
            batch = self._pull(self._last_sent + self._timing.ping_s)
            if batch:
                if not self.held:
                    self._last_sent = self._last_byte
                return batch
            if self._clock() >= self._last_sent + self._timing.ping_s:
                self._last_sent = self._clock()
                return None
        raise StopIteration

    def _pull(self, until: float | None) -> list[ReplyEvent]:
        """One read, at most until then; empty when nothing came or nothing is to be said."""
        now = self._clock()
        settle = self._reply.settle_s
        end = self._last_byte + (self._timing.idle_s if settle is None else settle)
        wake = end if until is None or until > end else until
        try:
            data = self._exchange.read(max(wake - now, 0.001))
            if data:
                self._last_byte = self._clock()
                frames = self._decoder.feed(data)
                self._frames += len(frames)
                events = self._reply.feed(parse_events(frames))
                fault = self._decoder.fault
                if fault is not None:
                    return events + self._reply.fail(fault)
                if self._exchange.complete and not self._reply.done:
                    return events + self._end_of_body()
                return events
            if data is not None:
                return self._end_of_body()
        except KiroProxyError as error:
            return self._reply.fail(error)
        if self._clock() < end:
            return []
        if settle is not None:
            return self._reply.close()
        return self._reply.fail(UpstreamTimeout(f"Kiro sent nothing for {self._timing.idle_s:g} s"))

    def _end_of_body(self) -> list[ReplyEvent]:
        if self._exchange.announced_end and not self._exchange.complete:
            return self._reply.fail(TruncatedStream(1, offset=-1))
        try:
            self._decoder.close()
        except EventStreamError as error:
            return self._reply.fail(error)
        return self._reply.close()

    def usage(self) -> Usage:
        """What the reply has come to so far."""
        return self._reply.usage()

    def on_close(self, act: Callable[[Exception | None], None]) -> None:
        """Have something done once, with the error that ended the reply, when it is closed."""
        self._on_close = act

    def close(self) -> None:
        """Close upstream and give the credential back; harmless when repeated."""
        act, self._on_close = self._on_close, None
        if not self._closed:
            self._closed = True
            note_stream(self._frames, self._reply)
        try:
            self._exchange.close()
        finally:
            if act is not None:
                act(self.error)


def relay(
    conversation: Conversation,
    choice: Choice,
    pool: failover.Lender,
    client: KiroClient,
    settings: RequestSettings,
    timing: Timing,
    calibration: Calibration | None = None,
    lost: Callable[[Usage], None] = lambda usage: None,
    tape: "Tape | None" = None,
) -> ReplyStream:
    """Send a conversation to Kiro; the reply has started when this returns.

    `calibration` corrects the estimate of the input, and learns from the reply. `lost` is told what
    an attempt that failed, or was given up, had come to: Kiro bills it all the same. Whatever is
    said goes onto the `tape`, if there is one.

    Raises:
        KiroProxyError: nothing was sent to the client yet, so it is an HTTP status.
    """
    calibration = calibration or Calibration()
    model = choice.model.id
    factor = calibration.factor(model)
    request = build_request(
        conversation,
        choice,
        settings,
        conversation_id=conversation_id(conversation.session),
        continuation_id=str(uuid.uuid4()),
        token_factor=factor,
    )
    plain_estimate = round(request.expectations.input_tokens / factor)

    def attempt(lease: Lease) -> ReplyStream:
        exchange = client.generate(lease.credential, request, tape)
        reply = Reply(request.expectations)
        stream = ReplyStream(exchange, reply, timing)
        try:
            stream.prime(whole=not conversation.stream)
        except BaseException as error:
            stream.close()
            if tape is not None:
                tape.failed(error)
            lost(stream.usage())
            raise

        def done(error: Exception | None) -> None:
            lease.release(error)
            note_passed_over(reply)
            if tape is not None:
                tape.truncated = tape.truncated or reply.truncated
            if reply.counted_input is not None:
                calibration.learn(model, plain_estimate, reply.counted_input)

        stream.on_close(done)
        return stream

    return failover.run(attempt, pool, model)


_BREAKS = {TruncatedStream: "body", Unreachable: "reset", UpstreamTimeout: "silence"}


def note_stream(frames: int, reply: Reply) -> None:
    """Count the frames of a stream that is over, and what was wrong with it."""
    if frames:
        FRAMES.inc(frames)
    last = reply.last
    if type(last) is Failed:
        if kind := _BREAKS.get(type(last.error)):
            TRUNCATIONS[kind,].inc()
        elif isinstance(last.error, EventStreamError):
            CORRUPT[type(last.error).__name__,].inc()
    elif kind := reply.truncation:
        TRUNCATIONS[kind,].inc()


_told: set[str] = set()


def note_passed_over(reply: Reply) -> None:
    """Count the events that had nothing for the client; tell of each new kind once."""
    for kind, count in reply.passed_over.items():
        known = kind in QUIET or kind == INVALID_STATE
        PASSED_OVER[kind if known else "unknown",].inc(count)
        if kind == INVALID_STATE:
            log.warning("Kiro reported an invalid state")
        elif not known and kind not in _told and len(_told) < MAX_TOLD:
            _told.add(kind)
            log.debug("unknown event of Kiro", type=kind[:64])


def conversation_id(session: str) -> str:
    """A UUID that is stable for a client's session, else a random one (protocol notes 3.3)."""
    if not session:
        return str(uuid.uuid4())
    if UUID.fullmatch(session):
        return session
    return str(uuid.uuid5(NAMESPACE, session))
