"""The command line beside a running server: edits are seen within a second (issue 6)."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.flows.client import body, post
from tests.flows.conftest import LONG_TOKEN, credential
from tests.servers import Proxy, clean_environment
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

SECOND = 1.3
"""The second that is promised, and a loaded machine's hesitation."""


@pytest.fixture
def server(sim: Simulator, tmp_path: Path) -> Iterator[Proxy]:
    own = {"logLevel": "warn", "databasePath": str(tmp_path / "data" / "kiroproxy.db")}
    with Proxy(tmp_path, own, [credential(label="one")], upstream=sim.url) as proxy:
        yield proxy


def run(proxy: Proxy, *arguments: str, given: str = "", code: int = 0) -> str:
    """A command in the server's directory."""
    done = subprocess.run(
        [sys.executable, "-m", "kiroproxy", *arguments],
        cwd=proxy.config_path.parent,
        env=clean_environment(),
        input=given,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def settles(act: Any, wanted: object) -> None:
    """Something is so within a second, and then for both workers."""
    deadline = time.monotonic() + SECOND
    while time.monotonic() < deadline and act() != wanted:
        time.sleep(0.05)
    time.sleep(max(deadline - time.monotonic(), 0))
    assert [act() for _ in range(8)] == [wanted] * 8


def status(proxy: Proxy, path: str = "/v1/messages") -> int:
    return post(proxy, body(), path=path).status_code


def test_edits_are_seen_within_a_second(server: Proxy) -> None:
    assert status(server) == 200
    run(server, "credentials", "disable", "1")
    settles(lambda: status(server), 503)
    run(server, "credentials", "enable", "1")
    settles(lambda: status(server), 200)
    more = json.dumps([credential(refreshToken=LONG_TOKEN + "2", accessToken="second")])
    run(server, "credentials", "import", "-", "--group", "pro", "--no-verify", given=more)
    settles(lambda: status(server, "/pro/v1/messages"), 200)
    run(server, "credentials", "remove", "2", "--force", "--yes")
    settles(lambda: status(server, "/pro/v1/messages"), 404)


def test_what_the_server_did_is_told(server: Proxy) -> None:
    answer = post(server, body())
    assert answer.status_code == 200
    told = json.loads(run(server, "explain", answer.headers["x-kiroproxy-trace"], "--json"))
    assert [one["outcome"] for one in told["attempts"]] == ["ok"]
    assert "#1 one" in run(server, "explain", answer.headers["x-kiroproxy-trace"])
    listed = json.loads(run(server, "credentials", "list", "--json"))["credentials"][0]
    assert (listed["requests"], listed["successes"], listed["inFlight"]) == (1, 1, 0)


def test_a_refresh_beside_the_server_happens_once(server: Proxy, sim: Simulator) -> None:
    """The server goes on with the token that the command has got."""
    run(server, "credentials", "refresh", "1")
    settles(lambda: status(server), 200)
    assert len(sim.requests("/refreshToken")) == 1
    new = json.loads(server.credentials_path.read_text())[0]["accessToken"]
    assert sim.requests("/generateAssistantResponse")[-1]["bearer"] == new


def test_backup_and_restore_beside_the_server(server: Proxy) -> None:
    run(server, "groups", "create", "pro")
    run(server, "backup", "b.tar.gz")
    run(server, "restore", "b.tar.gz", "--yes", code=1)
    run(server, "credentials", "remove", "1", "--force", "--yes")
    settles(lambda: status(server), 503)
    run(server, "restore", "b.tar.gz", "--yes", "--force")
    settles(lambda: status(server), 200)
    assert "pro" in run(server, "groups", "list")


def test_a_setting_counts_after_a_reload(server: Proxy) -> None:
    run(server, "settings", "set", "apiKey", "-", given="sk-another-key-of-a-test\n")
    assert status(server) == 200
    server.process.send_signal(signal.SIGHUP)

    def with_new_key() -> int:
        with contextlib.suppress(requests.RequestException):
            answer = requests.get(
                f"{server.url}/v1/models",
                headers={"x-api-key": "sk-another-key-of-a-test"},
                timeout=5,
            )
            return answer.status_code
        return 0

    deadline = time.monotonic() + 15
    while with_new_key() != 200:
        assert time.monotonic() < deadline, server.log()
        time.sleep(0.1)
