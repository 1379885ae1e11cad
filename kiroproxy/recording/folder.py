"""The directory of recordings: bounded in number and in bytes, for all workers together.

A file is written beside its place and renamed, so that it is there whole or not at all. Whoever
has written one lets the oldest make room; a file goes only when there are enough newer ones, so
that no worker takes away what another's bound would keep. Calls block: use a thread.
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from kiroproxy.errors import NotFound
from kiroproxy.recording.document import (
    FILE_BYTES,
    HEAD_BYTES,
    BadRecording,
    Headline,
    Recording,
    decode,
    decode_headline,
)
from kiroproxy.runtime import is_alive, start_time

NAME: Final = "recordings"
"""Below the state directory."""
TOTAL_BYTES: Final = 256 * 1024 * 1024
SPARE_BYTES: Final = 64 * 1024 * 1024
"""So much of the file system is left free: rotated tokens need it more."""
SUFFIX: Final = ".json"
PART: Final = ".part"
_PLAIN: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.-]")
_NAME: Final = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[A-Za-z0-9_.-]+\.json")


@dataclass(frozen=True, slots=True)
class Entry:
    """A recording that lies there; its name begins with the time and ends with the id."""

    path: Path
    size: int

    @property
    def id(self) -> str:
        """The request's id, which is also its trace's."""
        return self.path.name.removesuffix(SUFFIX).partition("-")[2]


class Folder:
    """The recordings in `path`, which is made with the first one; at most `limit` of them."""

    def __init__(self, path: Path, limit: int, limit_bytes: int = TOTAL_BYTES) -> None:
        self.path = path
        self._limit = limit
        self._limit_bytes = limit_bytes

    # ---- writing ---------------------------------------------------------------------------

    def add(self, recording_id: str, at: datetime, data: bytes) -> None:
        """Store a recording, and let the oldest make room.

        Raises:
            OSError: it was not stored: no room, or no permission.
        """
        if len(data) > self._limit_bytes:
            raise OSError(f"a recording of {len(data)} bytes exceeds the directory's limit")
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._opened() as folder:
            _refuse_to_fill(folder, len(data))
            self._make_room(folder, 1, len(data))
            name = f"{at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{_UNSAFE.sub('_', recording_id)}"
            part = f".{name}.{os.getpid()}-{start_time(os.getpid()) or 0}{PART}"
            try:
                _write(part, data, folder)
                os.rename(part, name + SUFFIX, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                _unlink(part, folder)
                raise
            self._make_room(folder, 0, 0)

    def _make_room(self, folder: int, count: int, size: int) -> None:
        """Let the oldest go until so many more of that size fit; and what the dead have begun."""
        sizes: dict[str, int] = {}
        for name in os.listdir(folder):
            if name.endswith(PART) and _is_abandoned(name):
                _unlink(name, folder)
            elif _NAME.fullmatch(name):
                with contextlib.suppress(FileNotFoundError):
                    sizes[name] = os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
        for name in sorted(sizes, reverse=True):
            count += 1
            size += sizes[name]
            if count > self._limit or size > self._limit_bytes:
                _unlink(name, folder)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """The directory itself, private: not what a link in its place points at."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | _PLAIN)
        try:
            if stat.S_IMODE(os.fstat(folder).st_mode) != 0o700:
                os.fchmod(folder, 0o700)
            yield folder
        finally:
            os.close(folder)

    # ---- reading ---------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """What lies there, newest first."""
        found = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for path in self.path.iterdir():
                if _NAME.fullmatch(path.name):
                    with contextlib.suppress(FileNotFoundError):
                        found.append(Entry(path, path.lstat().st_size))
        return sorted(found, key=lambda one: one.path.name, reverse=True)

    def find(self, wanted: str) -> Entry:
        """By the whole id, the file's name, or the beginning of an id that only one has.

        Raises:
            NotFound: there is none, or more than one begins so.
        """
        entries = self.entries()
        found = [one for one in entries if wanted in (one.id, one.path.name, one.path.stem)]
        begun = wanted.removeprefix("req_")
        found = found or [
            one for one in entries if begun and one.id.removeprefix("req_").startswith(begun)
        ]
        if len(found) == 1:
            return found[0]
        raise NotFound(
            f"{len(found)} recordings begin with {wanted}." if found
            else f"There is no recording {wanted}."
        )  # fmt: skip

    def remove(self, entry: Entry) -> None:
        """Take one away; it may be gone already."""
        entry.path.unlink(missing_ok=True)


def row_of(entry: Entry) -> dict[str, Any]:
    """What a list says of one; a file that cannot be read is there too, with its `problem`."""
    row: dict[str, Any] = {"id": entry.id, "file": str(entry.path), "bytes": entry.size}
    try:
        found = load_headline(entry.path)
    except BadRecording as error:
        return row | {"time": entry.path.name.partition("-")[0], "problem": str(error)}
    outline = found.outline
    return row | {
        "time": f"{found.time:%Y-%m-%dT%H:%M:%SZ}",
        "why": found.why,
        "method": outline.method,
        "path": outline.path,
        "dialect": found.dialect,
        "model": found.model,
        "stream": found.stream,
        "status": outline.status,
        "ending": outline.ending,
        "message": outline.message,
        "attempts": outline.attempts,
        "durationSec": found.duration_sec,
    }


def load(path: Path) -> Recording:
    """Read a recording's file.

    Raises:
        BadRecording: it cannot be read, or is no recording that this version knows.
    """
    data = read(path)
    try:
        return decode(data)
    except BadRecording as error:
        raise BadRecording(f"{path} cannot be read: {error}") from None


def load_headline(path: Path) -> Headline:
    """The same of what stands at its beginning."""
    try:
        try:
            return decode_headline(read(path, HEAD_BYTES))
        except BadRecording:  # somebody has put it in another order
            return decode_headline(read(path))
    except BadRecording as error:
        words = str(error).removeprefix(f"{path} cannot be read: ")
        raise BadRecording(f"{path} cannot be read: {words}") from None


def read(path: Path, size: int = 0) -> bytes:
    """The bytes of a recording's file, or the first `size` of them.

    Raises:
        BadRecording: it cannot be read, or is too large to be one.
    """
    try:
        with path.open("rb") as file:
            data = file.read(size or FILE_BYTES + 1)
    except OSError as error:
        raise BadRecording(f"{path} cannot be read: {error.strerror or error}") from None
    if len(data) > FILE_BYTES:
        raise BadRecording(f"{path} cannot be read: it is too large for a recording")
    return data


def _write(name: str, data: bytes, folder: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN
    handle = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
    finally:
        os.close(handle)


def _unlink(name: str, folder: int) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=folder)


def _refuse_to_fill(folder: int, size: int) -> None:
    room = os.fstatvfs(folder)
    free = room.f_bavail * room.f_frsize
    if free < size + SPARE_BYTES:
        raise OSError(f"only {free >> 20} MiB are free there")


def _is_abandoned(name: str) -> bool:
    """Whether the process that has begun a file is gone."""
    try:
        pid, started = name.removesuffix(PART).rpartition(".")[2].split("-")
        return not is_alive(int(pid), "" if started == "0" else started)
    except ValueError:
        return False
