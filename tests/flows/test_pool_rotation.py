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
