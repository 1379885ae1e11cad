"""Recordings, counters and queues."""

import pytest

from kiroproxy.simulator import state as state_module
from kiroproxy.simulator.exchange import Request
from kiroproxy.simulator.script import Program
from kiroproxy.simulator.state import Counters, Fault, Queued, Recorder, State, take_queued

PROGRAM = Program(200, {}, [], [], "chunked", None)


def request(size: int) -> Request:
    return Request("POST", "/", {}, {}, b"x" * size, 0.0)


def test_the_oldest_requests_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "MAX_RECORDED_BYTES", 10)
    recorder = Recorder()
    for size in (4, 5, 6):
        recorder.add(request(size))
    assert [len(one.body) for one in recorder.requests] == [6]
    assert recorder.dropped == 2


def test_the_most_in_flight_is_remembered() -> None:
    counters = Counters()
    for bearer in ("a", "a", "b"):
        counters.enter(bearer)
    for bearer in ("a", "a", "b"):
        counters.leave(bearer)
    told = counters.describe()
    assert (told["inFlight"], told["inFlightMax"], told["generateCalls"]) == (0, 3, 3)
    assert told["perBearer"] == {}
    assert told["perBearerMax"] == {"a": 2, "b": 1}


def test_queued_programs_are_taken_in_order_when_they_fit() -> None:
    def queued(match: str | None = None, **more: int | str | None) -> Queued:
        return Queued(lambda: PROGRAM, match, **more)  # type: ignore[arg-type]

    queue = [queued("red"), queued("blue", times=2), queued(bearer="b", times=None)]
    assert take_queued(queue, "blue", "a") is PROGRAM
    assert [entry.match for entry in queue] == ["red", "blue", None]
    assert take_queued(queue, "blue", "a") is PROGRAM
    assert take_queued(queue, "blue", "a") is None
    assert take_queued(queue, "blue", "b") is PROGRAM
    assert [entry.match for entry in queue] == ["red", None]


def test_faults_are_due_on_their_path_and_count_down() -> None:
    state = State()
    state.faults = [Fault("/mcp", times=1), Fault("/token", times=None, bearer="x")]
    assert state.take_fault("/other", "") is None
    assert state.take_fault("/mcp", "") is not None
    assert state.take_fault("/mcp", "") is None
    assert state.take_fault("/token", "y") is None
    assert state.take_fault("/token", "x") is state.faults[0]


def test_gates_count_releases_before_and_after() -> None:
    state = State()
    state.release("g", 2)
    assert [state.gate("g").acquire(blocking=False) for _ in range(3)] == [True, True, False]
    state.release("g", None)
    assert all(state.gate("g").acquire(blocking=False) for _ in range(100))
