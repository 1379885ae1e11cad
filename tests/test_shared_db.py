"""The shared file: what its two users, runtime and response store, rely on alike."""

import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kiroproxy import shared_db as module
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


CROWD = """
import gevent.monkey
gevent.monkey.patch_all()
import sys, time
from pathlib import Path
import gevent
from tests.test_shared_db import Counter
counter = Counter(Path(sys.argv[1]))
def work(db):
    db.execute("INSERT INTO n VALUES (1)")
    until = time.perf_counter() + 0.001
    while time.perf_counter() < until:
        pass  # a machine that is short of CPU
    return 1
def add():
    return [counter._transaction(work, -1) for _ in range(2)]
came = [gevent.spawn(add) for _ in range(300)]
gevent.joinall(came)
assert all(min(one.value) > 0 for one in came), "nobody passes uncounted"
assert counter.faults == 0
"""


def test_a_crowd_stands_in_line(tmp_path: Path) -> None:
    """Hundreds at once in two processes: nobody waits in vain while others are served."""
    command = [sys.executable, "-c", CROWD, str(tmp_path / "n.db")]
    place = Path(__file__).parents[1]
    crowds = [subprocess.Popen(command, cwd=place) for _ in range(2)]
    assert [one.wait(60) for one in crowds] == [0, 0]
    counter = Counter(tmp_path / "n.db")
    assert counter.add() == 2 * 300 * 2 + 1
    counter.close()


def test_those_in_line_are_not_refused_one_by_one(tmp_path: Path) -> None:
    """While somebody else holds the lock, each waits as long as the first, not after it."""
    counter = Counter(tmp_path / "n.db")
    counter.add()
    other = connect(tmp_path / "n.db")
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with ThreadPoolExecutor(50) as threads:
        assert set(threads.map(lambda _: counter.add(), range(50))) == {-1}
    assert time.monotonic() - began < 3 * module.BUSY_LIMIT_S
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
