"""Leases, waiting, what outcomes do, groups and health (design 5)."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kiroproxy import errors as e
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.pool import Pool
from kiroproxy.credentials.refresh import RefreshFailure
from kiroproxy.credentials.stores.file import FileStore
from tests.credentials.bench import HOUR, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.settle()
    bench.runtime.close()


# ---- leases --------------------------------------------------------------------------------


def test_no_credentials(bench: Bench) -> None:
    """S97."""
    with pytest.raises(e.NoCredential, match="no Kiro credential is configured"):
        bench.bearer()
    assert bench.pool.status().problems == ("no credential is configured",)


def test_the_lowest_priority_that_was_not_tried(bench: Bench) -> None:
    """S106."""
    bench.add(HOUR, priority=1)
    bench.add(HOUR)
    assert bench.pool.lease("m").credential.id == 2
    assert bench.pool.lease("m", exclude={2}).credential.id == 1
    assert bench.pool.lease("m", only=1).credential.id == 1
    with pytest.raises(e.NoCredential):
        bench.pool.lease("m", exclude=[1, 2])


def test_places_are_waited_for(bench: Bench) -> None:
    bench.add(HOUR, max_concurrent=1)
    lease = bench.pool.lease("m")
    with pytest.raises(e.NoCredential, match="busy") as error:
        bench.pool.lease("m")
    assert error.value.retry_after_s == 1
    timer = threading.Timer(0.05, lease.release)
    timer.start()
    bench.pool.lease("m").release()
    timer.join()
    lease.release()  # again: does nothing
    assert bench.runtime.in_flight() == {}


def test_a_busy_credential_passes_to_the_next(bench: Bench) -> None:
    bench.add(HOUR, max_concurrent=1)
    bench.add(HOUR)
    assert [bench.pool.lease("m").credential.id for _ in range(3)] == [1, 2, 2]


def test_a_throttled_credential_steps_back_for_a_while(bench: Bench) -> None:
    """S111, S112: the first request afterwards is a probe."""
    bench.add(HOUR)
    bench.pool.lease("m").release(e.Throttled("x"))
    assert bench.pool.lease("m").credential.id == 1
    bench.add(HOUR, priority=1)
    assert bench.pool.lease("m").credential.id == 2
    bench.now += timedelta(seconds=34)
    assert bench.pool.lease("m").credential.id == 1
    assert not bench.stored().disabled


def test_a_suspended_account_is_disabled(bench: Bench) -> None:
    bench.add(HOUR)
    bench.pool.lease("m").release(e.Suspended("x"))
    assert bench.stored().disabled_reason == "Suspended"


def test_status_of_a_store_that_cannot_be_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.add(HOUR)
    bench.add(None)
    monkeypatch.setattr(bench.store, "why_unwritable", lambda: "no room")
    status = bench.pool.status()
    assert (status.total, status.usable, status.store_writable) == (2, 1, False)
    assert not status.ready
    assert "refreshed tokens cannot be stored: no room" in status.problems


def test_an_api_key_needs_no_store(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may lie in a read-only mount for good."""
    bench.store.edit(
        lambda all_: all_.append(Credential(id=7, kiro_api_key="ksk_x", auth_method="api_key"))
    )
    monkeypatch.setattr(bench.store, "why_unwritable", lambda: "read-only")
    status = bench.pool.status()
    assert (status.usable, status.lasting, status.ready) == (1, 1, True)


# ---- what happens by itself ----------------------------------------------------------------


class Kiro:
    """What upstream says about accounts."""

    def __init__(self) -> None:
        self.resets_at: datetime | None = None
        self.arn: str | None = None
        self.asked = 0

    def reset_date(self, credential: Credential) -> datetime | None:
        return self.resets_at

    def profile(self, credential: Credential) -> str | None:
        self.asked += 1
        return self.arn


@pytest.fixture
def kiro() -> Kiro:
    return Kiro()


@pytest.fixture
def asking(tmp_path: Path, kiro: Kiro) -> Iterator[Bench]:
    bench = Bench(tmp_path, inquiries=kiro)
    yield bench
    bench.settle()
    bench.runtime.close()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def known_until(bench: Bench) -> datetime | None:
    """As the pool knows it, which is a moment later than the file says it."""
    one = bench.pool.store.snapshot().get(1)
    return one.disabled_until if one is not None else None


def test_s109_a_spent_quota_rests_until_its_date(asking: Bench, kiro: Kiro) -> None:
    kiro.resets_at = asking.now + timedelta(days=3)
    asking.add(timedelta(days=30))
    asking.pool.lease("m").release(e.QuotaExhausted("x"))
    wait_for(lambda: known_until(asking) == kiro.resets_at)
    with pytest.raises(e.Exhausted) as refused:
        asking.pool.lease("m")
    assert refused.value.retry_after_s == pytest.approx(3 * 86400)
    asking.now += timedelta(days=3)
    assert asking.bearer() == "at-old", "it returns by itself"
    assert asking.pool.status().usable == 1
    asking.pool.lease("m").release(e.QuotaExhausted("x"))
    assert (asking.stored().disabled_until or asking.now) > asking.now, "spent again"


def test_without_a_date_it_is_the_next_month(bench: Bench) -> None:
    bench.add(HOUR)
    bench.pool.lease("m").release(e.QuotaExhausted("x"))
    assert bench.stored().disabled_until == datetime(2026, 12, 1, tzinfo=UTC)


def test_s108_s115_too_many_failures_heal_once_in_a_while(bench: Bench) -> None:
    bench.add(HOUR)
    bench.add(HOUR, disabled=True, disabled_reason="InvalidRefreshToken")
    for _ in range(3):
        bench.pool.lease("m", only=1).release(e.BearerRejected("401"))
    assert bench.stored().disabled_reason == "TooManyFailures"
    assert bench.pool.lease("m").credential.id == 1
    assert bench.stored(2).disabled_reason == "InvalidRefreshToken", "that one needs a login"
    for _ in range(3):
        bench.pool.lease("m", only=1).release(e.BearerRejected("401"))
    with pytest.raises(e.NoCredential, match="TooManyFailures"):
        bench.pool.lease("m")
    bench.now += timedelta(seconds=61)
    bench.pool.lease("m")


def test_s115_nobody_is_healed_while_another_serves(bench: Bench) -> None:
    bench.add(HOUR)
    bench.add(HOUR)
    for _ in range(3):
        bench.pool.lease("m", only=1).release(e.BearerRejected("401"))
    assert bench.pool.lease("m").credential.id == 2
    assert bench.stored().disabled


def test_success_resets_the_count(bench: Bench) -> None:
    """S108."""
    bench.add(HOUR)
    for outcome in (e.BearerRejected("1"), e.BearerRejected("2"), None, e.BearerRejected("3")):
        bench.pool.lease("m", only=1).release(outcome)
    assert not bench.stored().disabled


def test_a_model_that_a_plan_lacks_is_remembered_by_all_workers(bench: Bench) -> None:
    bench.add(HOUR)
    bench.add(HOUR, priority=1)
    bench.add(HOUR, priority=2, subscription="KIRO FREE")
    bench.pool.lease("claude-opus-4.8").release(e.ModelUnavailable("x"))
    other = bench.another_process()
    for pool in (bench.pool, other):
        assert pool.lease("claude-opus-4.8").credential.id == 2
        assert pool.lease("claude-sonnet-4.5").credential.id == 1
    with pytest.raises(e.NoCredential, match="no opus"):
        other.lease("claude-opus-4.8", exclude=[2])


def test_a_profile_is_found_once_and_kept(asking: Bench, kiro: Kiro) -> None:
    asking.add(HOUR)
    assert not asking.pool.resolve_profile(asking.stored())
    kiro.arn = "arn:found"
    assert not asking.pool.resolve_profile(asking.stored()), "it was asked for a moment ago"
    asking.pool.forget(1)
    assert asking.pool.resolve_profile(asking.stored())
    assert asking.stored().profile_arn == "arn:found"
    assert kiro.asked == 2


def test_tokens_in_use_are_renewed_ahead_by_one_worker(bench: Bench) -> None:
    """S101."""
    bench.add(timedelta(minutes=30))
    bench.add(timedelta(minutes=30), refresh_token="unused")
    bench.bearer()
    bench.now += timedelta(minutes=21)
    workers = [bench.pool, bench.another_process()]
    for worker in workers:
        worker.housekeep()
    for worker in workers:
        assert worker.drain(10)
    assert bench.auth.redeemed == ["rt-old-1"]


def test_a_request_does_not_renew_one_token_after_the_other_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S116: an auth server that hangs takes its time for each credential."""
    monkeypatch.setattr("kiroproxy.credentials.borrowing.RENEWING_S", 0.3)

    def hang(credential: Credential) -> RefreshFailure:
        time.sleep(0.1)
        return RefreshFailure("the sign-in server did not answer in time")

    bench.auth.script = [hang] * 20
    for _ in range(20):
        bench.add()
    with pytest.raises(e.NoCredential, match=r"could not be renewed: .*did not answer") as raised:
        bench.pool.lease("m")
    assert raised.value.retry_after_s
    assert 3 <= len(bench.auth.redeemed) < 10


def test_the_roster_is_made_anew_only_when_something_has_changed(bench: Bench) -> None:
    bench.add(HOUR)
    roster = bench.pool.roster()
    assert bench.pool.roster() is roster
    bench.add(HOUR)
    assert len(bench.pool.roster().credentials) == 2


def test_s120_groups_that_exist(bench: Bench, tmp_path: Path) -> None:
    bench.add(HOUR, group="pro")
    for name in ("pro", "default"):
        bench.pool.check_group(name)
    with pytest.raises(e.NotFound, match="nobody"):
        bench.pool.check_group("nobody")


def test_s140_another_mode_counts_in_all_processes_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    other = bench.another_process()
    assert bench.pool.mode == other.mode == "priority"
    bench.pool.set_mode("balanced")
    other.look_again()
    assert (bench.pool.roster().mode, other.roster().mode) == ("balanced", "balanced")
    later = Pool(FileStore(bench.path), bench.auth, bench.runtime, mode="sequential")
    assert later.mode == "sequential", "started with another configuration since"
