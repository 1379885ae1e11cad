"""The data path on a scripted exchange and a clock that only reading moves (design 4)."""

import json
import uuid
from collections.abc import Callable
from typing import Any, cast

import gevent
import pytest

import kiroproxy.relay as relay_module
from kiroproxy import errors as e
from kiroproxy.conversation import (
    Conversation,
    Failed,
    Message,
    ReplyEvent,
    Stop,
    Text,
    TextDelta,
    ToolInputDelta,
    ToolUseEnd,
    ToolUseStart,
    Usage,
)
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.pool import Pool
from kiroproxy.eventstream import build_event, build_exception
from kiroproxy.http_body import BadChunk
from kiroproxy.kiro.events import Unknown
from kiroproxy.kiro.models import ModelSettings, choose_model
from kiroproxy.kiro.reply import Expectations, Reply
from kiroproxy.kiro.request import KiroRequest, RequestSettings
from kiroproxy.relay import ReplyStream, Timing, conversation_id, relay
from kiroproxy.transport import Exchange
from kiroproxy.upstream.client import KiroClient
from tests.web.conftest import Counters

TIMING = Timing(first_frame_s=5, ping_s=25, idle_s=120)


def event(name: str, /, **payload: Any) -> bytes:
    return build_event(name, json.dumps(payload).encode())


def text(content: str) -> bytes:
    return event("assistantResponseEvent", content=content)


METERING = event("meteringEvent", usage=0.5)
CONTEXT = event("contextUsageEvent", contextUsagePercentage=2.0)
FULL = event("contextUsageEvent", contextUsagePercentage=100.0)
THROTTLED = build_exception("ThrottlingException", b'{"message":"slow down"}')
HELLO = text("hello")
CORRUPT = HELLO[:-1] + bytes([HELLO[-1] ^ 1])


class Clock:
    """Moves when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ScriptedExchange:
    """Bytes to be read; a number is a silence of so many seconds; an exception is raised.

    At the end of the script the body ends: `how` is `end`, `cut` (an announced end that was not
    reached), `eof` (no end was announced) or `open` (nothing more ever comes).
    """

    def __init__(self, clock: Clock, *steps: bytes | float | BaseException, how: str = "end"):
        self._clock = clock
        self._steps = list(steps)
        self._how = how
        self.announced_end = how != "eof"
        self.complete = False
        self.closed = 0
        self.waits: list[float] = []

    def read(self, timeout_s: float) -> bytes | None:
        assert not self.closed, "read after close"
        self.waits.append(timeout_s)
        if not self._steps:
            if self._how == "open":
                self._clock.now += timeout_s
                return None
            self.complete = self._how == "end"
            return b""
        step = self._steps.pop(0)
        if isinstance(step, bytes):
            return step
        if isinstance(step, BaseException):
            raise step
        if step > timeout_s:
            self._clock.now += timeout_s
            self._steps.insert(0, step - timeout_s)
            return None
        self._clock.now += step
        return self.read(timeout_s - step)

    def close(self) -> None:
        self.closed += 1


class Bench:
    """A stream over a scripted exchange."""

    def __init__(self, *steps: bytes | float | BaseException, how: str = "end", **expect: Any):
        self.clock = Clock()
        self.exchange = ScriptedExchange(self.clock, *steps, how=how)
        reply = Reply(Expectations(**expect))
        self.stream = ReplyStream(cast(Exchange, self.exchange), reply, TIMING, self.clock)
        self.times: list[float] = []

    @property
    def passed(self) -> float:
        return self.clock.now - 1000

    def primed(self, *, whole: bool = False) -> "Bench":
        self.stream.prime(whole=whole)
        return self

    def batches(self) -> list[list[ReplyEvent] | None]:
        """All that follows, with the times in `times`."""
        found = []
        for batch in self.stream:
            found.append(batch)
            self.times.append(self.passed)
        return found

    def events(self) -> list[ReplyEvent]:
        return [one for batch in self.primed().batches() for one in batch or ()]


def stop_of(events: list[ReplyEvent]) -> Stop:
    last = events[-1]
    assert type(last) is Stop
    return last


def error_of(events: list[ReplyEvent]) -> Exception:
    last = events[-1]
    assert type(last) is Failed
    return last.error


def said(events: list[ReplyEvent]) -> str:
    return "".join(one.text for one in events if type(one) is TextDelta)


# ---- when the answer starts ----------------------------------------------------------------


def test_it_starts_at_the_first_event_that_means_something() -> None:
    initial = event("messageMetadataEvent", conversationId="c")
    bench = Bench(initial, 1.0, initial, 1.0, HELLO, 1.0, text(" you"), METERING, CONTEXT)
    bench.primed()
    assert bench.passed == 2
    first = next(bench.stream)
    assert first == [TextDelta("hello")]
    assert bench.passed == 2, "what was read while priming is there at once"
    assert said([one for batch in bench.batches() for one in batch or ()]) == " you"


def test_x20_it_starts_after_five_seconds_at_the_latest() -> None:
    bench = Bench(40.0, HELLO, METERING, CONTEXT).primed()
    assert bench.passed == 5
    kinds = ["ping" if one is None else "events" for one in bench.batches()]
    assert kinds == ["ping", "ping", "events", "events"]
    assert bench.times == pytest.approx([5, 30, 40, 40], abs=0.01)


def test_s37_headers_go_out_when_the_answer_starts() -> None:
    """gunicorn sends them with the first piece: nothing to say yet means a ping at once."""
    bench = Bench(how="open").primed()
    assert next(bench.stream) is None
    assert bench.passed == pytest.approx(5, abs=0.01)
    assert next(bench.stream) is None
    assert bench.passed == pytest.approx(30, abs=0.01)


def test_bytes_without_meaning_do_not_prolong_the_wait() -> None:
    initial = event("messageMetadataEvent", conversationId="c")
    assert Bench(*[2.0, initial] * 9, HELLO, METERING, CONTEXT).primed().passed == 5


@pytest.mark.parametrize(
    ("steps", "how", "kind"),
    [
        pytest.param([THROTTLED], "end", e.Throttled, id="exception frame"),
        pytest.param([CORRUPT], "end", e.BadChecksum, id="corrupt frame"),
        pytest.param([HELLO[:40]], "end", e.TruncatedStream, id="half a frame"),
        pytest.param([HELLO[:40]], "cut", e.TruncatedStream, id="cut body"),
        pytest.param([], "cut", e.TruncatedStream, id="cut at once"),
        pytest.param([], "end", e.EmptyReply, id="nothing at all"),
        pytest.param([], "eof", e.EmptyReply, id="eof at once"),
        pytest.param([METERING, CONTEXT], "end", e.EmptyReply, id="trailers only"),
        pytest.param([METERING], "open", e.EmptyReply, id="metering only"),
        pytest.param([FULL, METERING], "end", e.ContextTooLong, id="context is full"),
        pytest.param([e.Unreachable("reset")], "end", e.Unreachable, id="reset"),
        pytest.param([BadChunk("x", offset=0)], "end", BadChunk, id="bad chunk"),
        pytest.param([event("assistantResponseEvent", content=1)], "end", e.BadPayload, id="JSON"),
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_a_failure_before_anything_else_is_an_ordinary_one(
    steps: list[Any], how: str, kind: type[Exception], whole: bool
) -> None:
    bench = Bench(*steps, how=how)
    with pytest.raises(kind):
        bench.primed(whole=whole)


def test_silence_before_anything_else() -> None:
    with pytest.raises(e.UpstreamTimeout, match="nothing for 120 s"):
        Bench(how="open").primed(whole=True)
    bench = Bench(how="open").primed()
    events = [one for batch in bench.batches() for one in batch or ()]
    assert type(error_of(events)) is e.UpstreamTimeout, "the answer had started"
    assert bench.passed == 120


def test_a_whole_answer_is_read_to_its_end() -> None:
    bench = Bench(HELLO, 60.0, text(" you"), METERING, CONTEXT).primed(whole=True)
    assert bench.passed == 60
    batches = bench.batches()
    assert None not in batches
    events = [one for batch in batches for one in batch or ()]
    assert said(events) == "hello you"
    assert stop_of(events).reason == "end_turn"


@pytest.mark.parametrize(
    ("late", "kind"),
    [(THROTTLED, e.Throttled), (CORRUPT, e.BadChecksum), (e.Unreachable("x"), e.Unreachable)],
)
def test_a_whole_answer_that_breaks_off_late_may_fail_over(
    late: Any, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        Bench(HELLO, late).primed(whole=True)


# ---- pings and silence ---------------------------------------------------------------------


def test_s17_a_ping_every_25_seconds_without_an_event() -> None:
    bench = Bench(HELLO, 80.0, text("!"), 26.0, METERING, CONTEXT).primed()
    kinds = ["ping" if one is None else "events" for one in bench.batches()]
    assert kinds == ["events", "ping", "ping", "ping", "events", "ping", "events"]
    assert bench.times == [0, 25, 50, 75, 80, 105, 106]


def test_s17_bytes_that_say_nothing_do_not_put_off_a_ping() -> None:
    silent = event("messageMetadataEvent", conversationId="c")
    bench = Bench(HELLO, *[10.0, silent] * 6, text("!"), METERING, CONTEXT).primed()
    batches = bench.batches()
    assert [time for time, batch in zip(bench.times, batches, strict=True) if batch is None] == [
        25,
        50,
    ]


def test_held_pings_come_by_the_clock() -> None:
    """S15, S17: on /cc the client sees nothing else."""
    bench = Bench(*[HELLO, 10.0] * 6, METERING, CONTEXT).primed()
    bench.stream.held = True
    batches = bench.batches()
    assert [time for time, batch in zip(bench.times, batches, strict=True) if batch is None] == [
        25,
        50,
    ]


def test_idle_limit() -> None:
    bench = Bench(HELLO, 100.0, text("!"), how="open")
    events = bench.events()
    assert said(events) == "hello!"
    assert type(error_of(events)) is e.UpstreamTimeout
    assert bench.passed == 220, "counted from the last byte"


def test_idle_limit_counts_bytes_not_events() -> None:
    """Half a frame now and then is slow, but alive."""
    pieces = [HELLO[at : at + 10] for at in range(0, len(HELLO), 10)]
    steps = [one for piece in pieces for one in (100.0, piece)]
    assert said(Bench(text("a"), *steps, METERING, CONTEXT).events()) == "ahello"


# ---- how it ends ---------------------------------------------------------------------------


def test_after_both_trailers_it_settles_for_a_quarter_second() -> None:
    """Protocol notes 4.2: the server often leaves the connection open."""
    bench = Bench(HELLO, 1.0, METERING + CONTEXT, how="open")
    assert stop_of(bench.events()).reason == "end_turn"
    assert bench.passed == pytest.approx(1.25)


def test_after_metering_alone_five_seconds() -> None:
    bench = Bench(HELLO, METERING, how="open")
    assert stop_of(bench.events()).reason == "end_turn"
    assert bench.passed == pytest.approx(5)


def test_a_straggler_is_taken_in_and_restarts_the_wait() -> None:
    bench = Bench(HELLO, METERING, 4.0, text(" late"), 4.0, CONTEXT, how="open")
    events = bench.events()
    assert said(events) == "hello late"
    assert bench.passed == pytest.approx(8.25)


def test_context_alone_is_no_end() -> None:
    bench = Bench(HELLO, CONTEXT, 60.0, text("!"), METERING, how="open")
    assert said(bench.events()) == "hello!"


def test_the_end_of_the_body_ends_at_once() -> None:
    bench = Bench(HELLO, METERING, CONTEXT, how="end")
    assert stop_of(bench.events()).reason == "end_turn"
    assert bench.passed == 0
    assert bench.exchange.complete, "read to its end, so the connection can be kept"


@pytest.mark.parametrize(
    ("steps", "how", "kind"),
    [
        ([], "cut", e.TruncatedStream),
        ([METERING, CONTEXT], "cut", e.TruncatedStream),
        ([HELLO[:40]], "end", e.TruncatedStream),
        ([HELLO[:40]], "eof", e.TruncatedStream),
        ([HELLO[:9]], "end", e.TruncatedStream),
        ([CORRUPT], "end", e.BadChecksum),
        ([e.Unreachable("reset")], "end", e.Unreachable),
        ([BadChunk("x", offset=0)], "end", BadChunk),
        ([THROTTLED], "end", e.Throttled),
        ([event("assistantResponseEvent", content=1)], "end", e.BadPayload),
    ],
)
def test_s42_what_breaks_later_is_an_error_in_the_stream(
    steps: list[Any], how: str, kind: type[Exception]
) -> None:
    events = Bench(text("a"), text("b"), *steps, how=how).events()
    assert said(events) == "ab"
    assert type(error_of(events)) is kind
    assert sum(type(one) in (Stop, Failed) for one in events) == 1


def test_s39_good_frames_in_the_same_read_come_first() -> None:
    events = Bench(text("first"), text("a") + text("b") + CORRUPT + text("never")).events()
    assert said(events) == "firstab"
    assert type(error_of(events)) is e.BadChecksum


def test_s39_even_when_nothing_came_before() -> None:
    bench = Bench(text("a") + CORRUPT)
    assert [type(one) for one in bench.events()] == [TextDelta, Failed]


def test_clean_end_without_trailer() -> None:
    for how in ("end", "eof"):
        assert stop_of(Bench(HELLO, how=how).events()).reason == "max_tokens"
        complete = Bench(HELLO, how=how, complete_without_trailer=True)
        assert stop_of(complete.events()).reason == "end_turn"


def test_nothing_is_read_after_a_stop_sequence() -> None:
    bench = Bench(text("one STOP two"), text("three"), METERING, stop_sequences=["STOP"])
    events = bench.events()
    assert said(events) == "one "
    assert stop_of(events).stop_sequence == "STOP"
    assert not bench.exchange.complete


def test_tool_calls_pass() -> None:
    tool = event("toolUseEvent", toolUseId="t1", name="f", input='{"a":', stop=False)
    rest = event("toolUseEvent", toolUseId="t1", name="f", input="1}", stop=True)
    events = Bench(tool, rest, METERING, CONTEXT).events()
    kinds = [type(one) for one in events]
    assert kinds == [ToolUseStart, ToolInputDelta, ToolInputDelta, ToolUseEnd, Stop]
    assert stop_of(events).reason == "tool_use"


def test_byte_by_byte_is_the_same() -> None:
    wire = HELLO + text(" 你好") + METERING + CONTEXT
    whole = Bench(wire).events()
    bytewise = Bench(*(bytes([one]) for one in wire)).events()
    assert said(whole) == said(bytewise) == "hello 你好"
    assert whole[-1] == bytewise[-1]


# ---- closing -------------------------------------------------------------------------------


def test_s43_closing_before_the_first_next() -> None:
    """Q11: a generator would never run its `finally`."""
    bench = Bench(HELLO).primed()
    outcomes: list[Any] = []
    bench.stream.on_close(outcomes.append)
    bench.stream.close()
    assert bench.exchange.closed == 1
    assert outcomes == [None]


def test_closing_twice_acts_once() -> None:
    bench = Bench(HELLO).primed()
    outcomes: list[Any] = []
    bench.stream.on_close(outcomes.append)
    bench.stream.error = error = e.ServerFault("late")
    bench.stream.close()
    bench.stream.close()
    assert outcomes == [error]


def test_the_lease_is_given_back_even_if_closing_fails() -> None:
    bench = Bench(HELLO).primed()
    outcomes: list[Any] = []
    bench.stream.on_close(outcomes.append)

    def broken() -> None:
        raise OSError

    bench.exchange.close = broken  # type: ignore[method-assign]
    with pytest.raises(OSError):
        bench.stream.close()
    assert outcomes == [None]


# ---- relay ---------------------------------------------------------------------------------


class Leased:
    def __init__(self, id_: int) -> None:
        self.credential = Credential(id=id_, access_token=f"at-{id_}")
        self.outcomes: list[BaseException | None] = []

    def release(self, outcome: BaseException | None = None) -> None:
        self.outcomes.append(outcome)


class TwoCredentials:
    """A pool of two."""

    def __init__(self) -> None:
        self.leases: list[Leased] = []
        self.models: list[str] = []

    def lease(self, model: str, exclude: Any = (), only: int | None = None) -> Leased:
        self.models.append(model)
        for id_ in (1, 2):
            if id_ not in exclude and only in (None, id_):
                self.leases.append(Leased(id_))
                return self.leases[-1]
        raise e.NoCredential("none")


class ScriptedClient:
    """Answers with one script per call."""

    def __init__(self, *scripts: Any) -> None:
        self._scripts = list(scripts)
        self.exchanges: list[ScriptedExchange] = []
        self.requests: list[KiroRequest] = []

    def generate(
        self, credential: Credential, request: KiroRequest, tape: Any = None
    ) -> ScriptedExchange:
        self.requests.append(request)
        script = self._scripts.pop(0)
        if isinstance(script, BaseException):
            raise script
        self.exchanges.append(ScriptedExchange(Clock(), *script))
        return self.exchanges[-1]


def run(
    client: ScriptedClient,
    pool: TwoCredentials,
    lost: Callable[[Usage], None] = lambda usage: None,
    **more: Any,
) -> ReplyStream:
    given = {"stream": True, "session": ""} | more
    conversation = Conversation("claude-sonnet-4-5", [Message("user", [Text("hi")])], **given)
    choice = choose_model(conversation.model, ModelSettings())
    return relay(
        conversation,
        choice,
        cast(Pool, pool),
        cast(KiroClient, client),
        RequestSettings(),
        TIMING,
        lost=lost,
    )


GOOD = (HELLO, METERING, CONTEXT)


def test_what_a_failed_attempt_had_cost_is_told() -> None:
    client, pool = ScriptedClient((HELLO, METERING, THROTTLED), GOOD), TwoCredentials()
    told: list[float] = []
    reply = run(client, pool, lambda usage: told.append(usage.credits), stream=False)
    assert told == [0.5]
    reply.close()
    assert told == [0.5], "the answer's own is its Stop's"


@pytest.mark.parametrize("stream", [True, False])
def test_a_good_reply(stream: bool) -> None:
    client, pool = ScriptedClient(GOOD), TwoCredentials()
    reply = run(client, pool, stream=stream)
    assert pool.models == ["claude-sonnet-4.5"]
    assert pool.leases[0].outcomes == [], "the reply holds the lease"
    events = [one for batch in reply for one in batch or ()]
    assert said(events) == "hello"
    reply.close()
    assert pool.leases[0].outcomes == [None]
    assert client.exchanges[0].closed == 1
    assert reply.input_tokens >= 1


@pytest.mark.parametrize(
    "bad",
    [
        (THROTTLED,),
        (CORRUPT,),
        (HELLO[:30],),
        (),
        (e.Unreachable("reset"),),
        e.Throttled("429"),
        e.ServerFault("500"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("stream", [True, False])
def test_s117_failover_before_the_first_event(bad: Any, stream: bool) -> None:
    client, pool = ScriptedClient(bad, GOOD), TwoCredentials()
    reply = run(client, pool, stream=stream)
    assert [one.credential.id for one in pool.leases] == [1, 2]
    assert isinstance(pool.leases[0].outcomes[0], e.KiroProxyError)
    assert all(one.closed for one in client.exchanges[:-1])
    assert client.requests[0] is client.requests[1], "built once"
    reply.close()
    assert [len(one.outcomes) for one in pool.leases] == [1, 1]


def test_s117_no_failover_after_it() -> None:
    client, pool = ScriptedClient((HELLO, THROTTLED), GOOD), TwoCredentials()
    reply = run(client, pool)
    events = [one for batch in reply for one in batch or ()]
    assert type(error_of(events)) is e.Throttled
    assert len(client.requests) == 1
    reply.close()
    assert len(pool.leases[0].outcomes) == 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("error", [gevent.GreenletExit(), KeyboardInterrupt(), ZeroDivisionError()])
def test_s43_broken_off_while_priming(error: BaseException, stream: bool) -> None:
    client, pool = ScriptedClient((error,)), TwoCredentials()
    with pytest.raises(type(error)):
        run(client, pool, stream=stream)
    assert client.exchanges[0].closed == 1
    assert len(pool.leases) == 1
    assert len(pool.leases[0].outcomes) == 1
    assert pool.leases[0].outcomes != [None], "it did not succeed, either"


def test_conversation_ids() -> None:
    """Protocol notes 3.3: stable for a session, and always a UUID."""
    given = "6f3c0d5e-7c0e-4a50-9a0e-3f1b1d3f8c11"
    assert conversation_id(given) == given
    assert conversation_id("a session") == conversation_id("a session")
    assert conversation_id("a session") != conversation_id("another")
    assert conversation_id("") != conversation_id("")
    for session in ("", "a session", given):
        made = conversation_id(session)
        assert str(uuid.UUID(made)) == made


@pytest.mark.parametrize("odd", ["-" * 4 + "x" * 32, "6F3C0D5E-7C0E-4A50-9A0E-3F1B1D3F8C1\n"])
def test_what_only_looks_like_a_uuid(odd: str) -> None:
    made = conversation_id(odd)
    assert str(uuid.UUID(made)) == made


def test_events_without_meaning_are_counted_and_new_ones_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Protocol notes 4.1: ignore, count, debug-log once."""
    told: list[str] = []
    monkeypatch.setattr(relay_module, "log", Log(told))
    monkeypatch.setattr(relay_module, "_told", set())
    for _ in range(2):
        reply = Reply(Expectations())
        kinds = ["brandNewEvent", "brandNewEvent", "citationEvent", "invalidStateEvent"]
        reply.feed([Unknown(kind) for kind in kinds])
        relay_module.note_passed_over(reply)
    assert told.count("unknown event of Kiro") == 1
    assert told.count("Kiro reported an invalid state") == 2


class Log:
    """Keeps what was said."""

    def __init__(self, told: list[str]) -> None:
        self.debug = self.warning = lambda event, **_: told.append(event)


# ---- what is counted -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "how", "name", "kind"),
    [
        ([HELLO, METERING + CONTEXT], "end", "", ""),
        ([HELLO, CORRUPT], "end", "corrupt_frames_total", "BadChecksum"),
        ([HELLO, HELLO[:-3]], "end", "truncations_total", "body"),
        ([HELLO], "cut", "truncations_total", "body"),
        ([HELLO, e.Unreachable("reset")], "end", "truncations_total", "reset"),
        ([HELLO], "open", "truncations_total", "silence"),
        ([HELLO], "end", "truncations_total", "no_trailer"),
        (
            [event("toolUseEvent", toolUseId="t", name="w", input='{"a": '), METERING + CONTEXT],
            "end",
            "truncations_total",
            "tool_call",
        ),
        (
            [event("reasoningContentEvent", text="hm"), METERING + CONTEXT],
            "end",
            "truncations_total",
            "no_answer",
        ),
        ([HELLO, THROTTLED], "end", "", ""),
    ],
)
def test_what_was_wrong_with_a_stream_is_counted_once(
    steps: list[Any], how: str, name: str, kind: str
) -> None:
    counters = Counters()
    bench = Bench(*steps, how=how)
    bench.events()
    for _ in range(2):
        bench.stream.close()
    faults = ("corrupt_frames_total", "truncations_total")
    assert {one: counters.of(one) for one in faults} == {one: one == name for one in faults}
    assert not name or counters.of(name, kind=kind) == 1
    assert counters.of("frames_total") >= 1


def test_frames_are_counted_whoever_leaves() -> None:
    counters = Counters()
    bench = Bench(HELLO + HELLO, HELLO, how="open").primed()
    next(iter(bench.stream))
    bench.stream.close()
    assert counters.of("frames_total") == 2
    assert counters.of("truncations_total") == 0
