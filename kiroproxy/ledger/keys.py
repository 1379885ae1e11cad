"""Client keys: who may use us, asked of a copy in memory.

A key is 256 random bits, shown once and stored as its SHA-256. Each process keeps all of them: a
thread looks every half second whether the database's file was written and a mark in it has moved,
and reads them anew if so.
A request's check takes microseconds and touches nothing else. While the database is ill the last
copy serves; it also lies in a file beside the database (hashes only), for starts and for the day
on which the database has to be begun anew.
"""

import contextlib
import fnmatch
import functools
import hashlib
import hmac
import logging
import os
import re
import secrets
import string
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from kiroproxy.errors import ConfigError, DatabaseError, NotAllowed, NotAuthenticated
from kiroproxy.ledger.budgets import NO_BUDGETS, Budgets
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.threads import in_thread
from kiroproxy.shared_db import Stamp, stamp_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

log = logging.getLogger(__name__)

PREFIX: Final = "kp_"
DIGITS: Final = string.digits + string.ascii_letters
LENGTH: Final = 43
"""Of 256 bits in base 62."""
LOOK_EVERY_S: Final = 0.5
"""So often the mark is looked at: a copy is never older than a second."""
LOOK_ANYWAY_S: Final = 5.0
"""So often also if the file seems untouched."""
USED_EVERY_S: Final = 10.0
FIRST_LOOK_S: Final = 3.0
"""So long a request waits for the first copy, when the process has just begun."""
LOOK_PATIENCE_S: Final = 0.2
WARN_AFTER: Final = 3
"""Looks in vain: at first the other worker may just be making the database."""
MARK: Final = "keys"


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What a key may do at most; 0 is no limit."""

    requests_per_minute: int = 0
    concurrent: int = 0
    output_tokens_per_day: int = 0


NO_LIMITS: Final = KeyLimits()


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A key without its secret. No groups or models named means all of them.

    After a rotation the old secret is good until `old_until`.
    """

    id: str
    hash: str
    name: str = ""
    owner: str = ""
    hint: str = ""
    allowed_groups: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    limits: KeyLimits = NO_LIMITS
    budgets: Budgets = NO_BUDGETS
    disabled: bool = False
    created_at: datetime | None = None
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    old_hash: str = ""
    old_until: datetime | None = None

    @property
    def title(self) -> str:
        """How messages call it."""
        return self.name or self.id


@dataclass(frozen=True)
class Snapshot:
    """All keys and the groups' budgets, as they were at a mark."""

    mark: int
    keys: tuple[ClientKey, ...] = ()
    group_budgets: Mapping[str, Budgets] = field(default_factory=dict)

    @functools.cached_property
    def by_hash(self) -> dict[str, tuple[ClientKey, bool]]:
        """SHA-256 → its key, and whether it is the one before a rotation."""
        found = {one.old_hash: (one, True) for one in self.keys if one.old_hash}
        return found | {one.hash: (one, False) for one in self.keys}

    @functools.cached_property
    def by_id(self) -> dict[str, ClientKey]:
        """Each key by its id."""
        return {one.id: one for one in self.keys}


# ---- pure ----------------------------------------------------------------------------------


def new_secret() -> str:
    """A key that nobody has had."""
    number = secrets.randbits(256)
    digits = []
    for _ in range(LENGTH):
        number, digit = divmod(number, len(DIGITS))
        digits.append(DIGITS[digit])
    return PREFIX + "".join(digits)


def hash_of(secret: str) -> str:
    """What is stored of a key: 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def hint_of(secret: str) -> str:
    """What may be shown of a key."""
    return f"{PREFIX if secret.startswith(PREFIX) else ''}…{secret[-4:]}"


def find_key(snapshot: Snapshot, secret: str, now: datetime) -> ClientKey | None:
    """The key with this secret; None if there is none.

    Raises:
        NotAuthenticated: it has expired, was replaced, or is disabled.
    """
    digest = hash_of(secret)
    found = snapshot.by_hash.get(digest)
    if found is None:
        return None
    key, is_old = found
    if not hmac.compare_digest(key.old_hash if is_old else key.hash, digest):
        return None
    if is_old and (key.old_until is None or now >= key.old_until):
        raise NotAuthenticated("This client key was replaced by another one.")
    if key.disabled:
        raise NotAuthenticated("This client key is disabled.")
    if key.expires_at is not None and now >= key.expires_at:
        raise NotAuthenticated("This client key has expired.")
    return key


def check_group(key: ClientKey, group: str) -> None:
    """S124.

    Raises:
        NotAllowed: the key is for other groups.
    """
    if key.allowed_groups and group not in key.allowed_groups:
        allowed = ", ".join(key.allowed_groups)
        raise NotAllowed(f"Client key {key.title} may not use group {group}: it is for {allowed}.")


def may_use(key: ClientKey, asked: str, served: str = "") -> bool:
    """Whether the key is for a model, by the client's name for it or by Kiro's."""
    if not key.models:
        return True
    matches = _globs(key.models)
    return bool(matches(asked.lower()) or (served and matches(served.lower())))


def check_model(key: ClientKey, asked: str, served: str = "") -> None:
    """Make sure of the model, by the client's name for it or by Kiro's.

    Raises:
        NotAllowed: the key is for other models.
    """
    if not may_use(key, asked, served):
        allowed = ", ".join(key.models)
        raise NotAllowed(f"Client key {key.title} may not use model {asked}: it is for {allowed}.")


@functools.lru_cache(maxsize=4096)
def _globs(models: tuple[str, ...]) -> Callable[[str], object]:
    return re.compile("|".join(fnmatch.translate(one.lower()) for one in models)).match


# ---- the copy ------------------------------------------------------------------------------


class KeyRing:
    """This process's copy of the keys. `look` and `close` may block, the others never do."""

    def __init__(
        self, database: Database, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._clock = clock
        self._copy = copy_path(database)
        self._snapshot: Snapshot | None = None
        self._trouble = ""
        self._failures = 0
        self._seen: Stamp | None = None
        """The file as it was before the last look that went well, if that says anything."""
        self._look_at = 0.0
        self._used: dict[str, float] = {}
        self._wrote_used_at = time.monotonic()
        self._looked = threading.Event()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._pid = 0
        database.on_begun.append(self._restore)

    def find(self, secret: str) -> ClientKey | None:
        """The key with this secret, None if there is none; notes its use.

        Raises:
            NotAuthenticated: it has expired or is disabled.
            DatabaseError: no key could ever be read, and it looks like one of ours.
        """
        snapshot = self.snapshot()
        key = find_key(snapshot, secret, self._clock()) if snapshot is not None else None
        if key is not None:
            self._used[key.id] = time.time()
        elif snapshot is None and secret.startswith(PREFIX):
            raise DatabaseError("Client keys cannot be checked now: the database is not readable.")
        return key

    def snapshot(self) -> Snapshot | None:
        """The keys, at most a second old while the database serves; None if never read."""
        self.start()
        if self._snapshot is None:
            self._looked.wait(FIRST_LOOK_S)
        return self._snapshot

    def group_budgets(self, group: str) -> Budgets:
        """What a group of credentials may spend."""
        snapshot = self._snapshot
        return snapshot.group_budgets.get(group, NO_BUDGETS) if snapshot else NO_BUDGETS

    def problems(self) -> list[str]:
        """Why the copy may be old."""
        return [self._trouble] if self._trouble else []

    # ---- the thread --------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look, once per process; `find` does so by itself."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            self._stop = threading.Event()
        threading.Thread(
            target=self._keep_looking, args=(self._stop,), name="keys", daemon=True
        ).start()

    def close(self) -> None:
        """Stop looking, and write when keys were used."""
        self._stop.set()
        self._pid = 0
        self._write_used()

    def _keep_looking(self, stop: threading.Event) -> None:
        while not stop.is_set():
            if self._is_due():
                self.look()
            if time.monotonic() - self._wrote_used_at >= USED_EVERY_S:
                self._write_used()
            stop.wait(LOOK_EVERY_S)

    def _is_due(self) -> bool:
        """Whether there may be something new: to open the database costs more than all else."""
        if self._seen is None or time.monotonic() >= self._look_at:
            return True
        return in_thread(lambda: stamp_of(self._database.path)) != self._seen

    def look(self) -> None:
        """Read the keys if they have changed."""
        self._seen, seen = None, in_thread(lambda: stamp_of(self._database.path))
        self._look_at = time.monotonic() + LOOK_ANYWAY_S
        known = self._snapshot.mark if self._snapshot is not None else None
        try:
            fresh = self._read(known)
            if fresh is not None and known is not None and fresh.mark < known:
                # marks never go back: somebody without our copy has begun the file anew
                self._database.write(self._restore, patience_s=LOOK_PATIENCE_S)
                fresh = self._read(None)
        except (DatabaseError, ConfigError) as error:
            self._failures += 1
            if self._failures == WARN_AFTER:
                log.warning("client keys cannot be read, the last copy serves: %s", error)
            self._trouble = f"client keys may be out of date: {error}"
            if self._snapshot is None:
                self._snapshot = in_thread(lambda: load_copy(self._copy))
        else:
            self._trouble = ""
            self._failures = 0
            self._seen = seen
            if fresh is not None:
                self._snapshot = fresh
                in_thread(lambda: save_copy(self._copy, fresh))
        self._looked.set()

    def _read(self, known: int | None) -> Snapshot | None:
        def work(connection: "Connection") -> Snapshot | None:
            from kiroproxy.ledger import key_rows

            fresh = key_rows.read_snapshot(connection, known)
            if fresh is not None:
                _ = fresh.by_hash, fresh.by_id  # arranged here, in the thread
            return fresh

        return self._database.read(work, patience_s=LOOK_PATIENCE_S)

    def _write_used(self) -> None:
        used, self._used = self._used, {}
        self._wrote_used_at = time.monotonic()
        if not used:
            return

        def work(connection: "Connection") -> None:
            from kiroproxy.ledger import key_rows

            rows = [{"key": id_, "now": int(at * 1000)} for id_, at in used.items()]
            key_rows.write_used(connection, rows)

        try:
            self._database.write(work)
        except (DatabaseError, ConfigError):
            self._used = used | self._used

    def _restore(self, connection: "Connection") -> None:
        """A database that was begun anew gets its keys back."""
        kept = self._snapshot or load_copy(self._copy)
        if kept is not None and kept.keys:
            from kiroproxy.ledger import key_rows

            key_rows.restore(connection, kept)
            log.warning("%d client keys were restored", len(kept.keys))


# ---- the file beside the database ----------------------------------------------------------


def copy_path(database: Database) -> Path | None:
    """Where the copy lies; an engine of another kind keeps its own."""
    return None if database.path is None else Path(f"{database.path}.keys.json")


def save_copy(path: Path | None, snapshot: Snapshot) -> None:
    """Keep what the keys were, readable for us alone; without it we go on."""
    if path is None:
        return
    keys = b",\n".join(map(msgspec.json.encode, snapshot.keys))  # one by one: C keeps the GIL
    budgets = msgspec.json.encode(snapshot.group_budgets)
    data = b'{"mark":%d,"group_budgets":%b,"keys":[\n%b]}' % (snapshot.mark, budgets, keys)
    with contextlib.suppress(OSError):
        if path.exists() and path.read_bytes() == data:
            return
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def load_copy(path: Path | None) -> Snapshot | None:
    """What was kept; None if there is nothing that can be read."""
    if path is None:
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Snapshot)
    except (OSError, msgspec.MsgspecError):
        return None
