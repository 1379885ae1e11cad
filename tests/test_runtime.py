"""What the workers of a host share: design 5."""

import multiprocessing
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.gate import Gate
from kiroproxy.runtime import (
    FULL_BUDGET,
    PIN_LIFE_S,
    TRACES_KEPT,
    Decision,
    Demand,
    Note,
    Rate,
    Runtime,
    Shared,
    State,
    Tally,
    Ticket,
    is_alive,
    start_time,
)

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "runtime.db"
    Runtime.wipe(path)
    return path


def taking(credential_id: int = 1, limit: int = 100, **more: Any) -> Callable[[Shared], Decision]:
    """Take a place of a credential, or wait for one."""

    def decide(shared: Shared) -> Decision:
        full = shared.in_flight.get(credential_id, 0) >= limit
        return Decision(wait=True) if full else Decision(credential_id, **more)

    return decide


def admit(runtime: Runtime, credential_id: int = 1, limit: int = 100) -> Ticket | None:
    return runtime.admit(taking(credential_id, limit)).ticket


def admitted(
    runtime: Runtime,
    credential_id: int = 1,
    limit: int = 100,
    **more: Any,
) -> Ticket:
    ticket = runtime.admit(taking(credential_id, limit, **more)).ticket
    assert ticket is not None
    return ticket


def give_back(runtime: Runtime, ticket: Ticket, **note: Any) -> State:
    return runtime.give_back(ticket, lambda state: Note(**note))


def test_places_are_limited_per_credential(path: Path) -> None:
    runtime = Runtime(path)
    first, _second = admitted(runtime, limit=2), admitted(runtime, limit=2)
    assert admit(runtime, 1, 2) is None
    assert runtime.in_flight() == {1: 2}
    admitted(runtime, credential_id=2, limit=2)
    give_back(runtime, first)
    admitted(runtime, limit=2)
    assert runtime.faults == 0
    runtime.close()


@pytest.fixture
def now() -> list[float]:
    """A clock to turn."""
    return [1000.0]


@pytest.fixture
def runtime(path: Path, now: list[float]) -> Iterator[Runtime]:
    runtime = Runtime(path, clock=lambda: now[0])
    yield runtime
    assert runtime.faults == 0
    runtime.close()


def test_states(runtime: Runtime, path: Path) -> None:
    assert runtime.states() == {}
    give_back(runtime, admitted(runtime), failed=False)
    assert runtime.states() == {}, "what is well has no state"
    assert give_back(runtime, admitted(runtime), failed=True) == State(1)
    state = give_back(runtime, admitted(runtime), failed=True, cooldown_s=30, why="x")
    assert state == State(2, 1030, "x")
    assert give_back(runtime, admitted(runtime), cooldown_s=5, why="y") == state, "the longer rest"
    assert Runtime(path).states() == {1: state}
    assert runtime.give_back(admitted(runtime), None) == state, "nothing was learnt"


def test_success_ends_a_rest_only_if_it_began_in_it(runtime: Runtime, now: list[float]) -> None:
    early = admitted(runtime)
    give_back(runtime, admitted(runtime), fault=True, cooldown_s=30, why="x")
    assert give_back(runtime, early, failed=False) == State(0, 1030, "x")
    give_back(runtime, admitted(runtime), failed=False)
    assert runtime.states() == {}


def test_a_started_answer_ends_a_rest_before_it_is_over(runtime: Runtime) -> None:
    give_back(runtime, admitted(runtime), cooldown_s=30)
    probe = admitted(runtime, probe=True)
    assert probe.cooling
    assert runtime.states()[1].probed_at == 1000
    runtime.proved(probe)
    assert runtime.states() == {}
    give_back(runtime, probe, failed=False)


def test_retries_are_paid_for_and_paid_back(runtime: Runtime) -> None:
    failed = admitted(runtime, cost=10)
    assert runtime.states()[1].budget == FULL_BUDGET - 10
    assert give_back(runtime, failed).budget == FULL_BUDGET - 10
    assert give_back(runtime, admitted(runtime, cost=10), failed=False).budget == FULL_BUDGET - 10
    assert give_back(runtime, admitted(runtime), failed=False).budget == FULL_BUDGET - 9


def test_tallies(runtime: Runtime, now: list[float]) -> None:
    for failed in (False, False, True, None):
        ticket = admitted(runtime)
        now[0] += 2
        give_back(runtime, ticket, failed=failed)
    runtime.give_back(admitted(runtime), None)
    tally = runtime.tallies()[1]
    assert (tally.requests, tally.successes, tally.seconds) == (4, 2, 8)
    assert abs(tally.last_used - time.time()) < 60
    assert Tally().requests == 0


def test_pins(runtime: Runtime, now: list[float]) -> None:
    seen = []

    def look(shared: Shared) -> Decision:
        seen.append(shared.pinned)
        return Decision(2 if len(seen) < 3 else 3, pin=len(seen) != 3)

    for _ in range(4):
        runtime.admit(look, Demand(session="s"))
    assert seen == [None, 2, 2, 2], "the third was not pinned"
    runtime.admit(look, Demand(session="s"))
    assert seen[-1] == 3
    now[0] += PIN_LIFE_S + 1
    runtime.admit(look, Demand(session="s"))
    assert seen[-1] is None


def test_the_queue_is_served_in_order(runtime: Runtime) -> None:
    held = admitted(runtime, limit=1)
    lane = Demand(lane="default", until=2000)
    first = runtime.admit(taking(limit=1), lane)
    second = runtime.admit(taking(limit=1), lane)
    assert first.ticket is second.ticket is None
    assert 0 < first.waiter < second.waiter
    ahead = [
        runtime.admit(taking(limit=1), Demand(lane="default", waiter=w)).shared.ahead
        for w in (first.waiter, second.waiter, 0)
    ]
    assert ahead == [0, 1, 2]
    assert runtime.admit(taking(limit=1), Demand(lane="another")).shared.ahead == 0
    give_back(runtime, held)
    got = runtime.admit(taking(limit=1), Demand(lane="default", waiter=first.waiter))
    assert got.ticket is not None
    assert runtime.admit(taking(limit=1), lane).shared.ahead == 1, "it has left the queue"
    runtime.leave_queue(second.waiter)
    assert runtime.admit(taking(limit=1), Demand(lane="default")).shared.ahead == 1


def test_a_single_place_goes_from_key_to_key(runtime: Runtime) -> None:
    held = admitted(runtime, limit=1)
    waiting = []
    for client in "aaab":
        one = runtime.admit(taking(limit=1), Demand(lane="default", until=2000, client=client))
        waiting.append(Demand(lane="default", waiter=one.waiter, client=client))
    got = ""
    while waiting:
        give_back(runtime, held)
        for demand in waiting:
            ticket = runtime.admit(in_turn, demand).ticket
            if ticket is not None:
                held = ticket
                got += demand.client
                waiting.remove(demand)
                break
    assert got == "abaa"


def in_turn(shared: Shared) -> Decision:
    """What a policy decides for a single place."""
    free = not shared.in_flight and not shared.ahead
    return Decision(1) if free else Decision(wait=True)


def test_who_has_given_up_is_not_waited_for(runtime: Runtime, now: list[float]) -> None:
    admitted(runtime, limit=1)
    runtime.admit(taking(limit=1), Demand(lane="default", until=1001))
    now[0] += 2
    assert runtime.admit(taking(limit=1), Demand(lane="default")).shared.ahead == 0


def test_the_rate_of_a_group(runtime: Runtime, now: list[float]) -> None:
    demand = Demand(rate=Rate("pro", qps=2, burst=3))
    waits = [runtime.admit(taking(), demand).shared.rate_wait_s for _ in range(4)]
    assert waits == [0, 0, 0, 0.5]
    now[0] += 0.75
    assert runtime.admit(taking(), Demand(rate=Rate("pro", 2, 3))).shared.rate_wait_s <= 0.5


def test_claims(runtime: Runtime, now: list[float]) -> None:
    assert [runtime.claim("x", 60), runtime.claim("x", 60), runtime.claim("y", 60)] == [
        True,
        False,
        True,
    ]
    now[0] += 60
    assert runtime.claim("x", 60)


def test_what_models_are_lacking(runtime: Runtime, now: list[float]) -> None:
    runtime.note_lack(1, "claude-opus-4.8", 60)
    runtime.note_lack(2, "claude-opus-4.8", 10)
    now[0] += 30
    assert runtime.lacks() == {(1, "claude-opus-4.8")}
    runtime.forget([1])
    assert runtime.lacks() == frozenset()


def test_texts_for_all_workers(runtime: Runtime, path: Path) -> None:
    runtime.remember("usage 1", "a")
    runtime.remember("usage 1", "b")
    runtime.remember("other", "c")
    other = Runtime(path)
    assert {name: value for name, (value, _) in other.recall("usage ").items()} == {"usage 1": "b"}
    other.close()


def test_traces_of_the_last_few_thousand_requests(runtime: Runtime) -> None:
    assert runtime.keep_traces({"a": "1", "b": "2"})
    assert runtime.keep_traces({"a": "3"})
    assert (runtime.trace("a"), runtime.trace("b"), runtime.trace("c")) == ("3", "2", None)
    runtime.keep_traces({f"t{n}": "x" for n in range(TRACES_KEPT)})
    assert runtime.trace("a") is None
    assert runtime.trace(f"t{TRACES_KEPT - 1}") == "x"


def test_wipe_begins_anew_and_is_private(path: Path) -> None:
    runtime = Runtime(path)
    admitted(runtime)
    runtime.close()
    Runtime.wipe(path)
    assert Runtime(path).in_flight() == {}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_it_makes_its_tables_itself(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path / "runtime.db")
    admitted(runtime)
    assert runtime.faults == 0
    runtime.close()


def test_settings_of_the_connection(path: Path) -> None:
    runtime = Runtime(path)
    admitted(runtime)
    db = runtime._connection
    assert db is not None
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (0,)
    assert db.execute("PRAGMA busy_timeout").fetchone() == (0,)
    runtime.close()


def test_a_busy_database_fails_no_request(path: Path) -> None:
    blocker = sqlite3.connect(path, isolation_level=None)
    runtime = Runtime(path)
    kept = admitted(runtime)
    blocker.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    ticket = admit(runtime)
    assert ticket is not None
    assert ticket.id == 0, "it was not counted"
    assert give_back(runtime, kept, failed=True) == State()
    assert time.monotonic() - started < 2
    assert runtime.faults == 2
    blocker.execute("ROLLBACK")
    blocker.close()
    assert runtime.in_flight() == {}, "the place is freed as soon as the database allows"
    runtime.close()


@pytest.mark.parametrize("content", [b"garbage" * 1000, b""])
def test_a_broken_database_fails_no_request(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "runtime.db"
    path.write_bytes(content)
    runtime = Runtime(path)
    ticket = admitted(runtime)
    give_back(runtime, ticket, failed=True, cooldown_s=1)
    runtime.states()
    assert bool(runtime.faults) == bool(content)
    runtime.close()


def test_an_impossible_place_fails_no_request(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    runtime = Runtime(tmp_path / "file" / "runtime.db")
    ticket = admit(runtime, 1, 1)
    assert ticket is not None
    assert ticket.id == 0
    assert runtime.faults == 1
    with pytest.raises(OSError):
        Runtime.wipe(tmp_path / "file" / "runtime.db")


def test_a_database_broken_while_in_use_recovers(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kiroproxy.shared_db.REOPEN_S", 0)
    runtime = Runtime(path)
    admitted(runtime)
    assert runtime._connection is not None
    runtime._connection.execute("DROP TABLE states")
    assert give_back(runtime, Ticket(0, 1), failed=True) == State()
    assert runtime.faults == 1
    admitted(runtime)
    assert runtime.faults == 1
    runtime.close()


def _hold(path: Path, ready: "Queue[int]") -> None:
    runtime = Runtime(path)
    for _ in range(3):
        admit(runtime, 1, 3)
    ready.put(os.getpid())
    time.sleep(60)


def test_a_dead_workers_places_are_reclaimed(path: Path) -> None:
    ready: Queue[int] = SPAWN.Queue()
    worker = SPAWN.Process(target=_hold, args=(path, ready))
    worker.start()
    pid = ready.get(timeout=30)
    runtime = Runtime(path)
    assert admit(runtime, 1, 3) is None, "it lives"
    os.kill(pid, signal.SIGKILL)
    while is_alive(pid, ""):  # a zombie counts as dead
        time.sleep(0.005)
    assert admit(runtime, 1, 3) is not None
    assert runtime.in_flight() == {1: 1}
    worker.join()
    ready.close()
    runtime.close()


def test_a_number_given_to_another_process_is_not_alive() -> None:
    own = start_time(os.getpid())
    assert is_alive(os.getpid(), own)
    if own:
        assert not is_alive(os.getpid(), own + "0")


def _churn(path: Path, rounds: int, limit: int, out: "Queue[tuple[int, int, int]]") -> None:
    runtime = Runtime(path)
    worst = got = 0
    while got < rounds:
        ticket = admit(runtime, 1, limit)
        if ticket is None:
            time.sleep(0.0005)
            continue
        worst = max(worst, runtime.in_flight().get(1, 0))
        give_back(runtime, ticket)
        got += 1
    out.put((worst, got, runtime.faults))


def test_the_limit_holds_across_processes(path: Path) -> None:
    out: Queue[tuple[int, int, int]] = SPAWN.Queue()
    workers = [SPAWN.Process(target=_churn, args=(path, 150, 2, out)) for _ in range(4)]
    for worker in workers:
        worker.start()
    results = [out.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    out.close()
    faults = sum(one[2] for one in results)
    assert max(one[0] for one in results) <= 2 + faults
    assert faults <= 6, "of 600 rounds with four processes on two cores"


def test_threads_share_one_connection(path: Path) -> None:
    runtime = Runtime(path)

    def work() -> None:
        for _ in range(50):
            give_back(runtime, admitted(runtime))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runtime.in_flight() == {}
    assert runtime.faults == 0
    runtime.close()


FORK = """
import os, sys
from pathlib import Path
from kiroproxy.runtime import Decision, Note, Runtime
runtime = Runtime(Path(sys.argv[1]))
take = lambda shared: Decision(1)
runtime.admit(take)
pid = os.fork()
mine = runtime._connection
runtime.admit(take)
assert (runtime._connection is mine) == bool(pid)
runtime.give_back(runtime.admit(take).ticket, lambda state: Note())
if pid:
    assert os.waitpid(pid, 0)[1] == 0
    assert runtime.faults == 0
else:
    assert runtime.faults == 0
    os._exit(0)
"""


def test_a_connection_is_not_carried_over_a_fork(path: Path) -> None:
    subprocess.run([sys.executable, "-c", FORK, str(path)], check=True, timeout=60)
    runtime = Runtime(path)
    assert runtime.in_flight() == {1: 3}
    runtime.close()


# ---- client keys ---------------------------------------------------------------------------

DAY = ("tokens key a", "2026-11-20")


def test_a_gate_is_passed_in_the_transaction_that_admits(runtime: Runtime) -> None:
    demand = Demand(gate=Gate("a", per_minute=1, concurrent=5))
    first = runtime.admit(taking(), demand)
    assert first.ticket is not None
    assert first.passage is not None
    assert first.passage.slot
    asked: list[Shared] = []
    second = runtime.admit(lambda shared: asked.append(shared) or Decision(1), demand)  # type: ignore[func-returns-value]
    assert second.ticket is None
    assert second.passage is not None
    assert second.passage.refused == "requests a minute"
    assert asked == [], "nobody was asked for a credential"
    assert runtime.in_flight() == {1: 1}
    assert runtime.admit(taking()).passage is None


def test_what_was_used_is_written_with_the_next_transaction(runtime: Runtime, path: Path) -> None:
    passage = runtime.enter(Gate("a", concurrent=1))
    assert passage is not None
    runtime.leave(passage.slot, {DAY: 5})
    other = Runtime(path)
    assert other.counters([DAY]) == {}
    give_back(runtime, admitted(runtime))
    assert other.counters([DAY]) == {DAY: 5}
    runtime.leave(0, {DAY: 2})
    runtime.settle()
    runtime.settle()
    assert other.counters([DAY]) == {DAY: 7}
    again = other.enter(Gate("a", concurrent=1))
    assert again is not None
    assert not again.refused
    other.close()


def test_what_decides_nothing_is_written_with_the_traces(runtime: Runtime, path: Path) -> None:
    other = Runtime(path)
    runtime.leave(0, {DAY: 2}, hurried=False)
    give_back(runtime, admitted(runtime))
    runtime.leave(0, {DAY: 3}, hurried=False)
    assert other.counters([DAY]) == {}
    assert runtime.keep_traces({"req_1": "{}"})
    assert other.counters([DAY]) == {DAY: 5}
    runtime.leave(0, {DAY: 2}, hurried=False)
    assert runtime.counters([DAY]) == {DAY: 7}, "a worker knows its own"
    runtime.leave(0, {DAY: 2}, hurried=False)
    runtime.write_counts()
    assert other.counters([DAY]) == {DAY: 9}
    other.close()


def test_a_busy_database_forgets_nothing_that_was_used(path: Path) -> None:
    blocker = sqlite3.connect(path, isolation_level=None)
    runtime = Runtime(path)
    gate = Gate("a", concurrent=1)
    kept = runtime.enter(gate)
    assert kept is not None
    blocker.execute("BEGIN IMMEDIATE")
    assert runtime.enter(gate) is None, "it passes uncounted"
    admission = runtime.admit(taking(), Demand(gate=gate))
    assert admission.ticket is not None
    assert admission.passage is None
    runtime.leave(kept.slot, {DAY: 5})
    runtime.leave(0, {DAY: 1})
    runtime.settle()
    blocker.execute("ROLLBACK")
    blocker.close()
    assert runtime.counters([DAY]) == {DAY: 6}
    again = runtime.enter(gate)
    assert again is not None
    assert not again.refused
    runtime.close()


def test_what_was_used_before_is_added_by_one_worker(path: Path) -> None:
    runtime, other = Runtime(path), Runtime(path)
    assert runtime.begin_counting(100.0) == (100.0, False)
    assert other.begin_counting(200.0) == (100.0, False)
    runtime.add_earlier({DAY: 5, ("x", "old"): 1}, [DAY[1]])
    other.add_earlier({DAY: 5}, [DAY[1]])
    assert other.counters([DAY, ("x", "old")]) == {DAY: 5}
    assert other.begin_counting(300.0) == (100.0, True)
    runtime.close()
    other.close()


def test_tries_are_counted_for_all_workers(path: Path, now: list[float]) -> None:
    one, other = (Runtime(path, clock=lambda: now[0]) for _ in range(2))
    for runtime in (one, other, one):
        passage = runtime.attempt("guesses", 3)
        assert passage is not None
        assert not passage.refused
    refused = other.attempt("guesses", 3)
    assert refused is not None
    assert refused.refused
    assert one.recent("guesses")[0] == 3
    assert one.recent("others") == (0, 0.0)
    now[0] += 61
    assert other.recent("guesses")[0] == 0
    one.close()
    other.close()
