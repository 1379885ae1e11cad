"""The database of keys, usage and audit: opened, kept whole, and never waited for by the hub.

SQLite (WAL) by default; the same statements fit PostgreSQL. Each call opens a connection of its
own in a native thread and closes it again: nothing is shared between threads or across a fork, and
a file that was replaced is noticed. A busy database is tried again from outside the thread. A
SQLite file that is damaged is kept aside as `.corrupt-<time>`, and one that vanished is made anew.

SQLAlchemy is imported when the database is first used, in that thread: it takes 0.2 s.
"""

import contextlib
import logging
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

import filelock

from kiroproxy.errors import ConfigError, DatabaseError
from kiroproxy.ledger.threads import in_thread, native_lock

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from kiroproxy.ledger.schema import Schema

T = TypeVar("T")
Work = Callable[["Connection"], T]

log = logging.getLogger(__name__)

PATIENCE_S: Final = 2.0
"""So long a busy database is tried again."""
BUSY_WAIT_S: Final = 0.05
"""SQLite's own patience, in the native thread."""
PAUSE_S: Final = 0.02
ASIDE_EVERY_S: Final = 60.0
SUFFIXES: Final = ("", "-wal", "-shm", "-journal")
RUINED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
REASONS: Final = {
    sqlite3.SQLITE_BUSY: "busy",
    sqlite3.SQLITE_LOCKED: "busy",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
    sqlite3.SQLITE_CONSTRAINT: "conflict",
}
TRANSIENT_STATES: Final = frozenset({"40001", "40P01", "55P03"})
"""PostgreSQL: serialization failure, deadlock, lock not available."""
POSTGRES: Final = re.compile(r"^postgres(?:ql)?://")
"""URLs that name no driver: SQLAlchemy would take the old one."""
CONNECT_S: Final = 5
"""So long a PostgreSQL that does not answer is waited for."""
WRITING: Final = "kiroproxy_writing"

Identity = tuple[int, int]


class Database:
    """The database at a URL of SQLAlchemy's, or a SQLite file at a path.

    Nothing is opened until it is used. `read` and `write` may be called from any greenlet; they
    must not be on a client request's path.
    """

    def __init__(self, place: str | Path, *, schema: "Callable[[], Schema] | None" = None) -> None:
        self.url = str(place) if "://" in str(place) else f"sqlite:///{place}"
        self.path = sqlite_path(self.url)
        self.on_begun: list[Callable[[Connection], None]] = []
        """Called in the transaction that begins a file, the first time or anew."""
        self._make_schema = schema
        self._engine: Engine | None = None
        self._identity: Identity | None = None
        self._opening = native_lock()
        self._trouble = ""
        self._next_aside_at = 0.0
        self._events: list[str] = []

    def read(self, work: Work[T], *, patience_s: float = PATIENCE_S) -> T:
        """Run `work` in a transaction that only reads.

        Raises:
            DatabaseError: it cannot be read.
            ConfigError: its schema is newer than this program, or the URL is of no use.
        """
        return self._run(work, False, patience_s)

    def write(self, work: Work[T], *, patience_s: float = PATIENCE_S) -> T:
        """Run `work` in a transaction; it is called again if the database was busy.

        Raises:
            DatabaseError: nothing was written.
            ConfigError: its schema is newer than this program, or the URL is of no use.
        """
        return self._run(work, True, patience_s)

    def open(self) -> None:
        """Make sure of the schema now: a migration may take a while."""
        self._run(lambda connection: None, False, PATIENCE_S)

    def problems(self) -> list[str]:
        """What is wrong with it now, and what was lost since the process began."""
        return [*self._events, *([self._trouble] if self._trouble else [])]

    def _run(self, work: Work[T], writing: bool, patience_s: float) -> T:
        deadline = time.monotonic() + patience_s
        replaced = 0
        while True:
            try:
                result = in_thread(lambda: self._attempt(work, writing))
            except (DatabaseError, ConfigError) as error:
                reason = getattr(error, "reason", "")
                if reason in ("corrupt", "gone") and replaced < 2:
                    replaced += 1
                    continue
                if reason != "busy" or time.monotonic() >= deadline:
                    self._trouble = str(error) if reason != "conflict" else ""
                    raise
            else:
                self._trouble = ""
                return result
            time.sleep(PAUSE_S)

    # ---- in the thread ---------------------------------------------------------------------

    def _attempt(self, work: Work[T], writing: bool) -> T:
        load_tables()
        from sqlalchemy.exc import DBAPIError

        tried = _identity(self.path) if self.path is not None else None
        try:
            engine = self._opened()
            with engine.connect() as connection:
                connection = connection.execution_options(**{WRITING: writing})
                with connection.begin():
                    return work(connection)
        except DBAPIError as error:
            raise self._translated(error.orig, tried) from error
        except (sqlite3.Error, OSError) as error:
            raise self._translated(error, tried) from error

    def _translated(self, error: BaseException | None, tried: Identity | None) -> DatabaseError:
        """The same in our words; a file that is damaged or gone is replaced at the next attempt.

        `tried` is the file at the beginning of the attempt.
        """
        code = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
        reason = REASONS.get(code, "unusable")
        if getattr(error, "sqlstate", "") in TRANSIENT_STATES:
            reason = "busy"
        if str(getattr(error, "sqlstate", "") or "").startswith("23"):
            reason = "conflict"
        if isinstance(error, filelock.Timeout):
            reason = "busy"
        if self.path is not None and code in RUINED:
            with self._opening:
                self._set_aside(tried)
        elif self.path is not None and _is_lost(self.path, self._identity):
            reason = "gone"
            self._engine = None
        place = self.path or "the database"
        return DatabaseError(f"{place} cannot be used: {error}", reason=reason)

    def _opened(self) -> "Engine":
        with self._opening:
            if self.path is not None and _identity(self.path) != self._identity:
                self._engine = None
            if self._engine is None:
                self._engine = self._open()
            return self._engine

    def _open(self) -> "Engine":
        from kiroproxy.ledger import schema as schemas

        schema = self._make_schema() if self._make_schema else schemas.Schema()
        engine = _make_engine(self.url, self.path)
        if self.path is None or self.path.exists():
            with engine.connect() as connection:
                found = schemas.stored_version(connection)
            if schemas.check(found, schema.version, str(self.path or "the database")):
                self._identity = _identity(self.path) if self.path else None
                return engine
        if self.path is None:
            schemas.bring_forward_together(engine, schema, found)
            return engine
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock(self.path, 0):
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            fresh = self._migrate(engine, schema, self.path)
            if fresh and self._identity is not None:
                self._tell(f"{self.path} was lost: a new one was begun")
            self._identity = _identity(self.path)
        return engine

    @staticmethod
    def _lock(path: Path, timeout_s: float) -> filelock.BaseFileLock:
        return filelock.FileLock(f"{path}.lock", timeout=timeout_s, mode=0o600, thread_local=False)

    def _migrate(self, engine: "Engine", schema: "Schema", path: Path) -> bool:
        """Under the lock: another process may have done it meanwhile; whether it was empty."""
        from kiroproxy.ledger import schema as schemas

        for suffix in SUFFIXES:  # others may have made the file for all to read
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{suffix}").chmod(0o600)
        with engine.connect() as connection:
            found = schemas.stored_version(connection)
        if schemas.check(found, schema.version, str(path)):
            return False
        copy = schemas.back_up(path, found) if found else None  # nothing of ours is there yet
        if copy is not None:
            log.warning("%s gets a new schema: copied to %s first", path, copy)
        schemas.bring_forward(engine, schema, found, self.on_begun)
        return found == 0

    def _set_aside(self, damaged: Identity | None) -> None:
        """Move the damaged file away, unless another process has done so already."""
        assert self.path is not None  # noqa: S101 - the caller looked
        self._engine = None
        with self._lock(self.path, 5):
            now = _identity(self.path)
            if now is None or damaged not in (None, now):
                return
            if time.monotonic() < self._next_aside_at:
                return  # a disk that ruins every new file shall not be filled with them
            self._next_aside_at = time.monotonic() + ASIDE_EVERY_S
            self._identity = now  # what comes now is a replacement
            aside = f"{self.path}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
            for suffix in SUFFIXES:
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        self._tell(f"{self.path} was damaged: it is kept as {aside}")

    def _tell(self, event: str) -> None:
        self._events = [*self._events[-9:], event]
        log.error("%s", event)


_loading = native_lock()


def load_tables() -> None:
    """Import SQLAlchemy and what is made of it, one thread at a time.

    gevent replaces the locks of imports, too, and one that two native threads want is not always
    handed over: a worker hung in its end when its threads had just begun.
    """
    if "kiroproxy.ledger.usage_rows" in sys.modules and not _loading.locked():
        return
    with _loading:
        import sqlalchemy.dialects.sqlite
        import sqlalchemy.exc
        import sqlalchemy.pool

        from kiroproxy.ledger import key_rows, schema, usage_rows

        _ = sqlalchemy, key_rows, schema, usage_rows


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite URL; None for another engine.

    Raises:
        ConfigError: a SQLite database in memory, which no other process would see.
    """
    if not url.startswith(("sqlite://", "sqlite+")):
        return None
    name = url.partition("://")[2].partition("?")[0]
    name = name[1:] if name.startswith("/") else name
    if not name or name == ":memory:" or name.startswith("file:"):
        raise ConfigError("databaseUrl", "SQLite needs a file: sqlite:////absolute/path.db")
    return Path(name)


def _identity(path: Path) -> Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_lost(path: Path, known: Identity | None) -> bool:
    """Whether the file is another one now, or was emptied: inode numbers are used again."""
    if known is None or _identity(path) != known:
        return known is not None
    query = "SELECT count(*) FROM sqlite_master WHERE name = 'schema_version'"
    with contextlib.suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=0)) as db:
        return not db.execute(query).fetchone()[0]
    return False


def _make_engine(url: str, path: Path | None) -> "Engine":
    """An engine without a pool: connections belong to one call, in one thread."""
    from sqlalchemy import create_engine, event, make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    from sqlalchemy.pool import NullPool

    if path is not None:
        file = path

        def connect() -> sqlite3.Connection:
            """Open what is there: to make a file is not left to chance."""
            db = sqlite3.connect(
                f"file:{quote(str(file))}?mode=rw",
                uri=True,
                timeout=BUSY_WAIT_S,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")
            except BaseException:
                db.close()
                raise
            return db

        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
        event.listen(engine, "begin", _begin)
        return engine
    try:
        chosen = make_url(POSTGRES.sub("postgresql+psycopg://", url, count=1))
        if chosen.drivername == "postgresql+psycopg" and "connect_timeout" not in chosen.query:
            chosen = chosen.update_query_dict({"connect_timeout": str(CONNECT_S)})
        return create_engine(chosen, poolclass=NullPool)
    except ModuleNotFoundError as error:
        known = (error.name or "").startswith("psycopg")
        hint = ": pip install 'kiroproxy[postgres]'" if known else ""
        raise ConfigError("databaseUrl", f"{error.name} is not installed{hint}") from error
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise ConfigError("databaseUrl", f"cannot be used: {error}") from error


def _begin(connection: Any) -> None:
    """Whoever writes takes the lock at once: a reader cannot become a writer under others' eyes."""
    writing = connection.get_execution_options().get(WRITING, True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
