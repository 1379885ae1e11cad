"""The units: systemd's own opinion of them, and their commands at work without systemd."""

import contextlib
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kiroproxy.config import Config
from kiroproxy.serving import STOP_MARGIN_S
from tests.flows.client import Stream, body, post
from tests.flows.conftest import credential
from tests.servers import REPOSITORY, Proxy, require_tool
from tests.simulation import Simulator

DEPLOY = REPOSITORY / "deploy"
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""
PROGRAM = "/opt/kiroproxy/bin/kiroproxy"


def values(unit: str, key: str) -> list[str]:
    """What a unit file says for a key."""
    text = (DEPLOY / unit).read_text("utf-8")
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """Copies whose program exists here."""
    copies = []
    for name in ("kiroproxy.service", "kiroproxy.socket"):
        text = (DEPLOY / name).read_text("utf-8")
        copies.append(tmp_path / name)
        copies[-1].write_text(text.replace(PROGRAM, "/bin/true"), "utf-8")
    return copies


def test_systemd_has_nothing_to_say(units: list[Path]) -> None:
    command = [require_tool("systemd-analyze", "systemd"), "verify", "--man=no", *map(str, units)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_service_is_hardened(units: list[Path]) -> None:
    analyze = require_tool("systemd-analyze", "systemd")
    command = [analyze, "security", "--offline=true", "--no-pager", str(units[0])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    level = re.search(r"Overall exposure level for kiroproxy\.service: ([\d.]+)", done.stdout)
    assert level is not None
    assert float(level[1]) <= 1.5, done.stdout


def test_it_is_given_the_time_that_it_needs() -> None:
    [limit] = values("kiroproxy.service", "TimeoutStopSec")
    assert int(limit) > Config().graceful_timeout_sec + STOP_MARGIN_S
    assert values("kiroproxy.service", "KillMode") == ["mixed"], "the master ends its workers"


def test_what_it_writes_lies_in_its_state_directory() -> None:
    """All else is read-only (ProtectSystem=strict)."""
    environment = dict(one.split("=") for one in values("kiroproxy.service", "Environment"))
    [state] = values("kiroproxy.service", "StateDirectory")
    for name in ("KIROPROXY_CREDENTIALS", "KIRO_DB_PATH"):
        assert environment[name].startswith(f"/var/lib/{state}/")
    assert environment["KIROPROXY_CONFIG"].startswith("/etc/")


def test_nginx_knows_where_the_sockets_are() -> None:
    upstream = (DEPLOY / "nginx/upstream-unix.conf").read_text("utf-8")
    [runtime] = values("kiroproxy.service", "RuntimeDirectory")
    assert f"server unix:/run/{runtime}/kiroproxy.sock;" in upstream
    socket_unit = (DEPLOY / "kiroproxy.socket").read_text("utf-8")
    other = re.search(r"# ListenStream=(\S+)", socket_unit)
    assert other is not None
    assert other[1] in upstream
    [port] = values("kiroproxy.socket", "ListenStream")
    assert port in (DEPLOY / "nginx/upstream-tcp.conf").read_text("utf-8")


class Manager:
    """What systemd does for the two units: it holds the socket and hears that all is ready."""

    def __init__(self, sim: Simulator, place: Path) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(str(place / "notify"))
        self.notices.settimeout(20)
        self._sim = sim
        self._place = place

    def __enter__(self) -> "Manager":
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()
        self.notices.close()

    def start(self) -> Proxy:
        """The service, by its ExecStart."""
        fd = self.listener.fileno()
        [exec_start] = values("kiroproxy.service", "ExecStart")
        program, *arguments = shlex.split(exec_start)
        assert program == PROGRAM
        ours = str(Path(sys.executable).with_name("kiroproxy"))
        proxy = Proxy(
            self._place,
            {"port": 1},  # where it would listen itself: nobody may
            [credential()],
            upstream=self._sim.url,
            command=[sys.executable, "-c", HAND_OVER, str(fd), ours, *arguments],
            environ={"NOTIFY_SOCKET": str(self._place / "notify")},
        )
        proxy.port, proxy.url = self.port, f"http://127.0.0.1:{self.port}"
        proxy.popen = {"pass_fds": (fd,)}
        return proxy

    def notice(self) -> str:
        return self.notices.recv(4096).decode()


@pytest.mark.flow
def test_connections_wait_while_it_restarts(sim: Simulator, tmp_path: Path) -> None:
    with Manager(sim, tmp_path) as manager:
        with manager.start() as proxy:
            assert "READY=1" in manager.notice()
            assert post(proxy, body()).status_code == 200
            [reload] = values("kiroproxy.service", "ExecReload")
            words = shlex.split(reload.replace("$MAINPID", str(proxy.process.pid)))
            sim.script({"steps": [{"text": "one"}, {"gate": "go"}, {"context": 1}]})
            stream = Stream(proxy, body())
            stream.next("content_block_delta")
            subprocess.run(words, check=True, timeout=10)
            proxy.wait_for_log("Booting worker", count=4)
            sim.gate("go", None)
            assert stream.next("message_delta")["delta"]["stop_reason"] == "end_turn"
            stream.close()
            proxy.process.send_signal(signal.SIGTERM)
            assert proxy.process.wait(15) == 0
        with socket.create_connection(("127.0.0.1", manager.port), timeout=20) as early:
            early.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            with manager.start(), contextlib.closing(early.makefile("rb")) as answer:
                assert b" 200 " in answer.readline()
