"""Groups of credentials: their names and settings, kept in SQLite at `KIRO_DB_PATH` (S119 to S123).

A group exists if it was created here or if a credential names it; `default` always does. Which
credential belongs to which group is written in the credentials themselves.
"""

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from kiroproxy.credentials.policy import DEFAULT_GROUP
from kiroproxy.errors import ConfigError, InvalidRequest, NotFound
from kiroproxy.shared_db import is_busy

T = TypeVar("T")

SNAPSHOT_AGE_S: Final = 1.0
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


class GroupBook:
    """The groups that were created. Its file is made when the first one is.

    `given` are those that the credentials' store defines; what was changed here precedes.
    """

    def __init__(self, path: Path, given: Callable[[], Sequence[Group]] = tuple) -> None:
        self.path = path
        self._given = given
        self._groups: dict[str, Group] = {}
        self._checked_at = -SNAPSHOT_AGE_S
        self._reachable = True
        self._tested_at = -REACHABLE_AGE_S

    def all(self) -> Mapping[str, Group]:
        """The groups by name, at most a second old; a broken file leaves the last good ones."""
        now = time.monotonic()
        if now - self._checked_at >= SNAPSHOT_AGE_S:
            self._checked_at = now
            if self.path.exists():
                with contextlib.suppress(sqlite3.Error, ValueError, InvalidRequest):
                    self._groups = self._do(_read, 0.0 if self._groups else BUSY_LIMIT_S)
                self._checked_at = time.monotonic()  # however long that took
        given = self._given()
        return {one.name: one for one in given} | self._groups if given else self._groups

    def look_again(self) -> None:
        """Read the groups anew at the next look."""
        self._checked_at = -SNAPSHOT_AGE_S

    def is_given(self, name: str) -> bool:
        """Whether the credentials' store defines it: then it cannot be deleted here."""
        return any(one.name == name for one in self._given())

    def reachable(self) -> bool:
        """Whether its database can be read, or made; looked at every few seconds, never waiting."""
        now = time.monotonic()
        if now - self._tested_at >= REACHABLE_AGE_S:
            self._tested_at = now
            self._reachable = self._test()
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
        rows = [(one.name, one.display_name, _dump(one.settings)) for one in groups]

        def work(db: sqlite3.Connection) -> None:
            db.executemany(
                "INSERT INTO groups (name, display_name, settings) VALUES (?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET display_name = excluded.display_name,"
                " settings = excluded.settings",
                rows,
            )

        self._write(work)

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
        self._checked_at = -SNAPSHOT_AGE_S

    def _do(self, work: Callable[[sqlite3.Connection], T], patience_s: float = BUSY_LIMIT_S) -> T:
        """One transaction on a connection of its own; a busy database is tried again.

        Whatever else is wrong with it, such as a full disk, is not waited for: requests look here.
        """
        deadline = time.monotonic() + patience_s
        while True:
            try:
                with closing(sqlite3.connect(self.path, timeout=0)) as db, db:
                    db.execute("PRAGMA journal_mode = WAL")
                    db.execute(SCHEMA)
                    return work(db)
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
            time.sleep(0.01)


def _dump(settings: GroupSettings) -> str:
    return json.dumps(build_settings(settings))


def _read(db: sqlite3.Connection) -> dict[str, Group]:
    rows = db.execute("SELECT name, display_name, settings FROM groups ORDER BY name")
    return {row[0]: Group(row[0], row[1], parse_settings(json.loads(row[2]))) for row in rows}
