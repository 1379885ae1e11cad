"""Whether an address can be listened on, asked before anything is touched.

gunicorn would try five times, a second apart, and then end without a word on what to do; of a unix
socket it would take the name away from the server that listens there.
"""

import contextlib
import errno
import os
import socket
import stat
from typing import Literal

UNIX = "unix:"
KNOCK_S = 1.0

Obstacle = Literal["taken", "absent", "forbidden", "no socket"]
"""Somebody listens there; no such address on this machine; not for this user; unusable path."""


def obstacle(host: str, port: int) -> Obstacle | None:
    """What keeps this process from listening there; None if nothing does.

    Args:
        host: an address, a name, or `unix:` and a path.
        port: of no meaning for a unix socket.
    """
    if host.startswith(UNIX):
        return _path_obstacle(host.removeprefix(UNIX))
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
            probe.bind((host, port))
    except OSError as error:
        if isinstance(error, socket.gaierror):
            return "absent"
        return _OF_ERRNO.get(error.errno or 0)  # what else there is gunicorn will tell
    return None


_OF_ERRNO: dict[int, Obstacle] = {
    errno.EADDRINUSE: "taken",
    errno.EADDRNOTAVAIL: "absent",
    errno.EAFNOSUPPORT: "absent",
    errno.EACCES: "forbidden",
    errno.EPERM: "forbidden",
}


def _path_obstacle(path: str) -> Obstacle | None:
    if path.startswith(("\0", "@")) or not hasattr(socket, "AF_UNIX"):
        return None
    folder = os.path.dirname(path) or "."  # noqa: PTH120 - a socket's name may be anything
    try:
        kind = os.stat(path).st_mode  # noqa: PTH116
    except FileNotFoundError:
        if not os.path.isdir(folder):  # noqa: PTH112
            return "no socket"
    except OSError:
        return "no socket"
    else:
        if not stat.S_ISSOCK(kind):
            return "no socket"
        if _answers(path):
            return "taken"
    return None if os.access(folder, os.W_OK | os.X_OK) else "forbidden"


def _answers(path: str) -> bool:
    """Whether somebody listens; a server that was killed leaves its socket behind."""
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.settimeout(KNOCK_S)
        probe.connect(path)
        return True
    return False
