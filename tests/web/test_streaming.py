"""Streamed and folded answers, and that each request is accounted for once."""

import json
from collections.abc import Callable, Iterable
from typing import Any, cast

import gevent
import pytest
from werkzeug.test import EnvironBuilder

from kiroproxy import errors as e
from kiroproxy.conversation import Failed, ReplyEvent, Stop, TextDelta, Usage
from kiroproxy.web.account import Account
from kiroproxy.web.disconnect import ClientGone, DisconnectWatcher
from kiroproxy.web.draining import Answers, TimeIsUp
from kiroproxy.web.streaming import SseBody, answer
from tests.web.conftest import AUTH, BODY, GOOD, TRAILERS, Counters, Place, text

STOP = Stop("end_turn", Usage(3, 2))


class Source:
    """A primed reply that was written down."""

    input_tokens = 3

    def __init__(self, *batches: list[Any] | BaseException | None) -> None:
        self.error: Exception | None = None
        self.held = False
        self.closed = 0
        self._batches = list(batches)

    def __iter__(self) -> "Source":
        return self

    def __next__(self) -> list[ReplyEvent] | None:
        if not self._batches:
            raise StopIteration
        batch = self._batches.pop(0)
        if isinstance(batch, BaseException):
            raise batch
        return batch

    def usage(self) -> Usage:
        return Usage(3, 1)

    def close(self) -> None:
        self.closed += 1


class PlainWriter:
    """A dialect without ceremony."""

    def feed(self, events: Iterable[ReplyEvent]) -> bytes:
        return "".join(one.text if type(one) is TextDelta else "." for one in events).encode()

    def ping(self) -> bytes:
        return b"ping"


class Watcher:
    """Counts."""

    def __init__(self) -> None:
        self.started = self.stopped = 0

    def start(self) -> None:
        self.started += 1

    def stop(self) -> None:
        self.stopped += 1


class Bench:
    """One answer, with everything that is to be told about it."""

    def __init__(self, *batches: Any, begin: BaseException | None = None) -> None:
        self.source = Source(*batches)
        self.watcher = Watcher()
        self.account = Account("/v1/messages", stream=True, model="m")
        self.answers = Answers()
        self._begin = begin

    def answer(self, *, stream: bool, fold: Callable[[Any], Any] = lambda events: events) -> Any:
        def begin() -> Any:
            if self._begin is not None:
                raise self._begin
            return self.source

        def writer(source: Any) -> PlainWriter:
            return PlainWriter()

        return answer(
            begin,
            writer if stream else None,
            fold,
            cast(DisconnectWatcher, self.watcher),
            self.account,
            self.answers.begin(),
        )

    def body(self) -> SseBody:
        return cast(SseBody, self.answer(stream=True).response)


# ---- streams -------------------------------------------------------------------------------


def test_one_piece_per_batch() -> None:
    body = Bench([TextDelta("a"), TextDelta("b")], None, [TextDelta("c")], [STOP]).body()
    assert list(body) == [b"ab", b"ping", b"c", b"."]


def test_s10_headers() -> None:
    response = Bench([STOP]).answer(stream=True)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.direct_passthrough


def test_a_held_answer_begins_with_a_ping() -> None:
    bench = Bench([TextDelta("a")], [STOP])
    bench.source.held = True
    assert list(bench.body()) == [b"ping", b"a", b"."]


ENDS: list[tuple[list[Any], str, type[Exception] | None]] = [
    ([[TextDelta("a"), STOP]], "end_turn", None),
    ([[TextDelta("a")], [Failed(e.ServerFault("x"))]], "ServerFault", e.ServerFault),
    ([[TextDelta("a")]], "client_gone", None),
    ([], "client_gone", None),
]


@pytest.mark.parametrize(("batches", "ending", "error"), ENDS)
def test_each_stream_is_accounted_for_once(
    counters: Counters, batches: list[Any], ending: str, error: type[Exception] | None
) -> None:
    bench = Bench(*batches)
    body = bench.body()
    assert counters.of("requests_in_flight") == 1
    list(body)
    for _ in range(2):
        body.close()
    assert counters.of("requests_in_flight") == 0
    assert counters.of("requests_total", route="/v1/messages", status="200", stream="true") == 1
    assert counters.of("reply_endings_total", reason=ending) == 1
    assert counters.of("reply_endings_total") == 1
    assert counters.of("request_duration_seconds_count") == 1
    assert counters.of("first_token_seconds_count") == (1 if batches else 0)
    assert bench.source.closed >= 1
    assert (type(bench.source.error) if bench.source.error else None) is error
    assert bench.watcher.stopped >= 1


def test_s43_a_client_that_leaves_midway(counters: Counters) -> None:
    bench = Bench([TextDelta("a")], [TextDelta("b")], [STOP])
    body = bench.body()
    assert next(body) == b"a"
    body.close()
    assert bench.source.closed == 1
    assert counters.of("reply_endings_total", reason="client_gone") == 1
    assert counters.of("requests_in_flight") == 0


def test_s43_closing_before_the_first_next(counters: Counters) -> None:
    """Q11."""
    bench = Bench([TextDelta("a")], [STOP])
    bench.body().close()
    assert bench.source.closed == 1
    assert counters.of("requests_in_flight") == 0


@pytest.mark.parametrize("error", [ClientGone(), gevent.GreenletExit(), ZeroDivisionError()])
def test_broken_off_while_reading(counters: Counters, error: BaseException) -> None:
    bench = Bench([TextDelta("a")], error)
    body = bench.body()
    next(body)
    with pytest.raises(type(error)):
        next(body)
    body.close()
    assert bench.source.closed == 1
    assert counters.of("requests_in_flight") == 0


def test_accounts_end_even_if_closing_fails(counters: Counters) -> None:
    bench = Bench([STOP])
    body = bench.body()
    list(body)

    def broken() -> None:
        raise OSError

    bench.source.close = broken  # type: ignore[method-assign]
    with pytest.raises(OSError):
        body.close()
    assert counters.of("requests_in_flight") == 0


# ---- time is up ----------------------------------------------------------------------------


@pytest.mark.parametrize("before", [[], [[TextDelta("a")]], [None]])
def test_q6_a_stream_is_broken_off_in_words(counters: Counters, before: list[Any]) -> None:
    """Also one whose client reads slowly: nothing is thrown into a write."""
    bench = Bench(*before, [TextDelta("b")], [STOP])
    body = bench.body()
    for _ in before:
        next(body)
    bench.answers.break_off()
    gevent.sleep(0)
    assert list(body) == [b"."], "the dialect's error, and nothing after it"
    body.close()
    assert isinstance(bench.source.error, e.ServerStopping)
    assert bench.source.closed == 1
    assert len(bench.answers) == 0
    assert counters.of("reply_endings_total", reason="ServerStopping") == 1


def test_q6_a_stream_that_has_ended_ends_well(counters: Counters) -> None:
    bench = Bench([TextDelta("a"), STOP], TimeIsUp())
    body = bench.body()
    assert list(body) == [b"a."]
    body.close()
    assert counters.of("reply_endings_total", reason="end_turn") == 1


@pytest.mark.parametrize("stream", [True, False])
def test_q6_before_the_first_byte_it_is_a_status(counters: Counters, stream: bool) -> None:
    bench = Bench(begin=TimeIsUp())
    with pytest.raises(e.ServerStopping):
        bench.answer(stream=stream)
    assert len(bench.answers) == 0
    assert bench.watcher.stopped == 1


# ---- whole answers -------------------------------------------------------------------------


def test_folded(counters: Counters) -> None:
    bench = Bench([TextDelta("a")], None, [TextDelta("b"), STOP])
    events = bench.answer(stream=False)
    assert events == [TextDelta("a"), TextDelta("b"), STOP]
    assert bench.source.closed == 1
    assert (bench.watcher.started, bench.watcher.stopped) == (1, 1)
    assert counters.of("requests_in_flight") == 0
    assert counters.of("reply_endings_total", reason="end_turn") == 1


def test_collecting_closes_on_every_path() -> None:
    bench = Bench([TextDelta("a")], ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        bench.answer(stream=False)
    assert bench.source.closed == 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("error", [e.ServerFault("x"), ClientGone(), ZeroDivisionError()])
def test_a_beginning_that_fails_stops_the_watch(stream: bool, error: BaseException) -> None:
    bench = Bench(begin=error)
    with pytest.raises(type(error)):
        bench.answer(stream=stream)
    assert (bench.watcher.started, bench.watcher.stopped) == (1, 1)


def test_s43_a_client_that_leaves_before_the_answer(counters: Counters) -> None:
    with pytest.raises(ClientGone):
        Bench(begin=ClientGone()).answer(stream=True)
    assert counters.of("requests_total", status="499") == 1
    assert counters.of("requests_in_flight") == 0


# ---- over HTTP: nothing is left behind -----------------------------------------------------


def consume(place: Place, stop_after: int | None = None, **more: Any) -> bytes:
    """Call the application as gunicorn does, and close what it returns."""
    data = json.dumps(BODY | {"stream": True} | more).encode()
    builder = EnvironBuilder(path="/v1/messages", method="POST", data=data, headers=AUTH)
    pieces: list[bytes] = []
    body = cast(Any, place.app(builder.get_environ(), lambda status, headers, exc_info=None: None))
    try:
        for piece in body:
            pieces.append(piece)
            if len(pieces) == stop_after:
                break
    finally:
        body.close()
    return b"".join(pieces)


def test_streamed_over_http(place: Place, counters: Counters) -> None:
    data = consume(place)
    assert data.startswith(b"event: message_start\n")
    assert data.endswith(b'data: {"type":"message_stop"}\n\n')
    assert place.kiro.exchanges[0].closed == 1
    assert place.in_flight == {}
    assert counters.of("requests_in_flight") == 0
    assert counters.of("requests_total", route="/v1/messages", status="200", stream="true") == 1


@pytest.mark.parametrize("pieces", [1, 2])
def test_s43_leaving_midway_over_http(place: Place, pieces: int, counters: Counters) -> None:
    place.kiro.scripts = [[text("a"), text("b"), text("c"), TRAILERS]]
    consume(place, stop_after=pieces)
    assert place.kiro.exchanges[0].closed == 1
    assert place.in_flight == {}
    assert counters.of("requests_in_flight") == 0


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("script", "status"),
    [
        (e.InvalidRequest("no"), "400"),
        (e.QuotaExhausted("x"), "429"),
        (e.Suspended("x"), "403"),
        (ZeroDivisionError(), "500"),
        ([ZeroDivisionError()], "500"),
    ],
    ids=repr,
)
def test_failures_are_accounted_for_once(
    place: Place, counters: Counters, stream: bool, script: Any, status: str
) -> None:
    place.kiro.scripts = [script]
    answer = place.post(json={"stream": stream})
    assert answer.status_code == int(status)
    assert place.in_flight == {}
    assert counters.of("requests_in_flight") == 0
    assert counters.of("requests_total") == counters.of("requests_total", status=status) == 1
    assert counters.of("reply_endings_total") == 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("error", [gevent.GreenletExit, ClientGone, KeyboardInterrupt])
def test_s43_killed_before_the_answer(
    place: Place, counters: Counters, stream: bool, error: type[BaseException]
) -> None:
    place.kiro.scripts = [[error()]]
    with pytest.raises(error):
        place.post(json={"stream": stream})
    assert place.kiro.exchanges[0].closed == 1
    assert place.in_flight == {}


def test_unknown_models_are_accounted_for(place: Place, counters: Counters) -> None:
    assert place.post(json={"model": "gpt-5-codex"}).status_code == 404
    assert counters.of("requests_in_flight") == 0
    assert counters.of("requests_total", status="404") == 1


def test_good_script_is_good(place: Place) -> None:
    assert GOOD
    assert place.post().get_json()["content"] == [{"type": "text", "text": "hello you"}]
