"""A credential that was signed in serves, on a server that runs already."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.flows.client import body, post
from tests.flows.conftest import credential
from tests.servers import Proxy, clean_environment
from tests.simulation import Simulator

pytestmark = pytest.mark.flow


def login(proxy: Proxy, place: Path, *arguments: str) -> str:
    """Run the command beside the server, on the same files."""
    paths = ["-c", str(proxy.config_path), "--credentials", str(proxy.credentials_path)]
    done = subprocess.run(
        [sys.executable, "-m", "kiroproxy", "login", *paths, *arguments],
        cwd=place,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def serves(proxy: Proxy, within_s: float = 5) -> None:
    """Wait until both workers have seen the change."""
    deadline = time.monotonic() + within_s
    good = 0
    while good < 4:
        assert time.monotonic() < deadline, proxy.log()
        good = good + 1 if post(proxy, body()).status_code == 200 else 0


def test_from_an_empty_pool_to_an_answer(tmp_path: Path) -> None:
    with (
        Simulator("--strict") as sim,
        Proxy(tmp_path, {"queueWaitSec": 1}, [], upstream=sim.url) as proxy,
    ):
        sim.device(interval=0.1)
        assert post(proxy, body()).status_code == 503
        assert "stored as #1" in login(proxy, tmp_path, "--method", "builder-id")
        serves(proxy)
        [stored] = json.loads(proxy.credentials_path.read_text())
        bearers = {one["bearer"] for one in sim.requests("/generateAssistantResponse")}
        assert bearers == {stored["accessToken"]}


def test_signing_in_again_brings_a_dead_credential_back(tmp_path: Path) -> None:
    """Its refresh token was revoked, and the server had disabled it."""
    dead = credential(expiresAt="2020-01-01T00:00:00Z", label="mine", provider="Google")
    registered = {"authMethod": "idc", "clientId": "c", "clientSecret": "s", "provider": None}
    with (
        Simulator("--strict") as sim,
        Proxy(tmp_path, {"queueWaitSec": 1}, [dead | registered], upstream=sim.url) as proxy,
    ):
        sim.device(interval=0.1)
        assert post(proxy, body()).status_code == 503
        [stored] = json.loads(proxy.credentials_path.read_text())
        assert stored["disabled"] is True
        out = login(proxy, tmp_path, "--relogin", str(stored["id"]), "--json")
        assert json.loads(out.splitlines()[-1])["disabledReason"] is None
        serves(proxy)
        [stored] = json.loads(proxy.credentials_path.read_text())
        assert (stored["label"], stored["disabled"]) == ("mine", False)
