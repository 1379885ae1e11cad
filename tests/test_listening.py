"""What keeps a server from listening; tests/test_serving.py shows what it says then."""

import os
import socket
from pathlib import Path

import pytest

from kiroproxy.listening import obstacle


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", 2), ("::1", socket.AF_INET6)])
def test_a_port(host: str, family: int) -> None:
    """Also in brackets."""
    with socket.socket(family) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
        other.bind((host, 0))
        port = other.getsockname()[1]
        other.listen()
        assert obstacle(host, port) == "taken"
        assert obstacle(f"[{host}]" if ":" in host else host, port) == "taken"
        peer = socket.create_connection((host, port))
        served, _ = other.accept()
    with peer, served:
        assert obstacle(host, port) is None, "streams of a server that stops do not hold it"


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid", "2001:db8::7"])
def test_an_address_of_elsewhere(host: str) -> None:
    assert obstacle(host, 8990) == "absent"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen on every port")
def test_a_port_for_the_system() -> None:
    unprivileged = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    if unprivileged.exists() and int(unprivileged.read_text()) > 1:
        assert obstacle("127.0.0.1", 1) == "forbidden"


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "k.sock"
    host = f"unix:{path}"
    assert obstacle(host, 0) is None
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert obstacle(host, 0) is None, "nobody listens yet"
        other.listen()
        assert obstacle(host, 0) == "taken"
    assert obstacle(host, 0) is None, "what a killed server left behind is replaced"
    path.unlink()
    path.write_text("a file")
    assert obstacle(host, 0) == "no socket"
    assert obstacle(f"unix:{tmp_path}/none/k.sock", 0) == "no socket"
    assert obstacle(f"unix:{path}/k.sock", 0) == "no socket"
    assert obstacle("unix:@abstract", 0) is None
