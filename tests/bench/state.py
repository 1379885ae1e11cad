"""Timed loops on the shared state: `runtime.db`, choosing a credential, leasing one.

Each prints the nanoseconds of every turn, and how many turns the database was too busy for:

    python -m tests.bench.state runtime PATH SECONDS BEGIN TAKEN
    python -m tests.bench.state choose SECONDS
    python -m tests.bench.state lease PLACE SECONDS

BEGIN is the time.monotonic() of the start, TAKEN how many other requests are being served.
"""

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.policy import Roster, View, choose
from kiroproxy.credentials.pool import Pool
from kiroproxy.credentials.renewal import Redeemer
from kiroproxy.credentials.stores.file import FileStore
from kiroproxy.runtime import Decision, Note, Runtime, Shared, State, Ticket
from tests.bench.processes import write_credentials

CREDENTIALS = 1000
MODEL = "claude-sonnet-4.5"


def repeat(act: Callable[[], Any], seconds: float) -> list[int]:
    """Nanoseconds of each call of `act`."""
    clock = time.perf_counter_ns
    taken = []
    end = clock() + int(seconds * 1e9)
    before = clock()
    while before < end:
        act()
        after = clock()
        taken.append(after - before)
        before = after
    return taken


def runtime(path: str, seconds: str, begin: str, taken: str = "0") -> tuple[list[int], int]:
    """Admit a request and return it, while `taken` others are being served."""
    shared = Runtime(Path(path))
    well = Note(failed=False)

    def admit(credential_id: int) -> Ticket:
        ticket = shared.admit(lambda known: Decision(credential_id)).ticket
        assert ticket is not None
        return ticket

    def act() -> None:
        shared.give_back(admit(1), lambda state: well)

    for i in range(int(taken)):
        admit(2 + i % 60)

    time.sleep(max(0.0, float(begin) - time.monotonic()))
    return repeat(act, float(seconds)), shared.faults


def choosing(seconds: str) -> tuple[list[int], int]:
    """The pure policy alone, every tenth credential resting."""
    now = datetime.now(UTC)
    expires_at = now + timedelta(days=1)
    credentials = [
        Credential(id=i, access_token="a", expires_at=expires_at, priority=i % 7)
        for i in range(1, CREDENTIALS + 1)
    ]
    states = {i: State(cooling_until=130.0, why="throttled") for i in range(1, CREDENTIALS, 10)}
    view = View(Roster(credentials, now), Shared(now=100.0, states=states))
    return repeat(lambda: choose(view, MODEL, "", "", 100.0), float(seconds)), 0


def lease(place: str, seconds: str) -> tuple[list[int], int]:
    """The whole way of a request through the pool: file, policy, runtime.db, and back."""
    path = write_credentials(Path(place), CREDENTIALS)
    database = Path(place) / "lease.db"
    Runtime.wipe(database)
    shared = Runtime(database)
    pool = Pool(FileStore(path), cast(Redeemer, None), shared)
    taken = repeat(lambda: pool.lease(MODEL).release(None), float(seconds))
    return taken, shared.faults


LOOPS: dict[str, Callable[..., tuple[list[int], int]]] = {
    "runtime": runtime,
    "choose": choosing,
    "lease": lease,
}

if __name__ == "__main__":
    taken, faults = LOOPS[sys.argv[1]](*sys.argv[2:])
    print(json.dumps({"ns": taken, "faults": faults}))
