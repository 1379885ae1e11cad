"""Timed loops on the shared state: `runtime.db`, credentials, client keys and their limits.

Each prints the nanoseconds of every turn, and how many turns the database was too busy for:

    python -m tests.bench.state runtime PATH SECONDS BEGIN TAKEN
    python -m tests.bench.state choose SECONDS
    python -m tests.bench.state lease PLACE SECONDS
    python -m tests.bench.state keys MANY SECONDS
    python -m tests.bench.state limited PLACE SECONDS

BEGIN is the time.monotonic() of the start, TAKEN how many other requests are being served.
"""

import itertools
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
from kiroproxy.ledger.budgets import Budgets
from kiroproxy.ledger.keys import (
    ClientKey,
    KeyLimits,
    Snapshot,
    check_group,
    check_model,
    find_key,
    hash_of,
    new_secret,
)
from kiroproxy.ledger.limits import Limits
from kiroproxy.runtime import Decision, Demand, Note, Runtime, Shared, State, Ticket
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


def keys(many: str, seconds: str) -> tuple[list[int], int]:
    """Find a client key by its secret among `many`, and check its group and model."""
    secrets = [new_secret() for _ in range(int(many))]
    snapshot = Snapshot(
        1,
        tuple(
            ClientKey(str(n), hash_of(one), allowed_groups=("default",), models=("claude-*",))
            for n, one in enumerate(secrets)
        ),
    )
    now, shown = datetime.now(UTC), itertools.cycle(secrets)

    def act() -> None:
        key = find_key(snapshot, next(shown), now)
        assert key is not None
        check_group(key, "default")
        check_model(key, MODEL)

    return repeat(act, float(seconds)), 0


def limited(place: str, seconds: str) -> tuple[list[int], int]:
    """Admit and return a request whose key has every limit and budget there is."""
    database = Path(place) / "limited.db"
    Runtime.wipe(database)
    shared = Runtime(database)
    limits = Limits(shared)
    budgets = Budgets(1, 10**9, 1, 10**9)
    key = ClientKey("a", "h", limits=KeyLimits(10**9, 100, 10**9), budgets=budgets)

    def act() -> None:
        entrance = limits.entrance(key, "default")
        demand = Demand(gate=entrance.next_gate())
        admission = shared.admit(lambda known: Decision(1), demand)
        entrance.passed(admission.passage)
        entrance.leave(10, 0.1)
        assert admission.ticket is not None
        shared.give_back(admission.ticket, lambda state: Note(failed=False))

    return repeat(act, float(seconds)), shared.faults


LOOPS: dict[str, Callable[..., tuple[list[int], int]]] = {
    "runtime": runtime,
    "choose": choosing,
    "lease": lease,
    "keys": keys,
    "limited": limited,
}

if __name__ == "__main__":
    taken, faults = LOOPS[sys.argv[1]](*sys.argv[2:])
    print(json.dumps({"ns": taken, "faults": faults}))
