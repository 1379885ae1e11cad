"""Limits of client keys: exact across workers, and never in the way when the database is ill."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.errors import LimitExceeded
from kiroproxy.gate import Counter
from kiroproxy.ledger.budgets import Budgets, day_of, month_of
from kiroproxy.ledger.keys import ClientKey, KeyLimits
from kiroproxy.ledger.limits import (
    Entrance,
    Limits,
    anthropic_headers,
    credit_counters,
    duration,
    openai_headers,
    tokens_counter,
)
from kiroproxy.runtime import Decision, Demand, Runtime
from tests.credentials.bench import HOUR, Bench

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "runtime.db"
    Runtime.wipe(path)
    return path


@pytest.fixture
def now() -> list[datetime]:
    return [datetime(2026, 11, 20, 23, 0, tzinfo=UTC)]


@pytest.fixture
def limits(path: Path, now: list[datetime]) -> Iterator[Limits]:
    runtime = Runtime(path)
    budgets = {"pro": Budgets(day_hard=2)}
    yield Limits(
        runtime,
        group_budgets=lambda group: budgets.get(group, Budgets()),
        clock=lambda: now[0],
    )
    assert runtime.faults == 0
    runtime.close()


def key(**limits: int) -> ClientKey:
    return ClientKey("k1", "h", name="ci", limits=KeyLimits(**limits))


def entered(limits: Limits, one: ClientKey | None, group: str = "default") -> Entrance:
    entrance = limits.entrance(one, group)
    entrance.enter()
    return entrance


def refused(limits: Limits, one: ClientKey | None, group: str = "default") -> LimitExceeded:
    with pytest.raises(LimitExceeded) as error:
        entered(limits, one, group)
    return error.value


def test_a_key_without_limits_costs_nothing(limits: Limits) -> None:
    entrance = entered(limits, key())
    assert entrance.passage is None
    assert entrance.next_gate() is None
    assert anthropic_headers(entrance, limits.clock()) == openai_headers(entrance) == {}
    assert entrance.warnings() == []


def test_requests_a_minute(limits: Limits) -> None:
    one = key(requests_per_minute=2)
    first = entered(limits, one)
    assert anthropic_headers(first, limits.clock()) == {
        "anthropic-ratelimit-requests-limit": "2",
        "anthropic-ratelimit-requests-remaining": "1",
        "anthropic-ratelimit-requests-reset": "2026-11-20T23:01:00Z",
    }
    assert openai_headers(first) == {
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": "1m0s",
    }
    entered(limits, one).leave()
    error = refused(limits, one)
    assert "ci is limited to 2 requests a minute" in str(error)
    assert 59 <= error.retry_after_s <= 61
    entered(limits, ClientKey("k2", "i", limits=one.limits))


def test_a_look_counts_nothing(limits: Limits) -> None:
    """For answers to requests that never come to their gate."""
    one = key(requests_per_minute=2, concurrent=3)
    entered(limits, one)
    for _ in range(3):
        entrance = limits.entrance(one, "default")
        entrance.leave()
        entrance.look()
        told = anthropic_headers(entrance, limits.clock())
        assert told["anthropic-ratelimit-requests-remaining"] == "1"
        streams = entrance.streams()
        assert streams is not None
        assert streams.remaining == 2
    entered(limits, one)
    refused(limits, one)


def test_a_refused_request_still_tells_the_limits(limits: Limits) -> None:
    one = key(requests_per_minute=1)
    entered(limits, one)
    entrance = limits.entrance(one, "default")
    with pytest.raises(LimitExceeded):
        entrance.enter()
    assert openai_headers(entrance)["x-ratelimit-remaining-requests"] == "0"
    entrance.leave(output_tokens=5)
    assert limits.output_tokens_today("k1") == 0, "it was none of ours"


def test_requests_at_once_return_with_the_next_transaction(limits: Limits) -> None:
    one = key(concurrent=1)
    first = entered(limits, one)
    streams = first.streams()
    assert streams is not None
    assert (streams.limit, streams.remaining) == (1, 0)
    error = refused(limits, one)
    assert "ci is limited to 1 requests at once" in str(error)
    assert error.retry_after_s == 1
    first.leave()
    second = entered(limits, one)
    first.leave()
    refused(limits, one)
    second.leave()
    second.settle()
    second.settle()
    entered(limits, one)


def test_output_tokens_of_a_day(limits: Limits, now: list[datetime]) -> None:
    one = key(output_tokens_per_day=100)
    both = entered(limits, one), entered(limits, one)
    for entrance in both:
        entrance.leave(output_tokens=80)
    error = refused(limits, one)
    assert "100 output tokens a day" in str(error)
    assert error.retry_after_s == 3600
    assert limits.output_tokens_today("k1") == 160, "exceeded by the streams in flight"
    now[0] += timedelta(hours=1)
    quota = entered(limits, one).output_tokens()
    assert quota is not None
    assert (quota.remaining, quota.reset_s) == (100, 86400)


def test_budgets_of_keys(limits: Limits, now: list[datetime]) -> None:
    one = ClientKey("k1", "h", name="ci", budgets=Budgets(day_soft=1, month_hard=3))
    entered(limits, one).leave(credits=1.5)
    second = entered(limits, one)
    assert second.warnings() == ["client key ci has spent 1.50 of 1 credits this day"]
    second.leave(credits=1.5)
    error = refused(limits, one)
    assert "Client key ci has spent its 3 credits of this month" in str(error)
    assert "2026-12-01 00:00 UTC" in str(error)
    assert error.retry_after_s == 10 * 86400 + 3600
    standings = limits.standings(one, "default")["key"]
    assert [(s.kind, s.spent, s.is_spent, s.is_warned) for s in standings] == [
        ("month", 3.0, True, False),
        ("day", 3.0, False, True),
    ]
    now[0] = datetime(2026, 12, 1, tzinfo=UTC)
    entered(limits, one)


def test_budgets_of_groups_hold_for_every_key(limits: Limits, now: list[datetime]) -> None:
    entered(limits, None, "pro").leave(credits=1)
    entered(limits, key(), "pro").leave(credits=1)
    for who in (None, key(), ClientKey("k2", "i")):
        assert "Group pro has spent its 2 credits of this day" in str(refused(limits, who, "pro"))
    entered(limits, None, "default")
    now[0] += timedelta(hours=1)
    entered(limits, None, "pro")


def test_what_was_used_before_is_added_once(path: Path, now: list[datetime]) -> None:
    began = now[0]
    asked: list[tuple[datetime, datetime]] = []

    def totals(since: datetime, until: datetime) -> dict[Counter, int]:
        asked.append((since, until))
        old = ("tokens key k1", "2026-10-01")
        return {tokens_counter("k1", began): 70, old: 9}

    workers = [Limits(Runtime(path), clock=lambda: now[0]) for _ in range(2)]
    one = key(output_tokens_per_day=100)
    for worker in workers:
        entered(worker, one).leave(output_tokens=10)
        worker.runtime.settle()
    now[0] += timedelta(seconds=30)
    for _ in range(2):
        for worker in workers:
            worker.catch_up(totals)
    assert workers[0].output_tokens_today("k1") == 90
    assert set(asked) == {(datetime(2026, 11, 1, tzinfo=UTC), began)}
    again = Limits(Runtime(path), clock=lambda: now[0])
    again.catch_up(totals)
    assert workers[0].output_tokens_today("k1") == 90, "a worker that was replaced adds nothing"
    for one_of in (*workers, again):
        one_of.runtime.close()


def test_old_counters_are_forgotten(limits: Limits, now: list[datetime]) -> None:
    entered(limits, key(output_tokens_per_day=9)).leave(output_tokens=5)
    limits.runtime.settle()
    limits.tidy()
    assert limits.output_tokens_today("k1") == 5
    before = now[0]
    now[0] += timedelta(days=40)
    limits.tidy()
    now[0] = before
    assert limits.output_tokens_today("k1") == 0


@pytest.mark.parametrize("content", [b"garbage" * 1000, None])
def test_a_broken_database_lets_everyone_pass(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "runtime.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    limits = Limits(Runtime(path))
    for _ in range(3):
        entrance = entered(limits, key(requests_per_minute=1, concurrent=1))
        entrance.leave(5, 5.0)
        entrance.settle()
        assert entrance.requests() is None
    limits.catch_up(lambda since, until: {})
    assert limits.runtime.faults


# ---- across processes ----------------------------------------------------------------------


def storm(path: Path, one: ClientKey, tries: int, results: "Queue[int]", hold: Any) -> None:
    limits = Limits(Runtime(path))
    admitted = 0
    for _ in range(tries):
        try:
            entered(limits, one)
            admitted += 1
        except LimitExceeded:
            pass
    assert limits.runtime.faults == 0
    results.put(admitted)
    hold.wait(30)


@pytest.mark.parametrize("limit", [{"requests_per_minute": 40}, {"concurrent": 40}])
def test_two_processes_admit_exactly_the_limit(path: Path, limit: dict[str, int]) -> None:
    results: Queue[int] = SPAWN.Queue()
    hold = SPAWN.Event()
    workers = [
        SPAWN.Process(target=storm, args=(path, key(**limit), 60, results, hold)) for _ in range(2)
    ]
    for one in workers:
        one.start()
    admitted = [results.get(timeout=60) for _ in workers]
    hold.set()
    for one in workers:
        one.join()
    assert sum(admitted) == 40
    assert [one.exitcode for one in workers] == [0, 0]


def test_a_killed_worker_gives_its_places_back(path: Path) -> None:
    results: Queue[int] = SPAWN.Queue()
    one = key(concurrent=3)
    hold = SPAWN.Event()
    worker = SPAWN.Process(target=storm, args=(path, one, 3, results, hold))
    worker.start()
    assert results.get(timeout=60) == 3
    limits = Limits(Runtime(path))
    refused(limits, one)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    for _ in range(3):
        entered(limits, one)
    refused(limits, one)
    limits.runtime.close()


# ---- along with the lease ------------------------------------------------------------------


def test_it_is_passed_in_the_leases_own_transaction(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.add(HOUR)
    limits = Limits(bench.runtime)
    limits.begin()
    transactions: list[object] = []
    original = bench.runtime._attempt
    bench.runtime._attempt = lambda work: (  # type: ignore[method-assign]
        transactions.append(work),
        original(work),
    )[1]
    one = key(concurrent=1)
    bench.pool.roster()
    transactions.clear()

    borrower = bench.pool.borrower("default")
    borrower.turnstile = entrance = limits.entrance(one, "default")
    lease = borrower.lease("m")
    assert len(transactions) == 1
    again = borrower.lease("m", exclude=[])
    again.release(None)
    assert entrance.passage is not None
    assert entrance.passage.streams == 1, "another attempt passes nothing again"

    other = bench.pool.borrower("default")
    other.turnstile = limits.entrance(one, "default")
    with pytest.raises(LimitExceeded):
        other.lease("m")
    assert bench.runtime.in_flight() == {1: 1}

    transactions.clear()
    entrance.leave(output_tokens=7)
    lease.release(None)
    entrance.settle()
    assert len(transactions) == 1
    assert limits.output_tokens_today("k1") == 7
    bench.settle()
    bench.runtime.close()


def test_the_price_of_a_gate(path: Path) -> None:
    """Measured: 35 µs more for both transactions, on the machine that this was written on."""
    runtime = Runtime(path)
    limits = Limits(runtime)
    one = ClientKey("k1", "h", limits=KeyLimits(10**6, 100, 10**9), budgets=Budgets(1, 1e6, 1, 1e6))

    def request(turnstile: Entrance | None) -> None:
        gate = turnstile.next_gate() if turnstile else None
        admission = runtime.admit(lambda shared: Decision(1), Demand(gate=gate))
        assert admission.ticket is not None
        if turnstile:
            turnstile.passed(admission.passage)
            turnstile.leave(5, 0.1)
        runtime.give_back(admission.ticket, None)

    def measure(with_key: bool) -> float:
        started = time.perf_counter()
        for _ in range(300):
            request(limits.entrance(one, "default") if with_key else None)
        return (time.perf_counter() - started) / 300

    request(None)
    plain, gated = min(measure(False) for _ in range(3)), min(measure(True) for _ in range(3))
    assert gated - plain < 0.002
    runtime.close()


def test_names_and_durations() -> None:
    at = datetime(2026, 11, 20, tzinfo=UTC)
    assert credit_counters("key", "a", at) == (
        ("credits key a", month_of(at)),
        ("credits key a", day_of(at)),
    )
    assert [duration(s) for s in (-1, 0, 0.2, 60, 3723)] == ["0s", "0s", "1s", "1m0s", "1h2m3s"]


def test_a_keys_load_can_be_looked_at(path: Path) -> None:
    limits = Limits(Runtime(path))
    key = ClientKey("k", "h", limits=KeyLimits(requests_per_minute=5, concurrent=3))
    assert limits.load("k") == (0, 0)
    first, second = limits.entrance(key, "default"), limits.entrance(key, "default")
    first.enter()
    second.enter()
    assert limits.load("k") == (2, 2)
    assert limits.load("other") == (0, 0)
    first.leave()
    first.settle()
    assert limits.load("k") == (2, 1), "looking takes nothing"
