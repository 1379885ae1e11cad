"""One file with everything that an installation cannot make anew: backup and restore.

A gzipped tar with a manifest (`files`: name, bytes, sha256), the configuration, the credentials
and the databases. Databases are copied through SQLite's backup interface, so that both directions
work beside a running server. An archive is checked as a whole before anything is replaced; its
members have fixed names, and none of them says where it goes.
"""

import contextlib
import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import filelock

from kiroproxy import __version__
from kiroproxy.config import Config, load_config, read_document
from kiroproxy.credentials.stores import durable
from kiroproxy.credentials.stores.document import parse_document
from kiroproxy.credentials.stores.file import FileStore
from kiroproxy.errors import ConfigError, InvalidRequest, KiroProxyError, StoreUnwritable

FORMAT: Final = "kiroproxy-backup"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"
CONFIG: Final = "config.json"
CREDENTIALS: Final = "credentials.json"
DATABASE: Final = "kiroproxy.db"
LEDGER: Final = "ledger.db"
"""The database of `databaseUrl`, where that is another SQLite file."""
LIMITS: Final[Mapping[str, int]] = {
    MANIFEST: 1 << 20,
    CONFIG: 1 << 26,
    CREDENTIALS: 1 << 26,
    DATABASE: 1 << 31,
    LEDGER: 1 << 31,
}
"""The members that there may be, and their largest sizes in bytes."""
SQLITE_URL: Final = "sqlite:///"
CHUNK: Final = 1 << 20
BUSY_S: Final = 10.0


class BadArchive(KiroProxyError):
    """A file cannot be restored; nothing was changed."""


def places(config: Config) -> dict[str, Path]:
    """Where each member lies in an installation, by its name."""
    found = {
        CONFIG: config.config_path.resolve(),
        CREDENTIALS: config.credentials_path.resolve(),
        DATABASE: config.database_path.resolve(),
    }
    if config.database_url.startswith(SQLITE_URL):
        other = Path(config.database_url.removeprefix(SQLITE_URL)).resolve()
        if other != found[DATABASE]:
            found[LEDGER] = other
    return found


def foreign_database(config: Config) -> bool:
    """Whether there is a database that only its own server's tools can back up."""
    return not config.database_url.startswith(SQLITE_URL)


def server_runs(state_dir: Path) -> bool:
    """Whether a server holds the lock of its state directory."""
    lock = state_dir / "runtime.lock"
    if not lock.exists():
        return False
    try:
        with filelock.FileLock(lock, timeout=0):
            return False
    except (filelock.Timeout, OSError):
        return True


# ---- backup --------------------------------------------------------------------------------


def write_archive(config: Config, target: Path) -> list[dict[str, Any]]:
    """Back up what exists; returns the manifest's entries.

    Raises:
        InvalidRequest: the target exists.
        ConfigError: something cannot be read, the credentials are no credentials, or the target
            cannot be written.
    """
    if target.exists():
        raise InvalidRequest(f"{target} exists already")
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".kiroproxy-backup-") as name:
            folder = Path(name)
            members = _collect(config, folder)
            if not members:
                raise InvalidRequest("there is nothing to back up: neither file nor database")
            if CREDENTIALS in members:  # `restore` would refuse it
                parse_document(members[CREDENTIALS].read_bytes())
            entries = [_entry(name, path) for name, path in members.items()]
            made = folder / "archive"
            _pack(made, members, entries)
            made.replace(target)
    except OSError as error:
        where = error.filename or target
        raise ConfigError(str(where), f"{error.strerror or error}") from error
    durable.sync_directory(target.parent)
    return entries


def _collect(config: Config, folder: Path) -> dict[str, Path]:
    """Copies of what there is: nothing changes any more while it is packed."""
    members = {}
    for name, source in places(config).items():
        if not source.exists():
            continue
        copy = folder / name
        if name in (DATABASE, LEDGER):
            copy_database(source, copy)
        else:
            copy.write_bytes(source.read_bytes())
        members[name] = copy
    return members


def copy_database(source: Path, target: Path) -> None:
    """Copy one SQLite file onto another, both of which may be in use.

    Raises:
        ConfigError: one of them is no database, or busy for too long.
    """
    uri = f"{source.absolute().as_uri()}?mode=rw"
    try:
        with (
            contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_S)) as old,
            contextlib.closing(sqlite3.connect(target, timeout=BUSY_S)) as new,
        ):
            old.backup(new)
    except sqlite3.Error as error:
        raise ConfigError(str(source), f"cannot be copied to {target}: {error}") from error


def _entry(name: str, path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": name, "bytes": path.stat().st_size, "sha256": digest}


def _pack(target: Path, members: Mapping[str, Path], entries: list[dict[str, Any]]) -> None:
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "program": f"kiroproxy {__version__}",
        "files": entries,
    }
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(target, flags, 0o600), "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz") as tar:
            data = json.dumps(manifest, indent=2).encode()
            _add(tar, MANIFEST, len(data), io.BytesIO(data))
            for name, path in members.items():
                with path.open("rb") as content:
                    _add(tar, name, path.stat().st_size, content)
        file.flush()
        os.fsync(file.fileno())


def _add(tar: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    info.mtime = int(datetime.now(UTC).timestamp())
    tar.addfile(info, content)


# ---- restore -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive that was checked: its unpacked members by name, and what it says of itself."""

    members: Mapping[str, Path]
    manifest: Mapping[str, Any]
    config: Config
    """What the restored configuration comes to here."""

    @property
    def targets(self) -> dict[str, Path]:
        """Where each member goes: places are this installation's, never the archive's."""
        known = places(self.config)
        return {name: known[name] for name in self.members if name in known}


@contextlib.contextmanager
def open_archive(path: Path, paths: Mapping[str, Path | None]) -> Iterator[Archive]:
    """Unpack an archive and check all of it. `paths` are those of the command line.

    Raises:
        BadArchive: says what is wrong with it.
    """
    with tempfile.TemporaryDirectory(prefix="kiroproxy-restore-") as name:
        folder = Path(name)
        try:
            with tarfile.open(path, "r:gz") as tar:
                members = dict(_unpack(tar, folder))
                while tar.fileobj is not None and tar.fileobj.read(CHUNK):
                    pass  # to its end, where gzip's own checksum is
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise BadArchive(f"{path} is no backup of kiroproxy: {error}") from None
        except OSError as error:
            why = error.strerror or "it is not a gzipped tar file"
            raise BadArchive(f"{path} cannot be read: {why}") from None
        manifest = _checked_manifest(path, members)
        members.pop(MANIFEST)
        yield Archive(members, manifest, _checked_content(path, members, paths))


def _unpack(tar: tarfile.TarFile, folder: Path) -> Iterator[tuple[str, Path]]:
    seen: set[str] = set()
    for info in tar:
        limit = LIMITS.get(info.name)
        if limit is None or not info.isreg() or info.name in seen:
            raise BadArchive(
                f"{info.name!r:.100} does not belong into a backup: nothing is restored"
            )
        if info.size > limit:
            raise BadArchive(f"{info.name} is too large: nothing is restored")
        seen.add(info.name)
        source = tar.extractfile(info)
        if source is None:
            raise BadArchive(f"{info.name} has no content")
        target = folder / info.name
        with target.open("wb") as file:
            while chunk := source.read(CHUNK):
                file.write(chunk)
        yield info.name, target


def _checked_manifest(path: Path, members: Mapping[str, Path]) -> dict[str, Any]:
    try:
        manifest = json.loads(members[MANIFEST].read_bytes())
        known = manifest["format"] == FORMAT
        version = int(manifest["version"])
        entries = {str(one["name"]): str(one["sha256"]) for one in manifest["files"]}
    except (KeyError, ValueError, TypeError):
        raise BadArchive(f"{path} is no backup of kiroproxy: it has no manifest") from None
    if not known or version > VERSION:
        raise BadArchive(f"{path} was made by another program, or a newer kiroproxy")
    if set(entries) != set(members) - {MANIFEST}:
        raise BadArchive(f"{path} is not whole: its manifest names other files")
    for name, digest in entries.items():
        if _entry(name, members[name])["sha256"] != digest:
            raise BadArchive(f"{path} is damaged: {name} is not what it was")
    return dict(manifest)


def _checked_content(
    path: Path, members: Mapping[str, Path], paths: Mapping[str, Path | None]
) -> Config:
    """Each member is what its name says.

    Raises:
        BadArchive: one is not.
    """
    try:
        document = None
        if CONFIG in members:
            document = read_document(members[CONFIG])
        config = load_config(paths, document=document)
        if CREDENTIALS in members:
            parse_document(members[CREDENTIALS].read_bytes())
    except ConfigError as error:
        raise BadArchive(f"{path} holds what cannot be used: {error}") from None
    for name in (DATABASE, LEDGER):
        if name in members and (why := _unsound(members[name])):
            raise BadArchive(f"{path} holds a damaged {name}: {why}")
    return config


def _unsound(database: Path) -> str:
    try:
        with contextlib.closing(sqlite3.connect(database)) as db:
            said = db.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.Error as error:
        return str(error)
    return "" if said == "ok" else str(said)


def restore(archive: Archive) -> dict[str, Path | None]:
    """Put the members into their places; returns where the old ones are kept (`.bak`).

    Raises:
        ConfigError, CredentialError: one could not be replaced; the message names it. Those that
            came before it are restored.
    """
    targets = archive.targets
    for name, target in targets.items():
        with contextlib.suppress(OSError):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if why := durable.why_not_replaceable(target):
            raise ConfigError(name, f"{why}: nothing is restored")
    kept: dict[str, Path | None] = {}
    for name in (DATABASE, LEDGER, CREDENTIALS, CONFIG):
        if name in targets:
            kept[name] = _put(name, archive.members[name], targets[name])
    return kept


def _put(name: str, source: Path, target: Path) -> Path | None:
    backup = target.with_name(f"{target.name}.bak")
    existed = target.exists()
    try:
        if name in (DATABASE, LEDGER):
            if existed:
                _keep_database(target, backup)
            _touch_private(target)
            copy_database(source, target)
        else:
            if existed:
                durable.write_private(backup, target.read_bytes())
            if name == CREDENTIALS:
                FileStore(target).put(source.read_bytes())
            else:
                durable.write_private(target, source.read_bytes())
    except OSError as error:
        raise ConfigError(name, f"{target} was not restored: {error.strerror or error}") from error
    except StoreUnwritable as error:
        raise ConfigError(name, f"{target} was not restored: {error}") from error
    return backup if existed else None


def _keep_database(target: Path, backup: Path) -> None:
    """Copy what will be replaced; a file that is broken steps aside instead."""
    if _unsound(target):
        target.replace(backup)
        for suffix in ("-wal", "-shm", "-journal"):
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        return
    _touch_private(backup)
    copy_database(target, backup)


def _touch_private(path: Path) -> None:
    """SQLite makes files that anybody may read."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
