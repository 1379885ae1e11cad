"""The credentials file: JSON, two kinds of lock, atomic replacement (design 5, rules 1 to 7).

Lock order: the refresh lock of one credential, then the store lock. Beside `credentials.json` lie
its backups (`.bak.1`, the newest, to `.bak.3`), unreadable predecessors (`.corrupt-<time>`) and,
hidden, locks, intents and temporary files.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import filelock

from kiroproxy import masking
from kiroproxy.credentials import failpoints
from kiroproxy.credentials.model import ATTRIBUTES, Credential
from kiroproxy.credentials.stores import Change, Snapshot, durable
from kiroproxy.credentials.stores.document import (
    Document,
    build_document,
    parse_document,
    with_ids,
)
from kiroproxy.errors import ConfigError, NoCredential, StoreLocked, StoreUnwritable

log = logging.getLogger(__name__)

SNAPSHOT_AGE_S: Final = 1.0
BACKUPS: Final = 3
RACY_S: Final = 0.05
"""A file changed this shortly before it was read may change again with the same time stamp."""
STALE_TEMP_S: Final = 600
"""No refresh lasts this long: a temporary file this old belongs to a dead process."""
COMMIT_LOCK_S: Final = 30.0
"""A redeemed token waits longer for the store lock than anything else."""
REREADS: Final = 3
"""An editor may be just writing: so often, 50 ms apart, is an unreadable file read again."""

Signature = tuple[int, int, int, int]


MISSING: Final = "credentials: the file is missing"


@dataclass(frozen=True)
class _Loaded:
    """A document, what its file was like, and whether it comes from the file itself."""

    document: Document
    data: bytes | None = None
    digest: str = ""
    signature: Signature | None = None
    fault: str = ""

    @functools.cached_property
    def snapshot(self) -> Snapshot:
        """What others see of it: one object, as long as nothing changes."""
        problems = (*((self.fault,) if self.fault else ()), *self.document.problems)
        document = self.document
        for one in document.credentials:
            masking.learn(one.secrets)
        return Snapshot(document.credentials, self.digest, problems, document.groups)

    @property
    def missing(self) -> bool:
        """Whether there was no file, or nothing in it."""
        return not self.fault and not (self.data or b"").strip()


class FileStore:
    """A `Store` in one file. A symlink is resolved here, once; its target is what is replaced."""

    def __init__(
        self,
        path: Path,
        *,
        lock_timeout_s: float = 10,
        refresh_lock_timeout_s: float = 60,
        failpoint: failpoints.Failpoint = failpoints.no_failpoint,
    ) -> None:
        self.path = Path(os.path.realpath(path))
        self._lock_timeout_s = lock_timeout_s
        self._refresh_lock_timeout_s = refresh_lock_timeout_s
        self._failpoint = failpoint
        self.on_error: Callable[[], None] = lambda: None
        """Told of each write that came to nothing."""
        self._loaded: _Loaded | None = None
        self._checked_at = -SNAPSHOT_AGE_S

    # ---- reading ---------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The credentials, at most a second old; an unreadable file leaves the last good ones."""
        now = time.monotonic()
        if self._loaded is None or now - self._checked_at >= SNAPSHOT_AGE_S:
            self._checked_at = now
            self._loaded = self._look(self._loaded)
        return self._loaded.snapshot

    def look_again(self) -> None:
        """Let the next snapshot be as new as it can be, but give a fault its second to pass."""
        if self._loaded is not None and not self._loaded.fault:
            self._checked_at = -SNAPSHOT_AGE_S

    def _look(self, last: _Loaded | None) -> _Loaded:
        if last is not None and last.signature is not None and last.signature == self._signature():
            return last
        try:
            loaded = self._read()
            if loaded.missing and last is not None and last.document.entries:
                # an editor may be between two steps of its saving: believe it the second time
                return loaded if last.fault else replace(last, signature=None, fault=MISSING)
            return loaded
        except ConfigError as error:
            if last is None or last.fault != str(error):
                log.error("%s: %s; the last good state serves on", self.path, error)
            good = last.document if last is not None else self._newest_backup()
            return _Loaded(good or Document(), fault=str(error))

    def _signature(self) -> Signature | None:
        try:
            return _sign(self.path.stat(follow_symlinks=False))
        except OSError:
            return None

    def _read(self) -> _Loaded:
        """Read the file; a missing one holds no credentials (S97).

        Raises:
            ConfigError: it cannot be read, or lost its content while a backup has some.
        """
        try:
            data, status = durable.read_private(self.path)
        except FileNotFoundError:
            return _Loaded(Document())
        except OSError as error:
            raise ConfigError("credentials", f"{self.path}: {error.strerror}") from error
        document = parse_document(data)
        if not data.strip() and self._newest_backup() is not None:
            raise ConfigError("credentials", "the file is empty, though its backup is not")
        racy = time.time() - max(status.st_mtime, status.st_ctime) < RACY_S
        digest = hashlib.sha256(data).hexdigest()
        return _Loaded(document, data, digest, None if racy else _sign(status))

    def _backup(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.bak.{number}")

    def _newest_backup(self) -> Document | None:
        for number in range(1, BACKUPS + 1):
            with contextlib.suppress(OSError, ConfigError):
                document = parse_document(durable.read_private(self._backup(number))[0])
                if document.entries:
                    return document
        return None

    # ---- writing ---------------------------------------------------------------------------

    def edit(self, change: Change) -> Snapshot:
        """Read, change and write under the short store lock."""
        with self._locked(".lock", self._lock_timeout_s):
            return self._rewrite(change)

    def put(self, data: bytes) -> None:
        """Replace the whole file, as when a backup is restored; what it held becomes a backup.

        Raises:
            ConfigError: these are no credentials.
            StoreLocked, StoreUnwritable: nothing was changed.
        """
        document = parse_document(data)
        with self._locked(".lock", self._lock_timeout_s):
            try:
                old = self._read().data
            except ConfigError:
                old = None
                self._keep_corrupt()
            try:
                self._replace(data, None)
            except OSError as error:
                raise durable.unwritable(self.path, error) from error
            self._back_up(old, data)
            self._adopt(_Loaded(document, data, hashlib.sha256(data).hexdigest()))

    def _rewrite(
        self,
        change: Change,
        room: durable.Replacement | None = None,
        rescue: Document | None = None,
    ) -> Snapshot:
        """Apply a change, the store lock being held.

        `room` was reserved before; `rescue` takes the place of a file that vanished meanwhile.
        """
        loaded = self._read_for_edit(rescue)
        document = loaded.document
        credentials = list(document.credentials)
        changed = change(credentials)
        after = with_ids(credentials if changed is None else changed)
        if not loaded.fault and document.settled and tuple(after) == document.credentials:
            return self._adopt(loaded)
        data = build_document(document, after)
        if loaded.fault:
            self._keep_corrupt()
        try:
            self._replace(data, room)
        except OSError as error:
            raise durable.unwritable(self.path, error) from error
        self._back_up(loaded.data, data)
        # without a signature, so that the next look reads the file again
        return self._adopt(_Loaded(parse_document(data), data, hashlib.sha256(data).hexdigest()))

    def _adopt(self, loaded: _Loaded) -> Snapshot:
        self._loaded = loaded
        self._checked_at = time.monotonic()
        return loaded.snapshot

    def _read_for_edit(self, rescue: Document | None) -> _Loaded:
        """Read the file; else what this process knew last, or a backup, if that is newer."""
        known = rescue or (self._loaded.document if self._loaded is not None else Document())
        for attempt in range(REREADS):
            try:
                loaded, fault = self._read(), None
                if not (loaded.missing and known.entries):
                    return loaded
            except ConfigError as error:
                fault = error
            if attempt < REREADS - 1:
                time.sleep(RACY_S)
        if fault is None:  # it is really missing: deleted, unless a redeemed token is at stake
            return _Loaded(rescue, fault=MISSING) if rescue is not None else loaded
        candidates = [known, self._newest_backup() or Document()]
        newest = max(candidates, key=lambda one: (bool(one.entries), one.generation))
        if not newest.entries:
            raise fault
        log.error("%s: %s; its last good state takes its place", self.path, fault)
        return _Loaded(newest, fault=str(fault))

    def _replace(self, data: bytes, room: durable.Replacement | None) -> None:
        if room is None or not room.path.exists():
            room = durable.Replacement(self.path, len(data))
        with room:
            room.write(data)
            self._failpoint(failpoints.AFTER_TEMP_WRITE)
            room.rename(lambda: self._failpoint(failpoints.AFTER_RENAME))

    def _keep_corrupt(self) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        try:
            os.link(self.path, aside)
            aside.chmod(0o600)
        except OSError as error:
            log.warning("the unreadable %s could not be kept: %s", self.path, error)

    def _back_up(self, old: bytes | None, new: bytes) -> None:
        """Keep the last generations.

        `.bak.1` is a copy of what was just written, so that a damaged file costs nothing. What a
        person wrote before (`old`) is a generation too.
        """
        try:
            if old is not None and old.strip() and not self._is_backed_up(old):
                self._push_backup(old)
            self._push_backup(new)
        except (OSError, StoreUnwritable) as error:
            log.warning("no backup of %s was written: %s", self.path, error)

    def _back_up_first(self) -> None:
        """Copy a file that somebody has put in place: nothing of ours may ever be written to it."""
        loaded = self._loaded
        if loaded is None or loaded.fault or not loaded.data or not loaded.document.entries:
            return
        if not self._is_backed_up(loaded.data):
            self._back_up(None, loaded.data)

    def _is_backed_up(self, data: bytes) -> bool:
        try:
            return durable.read_private(self._backup(1))[0] == data
        except OSError:
            return False

    def _push_backup(self, data: bytes) -> None:
        for number in range(BACKUPS - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._backup(number).replace(self._backup(number + 1))
        durable.write_private(self._backup(1), data)

    # ---- locks and refreshes ---------------------------------------------------------------

    def _hidden(self, suffix: str) -> Path:
        return self.path.with_name(f".{self.path.name}{suffix}")

    @contextlib.contextmanager
    def _locked(self, suffix: str, timeout_s: float) -> Iterator[None]:
        """Hold a lock file; what cannot be written meanwhile is counted."""
        try:
            with self._lock(suffix, timeout_s):
                yield
        except (StoreLocked, StoreUnwritable) as error:
            if not error.counted:
                error.counted = True
                self.on_error()
            raise

    @contextlib.contextmanager
    def _lock(self, suffix: str, timeout_s: float) -> Iterator[None]:
        """A new object per use, polled, never blocking (rule 7)."""
        path = self._hidden(suffix)
        try:
            with contextlib.suppress(FileExistsError):
                fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
                durable.own_like(fd, self.path)
                os.close(fd)
            lock = filelock.FileLock(path, timeout=timeout_s, mode=0o600, poll_interval=0.01)
            lock.acquire()
        except filelock.Timeout as error:
            raise StoreLocked(
                f"{path} is held by another process for more than {timeout_s:g} s"
            ) from error
        except OSError as error:
            raise durable.unwritable(self.path, error) from error
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def refreshing(self, credential_id: int) -> Iterator["FileRefresh"]:
        """Hold the refresh lock of a credential across re-read, HTTP call and write."""
        with self._locked(f".refresh-{credential_id}.lock", self._refresh_lock_timeout_s):
            self._failpoint(failpoints.AFTER_LOCK)
            session = FileRefresh(self, credential_id)
            try:
                yield session
            finally:
                session.close()

    # ---- start and health ------------------------------------------------------------------

    def prepare(self) -> list[str]:
        """Make the directory, repair the file, give ids; returns warnings for the operator."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.exists() and not self.path.is_file():
            raise ConfigError("credentials", f"{self.path} is not a regular file")
        warnings = [one for one in (self.why_unwritable(), self._too_open()) if one]
        try:
            self._sweep()
            with self._locked(".lock", self._lock_timeout_s):
                snapshot = self._rewrite(lambda credentials: None)
                self._back_up_first()
        except (StoreLocked, StoreUnwritable) as error:
            warnings += [] if isinstance(error, StoreUnwritable) and warnings else [str(error)]
            snapshot = self.snapshot()
        if not self.path.exists() and self._newest_backup() is not None:
            warnings.append(f"{self.path} is missing, but backups of it exist ({self.path}.bak.*)")
        warnings += [one for one in snapshot.problems if one not in warnings]
        warnings += [
            f"the refresh of credential #{path.name.rsplit('-', 1)[1].removesuffix('.intent')} "
            "broke off before its result was stored: its token is tried once more when needed"
            for path in sorted(self.path.parent.glob(f".{self.path.name}.refresh-*.intent"))
        ]
        return warnings

    def _too_open(self) -> str | None:
        with contextlib.suppress(OSError):
            mode = self.path.stat().st_mode
            if hasattr(os, "geteuid") and mode & (stat.S_IRWXG | stat.S_IRWXO):
                return f"{self.path} can be read by others: run chmod 600 on it"
        return None

    def _sweep(self) -> None:
        """Remove temporary files of dead processes."""
        for path in self.path.parent.glob(f".{self.path.name}*.tmp-*"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE_TEMP_S:
                    path.unlink()

    def why_unwritable(self) -> str | None:
        """Why a refresh could not be stored now, in words."""
        if reason := durable.why_not_replaceable(self.path):
            return reason
        with contextlib.suppress(OSError):
            need = (self.path.stat().st_size if self.path.exists() else 0) + durable.HEADROOM_BYTES
            if durable.free_bytes(self.path.parent) < need:
                return f"no room in {self.path.parent}: {need} bytes are needed for a refresh"
        return None


class FileRefresh:
    """A `RefreshSession` on a `FileStore`, made while its refresh lock is held."""

    def __init__(self, store: FileStore, credential_id: int) -> None:
        self._store = store
        self._id = credential_id
        self._room: durable.Replacement | None = None
        self._intent_path = store._hidden(f".refresh-{credential_id}.intent")
        self._document = Document()
        self.current = self.reread()
        self.unconfirmed = self._stale_intent()

    def reread(self) -> Credential:
        """Read the file again."""
        loaded = self._store._loaded = self._store._look(self._store._loaded)
        self._document = loaded.document
        current = loaded.snapshot.get(self._id)
        if current is None:
            raise NoCredential(f"credential #{self._id} is gone from the store")
        self.current = current
        return current

    def _stale_intent(self) -> bool:
        """Whether a dead process redeemed this generation's token and did not store the answer.

        An intent of an earlier generation was only not removed in time.
        """
        try:
            intent = json.loads(self._intent_path.read_bytes())
            stale = bool(intent["generation"] >= self.current.generation)
        except FileNotFoundError:
            return False
        except (OSError, ValueError, TypeError, KeyError):
            stale = True  # torn: it was being written
        if not stale:
            self.drop_intent()
        return stale

    def reserve(self) -> None:
        """Reserve room for the file's next content (rule 3)."""
        if self._room is None:
            try:
                size = self._store.path.stat().st_size
            except OSError:
                size = 0
            self._room = durable.Replacement(self._store.path, size)
            self._store._failpoint(failpoints.AFTER_RESERVE)

    def intent(self) -> None:
        """Note durably that the token is about to be redeemed (rule 4)."""
        note = {
            "id": self._id,
            "generation": self.current.generation,
            "startedAt": datetime.now(UTC).isoformat(),
        }
        try:
            durable.write_private(self._intent_path, json.dumps(note).encode())
        except OSError as error:
            raise durable.unwritable(self._store.path, error) from error
        self._store._failpoint(failpoints.AFTER_INTENT)

    def drop_intent(self) -> None:
        """Remove the note."""
        with contextlib.suppress(OSError):
            self._intent_path.unlink()

    def commit(self, new: Credential, base: Credential | None = None) -> Credential:
        """Store the outcome of a refresh through the reserved file (rule 4)."""
        merge = _Merge(base or self.current, new)
        with self._store._locked(".lock", COMMIT_LOCK_S):
            self._store._rewrite(merge, self._room, self._document)
        self.drop_intent()
        if merge.stored is None:
            raise NoCredential(f"credential #{self._id} was deleted while it was refreshed")
        self.current = merge.stored
        return merge.stored

    def close(self) -> None:
        """Give back the reserved room."""
        if self._room is not None:
            self._room.discard()
            self._room = None


class _Merge:
    """A change that carries a refresh into a store that others may have edited meanwhile."""

    def __init__(self, base: Credential, new: Credential) -> None:
        self._base = base
        self._changes: dict[str, Any] = {
            name: getattr(new, name)
            for name in ATTRIBUTES
            if name not in ("id", "generation") and getattr(new, name) != getattr(base, name)
        }
        self.stored: Credential | None = None

    def __call__(self, credentials: list[Credential]) -> None:
        at = self._find(credentials)
        if at is None:
            return
        found = credentials[at]
        if found.refresh_token != self._base.refresh_token:
            log.warning("credential #%d got another refresh token meanwhile; it stays", found.id)
            self.stored = found
            return
        generation = max(found.generation, self._base.generation) + 1
        self.stored = credentials[at] = replace(found, **self._changes, generation=generation)

    def _find(self, credentials: list[Credential]) -> int | None:
        """Where the redeemed token lies now; else where its id lies."""
        tests: tuple[Callable[[Credential], bool], ...] = (
            lambda one: one.refresh_token == self._base.refresh_token and one.id == self._base.id,
            lambda one: one.refresh_token == self._base.refresh_token,
            lambda one: one.id == self._base.id,
        )
        for test in tests:
            for at, one in enumerate(credentials):
                if test(one):
                    return at
        return None


def _sign(status: os.stat_result) -> Signature:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
