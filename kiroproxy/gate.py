"""What a client key may do at once, a minute and a day, counted for all workers of the host.

Statements on `runtime.db`, to run inside its transactions: `enter` in the one that takes a
credential, `leave` in the one that gives it back. The caller's runtime opens, retries and survives.

Requests a minute are exact: in no 60 seconds more than the limit. They are counted by the second,
so that a place comes back at most one second late. Counters (output tokens, credits) have a name
and a period, such as a day; they are added to when a request ends.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS key_slots (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS key_slots_by_key ON key_slots (key_id);
CREATE TABLE IF NOT EXISTS key_seconds (
    key_id TEXT NOT NULL,
    second INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (key_id, second)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counters (
    name TEXT NOT NULL,
    period TEXT NOT NULL,
    amount INTEGER NOT NULL,
    PRIMARY KEY (name, period)
) WITHOUT ROWID;
"""
WINDOW_S: Final = 60
REQUESTS: Final = "requests a minute"
STREAMS: Final = "requests at once"

Counter = tuple[str, str]
"""Its name and its period."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What a key may do; 0 is no limit.

    `ceilings` are amounts that counters must stay below; `watched` counters are only looked at.
    """

    key_id: str
    per_minute: int = 0
    concurrent: int = 0
    ceilings: Mapping[Counter, int] = field(default_factory=dict)
    watched: tuple[Counter, ...] = ()


@dataclass(frozen=True, slots=True)
class Passage:
    """What became of a request at its gate; numbers include it if it was admitted.

    `refused` is `REQUESTS`, `STREAMS`, or the counter that has reached its ceiling; then nothing
    was taken. `slot` is to be left.
    """

    refused: str | Counter = ""
    slot: int = 0
    requests: int = 0
    streams: int = 0
    amounts: Mapping[Counter, int] = field(default_factory=dict)
    room_s: float = 0.0
    """Until another request of this minute may come."""
    full_s: float = 0.0
    """Until all of them may."""


def enter(db: sqlite3.Connection, gate: Gate, now: float, pid: int, started: str) -> Passage:
    """Admit a request and count it, or say what stands in its way."""
    amounts = read_counters(db, (*gate.ceilings, *gate.watched))
    requests, room_s, full_s = _window(db, gate, now)
    streams = 0
    if gate.concurrent:
        query = "SELECT count(*) FROM key_slots WHERE key_id = ?"
        streams = db.execute(query, (gate.key_id,)).fetchone()[0]
    refused: str | Counter = next(
        (one for one, ceiling in gate.ceilings.items() if amounts.get(one, 0) >= ceiling), ""
    )
    if not refused and gate.per_minute and requests >= gate.per_minute:
        refused = REQUESTS
    elif not refused and gate.concurrent and streams >= gate.concurrent:
        refused = STREAMS
    if refused:
        return Passage(refused, 0, requests, streams, amounts, room_s, full_s)
    slot = 0
    if gate.concurrent:
        row = (gate.key_id, pid, started, now)
        slot = (
            db.execute(
                "INSERT INTO key_slots (key_id, pid, started, at) VALUES (?, ?, ?, ?)", row
            ).lastrowid
            or 0
        )
    if gate.per_minute:
        _count_request(db, gate.key_id, now)
        room_s = room_s if requests + 1 >= gate.per_minute else 0.0
        full_s = float(WINDOW_S)
    return Passage("", slot, requests + 1, streams + 1, amounts, room_s, full_s)


def look(db: sqlite3.Connection, gate: Gate, now: float) -> Passage:
    """What the limits stand at; nothing is admitted, and nothing counted."""
    requests, room_s, full_s = _window(db, gate, now)
    streams = 0
    if gate.concurrent:
        query = "SELECT count(*) FROM key_slots WHERE key_id = ?"
        streams = db.execute(query, (gate.key_id,)).fetchone()[0]
    amounts = read_counters(db, (*gate.ceilings, *gate.watched))
    room_s = room_s if requests >= gate.per_minute else 0.0
    return Passage("", 0, requests, streams, amounts, room_s, max(full_s, 0.0))


def _window(db: sqlite3.Connection, gate: Gate, now: float) -> tuple[int, float, float]:
    """Requests of the last minute, and when the first and the last of them leave it.

    A second counts until its end is a minute ago.
    """
    if not gate.per_minute:
        return 0, 0.0, 0.0
    requests, oldest, newest = db.execute(
        "SELECT coalesce(sum(requests), 0), min(second), max(second) FROM key_seconds"
        " WHERE key_id = ? AND second > ?",
        (gate.key_id, now - WINDOW_S - 1),
    ).fetchone()
    if not requests:
        return 0, 0.0, 0.0
    return requests, oldest + 1 + WINDOW_S - now, newest + 1 + WINDOW_S - now


def _count_request(db: sqlite3.Connection, key_id: str, now: float) -> None:
    db.execute(
        "DELETE FROM key_seconds WHERE key_id = ? AND second <= ?", (key_id, now - WINDOW_S - 1)
    )
    db.execute(
        "INSERT INTO key_seconds (key_id, second, requests) VALUES (?, ?, 1)"
        " ON CONFLICT (key_id, second) DO UPDATE SET requests = requests + 1",
        (key_id, int(now)),
    )


def load(db: sqlite3.Connection, key_id: str, now: float) -> tuple[int, int]:
    """Requests of the last minute and requests at once of a key that is limited in them."""
    requests = _window(db, Gate(key_id, per_minute=1), now)[0]
    query = "SELECT count(*) FROM key_slots WHERE key_id = ?"
    return requests, db.execute(query, (key_id,)).fetchone()[0]


def recent(db: sqlite3.Connection, key_id: str, now: float) -> tuple[int, float]:
    """Requests of the last minute, and how long until the first of them leaves it."""
    requests, room_s, _ = _window(db, Gate(key_id, per_minute=1), now)
    return requests, room_s


def forget_old(db: sqlite3.Connection, now: float) -> None:
    """Forget what was counted more than a minute ago, for whomever."""
    db.execute("DELETE FROM key_seconds WHERE second <= ?", (now - WINDOW_S - 1,))


def leave(db: sqlite3.Connection, slots: Iterable[int], counts: Mapping[Counter, int]) -> None:
    """Free places, and add to counters."""
    db.executemany("DELETE FROM key_slots WHERE id = ?", [(one,) for one in slots])
    db.executemany(
        "INSERT INTO counters (name, period, amount) VALUES (?, ?, ?)"
        " ON CONFLICT (name, period) DO UPDATE SET amount = amount + excluded.amount",
        [(*counter, amount) for counter, amount in counts.items()],
    )


def read_counters(db: sqlite3.Connection, counters: Iterable[Counter]) -> dict[Counter, int]:
    """What they stand at; one that never counted is missing."""
    wanted = set(counters)
    names = {name for name, _ in wanted}
    if not names:
        return {}
    marks = ", ".join("?" * len(names))
    rows = db.execute(
        f"SELECT name, period, amount FROM counters WHERE name IN ({marks})",  # noqa: S608
        tuple(names),
    )
    found = {(name, period): amount for name, period, amount in rows}
    return {one: found[one] for one in wanted if one in found}


def drop_counters(db: sqlite3.Connection, kept: Iterable[str]) -> None:
    """Forget all periods but these."""
    periods = list(kept)
    marks = ", ".join("?" * len(periods))
    db.execute(f"DELETE FROM counters WHERE period NOT IN ({marks})", periods)  # noqa: S608


def reclaim(db: sqlite3.Connection, is_alive: Callable[[int, str], bool]) -> bool:
    """Free the places of workers that are gone; whether there were any."""
    holders = db.execute("SELECT DISTINCT pid, started FROM key_slots").fetchall()
    dead = [one for one in holders if not is_alive(*one)]
    db.executemany("DELETE FROM key_slots WHERE pid = ? AND started = ?", dead)
    return bool(dead)
