"""The usage ledger: one row per request, remembered at once and written later.

`record` appends to a list. A thread writes what has gathered every other second, the first one
after a pause at once; what the database does not take goes to the spool and is written when it
does. Rows have ids of their own, so that writing one twice counts once. After a kill -9, what is
missing is at most what the last three or four seconds brought. No prompt or answer is ever part of
a row.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from kiroproxy.errors import ConfigError, DatabaseError
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.spool import Spool
from kiroproxy.ledger.threads import in_thread

log = logging.getLogger(__name__)

FLUSH_S: Final = 2.0
"""A transaction costs as much as a hundred rows: it should not come for each of them. A full batch
is not waited for."""
TICKS: Final = 8
"""So many times in `FLUSH_S` the thread looks for a row that came after a pause."""
PATIENCE_S: Final = 1.0
"""So long a batch waits for a busy database; together with `FLUSH_S` well below 5 s."""
REST_S: Final = 5.0
"""So long an ill database is left alone."""
BATCH: Final = 500
BACKLOG: Final = 50_000
"""Rows in memory, when neither database nor spool takes them: some 30 MB."""
PRUNE_EVERY_S: Final = 600.0


def new_id() -> str:
    """A row's id; ids of later rows sort later."""
    return f"{time.time_ns() // 10**6:012x}{os.urandom(8).hex()}"


class UsageRow(msgspec.Struct, kw_only=True, gc=False):
    """A request that has ended at `time` (seconds since 1970).

    `key_id` is empty for the root key. `status` is the HTTP status, or the one that an error
    inside a stream would have had. Credits are Kiro's, from `meteringEvent`.
    """

    id: str = msgspec.field(default_factory=new_id)
    time: float = msgspec.field(default_factory=time.time)
    trace_id: str = ""
    key_id: str = ""
    group: str = ""
    credential_id: int = 0
    dialect: str = ""
    model_asked: str = ""
    model: str = ""
    status: int = 200
    attempts: int = 0
    first_event_s: float | None = None
    duration_s: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    usage_source: str = ""
    credits: float = 0.0
    stop_reason: str = ""
    streamed: bool = False
    client: str = ""
    error_type: str = ""


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days are kept, by level; 0 is for ever."""

    raw_days: int = 31
    minute_days: int = 2
    hour_days: int = 93
    day_days: int = 1100
    audit_days: int = 400


DEFAULT_RETENTION: Final = Retention()


@dataclass(slots=True)
class Counts:
    """What became of this process's rows."""

    recorded: int = 0
    written: int = 0
    spooled: int = 0
    dropped: int = 0
    last_written_at: float = 0.0


class UsageLedger:
    """The rows of this process on their way into the database. `record` is for the request's path.

    `on_caught_up` is called by the thread, once, when nothing is left in the spool.
    """

    def __init__(
        self,
        database: Database,
        spool: Spool,
        *,
        retention: Retention = DEFAULT_RETENTION,
        flush_s: float = FLUSH_S,
        on_caught_up: Callable[[], None] = lambda: None,
    ) -> None:
        self.database = database
        self.spool = spool
        self.retention = retention
        self.counts = Counts()
        self._flush_s = flush_s
        self._on_caught_up = on_caught_up
        self._waiting: deque[UsageRow] = deque()
        self._turn = threading.Lock()
        self._stop = threading.Event()
        self._pid = 0
        self._ill_until = 0.0
        self._pruned_at = time.monotonic()
        self._trouble = ""
        self._caught_up = False

    def record(self, row: UsageRow) -> None:
        """Remember a request; returns at once."""
        if self._pid != os.getpid():
            self.start()
        self.counts.recorded += 1
        self._waiting.append(row)
        if len(self._waiting) > BACKLOG:
            self._waiting.popleft()
            self.counts.dropped += 1

    def start(self) -> None:
        """Begin to write, once per process; `record` does so by itself."""
        if self._pid == os.getpid():
            return
        if self._pid > 0:  # forked: the parent writes what was the parent's
            self._waiting.clear()
            self._turn = threading.Lock()
        self._pid = os.getpid()
        self._stop = threading.Event()
        threading.Thread(
            target=self._keep_writing, args=(self._stop,), name="usage", daemon=True
        ).start()

    def close(self) -> None:
        """Write what waits, and stop: to the spool if the database does not take it."""
        self._stop.set()
        self._pid = -1
        self.flush()

    def waiting(self) -> int:
        """Rows that are neither written nor in the spool."""
        return len(self._waiting)

    def problems(self) -> list[str]:
        """Why rows are not where they belong, and what was lost."""
        found = [self._trouble] if self._trouble else []
        lost = self.counts.dropped + self.spool.dropped
        if lost:
            found.append(f"{lost} rows of the usage ledger were lost")
        return found

    def _keep_writing(self, stop: threading.Event) -> None:
        wrote_at = ran_at = -self._flush_s
        while not stop.wait(self._flush_s / TICKS):
            now = time.monotonic()
            idle = now - (wrote_at if self._waiting else ran_at) < self._flush_s
            if idle and len(self._waiting) < BATCH:
                continue
            wrote_at, ran_at = now if self._waiting else wrote_at, now
            try:
                self.flush()
                self._catch_up()
                self._prune()
            except Exception:
                log.exception("the usage ledger")  # the thread must outlive it

    def flush(self) -> None:
        """Write what waits now, to the database or to the spool."""
        with self._turn:
            rows = []
            while self._waiting:  # one by one: others go on appending
                rows.append(self._waiting.popleft())
            try:
                if rows and time.monotonic() >= self._ill_until:
                    rows = rows[self._write(rows) :]
                if rows and self._put_aside(rows):
                    rows = []
            finally:
                self._waiting.extendleft(reversed(rows))

    def _write(self, rows: Sequence[UsageRow]) -> int:
        """Write as many as the database takes; how many those are."""
        done = 0
        try:
            while done < len(rows):
                batch = rows[done : done + BATCH]
                self._write_batch(batch)
                done += len(batch)
        except (DatabaseError, ConfigError) as error:
            self._ill_until = time.monotonic() + REST_S
            if not self._trouble:
                log.warning("usage goes to %s for now: %s", self.spool.directory, error)
            self._trouble = f"usage is not written to the database: {error}"
        else:
            self._trouble = ""
            self.counts.last_written_at = time.time()
        self.counts.written += done
        return done

    def _write_batch(self, batch: Sequence[UsageRow]) -> None:
        keep_from = _horizon(self.retention.raw_days)
        for last in (False, True):
            try:
                self.database.write(
                    lambda connection: _insert(connection, batch, keep_from), patience_s=PATIENCE_S
                )
            except DatabaseError as error:
                if last or error.reason != "conflict":  # another process has just written one
                    raise
            else:
                return

    def _put_aside(self, rows: Sequence[UsageRow]) -> bool:
        lines = [msgspec.json.encode(row) for row in rows]
        try:
            in_thread(lambda: self.spool.append(lines))
        except OSError as error:
            self._trouble = f"usage is kept in memory, the spool cannot be written: {error}"
            return False
        self.counts.spooled += len(rows)
        return True

    def _catch_up(self) -> None:
        """Write what lies in the spool, also what dead processes left there."""
        if time.monotonic() < self._ill_until:
            return
        with self._turn:
            for path in in_thread(self.spool.files):
                lines = in_thread(lambda path=path: self.spool.read(path))  # type: ignore[misc]
                rows = [row for row in map(_decode, lines) if row is not None]
                if self._write(rows) < len(rows):
                    return
                in_thread(lambda path=path: self.spool.forget(path))  # type: ignore[misc]
        if not self._caught_up:
            try:
                self._on_caught_up()
                self._caught_up = True
            except (DatabaseError, ConfigError) as error:
                self._ill_until = time.monotonic() + REST_S
                log.warning("earlier usage is not counted yet: %s", error)

    def _prune(self) -> None:
        if time.monotonic() - self._pruned_at < PRUNE_EVERY_S:
            return
        self._pruned_at = time.monotonic()
        try:
            prune(self.database, self.retention, datetime.now(UTC))
        except (DatabaseError, ConfigError) as error:
            log.warning("old usage was not deleted: %s", error)


def _decode(line: bytes) -> UsageRow | None:
    try:
        return msgspec.json.decode(line, type=UsageRow)
    except msgspec.MsgspecError:
        return None  # cut off when the process was killed


def _horizon(days: int) -> float:
    return time.time() - days * 86400 if days else 0.0


def _insert(connection: object, rows: Sequence[UsageRow], keep_from: float) -> int:
    from kiroproxy.ledger import usage_rows

    return usage_rows.insert(connection, rows, keep_from)  # type: ignore[arg-type]


def prune(database: Database, retention: Retention, now: datetime) -> int:
    """Delete what is older than is kept, a slice at a time; how many rows.

    Raises:
        DatabaseError: the rest stays for the next time.
    """
    from kiroproxy.ledger import usage_rows

    total = 0
    for condition in usage_rows.outdated(retention, now):
        while True:
            deleted = database.write(
                lambda connection, old=condition: usage_rows.delete_some(connection, *old)  # type: ignore[misc]
            )
            total += deleted
            if deleted < usage_rows.SLICE:
                break
    return total
