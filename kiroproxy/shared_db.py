"""A SQLite file that the processes of a host share, used on the request path.

One short transaction at a time. SQLite's own busy handler sleeps for tens of milliseconds and would
stall every stream of a worker, so its timeout is 0 and waiting is done here, where gevent sees it
(design 5). A busy or broken database never fails a request: the caller says what holds instead.
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

BUSY_LIMIT_S: Final = 0.5
"""So long a transaction waits for others: a host short of CPU lets one sleep in its midst."""
HURRIED_LIMIT_S: Final = 0.05
HURRY_S: Final = 2.0
"""After one has waited in vain, so long the next ones wait for less: somebody holds the lock."""
BUSY_PAUSE_S: Final = 0.0005
REOPEN_S: Final = 1.0
"""So long a database that broke is left alone."""

SETTLED_NS: Final = 100_000_000
"""A file's time moves in steps of milliseconds: one so young may hide another change."""

T = TypeVar("T")
Stamp = tuple[tuple[int, int, int], ...]
"""Inode, size and time of a database's file, and of its log."""
Work = Callable[[sqlite3.Connection], T]


def connect(path: Path) -> sqlite3.Connection:
    """Open a file in the way that all of these are used."""
    db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
    except BaseException:
        db.close()
        raise
    return db


def is_busy(error: Exception) -> bool:
    """Whether another connection holds the lock: worth another try."""
    code = getattr(error, "sqlite_errorcode", 0) or 0
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def stamp_of(path: Path | None) -> Stamp | None:
    """What changes when a SQLite file is written; None if that cannot be told, or not yet."""
    if path is None:
        return None
    found = []
    for one in (path, Path(f"{path}-wal")):
        try:
            status = one.stat()
        except OSError:
            found.append((0, 0, 0))
            continue
        if time.time_ns() - status.st_mtime_ns < SETTLED_NS:
            return None
        found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


class SharedDatabase:
    """Access to the file at `path`; one connection per process, opened by `_open` after fork.

    `faults` counts the transactions that did not come about.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults = 0
        self._connection: sqlite3.Connection | None = None
        self._inherited: list[sqlite3.Connection] = []
        """A parent's connections: closing one here would drop the parent's locks."""
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._reopen_at = 0.0
        self._hurry_until = 0.0

    def close(self) -> None:
        """Close this process's connection."""
        with self._lock:
            self._drop()

    def _open(self) -> sqlite3.Connection:
        """Connect, and make what is missing."""
        raise NotImplementedError

    def _broke(self, error: Exception) -> None:
        """The database broke, and is closed."""

    def _transaction(self, work: Work[T], default: T) -> T:
        """Run `work` in a transaction; `default` if the database does not let us."""
        if self._pid != os.getpid():
            self._after_fork()
        began = time.monotonic()
        # One of a process's requests asks at a time, the others stand in line behind it: if all
        # asked, some would never be lucky, and pass as if nothing were limited.
        with self._lock:
            asked_at = time.monotonic()
            patience = BUSY_LIMIT_S
            if asked_at < self._hurry_until:
                asked_at, patience = began, HURRIED_LIMIT_S  # the line has waited in vain, too
            while True:
                try:
                    return self._attempt(work)
                except (sqlite3.Error, OSError) as error:
                    if not is_busy(error):
                        self.faults += 1
                        self._reopen_at = max(self._reopen_at, time.monotonic() + REOPEN_S)
                        self._drop()
                        self._broke(error)
                        return default
                if (now := time.monotonic()) > asked_at + patience:
                    self._hurry_until = now + HURRY_S
                    self.faults += 1
                    return default
                time.sleep(BUSY_PAUSE_S)

    def _attempt(self, work: Work[T]) -> T:
        if self._connection is None:
            if time.monotonic() < self._reopen_at:
                raise sqlite3.OperationalError("the database was broken a moment ago")
            self._connection = self._open()
        db = self._connection
        db.execute("BEGIN IMMEDIATE")
        try:
            result = work(db)
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        return result

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _after_fork(self) -> None:
        if self._connection is not None:
            self._inherited.append(self._connection)
            self._connection = None
        self._lock = threading.Lock()
        self._pid = os.getpid()
