"""Seconds of what `make soak` does for minutes."""

from pathlib import Path

import pytest

from tests.soak import database, serving

pytestmark = pytest.mark.flow


def test_idle_streams_are_cheap(tmp_path: Path) -> None:
    outcome = serving.idle_streams(tmp_path, streams=100, seconds=1)
    assert outcome.more_mb < 15
    assert outcome.cores < 0.05


def test_a_slow_reader_costs_no_memory(tmp_path: Path) -> None:
    outcome = serving.slow_reader(tmp_path, megabytes=40, seconds=1)
    assert outcome.whole
    assert outcome.growth_mb < 5


def test_memory_stays_flat(tmp_path: Path) -> None:
    outcome = serving.many_requests(tmp_path, count=800)
    assert outcome.requests >= 800
    assert outcome.growth_mb < 5


def test_an_ill_database_fails_no_request(tmp_path: Path) -> None:
    """Locked, deleted, corrupt, full; told by /readyz and metrics; rows written later (issue 7)."""
    for name, outcome in database.outages(tmp_path, seconds=2).items():
        assert outcome.survived, (name, outcome)
        assert outcome.slowest_s < 1, name


def test_slope() -> None:
    assert serving.slope([5, 5, 5]) == 0
    assert serving.slope([0, 2, 4, 6]) == pytest.approx(2)
