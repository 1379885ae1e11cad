"""Replacing a file so that it is whole at every moment, and knowing beforehand that it will work.

Source: design 5, rules 3, 4 and 6.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from kiroproxy.errors import StoreUnwritable

_KERNEL: Final = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "davfs")
_CLUSTER: Final = ("glusterfs", "lustre", "gpfs", "beegfs", "ocfs2", "gfs2", "orangefs")
_FUSE: Final = ("glusterfs", "sshfs", "s3fs", "rclone", "davfs2", "ceph", "juicefs", "gcsfuse")
NETWORK_FILESYSTEMS: Final = frozenset({*_KERNEL, *_CLUSTER, *(f"fuse.{one}" for one in _FUSE)})
"""Where file locks, or SQLite's shared memory, do not hold between hosts, or at all."""
MOUNTINFO: Final = Path("/proc/self/mountinfo")
_CONTAINER_ROOTS: Final = ("overlay", "fuse.fuse-overlayfs", "aufs")
_NAMELESS_VOLUME: Final = re.compile(r"/volumes/[0-9a-f]{64}/_data(/|$)")
"""Where Docker and Podman keep a volume that a Dockerfile's VOLUME asked for, and nobody named."""
HEADROOM_BYTES: Final = 64 * 1024
"""Room above the present size that a reservation takes (rule 3)."""

_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_PLAIN: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | _NOFOLLOW
"""For bytes, for this process alone; Windows has its own flags and lacks the others."""
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN
_NO_FALLOCATE: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


def read_private(path: Path) -> tuple[bytes, os.stat_result]:
    """The content of a regular file and what it was like at that moment.

    Raises:
        OSError: also for a symlink, a directory or a device.
    """
    # O_NONBLOCK: a FIFO in the file's place must not hang the worker
    fd = os.open(path, os.O_RDONLY | _PLAIN | getattr(os, "O_NONBLOCK", 0))
    with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        return file.read(), before


def sync_directory(path: Path) -> None:
    """Make renames in a directory durable, where the file system can."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def own_like(fd: int, target: Path) -> None:
    """A file that root makes for a service belongs to the owner of the target or its directory."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):
        like = (target if target.exists() else target.parent).stat()
        os.fchown(fd, like.st_uid, like.st_gid)


def unwritable(path: Path, error: OSError) -> StoreUnwritable:
    """The error in words for the operator."""
    return StoreUnwritable(f"{path.parent} cannot be written: {error.strerror or error}")


class Replacement:
    """A temporary file beside `target` with room for its next content; a context manager.

    Raises:
        StoreUnwritable: no room, read-only, or the target cannot be replaced.
    """

    def __init__(self, target: Path, size: int, headroom: int = HEADROOM_BYTES) -> None:
        self.target = target
        self._renamed = False
        name = f".{target.name.lstrip('.')}.tmp-{os.getpid()}-{secrets.token_hex(6)}"
        self.path = target.with_name(name)
        if reason := why_not_replaceable(target):
            raise StoreUnwritable(reason)
        try:
            self._fd = os.open(self.path, _NEW, 0o600)
        except OSError as error:
            raise unwritable(target, error) from error
        try:
            own_like(self._fd, target)
            _allocate(self._fd, size + headroom)
            os.fsync(self._fd)
        except OSError as error:
            self.discard()
            raise unwritable(target, error) from error

    def write(self, data: bytes) -> None:
        """Put the content into the temporary file, durably."""
        _write(self._fd, data)
        os.ftruncate(self._fd, len(data))
        os.fsync(self._fd)

    def rename(self, after_rename: Callable[[], None] = lambda: None) -> None:
        """Let it take the target's place, durably."""
        self._close()  # Windows renames no open file
        self.path.replace(self.target)
        self._renamed = True
        after_rename()
        sync_directory(self.target.parent)

    def discard(self) -> None:
        """Close it; remove what was not renamed."""
        self._close()
        if not self._renamed:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.discard()


def _allocate(fd: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            if error.errno not in _NO_FALLOCATE:
                raise
        else:
            return
    _write(fd, bytes(size))


def _write(fd: int, data: bytes) -> None:
    """Write from the file's begin on."""
    os.lseek(fd, 0, os.SEEK_SET)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_private(target: Path, data: bytes) -> None:
    """Write a small file whole or not at all.

    Raises:
        OSError: it was not written.
        StoreUnwritable: likewise.
    """
    with Replacement(target, len(data), headroom=0) as file:
        file.write(data)
        file.rename()


def why_not_replaceable(target: Path) -> str | None:
    """Why a rename onto the target would fail, in words; None if nothing speaks against it."""
    folder = target.parent
    if is_mount_point(target):
        return (
            f"{target} is itself a mount point and cannot be replaced: "
            "mount the directory that holds it instead"
        )
    if not folder.is_dir():
        return f"{folder} is not a directory"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder} is read-only for this process"
    if not target.exists():
        return None
    if _sticky(folder, target):
        return f"{folder} is sticky and {target.name} belongs to another user"
    try:  # an immutable file opens for nobody, though its permissions may allow it
        os.close(os.open(target, os.O_WRONLY | _PLAIN))
    except PermissionError as error:
        if error.errno == errno.EPERM:
            return f"{target} is immutable"
    except OSError as error:
        return f"{target} cannot be replaced: {error.strerror}"
    return None


def _sticky(folder: Path, target: Path) -> bool:
    """Whether the directory's sticky bit keeps us from replacing the file."""
    if not hasattr(os, "geteuid"):
        return False
    above = folder.stat()
    owners = (0, above.st_uid, target.stat().st_uid)
    return bool(above.st_mode & stat.S_ISVTX) and os.geteuid() not in owners


def is_mount_point(path: Path) -> bool:
    """Whether a file is mounted: by the kernel's list, or by its device where there is none."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return path.exists() and path.stat().st_dev != path.parent.stat().st_dev
    # the fifth field is the mount point, with blanks and backslashes as octal escapes
    escaped = str(path).replace("\\", "\\134").replace(" ", "\\040")
    wanted = escaped.replace("\t", "\\011").replace("\n", "\\012").encode()
    return any(line.split(b" ")[4] == wanted for line in lines)


def free_bytes(folder: Path) -> int:
    """Room on the file system; a large number where it cannot be told."""
    try:
        room = os.statvfs(folder)
    except (OSError, AttributeError):
        return 1 << 62
    return room.f_bavail * room.f_frsize


def network_filesystem(path: Path, mountinfo: Path = MOUNTINFO) -> str:
    """The kind of network file system that a path lies on; empty if it is none, or unknown."""
    _, _, kind = _mount_of(path, mountinfo)
    return kind if kind in NETWORK_FILESYSTEMS else ""


def what_it_is_lost_with(path: Path, mountinfo: Path = MOUNTINFO) -> str:
    """Whose end takes a path along, such as `the container`; empty if it lasts, or unknown."""
    root, mounted, kind = _mount_of(path, mountinfo)
    if kind in ("tmpfs", "ramfs"):
        return "the memory that it lies in"
    if mounted == "/":
        return "the container" if kind in _CONTAINER_ROOTS else ""
    if _NAMELESS_VOLUME.search(root):
        return "the container, whose volume has no name"
    return "the pod" if "/kubernetes.io~empty-dir/" in root else ""


def _mount_of(path: Path, mountinfo: Path) -> tuple[str, str, str]:
    """What is mounted where a path lies: its directory there, its place here, its kind."""
    try:
        lines = mountinfo.read_text("utf-8", "replace").splitlines()
    except OSError:
        return "", "", ""
    place = Path(os.path.realpath(path))
    best, found = -1, ("", "", "")
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 5 or "-" not in fields:
            continue
        mounted = fields[4].encode().decode("unicode_escape")
        depth = len(Path(mounted).parts)
        if depth >= best and place.is_relative_to(mounted):  # of two on one place, the later
            best, found = depth, (fields[3], mounted, fields[fields.index("-") + 1])
    return found
