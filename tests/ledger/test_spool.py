"""What the database did not take is kept: bounded, private, by process."""

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from kiroproxy.ledger.spool import Spool

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", limit_bytes=8000)


def lines(spool: Spool) -> list[bytes]:
    return [line for path in spool.files() for line in spool.read(path)]


def test_rows_come_back_in_order(spool: Spool) -> None:
    assert spool.files() == []
    spool.append([b"1", b"2"])
    spool.append([b"3"])
    assert lines(spool) == [b"1", b"2", b"3"]
    spool.append([b"4"])
    assert [len(spool.read(path)) for path in spool.files()] == [3, 1], "a file that is read rests"
    for path in spool.files():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        spool.forget(path)
        spool.forget(path)
        assert spool.read(path) == []
    assert stat.S_IMODE(spool.directory.stat().st_mode) == 0o700
    assert spool.size_bytes() == 0


def test_the_oldest_makes_room(spool: Spool) -> None:
    for n in range(200):
        spool.append([b"%03d" % n + b"x" * 96])
    assert spool.size_bytes() <= 8000
    kept = lines(spool)
    assert spool.dropped + len(kept) == 200
    assert spool.dropped < 200 - 60, "no more than needed"
    assert kept[-1].startswith(b"199")
    assert [int(one[:3]) for one in kept] == list(range(spool.dropped, 200))


def leave_rows(directory: Path) -> None:
    Spool(directory).append([b"left"])


def test_what_the_dead_left_anybody_takes(spool: Spool) -> None:
    worker = SPAWN.Process(target=leave_rows, args=(spool.directory,))
    worker.start()
    worker.join()
    assert lines(spool) == [b"left"]
    (spool.directory / "strange.jsonl").write_bytes(b"x\n")
    (spool.directory / f"1-{os.getppid()}-0.jsonl").write_bytes(b"y\n")
    assert lines(spool) == [b"left"], "not what is somebody's, or nobody's"


def test_nothing_is_kept_by_half(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may fill up in the middle of a row."""
    spool.append([b"1"])
    real = os.write

    def full(handle: int, data: memoryview) -> int:
        real(handle, data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        spool.append([b"22222", b"33333"])
    monkeypatch.undo()
    spool.append([b"4"])
    assert lines(spool) == [b"1", b"4"]


def test_an_impossible_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Spool(tmp_path / "file" / "spool").append([b"1"])
