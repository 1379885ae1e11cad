"""One request's dealings with the pool: order, stickiness, probes, and what it is told."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kiroproxy import errors as e
from kiroproxy.credentials.borrowing import RETRY_COST
from kiroproxy.credentials.trace import Trace, explain
from kiroproxy.runtime import FULL_BUDGET
from tests.credentials.bench import HOUR, Bench

SECOND = timedelta(seconds=1)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def build(size: int = 1, **settings: Any) -> Bench:
        place = tmp_path / str(len(made))
        place.mkdir()
        made.append(Bench(place, **settings))
        for n in range(size):
            made[-1].add(HOUR, label=f"label {n + 1}")
        return made[-1]

    yield build
    for bench in made:
        bench.settle()
        assert bench.runtime.faults == 0
        bench.runtime.close()


# ---- cooldowns and probes ------------------------------------------------------------------


def test_all_cooling_one_probe_a_second_the_others_are_told_when(
    make: Callable[..., Bench],
) -> None:
    bench = make(2)
    for id_ in (1, 2):
        lease = bench.pool.lease("m", only=id_)
        lease.release(e.Throttled("429", retry_after_s=10.0 * (id_ + 1)))  # jitter: a tenth
    probe = bench.pool.lease("m")
    assert probe.credential.id == 1, "the one that ends first"
    with pytest.raises(e.Exhausted) as refused:
        bench.pool.lease("m")
    assert refused.value.retry_after_s == pytest.approx(22, abs=2)
    assert "cooling" in str(refused.value)
    bench.now += SECOND
    again = bench.pool.lease("m")
    probe.release(e.Throttled("429", retry_after_s=21))
    again.release(None)
    assert bench.pool.lease("m").credential.id == 1, "a probe that succeeds ends the rest"


def test_a_probe_ends_the_rest_when_its_answer_starts(make: Callable[..., Bench]) -> None:
    """A stream may take minutes; the others need not wait for its end."""
    bench = make()
    bench.pool.lease("m").release(e.Throttled("429"))
    borrower = bench.pool.borrower()
    borrower.lease("m")
    borrower.answered()
    assert bench.runtime.states() == {}
    bench.pool.lease("m")


def test_a_short_rest_is_waited_for(make: Callable[..., Bench]) -> None:
    """A hiccup of a lone credential fails nobody."""
    bench = make(queue_wait_s=5)
    bench.pool.lease("m").release(e.Throttled("429", retry_after_s=0.1))
    bench.pool.lease("m").release(e.Throttled("429", retry_after_s=0.1))  # the probe
    turn = threading.Timer(0.05, lambda: setattr(bench, "now", bench.now + SECOND))
    turn.start()
    began = time.monotonic()
    bench.pool.lease("m")
    assert time.monotonic() - began < 2
    turn.join()


def test_server_faults_are_answered_as_no_capacity(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "random", lambda: 1.0)
    bench = make()
    for _ in range(3):
        bench.pool.lease("m", only=1).release(e.ServerFault("500"))
    bench.pool.lease("m").release(GeneratorExit())  # the probe
    with pytest.raises(e.NoCapacity) as refused:
        bench.pool.lease("m")
    assert refused.value.retry_after_s == 4


def test_long_rests_are_left_alone(make: Callable[..., Bench]) -> None:
    """A daily cap lasts until the next day, and nobody knocks meanwhile."""
    bench = make()
    daily = e.Throttled("429")
    daily.scope = "day"
    bench.pool.lease("m").release(daily)
    with pytest.raises(e.Exhausted) as refused:
        bench.pool.lease("m")
    assert refused.value.retry_after_s == 12 * 3600
    bench.now += timedelta(hours=12)
    assert bench.bearer() == "at-1", "its own token has aged, too"
    assert not bench.stored().disabled


def test_a_group_has_its_own_cooldown(make: Callable[..., Bench], tmp_path: Path) -> None:
    """S112."""
    from kiroproxy.credentials.groups import Group, GroupBook, GroupSettings

    book = GroupBook(tmp_path / "db.sqlite")
    book.save([Group("pro", settings=GroupSettings(cooldown_sec=5))])
    bench = make(0, groups=book)
    bench.add(HOUR, group="pro")
    bench.pool.borrower("pro").lease("m").release(e.Throttled("429"))
    assert bench.runtime.states()[1].cooling_until - bench.runtime.now() <= 5.5


# ---- the retry budget ----------------------------------------------------------------------


def test_a_storm_spends_its_budget_and_no_more(make: Callable[..., Bench]) -> None:
    bench = make()
    for _ in range(int(FULL_BUDGET / RETRY_COST)):
        bench.pool.lease("m", only=1).release(e.Unreachable("dead"))
    with pytest.raises(e.NoCredential, match="retry budget spent"):
        bench.pool.lease("m", only=1)
    assert bench.bearer() == "at-old", "first attempts are free"


# ---- order ---------------------------------------------------------------------------------


def test_those_who_wait_are_served_in_order(make: Callable[..., Bench]) -> None:
    bench = make(queue_wait_s=10)
    held = [bench.pool.borrower("default").lease("m") for _ in range(8)]
    served: list[int] = []

    def ask(number: int) -> None:
        lease = bench.pool.borrower("default").lease("m")
        served.append(number)
        time.sleep(0.01)
        lease.release(None)

    threads = []
    for number in range(6):
        threads.append(threading.Thread(target=ask, args=(number,)))
        threads[-1].start()
        time.sleep(0.03)
    held[0].release(None)
    for thread in threads:
        thread.join(10)
    assert served == [0, 1, 2, 3, 4, 5]


def test_a_newcomer_does_not_overtake(make: Callable[..., Bench]) -> None:
    bench = make(queue_wait_s=0.5)
    held = [bench.pool.borrower("default").lease("m") for _ in range(8)]
    other = bench.another_process()
    got: list[Any] = []
    waiting = threading.Thread(
        target=lambda: got.append(other.borrower("default").lease("m")), daemon=True
    )
    waiting.start()
    while not bench.runtime.admit(lambda shared: _decline(), _lane("default")).shared.ahead:
        time.sleep(0.005)
    held[0].release(None)
    began = time.monotonic()
    with pytest.raises(e.Exhausted, match="busy"):
        bench.pool.borrower("default").lease("m")
    waiting.join()
    assert len(got) == 1
    assert time.monotonic() - began >= 0.4


def _decline() -> Any:
    from kiroproxy.runtime import Decision

    return Decision()


def _lane(name: str) -> Any:
    from kiroproxy.runtime import Demand

    return Demand(lane=name)


def test_who_gives_up_leaves_the_queue(make: Callable[..., Bench]) -> None:
    bench = make(queue_wait_s=0.1)
    for _ in range(8):
        bench.pool.borrower("default").lease("m")
    with pytest.raises(e.Exhausted) as refused:
        bench.pool.borrower("default").lease("m")
    assert refused.value.retry_after_s == 1
    assert bench.runtime.admit(lambda s: _decline(), _lane("default")).shared.ahead == 0
    assert bench.pool._lanes._lanes == {}


def test_a_groups_rate_is_kept(make: Callable[..., Bench], tmp_path: Path) -> None:
    from kiroproxy.credentials.groups import Group, GroupBook, GroupSettings

    book = GroupBook(tmp_path / "db.sqlite")
    book.save([Group("pro", settings=GroupSettings(rate_limit_qps=1, rate_limit_burst=2))])
    bench = make(0, groups=book)
    bench.add(HOUR, group="pro")
    for _ in range(2):
        bench.pool.borrower("pro").lease("m").release(None)
    with pytest.raises(e.Exhausted):
        bench.pool.borrower("pro").lease("m")
    bench.now += SECOND
    bench.pool.borrower("pro").lease("m").release(None)


# ---- stickiness and balance ----------------------------------------------------------------


def test_conversations_stick_and_are_spread(make: Callable[..., Bench]) -> None:
    """Issue 4: at least 99 % over 1,000 interleaved conversations."""
    bench = make(4, mode="balanced", max_concurrent=100)
    first: dict[int, int] = {}
    stayed = 0
    for turn in range(3):
        for conversation in range(1000):
            lease = bench.pool.borrower("default", f"s{conversation}").lease("m")
            id_ = lease.credential.id
            stayed += first.setdefault(conversation, id_) == id_
            lease.release(None)
            if conversation == 500 and turn == 1:
                assert bench.pool.status().usable == 4
    assert stayed >= 0.99 * 3000
    shares = Counter(first.values())
    assert all(225 <= shares[id_] <= 275 for id_ in range(1, 5))


def test_a_conversation_moves_with_its_trouble_and_stays_there(make: Callable[..., Bench]) -> None:
    bench = make(2)
    borrower = bench.pool.borrower("default", "s")
    lease = borrower.lease("m")
    assert lease.credential.id == 1
    lease.release(e.Throttled("429"))
    lease = borrower.lease("m", exclude={1})
    assert lease.credential.id == 2
    lease.release(None)
    bench.now += timedelta(minutes=5)
    assert bench.pool.borrower("default", "s").lease("m").credential.id == 2
    assert bench.pool.borrower("default", "t").lease("m").credential.id == 1


def test_a_conversation_that_begins_goes_anywhere(make: Callable[..., Bench]) -> None:
    bench = make(2, mode="balanced")
    begun = [
        bench.pool.borrower("default", "same", resumes=False).lease("m").credential.id
        for _ in range(4)
    ]
    assert begun == [1, 2, 1, 2]
    assert bench.pool.borrower("default", "same").lease("m").credential.id == 2


def test_balanced_is_equal(make: Callable[..., Bench]) -> None:
    bench = make(3, mode="balanced")
    shares: Counter[int] = Counter()
    for _ in range(300):
        lease = bench.pool.borrower("default").lease("m")
        shares[lease.credential.id] += 1
        lease.release(None)
    assert set(shares.values()) == {100}


@pytest.mark.parametrize("moment", ["leasing", "releasing"])
def test_s43_a_client_that_leaves_at_any_moment_leaks_no_place(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    bench = make()

    def gone(trace: Trace) -> None:
        raise GeneratorExit

    borrower = bench.pool.borrower("default", trace=Trace("x"))
    if moment == "releasing":
        lease = borrower.lease("m")
        monkeypatch.setattr(bench.pool.traces, "keep", gone)
        with pytest.raises(GeneratorExit):
            lease.release(None)
    else:
        monkeypatch.setattr(bench.pool.traces, "keep", gone)
        with pytest.raises(GeneratorExit):
            borrower.lease("m")
    assert bench.runtime.in_flight() == {}


# ---- what is told --------------------------------------------------------------------------


def test_the_trace_lists_attempts_and_skips(make: Callable[..., Bench]) -> None:
    bench = make(3)
    bench.add(HOUR, disabled=True)
    bench.add(HOUR, group="pro")
    bench.pool.lease("m", only=1).release(e.Throttled("429"))
    trace = Trace("req_1")
    borrower = bench.pool.borrower("default", trace=trace)
    borrower.lease("m").release(e.ServerFault("boom"))
    borrower.lease("m", exclude={2}).release(None)
    told = explain(trace.encode())
    assert [(one["credential_id"], one["outcome"]) for one in told["attempts"]] == [
        (2, "ServerFault"),
        (3, "ok"),
    ]
    assert told["attempts"][0]["name"] == "label 2"
    first = {s["credential_id"]: s["reason"] for s in told["skipped"] if s["attempt"] == 1}
    assert first.keys() == {1, 4, 5}
    assert first[1].startswith("cooling ")
    assert (first[4], first[5]) == ("disabled: Manual", "group pro only")
    second = {s["credential_id"]: s["reason"] for s in told["skipped"] if s["attempt"] == 2}
    assert second[2] == "already tried"
    found = bench.pool.traces.find("req_1")
    assert found is not None
    assert found["group"] == "default"


def test_a_refused_request_is_traced_too(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.pool.lease("m").release(e.Suspended("x"))
    trace = Trace("req_2")
    with pytest.raises(e.NoCredential):
        bench.pool.borrower("default", trace=trace).lease("m")
    told = explain(trace.encode())
    assert told["attempts"] == []
    assert [one["reason"] for one in told["skipped"]] == ["disabled: Suspended"]
    assert "disabled" in told["error"]


def test_limits(make: Callable[..., Bench]) -> None:
    bench = make(2)
    borrower = bench.pool.borrower("default")
    assert borrower.limits() is None
    bench.pool.lease("m", only=2).release(e.Throttled("429", retry_after_s=10))
    borrower.lease("m")
    limits = borrower.limits()
    assert limits is not None
    assert (limits.places, limits.free) == (16, 8)
    assert 10 <= limits.reset_s <= 11
    now = borrower.limits(afresh=True)
    assert now is not None
    assert now.free == 7


def test_an_error_names_a_few_not_all(make: Callable[..., Bench]) -> None:
    bench = make(0)
    for _ in range(20):
        bench.add(HOUR, disabled=True)
    with pytest.raises(e.NoCredential, match=r"#6 disabled: Manual; and 14 more"):
        bench.bearer()


def test_an_empty_group_is_named(make: Callable[..., Bench]) -> None:
    """S120: never another group's credential."""
    bench = make()
    with pytest.raises(e.NoCredential, match="group pro has no credential"):
        bench.pool.borrower("pro").lease("m")
