"""Responses that clients may go on from: one SQLite file, shared by the workers of the host.

Each row holds what its request added to the conversation and what was answered; `previous` leads
to the row before. Each belongs to an owner, and is unknown to all others. The store is bounded in
size and in age. It never fails a request: what cannot be stored is not stored, and what cannot be
read is unknown.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

from kiroproxy.credentials.policy import DEFAULT_GROUP
from kiroproxy.dialects.jsontext import dumps
from kiroproxy.shared_db import SharedDatabase, connect

T = TypeVar("T")

MAX_AGE_S: Final = 24 * 3600.0
"""Since a response was last gone on from."""
LIMIT_BYTES: Final = 256 * 1024 * 1024
MAX_CHAIN: Final = 10_000
RUINED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
ROOT: Final = f" {DEFAULT_GROUP}"
"""The root key's, outside of groups; see `owner_of`."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS responses (
    id TEXT PRIMARY KEY,
    previous TEXT,
    input BLOB NOT NULL,
    response BLOB NOT NULL,
    size INTEGER NOT NULL,
    used_at REAL NOT NULL,
    owner TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS responses_by_use ON responses (used_at, size);
"""
ADD_OWNER: Final = f"ALTER TABLE responses ADD COLUMN owner TEXT NOT NULL DEFAULT '{ROOT}'"
"""For a file from before responses had owners: what lies there is the root key's."""
CHAIN: Final = """
WITH RECURSIVE chain (id, previous, owner, depth) AS (
    SELECT id, previous, owner, 0 FROM responses WHERE id = ? AND owner = ?
    UNION ALL
    SELECT r.id, r.previous, r.owner, depth + 1
    FROM responses r JOIN chain c ON r.id = c.previous AND r.owner = c.owner
    WHERE depth < ?
)
SELECT r.id, r.previous, r.input, r.response FROM chain JOIN responses r ON r.id = chain.id
ORDER BY depth DESC
"""
TRIM: Final = """
DELETE FROM responses WHERE id IN (
    SELECT id FROM (
        SELECT id, sum(size) OVER (ORDER BY used_at DESC, id) AS kept FROM responses
    ) WHERE kept > ?
)
"""


def owner_of(key_id: str, group: str) -> str:
    """Whose a response is: a client key's, by its id (none is the root key's), in its group."""
    return f"{key_id} {group}"


class ResponseStore(SharedDatabase):
    """Access to the shared file; one connection per process, opened after fork."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        max_age_s: float = MAX_AGE_S,
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        super().__init__(path)
        self._clock = clock
        self._max_age_s = max_age_s
        self._limit_bytes = limit_bytes

    def shelf(self, owner: str) -> "Shelf":
        """What belongs to `owner`, of which nobody else knows."""
        return Shelf(self, owner)

    def put(self, owner: str, response: dict[str, Any], items: Sequence[Any]) -> None:
        """Store a response and its request's own items; the oldest ones make room."""
        given, answered = dumps(list(items)), dumps(response)
        size = len(given) + len(answered)
        now = self._clock()
        row = (response["id"], response["previous_response_id"], given, answered, size, now, owner)

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO responses VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            db.execute("DELETE FROM responses WHERE used_at < ?", (now - self._max_age_s,))
            total = db.execute("SELECT total(size) FROM responses").fetchone()[0]
            if total > self._limit_bytes:
                db.execute(TRIM, (self._limit_bytes,))

        self._transaction(work, None)

    def history(self, owner: str, response_id: str) -> list[dict[str, Any]] | None:
        """All items up to and with a response, oldest first; None if any of them is gone."""
        now = self._clock()

        def work(db: sqlite3.Connection) -> list[Any]:
            rows = db.execute(CHAIN, (response_id, owner, MAX_CHAIN)).fetchall()
            used = [(now, row[0], now - self._max_age_s) for row in rows]
            touch = "UPDATE responses SET used_at = ? WHERE id = ? AND used_at >= ?"
            touched = db.executemany(touch, used).rowcount if rows else 0
            return rows if touched == len(rows) else []

        nothing: list[Any] = []
        rows = self._transaction(work, nothing)
        if not rows or rows[0][1] is not None:
            return None
        items: list[dict[str, Any]] = []
        for row in rows:
            items += orjson.loads(row[2])
            items += orjson.loads(row[3])["output"]
        return items

    def get(self, owner: str, response_id: str) -> dict[str, Any] | None:
        """A stored response."""
        oldest = self._clock() - self._max_age_s

        def work(db: sqlite3.Connection) -> Any:
            query = "SELECT response FROM responses WHERE id = ? AND owner = ? AND used_at >= ?"
            return db.execute(query, (response_id, owner, oldest)).fetchone()

        row = self._transaction(work, None)
        return None if row is None else dict(orjson.loads(row[0]))

    def delete(self, owner: str, response_id: str) -> bool:
        """Forget a response; False if it was unknown."""

        def work(db: sqlite3.Connection) -> bool:
            query = "DELETE FROM responses WHERE id = ? AND owner = ?"
            return db.execute(query, (response_id, owner)).rowcount > 0

        return self._transaction(work, False)

    # ---- the file --------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        """Open the file, and make it where it is missing, for our eyes only: prompts lie in it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))
        db = connect(self.path)
        try:
            known = "SELECT 1 FROM sqlite_master WHERE name = 'responses'"
            if db.execute(known).fetchone() is None:
                db.executescript(SCHEMA)
            columns = db.execute("SELECT name FROM pragma_table_info('responses')").fetchall()
            if ("owner",) not in columns:
                db.execute(ADD_OWNER)
        except BaseException:
            db.close()
            raise
        return db

    def _broke(self, error: Exception) -> None:
        if (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF in RUINED:
            _remove(self.path)  # no more than a cache


class Shelf:
    """One owner's responses."""

    def __init__(self, store: ResponseStore, owner: str) -> None:
        self._store = store
        self._owner = owner

    def put(self, response: dict[str, Any], items: Sequence[Any]) -> None:
        """Store a response and its request's own items."""
        self._store.put(self._owner, response, items)

    def history(self, response_id: str) -> list[dict[str, Any]] | None:
        """All items up to and with a response, oldest first; None if any of them is unknown."""
        return self._store.history(self._owner, response_id)

    def get(self, response_id: str) -> dict[str, Any] | None:
        """A stored response."""
        return self._store.get(self._owner, response_id)

    def delete(self, response_id: str) -> bool:
        """Forget a response; False if it is unknown."""
        return self._store.delete(self._owner, response_id)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(OSError):
            Path(f"{path}{suffix}").unlink()
