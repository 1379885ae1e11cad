"""The servers of a run, each a process of its own, and what they cost."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from kiroproxy.ledger.database import Database
from kiroproxy.ledger.key_book import KeyBook, parse_settings
from tests.bench.load import KEY
from tests.servers import REPOSITORY, clean_environment, free_port, gunicorn_command

START_LIMIT_S = 30
STOP_LIMIT_S = 10
POLL_S = 0.002
HEALTH = b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, user and system, all its threads.

    /proc counts in ticks of 10 ms; the process's own CPU clock, whose number clock_getcpuclockid(3)
    makes of a pid, has nanoseconds.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)


class Canned:
    """The canned upstream; a context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.canned"],
            cwd=REPOSITORY,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split()[-1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


class Server:
    """A gunicorn with one worker; a context manager."""

    def __init__(self, name: str, place: Path, port: int, command: list[str], **environ: str):
        self.name = name
        self.port = port
        self._place = place
        self._log_path = place / f"{name}.log"
        self._command = command
        self._environ = environ
        self.start_s = 0.0
        """From its start to a healthy answer."""

    def __enter__(self) -> Self:
        began = time.perf_counter()
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._place,
                env=clean_environment(**self._environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while not self._healthy():
            if self._process.poll() is not None or time.perf_counter() - began > START_LIMIT_S:
                self.__exit__(None, None, None)
                raise RuntimeError(f"{self.name} does not start:\n{self._log_path.read_text()}")
            time.sleep(POLL_S)
        self.start_s = time.perf_counter() - began
        (worker,) = psutil.Process(self._process.pid).children()
        self._worker: int = worker.pid
        return self

    def _healthy(self) -> bool:
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.settimeout(START_LIMIT_S)
            probe.connect(("127.0.0.1", self.port))
            probe.sendall(HEALTH)
            return probe.recv(4096).startswith(b"HTTP/1.1 200")
        return False

    def cpu_s(self) -> float:
        """What the worker has used so far."""
        return cpu_seconds(self._worker)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_LIMIT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if error is not None:
            error.add_note(f"--- log of {self.name} ---\n{self._log_path.read_text()[-4000:]}")


def naive_server(place: Path, upstream: str) -> Server:
    """The yardstick."""
    port = free_port()
    options = ["-k", "gevent", "-w", "1", "--worker-connections", "10000"]
    command = [sys.executable, "-m", "gunicorn", *options, "-b", f"127.0.0.1:{port}"]
    return Server("naive", place, port, [*command, "tests.bench.naive:app"], KIRO_URL=upstream)


def our_server(place: Path, upstream: str, app: str = "wsgi:app", **more: Any) -> Server:
    """The proxy with everything on: four credentials, admin API, metrics, a log line a request."""
    port = free_port()
    config = {
        "port": port,
        "apiKey": KEY,
        "adminApiKey": KEY + "-admin",
        "workers": 1,
        "maxConcurrent": 1000,
        "gracefulTimeoutSec": 5,
        "apiUrl": upstream,
        "socialAuthUrl": upstream,
        "oidcUrl": upstream,
    } | more
    config_path = place / "config.json"
    config_path.write_text(json.dumps(config), "utf-8")
    return Server(
        "kiroproxy",
        place,
        port,
        gunicorn_command(app),
        KIROPROXY_CONFIG=str(config_path),
        KIROPROXY_CREDENTIALS=str(write_credentials(place, 4)),
    )


def plain_server(place: Path, upstream: str) -> Server:
    """The proxy without client keys and ledger."""
    server = our_server(place, upstream, "tests.bench.plain:app")
    server.name = "without keys"
    return server


EVERY_LIMIT = {
    "limits": dict.fromkeys(("requests_per_minute", "concurrent", "output_tokens_per_day"), 10**9),
    "budgets": {"day_hard": 10**9, "month_hard": 10**9},
}
"""None of which is reached."""


def keyed_server(place: Path, upstream: str, name: str, **limits: Any) -> Server:
    """The proxy for the holder of a client key."""
    settings = {"name": "bench", "models": ["claude-*"]} | limits
    database = Database(place / "keys.db")
    KeyBook(database).create(parse_settings(settings), secret=KEY)
    server = our_server(place, upstream, apiKey=f"{KEY}-root", databasePath=str(place / "keys.db"))
    server.name = name
    return server


def write_credentials(place: Path, count: int) -> Path:
    """A credentials file whose access tokens live long."""
    path = place / f"credentials-{count}.json"
    path.write_text(json.dumps([credential(i) for i in range(1, count + 1)]), "utf-8")
    path.chmod(0o600)
    return path


def credential(number: int) -> dict[str, Any]:
    """One of them."""
    return {
        "id": number,
        "authMethod": "social",
        "refreshToken": f"refresh-token-{number}-" + "x" * 120,
        "accessToken": f"access-token-{number}",
        "expiresAt": "2099-01-01T00:00:00Z",
    }


def run_load(scene: str, **arguments: Any) -> dict[str, Any]:
    """Run the load generator."""
    return run_module("tests.bench.load", json.dumps({"scene": scene, **arguments}))


def run_module(name: str, *arguments: str) -> dict[str, Any]:
    """Run a module of the benchmark and read the JSON that it prints."""
    result = start_module(name, *arguments)
    return read_result(result)


def start_module(name: str, *arguments: str) -> "subprocess.Popen[str]":
    """The same without waiting for it."""
    return subprocess.Popen(
        [sys.executable, "-m", name, *arguments],
        cwd=REPOSITORY,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )


def read_result(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait for a module and read what it printed."""
    out, _ = process.communicate(timeout=120)
    if process.returncode:
        raise RuntimeError(f"{process.args!r} failed")
    result: dict[str, Any] = json.loads(out)
    return result
