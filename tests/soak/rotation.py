"""Workers that renew rotating tokens, undisturbed or killed at random; against the simulator."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kiroproxy.credentials.stores.file import FileStore
from kiroproxy.runtime import Runtime
from tests.simulation import REPOSITORY, Simulator

WORKER = REPOSITORY / "tests/credentials/worker.py"
LIFE_S = 1.0
"""Of an access token: so short that each credential is renewed about once a second."""


@dataclass
class Outcome:
    """What happened in a run."""

    refreshes: int = 0
    stale: int = 0
    kills: int = 0
    leased: int = 0
    errors: list[str] = field(default_factory=list)
    lost: int = 0
    """Credentials that now need a login."""

    def describe(self) -> str:
        """One line."""
        return (
            f"{self.leased} leases, {self.refreshes} refreshes, {self.kills} kills, "
            f"{self.stale} stale redeems, {self.lost} need a login, {len(self.errors)} errors"
        )


class Run:
    """A store with `size` credentials, and workers on it.

    Their access tokens live for `life_s`; with `left_s` they have one that lives so long.
    """

    def __init__(
        self,
        sim: Simulator,
        place: Path,
        size: int,
        *,
        life_s: float = LIFE_S,
        left_s: float = 0.0,
    ) -> None:
        self._sim = sim
        self._size = size
        self._path = place / "credentials.json"
        self._runtime = place / "runtime.db"
        entries = []
        for n in range(1, size + 1):
            token = f"soak-refresh-{n}-" + "x" * 100
            sim.account(id=f"soak-{n}", refreshToken=token, expiresIn=life_s)
            entries.append({"id": n, "refreshToken": token, "authMethod": "social"})
            if left_s:
                ends = time.time() + left_s
                entries[-1] |= {"accessToken": f"soak-access-{n}", "expiresAt": ends}
        self._path.write_text(json.dumps(entries), "utf-8")
        Runtime.wipe(self._runtime)

    def start(self, greenlets: int, rounds: int, **more: Any) -> "subprocess.Popen[str]":
        """A worker process."""
        task = {
            "store": str(self._path),
            "runtime": str(self._runtime),
            "auth": self._sim.url,
            "greenlets": greenlets,
            "rounds": rounds,
        }
        return subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps(task | more)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )

    def collect(self, workers: list["subprocess.Popen[str]"], kills: int = 0) -> Outcome:
        """Wait for the workers; look at the store and at what the auth server has seen."""
        outcome = Outcome(kills=kills)
        for worker in workers:
            out, _ = worker.communicate(timeout=600)
            assert worker.returncode == 0, worker.returncode
            told = json.loads(out)
            outcome.leased += len(told["tokens"])
            outcome.errors += told["errors"]
        state = self._sim.state()
        outcome.refreshes, outcome.stale = state["refreshes"], state["reuses"]
        stored = FileStore(self._path).snapshot()
        assert not stored.problems, stored.problems
        assert len(stored.credentials) == self._size, "every credential is still there"
        for one in stored.credentials:
            if one.disabled:
                assert one.disabled_reason == "InvalidRefreshToken", one.disabled_reason
                outcome.lost += 1
        return outcome


@contextmanager
def simulated() -> Iterator[Simulator]:
    """A simulator of its own."""
    with Simulator("--strict") as sim:
        yield sim


def undisturbed(
    sim: Simulator, place: Path, *, processes: int, greenlets: int, rounds: int, pause: float
) -> Outcome:
    """No token may be redeemed twice."""
    run = Run(sim, place, 4)
    workers = [run.start(greenlets, rounds, pause=pause) for _ in range(processes)]
    return run.collect(workers)


def killed(
    sim: Simulator, place: Path, *, processes: int, greenlets: int, seconds: float, every_s: float
) -> Outcome:
    """At most one stale redeem per kill; every credential is there, or marked."""
    run = Run(sim, place, 4)
    endless = 10**6
    workers = [run.start(greenlets, endless, pause=0.02) for _ in range(processes)]
    chance = random.Random(os.getpid())
    kills = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(every_s * chance.uniform(0.5, 1.5))
        victim = chance.randrange(processes)
        workers[victim].kill()
        workers[victim].communicate()
        kills += 1
        workers[victim] = run.start(greenlets, endless, pause=0.02)
    for worker in workers:  # those that are left go, too: each may be in the window
        worker.kill()
        worker.communicate()
        kills += 1
    return run.collect([run.start(1, 8)], kills)
