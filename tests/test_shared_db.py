"""The shared file: what its two users, runtime and response store, rely on alike."""

import sqlite3
from pathlib import Path

import pytest

from kiroproxy.shared_db import SharedDatabase, connect


class Counter(SharedDatabase):
    """One number."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.broken: list[Exception] = []

    def _open(self) -> sqlite3.Connection:
        db = connect(self.path)
        db.execute("CREATE TABLE IF NOT EXISTS n (value INTEGER)")
        return db

    def _broke(self, error: Exception) -> None:
        self.broken.append(error)

    def add(self) -> int:
        def work(db: sqlite3.Connection) -> int:
            db.execute("INSERT INTO n VALUES (1)")
            return int(db.execute("SELECT count(*) FROM n").fetchone()[0])

        return self._transaction(work, -1)

    def fail(self) -> int:
        def work(db: sqlite3.Connection) -> int:
            db.execute("INSERT INTO n VALUES (1)")
            db.execute("SELECT * FROM nowhere")
            return 0

        return self._transaction(work, -1)


def test_a_transaction_is_whole_or_not_at_all(tmp_path: Path) -> None:
    counter = Counter(tmp_path / "n.db")
    assert counter.add() == 1
    assert counter.fail() == -1
    assert counter.faults == 1
    assert [type(error) for error in counter.broken] == [sqlite3.OperationalError]
    counter._reopen_at = 0.0
    assert counter.add() == 2, "the insert before the failure was taken back"
    counter.close()


def test_a_busy_database_gives_the_default_soon(tmp_path: Path) -> None:
    counter = Counter(tmp_path / "n.db")
    assert counter.add() == 1
    other = connect(tmp_path / "n.db")
    other.execute("BEGIN IMMEDIATE")
    assert counter.add() == -1
    assert (counter.faults, counter.broken) == (1, []), "busy is not broken"
    other.execute("ROLLBACK")
    other.close()
    assert counter.add() == 2
    counter.close()


def test_a_broken_database_is_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "n.db").write_bytes(b"no database" * 1000)
    counter = Counter(tmp_path / "n.db")
    assert counter.add() == -1
    (tmp_path / "n.db").unlink()
    assert counter.add() == -1, "not opened again within a second"
    monkeypatch.setattr("kiroproxy.shared_db.REOPEN_S", 0)
    counter._reopen_at = 0.0
    assert counter.add() == 1
    counter.close()
