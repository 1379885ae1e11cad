"""Rows that the database did not take, in files of JSON lines until it does.

Each process appends to files of its own; what a dead one left behind anybody may take. The whole is
bounded: the oldest file makes room, and what it held is counted as dropped.
"""

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kiroproxy.runtime import is_alive, start_time

LIMIT_BYTES: Final = 64 * 1024 * 1024
PARTS: Final = 8
"""Files that make up the limit: dropping one loses an eighth."""


class Spool:
    """The files in `directory`, which is made when it is needed. Calls block: use a thread."""

    def __init__(self, directory: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.directory = directory
        self.dropped = 0
        """Rows that had to make room."""
        self._limit = limit_bytes
        self._current: Path | None = None
        self._pid = 0

    def append(self, lines: Sequence[bytes]) -> None:
        """Keep rows.

        Raises:
            OSError: none of them was kept.
        """
        data = b"".join(line + b"\n" for line in lines)
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._file()
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            before = os.fstat(handle).st_size
            try:
                _write_all(handle, data)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, before)
                raise
            if before + len(data) >= self._limit // PARTS:
                self._current = None
        finally:
            os.close(handle)
        self._make_room()

    def files(self) -> list[Path]:
        """Own files and those of dead processes, oldest first; what is appended later is not there.

        Raises:
            OSError: the directory cannot be read.
        """
        self._current = None
        return [path for path in self._all() if self._is_free(path)]

    def read(self, path: Path) -> list[bytes]:
        """The rows of a file; another process may have taken it meanwhile."""
        try:
            return path.read_bytes().splitlines()
        except FileNotFoundError:
            return []

    def forget(self, path: Path) -> None:
        """Its rows are where they belong."""
        path.unlink(missing_ok=True)

    def size_bytes(self) -> int:
        """How much lies there."""
        return sum(_size(path) for path in self._all())

    def _file(self) -> Path:
        if self._current is None or self._pid != os.getpid():
            self._pid = os.getpid()
            started = start_time(self._pid) or "0"
            name = f"{time.time_ns():020d}-{self._pid}-{started}.jsonl"
            self._current = self.directory / name
        return self._current

    def _all(self) -> list[Path]:
        return sorted(self.directory.glob("*.jsonl"))

    def _is_free(self, path: Path) -> bool:
        try:
            pid, started = path.stem.split("-")[1:3]
            own = int(pid) == os.getpid()
            return own or not is_alive(int(pid), "" if started == "0" else started)
        except ValueError:
            return False  # not one of ours

    def _make_room(self) -> None:
        sizes = {path: _size(path) for path in self._all()}
        total = sum(sizes.values())
        for path, size in sizes.items():
            if total <= self._limit:
                return
            self.dropped += len(self.read(path))
            self.forget(path)
            total -= size
            if path == self._current:
                self._current = None


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
