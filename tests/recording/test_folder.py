"""The directory: private, bounded for all writers together, whole files only."""

import json
import os
import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kiroproxy.errors import NotFound
from kiroproxy.recording import folder as module
from kiroproxy.recording.document import BadRecording, encode
from kiroproxy.recording.folder import Folder, load, row_of
from tests.recording.helpers import recorded

START = datetime(2026, 11, 28, 21, 0, tzinfo=UTC)


def fill(folder: Folder, count: int, size: int = 100, first: int = 0) -> None:
    for n in range(first, first + count):
        folder.add(f"req_{n}", START + timedelta(seconds=n), b"x" * size)


def ids(folder: Folder) -> list[str]:
    return [one.id for one in folder.entries()]


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "recordings", 5)
    assert folder.entries() == []
    assert list(tmp_path.iterdir()) == []


def test_bounded_in_number(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "recordings", 3)
    fill(folder, 5)
    assert ids(folder) == ["req_4", "req_3", "req_2"], "newest first"
    assert len(list(folder.path.iterdir())) == 3


def test_bounded_in_bytes(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "recordings", 100, limit_bytes=1000)
    fill(folder, 4, size=300)
    assert ids(folder) == ["req_3", "req_2", "req_1"]
    folder.add("req_large", START + timedelta(hours=1), b"x" * 900)
    assert ids(folder) == ["req_large"]
    with pytest.raises(OSError, match="exceeds"):
        folder.add("req_huge", START, b"x" * 1001)
    assert ids(folder) == ["req_large"]


def test_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = Folder(tmp_path / "recordings", 3)
        fill(folder, 1)
        folder.path.chmod(0o755)
        fill(folder, 1, first=1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(one.path.stat().st_mode) for one in folder.entries()} == {0o600}


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = Folder(tmp_path / "recordings", 3)
    folder.path.symlink_to(elsewhere)
    with pytest.raises(OSError):
        fill(folder, 1)
    assert list(elsewhere.iterdir()) == []


def test_a_file_in_its_place_is_an_error(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "recordings", 3)
    folder.path.write_text("mine")
    with pytest.raises(OSError):
        fill(folder, 1)
    assert folder.entries() == []


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "recordings", 1)
    fill(folder, 1)
    kept = [folder.path / name for name in ("notes.txt", "bug-17.json")]
    for one in kept:
        one.write_text("mine")
    fill(folder, 3, first=1)
    assert all(one.exists() for one in kept)
    assert ids(folder) == ["req_3"]


def test_what_a_dead_process_has_begun_goes(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "recordings", 3)
    fill(folder, 1)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    name = ".20261128T210000.000000Z-req_x"
    left = folder.path / f"{name}.{dead.pid}-0.part"
    alive = folder.path / f"{name}.{os.getpid()}-0.part"
    odd = folder.path / ".odd.part"
    for one in (left, alive, odd):
        one.write_text("half")
    fill(folder, 1, first=1)
    assert (left.exists(), alive.exists(), odd.exists()) == (False, True, True)


def test_room_is_left_for_what_matters_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPARE_BYTES", 1 << 62)
    folder = Folder(tmp_path / "recordings", 3)
    with pytest.raises(OSError, match="are free"):
        fill(folder, 1)
    assert list(folder.path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="needs a small tmpfs")
def test_a_full_disk_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPARE_BYTES", -(1 << 30))
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        folder = Folder(tmp_path / "recordings", 10)
        fill(folder, 1)
        with pytest.raises(OSError):
            fill(folder, 1, size=400_000, first=1)
        assert ids(folder) == ["req_0"]
        assert len(list(folder.path.iterdir())) == 1
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from kiroproxy.recording.folder import Folder
folder = Folder(Path(sys.argv[1]), 5, limit_bytes=4000)
for n in range(40):
    folder.add(f"req_{sys.argv[2]}_{n}", datetime.now(UTC), b"x" * 500)
    assert len([one for one in folder.path.iterdir() if one.suffix == ".json"]) <= 5 + 3
"""


def test_several_writers_keep_one_bound(tmp_path: Path) -> None:
    place = tmp_path / "recordings"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(place), str(n)]) for n in range(4)
    ]
    assert [one.wait(60) for one in writers] == [0] * 4
    entries = Folder(place, 5).entries()
    assert len(entries) == 5
    assert len(list(place.iterdir())) == 5, "no parts"


def test_found_by_id_name_or_beginning(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "recordings", 10)
    for name in ("req_abc1", "req_abc2", "req_f00"):
        folder.add(name, START, b"{}")
    assert folder.find("req_abc1").id == "req_abc1"
    assert folder.find("f0").id == "req_f00"
    assert folder.find("req_f").id == "req_f00"
    assert folder.find(folder.find("f0").path.name).id == "req_f00"
    for wanted, said in (("abc", "2 recordings"), ("nope", "no recording"), ("", "no recording")):
        with pytest.raises(NotFound, match=said):
            folder.find(wanted)
    folder.remove(folder.find("f0"))
    assert len(folder.entries()) == 2


def test_names_cannot_leave_the_directory(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "recordings", 10)
    folder.add("../../x/y", START, b"{}")
    assert [one.path.parent for one in folder.entries()] == [folder.path]


def test_load(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    with pytest.raises(BadRecording, match=r"one\.json cannot be read: No such file"):
        load(path)
    path.write_bytes(encode(recorded()))
    assert load(path).id == "req_1"
    path.write_bytes(b"{")
    with pytest.raises(BadRecording, match=r"one\.json cannot be read: it is not JSON"):
        load(path)
    with pytest.raises(BadRecording, match="Is a directory"):
        load(tmp_path)


def test_a_row_of_a_list(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "recordings", 10)
    folder.add("req_1", START, encode(recorded()))
    row = row_of(folder.find("req_1"))
    assert (row["ending"], row["status"], row["attempts"]) == ("BadChecksum", 200, 1)
    path = folder.find("req_1").path
    path.write_text(json.dumps(dict(sorted(json.loads(path.read_text()).items())), indent=1))
    assert row_of(folder.find("req_1")) == row | {"bytes": path.stat().st_size}, "in any order"
    path.write_text("[]")
    assert row_of(folder.find("req_1"))["problem"].count("cannot be read") == 1
