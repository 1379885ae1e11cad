"""Counting is somebody else's business: without anybody nothing happens."""

import pytest

from kiroproxy.credentials.counts import Counts, NoCounts
from kiroproxy.metrics import PoolCounts


@pytest.mark.parametrize("tell", ["attempt", "cooldown", "disabled", "refreshed"])
def test_nobody_counts(tell: str) -> None:
    counts: Counts = NoCounts()
    assert getattr(counts, tell)("ok") is None


def test_the_metrics_can_be_told_the_same() -> None:
    counts: Counts = PoolCounts()
    assert not {name for name in vars(NoCounts) if not hasattr(counts, name)}
