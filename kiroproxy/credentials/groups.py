"""Groups of credentials: their names and settings, kept in SQLite at `KIRO_DB_PATH` (S119 to S123).

A group exists if it was created here or if a credential names it; `default` always does. Which
credential belongs to which group is written in the credentials themselves.
"""

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from kiroproxy.credentials.policy import DEFAULT_GROUP
from kiroproxy.errors import ConfigError, InvalidRequest, NotFound
from kiroproxy.shared_db import Stamp, is_busy, stamp_of

T = TypeVar("T")

SNAPSHOT_AGE_S: Final = 1.0
LOOK_EVERY_S: Final = 0.5
BUSY_LIMIT_S: Final = 2.0
REACHABLE_AGE_S: Final = 5.0
NAME_LIMIT: Final = 64
_PAGES: Final = ("admin", "static", "assets", "docs")
_HEALTH: Final = ("health", "healthz", "readyz", "metrics")
_APIS: Final = ("v1", "cc", "api", "openai", "claude", "gemini")
ROUTES: Final = frozenset({*_PAGES, *_HEALTH, *_APIS})
"""First parts of paths: no group may be called so (X6)."""
AUTOMATIC: Final = frozenset({"banned", "exhausted"})
"""Where other programs move credentials by themselves (S123)."""
RESERVED: Final = ROUTES | AUTOMATIC | {DEFAULT_GROUP}
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS groups (
    name VARCHAR(64) PRIMARY KEY,
    display_name VARCHAR(200) NOT NULL,
    settings TEXT NOT NULL
)
"""

KNOWN: Final = "SELECT 1 FROM sqlite_master WHERE name = 'groups'"


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """What a group's credentials do otherwise; None leaves it to the configuration, 0 is no limit.

    `priority` comes before the credentials' own where any group may serve.
    """

    priority: int = 0
    cooldown_sec: float | None = None
    rate_limit_qps: float = 0.0
    rate_limit_burst: float = 0.0


UNSET: Final = GroupSettings()


@dataclass(frozen=True, slots=True)
class Group:
    """A group by its name."""

    name: str
    display_name: str = ""
    settings: GroupSettings = GroupSettings()


def check_name(name: object) -> str:
    """The name, if a group may be called so.

    Raises:
        InvalidRequest: says why not.
    """
    if not isinstance(name, str) or not name.strip():
        raise InvalidRequest("name: must be a text", param="name")
    name = name.strip()
    if name.lower() in RESERVED:
        raise InvalidRequest(f"name: {name} is reserved", param="name")
    if len(name) > NAME_LIMIT or not name.isprintable() or set(name) & set("/\\?#%;"):
        raise InvalidRequest(
            f"name: at most {NAME_LIMIT} characters, none of / \\ ? # % ;", param="name"
        )
    return name


def parse_settings(given: object, base: GroupSettings = GroupSettings()) -> GroupSettings:
    """Settings as JSON on top of others; null takes one back.

    Raises:
        InvalidRequest: names the one that cannot be used.
    """
    if given is None:
        return base
    if not isinstance(given, dict):
        raise InvalidRequest("settings: must be an object", param="settings")
    values: dict[str, Any] = {}
    for key in ("priority", "cooldown_sec", "rate_limit_qps", "rate_limit_burst"):
        if key not in given:
            continue
        value = given[key]
        if value is None:  # as it is without a word
            values[key] = getattr(UNSET, key)
            continue
        whole = key == "priority"
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not number or (value < 0 and not whole) or value != value or abs(value) > 1e9:
            words = "a whole number" if whole else "a number of at least 0"
            raise InvalidRequest(f"settings.{key}: must be {words}", param=f"settings.{key}")
        values[key] = value
    return replace(base, **values)


def build_settings(settings: GroupSettings) -> dict[str, Any]:
    """As JSON, with the names of S121."""
    return {
        "priority": settings.priority,
        "rate_limit_qps": settings.rate_limit_qps,
        "rate_limit_burst": settings.rate_limit_burst,
        "cooldown_sec": settings.cooldown_sec,
    }


def parse_groups(raw: object) -> list[Group]:
    """The `groups` object of a file in the form of S121; those that cannot be used are left out."""
    found = []
    for name, entry in raw.items() if isinstance(raw, dict) else ():
        entry = entry if isinstance(entry, dict) else {}
        with contextlib.suppress(InvalidRequest):
            settings = parse_settings(entry.get("settings"))
            known = name if name == DEFAULT_GROUP else check_name(name)
            found.append(Group(known, str(entry.get("display_name") or ""), settings))
    return found


class InThread(Protocol):
    """Does blocking work where no request waits for it."""

    def __call__(self, work: Callable[[], T], /) -> T:
        """What it comes to, or raises."""


def here_and_now(work: Callable[[], T]) -> T:
    """Do it; good for processes that have nothing else to do."""
    return work()


class GroupBook:
    """The groups that were created. Its file is made when the first one is.

    `given` are those that the credentials' store defines; what was changed here precedes. A server
    lets it `watch`: then requests find the groups in memory, and never wait for the file.
    """

    def __init__(
        self,
        path: Path,
        given: Callable[[], Sequence[Group]] = tuple,
        in_thread: InThread = here_and_now,
    ) -> None:
        self.path = path
        self.changes = 0
        """Moves when `all` has become another."""
        self._given = given
        self._in_thread = in_thread
        self._groups: dict[str, Group] = {}
        self._checked_at = -SNAPSHOT_AGE_S
        self._read_at: Stamp | None = None
        self._watcher = 0
        self._reachable = True
        self._tested_at = -REACHABLE_AGE_S

    def all(self) -> Mapping[str, Group]:
        """The groups by name, at most a second old; a broken file leaves the last good ones."""
        if self._watcher != os.getpid():
            now = time.monotonic()
            if now - self._checked_at >= SNAPSHOT_AGE_S:
                self.refresh()
        given = self._given()
        return {one.name: one for one in given} | self._groups if given else self._groups

    def refresh(self, *, if_written: bool = False) -> None:
        """Read the groups now, or only if the file was written since they were read."""
        self._checked_at = time.monotonic()
        stamp = self._in_thread(lambda: stamp_of(self.path))
        if if_written and stamp is not None and stamp == self._read_at:
            return
        self._read_at = None
        if self.path.exists():
            with contextlib.suppress(sqlite3.Error, ValueError, InvalidRequest):
                found = self._do(_read, 0.0 if self._groups else BUSY_LIMIT_S)
                self._read_at = stamp
                if found != self._groups:
                    self._groups = found
                    self.changes += 1
            self._checked_at = time.monotonic()  # however long that took

    def watch(self) -> None:
        """From now on, in this process, a thread looks twice a second for what others change."""
        if self._watcher == os.getpid():
            return
        self.refresh()
        self._watcher = os.getpid()

        def work() -> None:
            while True:
                time.sleep(LOOK_EVERY_S)
                self.refresh(if_written=True)

        threading.Thread(target=work, name="groups", daemon=True).start()

    def look_again(self) -> None:
        """Whatever another process has changed counts from now on."""
        self.refresh()

    def is_given(self, name: str) -> bool:
        """Whether the credentials' store defines it: then it cannot be deleted here."""
        return any(one.name == name for one in self._given())

    def reachable(self) -> bool:
        """Whether its database can be read, or made; looked at every few seconds, never waiting."""
        now = time.monotonic()
        if now - self._tested_at >= REACHABLE_AGE_S:
            self._tested_at = now
            self._reachable = self._in_thread(self._test)
        return self._reachable

    def _test(self) -> bool:
        try:
            if not self.path.exists():
                place = next(one for one in self.path.parents if one.exists())
                return os.access(place, os.W_OK | os.X_OK)
            uri = f"{self.path.absolute().as_uri()}?mode=rw"
            with closing(sqlite3.connect(uri, uri=True, timeout=0)) as db:
                db.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()
        except sqlite3.Error as error:
            return is_busy(error)  # somebody is writing: it is well
        except OSError:
            return False
        return True

    def settings(self, name: str) -> GroupSettings:
        """Of one group; the defaults if it was never created."""
        group = self.all().get(name)
        return group.settings if group is not None else GroupSettings()

    def save(self, groups: Iterable[Group]) -> None:
        """Create or replace groups.

        Raises:
            ConfigError: the database cannot be written.
        """
        rows = list(groups)
        self._write(lambda db: _put(db, rows))

    def remove(self, name: str) -> None:
        """Forget a group.

        Raises:
            ConfigError: the database cannot be written.
        """
        self._write(lambda db: db.execute("DELETE FROM groups WHERE name = ?", (name,)))

    def rename(self, old: str, new: str) -> None:
        """Call a group otherwise.

        Raises:
            NotFound: it was never created.
            ConfigError: the database cannot be written.
        """
        group = self.all().get(old)
        if group is None:
            raise NotFound(f"There is no group {old}.")
        self.save([replace(group, name=new)])
        self.remove(old)

    def _write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._do(work)
        except (sqlite3.Error, OSError) as error:
            raise ConfigError("databasePath", f"{self.path} cannot be written: {error}") from error
        self.refresh()

    def _do(self, work: Callable[[sqlite3.Connection], T], patience_s: float = BUSY_LIMIT_S) -> T:
        """One transaction on a connection of its own; a busy database is tried again.

        Whatever else is wrong with it, such as a full disk, is not waited for.
        """
        deadline = time.monotonic() + patience_s
        while True:
            try:
                return self._in_thread(lambda: self._attempt(work))
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(0.01)

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with closing(sqlite3.connect(self.path, timeout=0)) as db, db:
            db.execute("PRAGMA journal_mode = WAL")
            if self._groups and db.execute(KNOWN).fetchone() is None:
                db.execute("BEGIN IMMEDIATE")  # the file was begun anew: it gets back what we know
                db.execute(SCHEMA)
                _put(db, self._groups.values())
            db.execute(SCHEMA)
            return work(db)


def _put(db: sqlite3.Connection, groups: Iterable[Group]) -> None:
    db.executemany(
        "INSERT INTO groups (name, display_name, settings) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET display_name = excluded.display_name,"
        " settings = excluded.settings",
        [(one.name, one.display_name, _dump(one.settings)) for one in groups],
    )


def _dump(settings: GroupSettings) -> str:
    return json.dumps(build_settings(settings))


def _read(db: sqlite3.Connection) -> dict[str, Group]:
    rows = db.execute("SELECT name, display_name, settings FROM groups ORDER BY name")
    return {row[0]: Group(row[0], row[1], parse_settings(json.loads(row[2]))) for row in rows}
