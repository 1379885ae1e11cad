import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiroproxy.credentials.stores import durable
from kiroproxy.errors import StoreUnwritable


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "small"
    place.mkdir()
    mount("-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place))
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_replacing(target: Path) -> None:
    with durable.Replacement(target, 3) as file:
        assert file.path.parent == target.parent
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        assert file.path.stat().st_size >= 3 + durable.HEADROOM_BYTES
        file.write(b"new content")
        assert target.read_bytes() == b"old"
        file.rename()
    assert target.read_bytes() == b"new content"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(target.parent.iterdir()) == [target]


def test_a_replacement_that_is_not_used_leaves_nothing(target: Path) -> None:
    with durable.Replacement(target, 3):
        pass
    assert list(target.parent.iterdir()) == [target]
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_room_where_there_is_no_fallocate(
    target: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(fd: int, offset: int, size: int) -> None:
        raise OSError(code, "no")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with durable.Replacement(target, 100_000) as file:
        assert file.path.stat().st_blocks * 512 >= 100_000 + durable.HEADROOM_BYTES


def test_no_room(small: Path) -> None:
    """Rule 3."""
    target = small / "file"
    target.write_bytes(b"old")
    (small / "ballast").write_bytes(bytes(200 * 1024))
    with pytest.raises(StoreUnwritable):
        durable.Replacement(target, 3)
    assert sorted(path.name for path in small.iterdir()) == ["ballast", "file"]
    assert durable.free_bytes(small) < durable.HEADROOM_BYTES + 3


def test_a_read_only_file_system(small: Path) -> None:
    target = small / "file"
    target.write_bytes(b"old")
    mount("-o", "remount,ro", str(small))
    with pytest.raises(StoreUnwritable, match="read-only"):
        durable.Replacement(target, 3)


def test_a_mounted_file(target: Path, tmp_path: Path) -> None:
    """Rule 6."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    point = tmp_path / "with blank"
    point.touch()
    mount("--bind", str(target), str(point))
    try:
        assert durable.is_mount_point(point)
        assert not durable.is_mount_point(target)
        with pytest.raises(StoreUnwritable, match="mount the directory"):
            durable.Replacement(point, 3)
    finally:
        subprocess.run(["umount", str(point)], check=True)


def test_why_not(target: Path, tmp_path: Path) -> None:
    assert durable.why_not_replaceable(target) is None
    assert durable.why_not_replaceable(tmp_path / "new") is None
    assert "not a directory" in (durable.why_not_replaceable(target / "below") or "")
    link = tmp_path / "link"
    link.symlink_to(target)
    assert durable.why_not_replaceable(link) is not None


def test_an_immutable_file(target: Path) -> None:
    if subprocess.run(["chattr", "+i", target], capture_output=True, check=False).returncode:
        pytest.skip("chattr does not work here")
    try:
        assert "immutable" in (durable.why_not_replaceable(target) or "")
    finally:
        subprocess.run(["chattr", "-i", target], check=True)


def test_reading_takes_only_regular_files(target: Path, tmp_path: Path) -> None:
    """Rule 6: O_NOFOLLOW; a FIFO must not hang the worker."""
    assert durable.read_private(target)[0] == b"old"
    (tmp_path / "link").symlink_to(target)
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo", "."):
        with pytest.raises(OSError):
            durable.read_private(tmp_path / name)


def test_roots_files_belong_to_the_owner_of_the_place(target: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    os.chown(target, 12345, 12346)
    durable.write_private(target, b"new")
    assert (target.stat().st_uid, target.stat().st_gid) == (12345, 12346)


MOUNTS = r"""
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /srv/share rw - nfs4 server:/x rw
31 30 0:41 / /srv/share/local rw shared:5 - ext4 /dev/vdb rw
32 22 0:42 / /mnt/with\040blank rw - cifs //server/x rw
garbage
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv", ""),
        ("/srv/share/kiroproxy/credentials.json", "nfs4"),
        ("/srv/share/local/credentials.json", ""),
        ("/srv/shared", ""),
        ("/mnt/with blank/x", "cifs"),
    ],
)
def test_network_file_systems_are_known(tmp_path: Path, path: str, kind: str) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(MOUNTS)
    assert durable.network_filesystem(Path(path), mountinfo) == kind


CONTAINER = r"""
100 90 0:50 / / ro,relatime - overlay overlay rw,lowerdir=/a
101 100 254:1 /var/lib/docker/volumes/4f3c{}/_data /app/config rw - ext4 /dev/vda rw
102 100 254:1 /var/lib/docker/volumes/project_data/_data /app/data rw - ext4 /dev/vda rw
103 100 254:1 /home/me/config /app/mine rw - ext4 /dev/vda rw
104 100 0:51 / /tmp rw - tmpfs tmpfs rw
105 100 254:1 /var/lib/kubelet/pods/1/volumes/kubernetes.io~empty-dir/c /app/pod rw - ext4 /d rw
106 100 254:1 /var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/c/mount /app/claim rw - ext4 /d rw
""".format("0" * 60)


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/app/elsewhere/credentials.json", "the container"),
        ("/app/config/credentials.json", "the container, whose volume has no name"),
        ("/app/data/credentials.json", ""),
        ("/app/mine/credentials.json", ""),
        ("/tmp/credentials.json", "the memory that it lies in"),
        ("/app/pod/credentials.json", "the pod"),
        ("/app/claim/credentials.json", ""),
    ],
)
def test_s163_what_lasts_as_long_as_the_container_is_known(
    tmp_path: Path, path: str, end: str
) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(CONTAINER)
    assert durable.what_it_is_lost_with(Path(path), mountinfo) == end
    mountinfo.write_text(MOUNTS)
    assert durable.what_it_is_lost_with(Path(path), mountinfo) == "", "a plain machine"


def test_where_nothing_is_known_nothing_is_refused(tmp_path: Path) -> None:
    assert durable.network_filesystem(tmp_path, tmp_path / "none") == ""
    assert durable.what_it_is_lost_with(tmp_path, tmp_path / "none") == ""
    assert durable.network_filesystem(tmp_path) == ""
