"""Rotating tokens and many processes, in seconds; `make soak` has the long versions (issue 4)."""

from pathlib import Path

import pytest

from tests.soak import rotation

pytestmark = pytest.mark.flow


def test_no_token_is_redeemed_twice(tmp_path: Path) -> None:
    with rotation.simulated() as sim:
        outcome = rotation.undisturbed(
            sim, tmp_path, processes=4, greenlets=50, rounds=40, pause=0.1
        )
    assert (outcome.stale, outcome.errors, outcome.lost) == (0, [], 0)
    assert outcome.leased == 4 * 50 * 40
    assert outcome.refreshes >= 8, "four credentials, several times each"


def test_a_kill_costs_at_most_one_stale_redeem(tmp_path: Path) -> None:
    """Design 5, rule 5; every credential is still there, or marked "login needed"."""
    with rotation.simulated() as sim:
        outcome = rotation.killed(sim, tmp_path, processes=3, greenlets=20, seconds=5, every_s=0.6)
    assert outcome.kills >= 5
    assert outcome.stale <= outcome.kills, outcome.describe()
    assert outcome.lost <= outcome.stale, outcome.describe()


@pytest.mark.parametrize(("step_s", "refreshes"), [(3600, 4), (-3600, 0)])
def test_a_stepped_clock_costs_at_most_one_refresh_each(
    tmp_path: Path, step_s: int, refreshes: int
) -> None:
    """Issue 4: two workers whose clock jumps by an hour amid requests, and back in a third."""
    with rotation.simulated() as sim:
        run = rotation.Run(sim, tmp_path, 4, life_s=3600, left_s=1800)
        steps = {"rounds": 40, "step_at": 20, "step_s": step_s, "pause": 0.01}
        outcome = run.collect([run.start(8, **steps) for _ in range(2)])
        assert (outcome.refreshes, outcome.stale, outcome.errors) == (refreshes, 0, [])
        assert outcome.leased == 2 * 8 * 40
        outcome = run.collect([run.start(8, 5)])
        assert (outcome.refreshes, outcome.stale, outcome.errors) == (refreshes, 0, [])
