"""The real server for flow tests: gunicorn with this repository's configuration."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from kiroproxy.config import PATHS, SETTINGS

REPOSITORY = Path(__file__).parents[1]
START_LIMIT_S = 30
STOP_LIMIT_S = 10
CLIENT_KEY = "sk-kiroproxy-test"


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def clean_environment(**more: str) -> dict[str, str]:
    """This environment without what configures a proxy, and with the package importable.

    The size of the terminal is the program's own affair: pytest's workers set one.
    """
    ours = {name for row in SETTINGS for name in row.environment}
    ours |= {variable for variable, _ in PATHS.values()} | {
        "PROMETHEUS_MULTIPROC_DIR",
        "COLUMNS",
        "LINES",
    }
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"} | more


def require_tool(name: str, package: str | None = None) -> str:
    """The path of a system tool; the test is skipped without it, but not in CI, which installs it.

    `.ci/run` sets `KIROPROXY_CI_TOOLS` when it could install them.
    """
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=places)
    if found is None:
        reason = f"{name} is not installed: apt-get install {package or name}"
        assert "KIROPROXY_CI_TOOLS" not in os.environ, reason
        pytest.skip(reason)
    return found


def gunicorn_command(app: str = "wsgi:app") -> list[str]:
    """What README tells operators to run."""
    conf = str(REPOSITORY / "gunicorn.conf.py")
    return [sys.executable, "-m", "gunicorn", "-c", conf, app]


class Proxy:
    """A running proxy; use as a context manager.

    It runs in `place`, where its files lie too: `config_path`, `credentials_path` and what it
    writes itself. `config` is added to a minimal configuration; `upstream` is a simulator's URL.
    When the block ends, the server ends, and a traceback in its log fails the test unless
    `tracebacks_allowed` is set.
    """

    def __init__(
        self,
        place: Path,
        config: dict[str, Any] | None = None,
        credentials: Any = (),
        *,
        upstream: str | None = None,
        workers: int = 2,
        app: str = "wsgi:app",
        environ: dict[str, str] | None = None,
        command: list[str] | None = None,
        tracebacks_allowed: bool = False,
    ) -> None:
        self.key = CLIENT_KEY
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config_path = place / "config.json"
        self.credentials_path = place / "credentials.json"
        self.tracebacks_allowed = tracebacks_allowed
        self.unix_socket: str | None = None
        """Where it listens, if not on its port."""
        self.popen: dict[str, Any] = {}
        """How its process is started otherwise: directory, user."""
        self.environment: dict[str, str] | None = None
        """All of its environment, if it is not to be made here."""
        self._place = place
        self._log_path = place / "proxy.log"
        self._command = command or gunicorn_command(app)
        self._environ = environ or {}
        base = {
            "port": self.port,
            "apiKey": self.key,
            "workers": workers,
            "gracefulTimeoutSec": 5,
            "logLevel": "debug",
        }
        if upstream:
            base |= {"apiUrl": upstream, "socialAuthUrl": upstream, "oidcUrl": upstream}
        self.write_config(base | (config or {}))
        if isinstance(credentials, tuple):
            credentials = list(credentials)
        self.credentials_path.write_text(json.dumps(credentials, indent=2), "utf-8")
        self.credentials_path.chmod(0o600)

    def write_config(self, document: dict[str, Any]) -> None:
        """Replace config.json; a running server reads it at SIGHUP."""
        self.config = document
        self.config_path.write_text(json.dumps(document, indent=2), "utf-8")

    def __enter__(self) -> "Proxy":
        environ = {
            "KIROPROXY_CONFIG": str(self.config_path),
            "KIROPROXY_CREDENTIALS": str(self.credentials_path),
        }
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                **{"cwd": self._place} | self.popen,
                env=self.environment or clean_environment(**environ | self._environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self.wait_for_health()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        if error is not None:
            error.add_note(f"--- the proxy's log ---\n{self.log()[-8000:]}")
        elif not self.tracebacks_allowed:
            assert "Traceback" not in self.log(), self.log()

    def wait_for_health(self) -> None:
        """Return when `/health` answers 200."""
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            if self.unix_socket:
                connection.sock = socket.socket(socket.AF_UNIX)
                with contextlib.suppress(OSError):
                    connection.sock.connect(self.unix_socket)
            with contextlib.closing(connection), contextlib.suppress(OSError):
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(
            f"the proxy does not answer (exit {self.process.poll()}):\n{self.log()}"
        )

    def log(self) -> str:
        """What master and workers have written so far."""
        return self._log_path.read_text("utf-8", "replace")

    def wait_for_log(self, text: str, limit_s: float = 10, count: int = 1) -> None:
        """Return when the log contains `text` (`count` times)."""
        deadline = time.monotonic() + limit_s
        while self.log().count(text) < count:
            assert time.monotonic() < deadline, f"no {text!r} in:\n{self.log()}"
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for whatever is left of the process group."""
        if self.process.poll() is None:
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_LIMIT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
