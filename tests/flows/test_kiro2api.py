"""`server` of kiro2api: its documented sequence, from sign-in to the end (S156 to S160)."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.servers import clean_environment, free_port
from tests.simulation import Simulator

pytestmark = pytest.mark.flow
REFRESH = "refresh-token-of-the-ide-" + "x" * 100
PATH = Path(".aws", "sso", "cache", "kiro-auth-token.json")
QUESTION = {"model": "claude-sonnet-4-20250514", "max_tokens": 100}


class Home:
    """A home in which the Kiro IDE is signed in, and a shell that knows `kiro2api`."""

    def __init__(self, place: Path, upstream: str) -> None:
        self.place = place
        self.tokens = place / PATH
        self.tokens.parent.mkdir(parents=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = clean_environment(
            HOME=str(place),
            KIROPROXY_API_URL=upstream,
            KIROPROXY_SOCIAL_AUTH_URL=upstream,
            KIROPROXY_GRACEFUL_TIMEOUT_SEC="3",
        )
        script = "from kiroproxy.cli.kiro2api import main; main(prog_name='kiro2api')"
        self.shell = f'kiro2api() {{ exec "{sys.executable}" -c "{script}" "$@"; }}\n'

    def sign_in(self, access: str, expires: str) -> None:
        entry = {
            "accessToken": access,
            "refreshToken": REFRESH,
            "expiresAt": expires,
            "authMethod": "social",
            "provider": "Google",
        }
        self.tokens.write_text(json.dumps(entry, indent=2))

    def entry(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.tokens.read_text())
        return found

    def run(self, script: str) -> str:
        """What a script prints."""
        done = subprocess.run(
            ["bash", "-ec", self.shell + script],
            cwd=self.place,
            env=self.environ,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    @contextlib.contextmanager
    def server(self, script: str) -> Iterator[None]:
        """Run a script that starts the server, until the block ends."""
        log = self.place / "server.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-ec", self.shell + script],
                cwd=self.place,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        try:
            self._wait(process, log)
            yield
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert "Traceback" not in log.read_text()

    def _wait(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(log.read_text())

    def ask(self, key: str, **more: Any) -> requests.Response:
        return requests.post(
            f"{self.url}/v1/messages",
            headers={"authorization": f"Bearer {key}"},
            json=QUESTION | {"messages": [{"role": "user", "content": "Hello, Claude!"}]} | more,
            timeout=20,
        )


@pytest.fixture
def home(tmp_path: Path, sim: Simulator) -> Home:
    sim.account(id="ide", refreshToken=REFRESH)
    return Home(tmp_path, sim.url)


def test_the_documented_sequence(home: Home) -> None:
    """S160: refresh, read the token, serve with it as the key, and use what export prints."""
    home.sign_in("stale", "2020-01-01T00:00:00Z")
    home.run("kiro2api refresh")
    token = home.entry()["accessToken"]
    first = home.run("kiro2api authToken").splitlines()[0]
    assert first == f"AuthToken: {token}"
    start = home.run("kiro2api authToken | grep '^kiro2api server'")
    assert start == f"kiro2api server 8080 {token}\n"
    with home.server(start.replace("8080", str(home.port))):
        key = home.run('eval "$(kiro2api export)"; echo "$ANTHROPIC_AUTH_TOKEN"').strip()
        assert key == token
        answer = home.ask(key)
        assert answer.status_code == 200, answer.text
        assert answer.json()["content"][0]["text"]
        assert home.ask("another-key").status_code == 401
        for path, status in (("/v1/models", 200), ("/health", 200), ("/no/such/path", 404)):
            headers = {"authorization": f"Bearer {key}"}
            got = requests.get(home.url + path, headers=headers, timeout=10)
            assert (got.status_code, bool(got.json())) == (status, True)
        chat = requests.post(
            f"{home.url}/v1/chat/completions",
            headers={"authorization": f"Bearer {key}"},
            json=QUESTION | {"messages": [{"role": "user", "content": "Hi"}]},
            timeout=20,
        )
        assert chat.json()["choices"][0]["message"]["content"]


def test_an_expired_token_is_renewed_and_the_file_with_it(home: Home, sim: Simulator) -> None:
    """S157: 0600, two spaces, unknown keys kept; a new sign-in of the IDE is taken over."""
    home.sign_in("stale", "2020-01-01T00:00:00Z")
    with home.server(f"kiro2api server {home.port} my-key"):
        assert home.ask("my-key").status_code == 200
        entry = home.entry()
        assert entry["refreshToken"] != REFRESH
        assert entry["provider"] == "Google"
        assert home.tokens.read_text() == json.dumps(entry, indent=2)
        assert home.tokens.stat().st_mode & 0o777 == 0o600
        assert sim.state()["accounts"]["ide"]["reuses"] == 0


def test_a_403_renews(home: Home, sim: Simulator) -> None:
    """S157."""
    home.sign_in("no-such-access-token", "2099-01-01T00:00:00Z")
    sim.fault(
        "/generateAssistantResponse",
        status=403,
        body={"message": "The bearer token included in the request is invalid."},
    )
    with home.server(f"kiro2api server {home.port} my-key"):
        assert home.ask("my-key").status_code == 200
    assert len(sim.requests("/refreshToken")) == 1
    assert home.entry()["accessToken"] != "no-such-access-token"


def test_a_failed_refresh_leaves_the_file(home: Home, sim: Simulator) -> None:
    home.sign_in("stale", "2020-01-01T00:00:00Z")
    before = home.tokens.read_bytes()
    sim.fault("/refreshToken", status=500, times=100)
    with home.server(f"kiro2api server {home.port} my-key"):
        assert home.ask("my-key").status_code >= 500
    assert home.tokens.read_bytes() == before


def test_a_restart_goes_on_where_it_was(home: Home, sim: Simulator) -> None:
    """Also after `refresh` has rotated the token in between: no token is redeemed twice."""
    home.sign_in("stale", "2020-01-01T00:00:00Z")
    with home.server(f"kiro2api server {home.port} my-key"):
        assert home.ask("my-key").status_code == 200
    home.run("kiro2api refresh")
    with home.server(f"kiro2api server {home.port} my-key"):
        assert home.ask("my-key").status_code == 200
    account = sim.state()["accounts"]["ide"]
    assert (account["refreshes"], account["reuses"]) == (2, 0)
