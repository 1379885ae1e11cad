"""Leases, waiting, what outcomes do, groups and health (design 5)."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kiroproxy import errors as e
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
    assert "refreshed tokens cannot be stored: no room" in status.problems
