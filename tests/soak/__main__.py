"""Endurance: `make soak`, the full length by default; exits with 1 if a promise was broken.

python -m tests.soak [NAME…] [--factor 0.1]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kiroproxy.credentials import failpoints
from tests.soak import database, rotation, serving


def rounds(place: Path, factor: float) -> bool:
    """4 processes × 50 greenlets × 200 rounds on rotating tokens."""
    with rotation.simulated() as sim:
        count = max(int(200 * factor), 4)
        outcome = rotation.undisturbed(
            sim, place, processes=4, greenlets=50, rounds=count, pause=0.05
        )
    print("  " + outcome.describe())
    return not outcome.stale and not outcome.errors and outcome.refreshes > 0


def kills(place: Path, factor: float) -> bool:
    """The same with a random kill -9 every second."""
    with rotation.simulated() as sim:
        outcome = rotation.killed(
            sim, place, processes=4, greenlets=50, seconds=120 * factor, every_s=1.0
        )
    print("  " + outcome.describe())
    return outcome.stale <= outcome.kills and outcome.lost <= outcome.stale


def points(place: Path, factor: float) -> bool:
    """Kill -9 at each failpoint, 50 times."""
    times = max(int(50 * factor), 1)
    for number in range(times):
        for point in failpoints.ALL:
            here = place / f"{number}-{failpoints.ALL.index(point)}"
            here.mkdir()
            with rotation.simulated() as sim:
                run = rotation.Run(sim, here, 1)
                run.start(1, 1, failpoint=point).communicate()
                outcome = run.collect([run.start(5, 1)], kills=1)
            window = point in (failpoints.AFTER_ANSWER, failpoints.AFTER_TEMP_WRITE)
            if outcome.stale != int(window) or outcome.lost != int(window):
                print(f"  {point}: {outcome.describe()}")
                return False
    print(f"  {times} times each of {len(failpoints.ALL)} places")
    return True


def idle(place: Path, factor: float) -> bool:
    """1,000 idle streams on one worker: at most 90 MB more than empty, and 0.02 cores."""
    outcome = serving.idle_streams(place, streams=1000, seconds=max(60 * factor, 5))
    print(f"  {outcome.more_mb:.0f} MB, {outcome.cores:.4f} cores for {outcome.streams} streams")
    return outcome.more_mb <= 90 and outcome.cores <= 0.02


def slow(place: Path, factor: float) -> bool:
    """A slow reader of a 400 MB stream: less than 5 MB more, and nothing missing."""
    outcome = serving.slow_reader(place, max(int(400 * factor), 40), seconds=20 * factor)
    print(f"  {outcome.growth_mb:.1f} MB more while {outcome.sent_mb:.0f} MB went through")
    return outcome.growth_mb < 5 and outcome.whole


def many(place: Path, factor: float) -> bool:
    """10,000 requests leave memory flat."""
    outcome = serving.many_requests(place, int(10_000 * factor))
    print(
        f"  {outcome.requests} requests; in their second half {outcome.slope_kb:+.0f} kB per "
        f"1,000, {outcome.growth_mb:+.1f} MB altogether"
    )
    return outcome.growth_mb < 5


def hog(place: Path, factor: float) -> bool:
    """Large requests beside a ticking stream: 99 of 100 events within 50 ms (F14)."""
    outcome = serving.hog(place, max(60 * factor, 5))
    print(
        f"  beside {outcome.requests} requests late by {outcome.p99:.0f} ms (99 of 100), "
        f"{outcome.worst:.0f} ms (the worst)"
    )
    return outcome.p99 < 50


def faults(place: Path, factor: float) -> bool:
    """Random faults on the way to Kiro: no hang, no silent truncation, nobody blamed."""
    told = serving.random_faults(place, max(120 * factor, 5))
    print("  " + ", ".join(f"{count} {reason}" for reason, count in told.most_common()))
    return told["end_turn"] > 0


def outages(place: Path, factor: float) -> bool:
    """The database locked, deleted, corrupt, its disk full, 30 s each: no request notices."""
    found = database.outages(place, seconds=max(30 * factor, 2))
    for name, outcome in found.items():
        print(f"  {name}: {outcome.describe()}")
    return all(outcome.survived for outcome in found.values())


RUNS: dict[str, Callable[[Path, float], bool]] = {
    "rounds": rounds,
    "kills": kills,
    "points": points,
    "idle": idle,
    "slow": slow,
    "many": many,
    "hog": hog,
    "faults": faults,
    "outages": outages,
}


def main() -> int:
    """Run what was asked for, or everything."""
    parser = argparse.ArgumentParser(prog="tests.soak")
    parser.add_argument("names", nargs="*", choices=[*RUNS, []], metavar="NAME")
    parser.add_argument("--factor", type=float, default=1.0, help="longer or shorter")
    given = parser.parse_args()
    failed = 0
    for name in given.names or RUNS:
        print(f"{name}: {RUNS[name].__doc__}", flush=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as place:
            try:
                good = RUNS[name](Path(place), given.factor)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                print(f"  {error}")
                good = False
        print(f"  {'kept' if good else 'BROKEN'} ({time.monotonic() - began:.0f} s)", flush=True)
        failed += not good
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
