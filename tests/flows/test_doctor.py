"""`kiroproxy doctor` beside the real server and the simulator."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import LONG_TOKEN, credential
from tests.servers import Proxy, clean_environment
from tests.simulation import Simulator

pytestmark = pytest.mark.flow
ACCESS = "access-token-of-a-test"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    return place


def doctor(
    proxy: Proxy, home: Path, *options: str, **environ: str
) -> "subprocess.CompletedProcess[str]":
    """Run it as an operator does, with another home; it never takes longer than 15 s."""
    began = time.monotonic()
    files = ["-c", str(proxy.config_path), "--credentials", str(proxy.credentials_path)]
    done = subprocess.run(
        [sys.executable, "-m", "kiroproxy", "doctor", *files, *options],
        cwd=home,
        env=clean_environment(HOME=str(home), LANG="C.UTF-8", **environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert time.monotonic() - began < 15
    told = done.stdout + done.stderr
    for secret in (LONG_TOKEN, ACCESS, proxy.key, "x" * 30):
        assert secret not in told
    return done


def findings(proxy: Proxy, home: Path, *options: str, **environ: str) -> dict[str, Any]:
    """By check: the worst finding's state."""
    done = doctor(proxy, home, "--json", *options, **environ)
    report = json.loads(done.stdout)
    states = ["ok", "warning", "failure"]
    assert states[done.returncode] == report["state"]
    found: dict[str, Any] = {}
    for one in sorted(report["findings"], key=lambda one: states.index(one["state"])):
        assert bool(one["remedy"]) == (one["state"] != "ok"), one
        found[one["check"]] = one["state"]
    return found


@pytest.fixture
def tidy(proxy: Proxy, sim: Simulator) -> Proxy:
    """The shared proxy, with its configuration as `init` would leave it."""
    proxy.config_path.chmod(0o600)
    return proxy


def test_all_is_well(tidy: Proxy, home: Path) -> None:
    done = doctor(tidy, home)
    assert done.returncode == 0, done.stdout
    assert f"serves at 127.0.0.1:{tidy.port}" in done.stdout
    assert "\x1b" not in done.stdout
    assert all(line.startswith("ok ") for line in done.stdout.splitlines())


def test_a_wrong_mode_and_a_client_with_a_doubled_base_url(tidy: Proxy, home: Path) -> None:
    tidy.config_path.chmod(0o644)
    environ = {"ANTHROPIC_BASE_URL": f"{tidy.url}/v1", "ANTHROPIC_AUTH_TOKEN": "sk-other"}
    found = findings(tidy, home, **environ)
    bad = {name: state for name, state in found.items() if state != "ok"}
    assert bad == {"config": "warning", "claude code": "failure"}


def test_warnings_alone_are_1(tidy: Proxy, home: Path) -> None:
    tidy.config_path.chmod(0o644)
    done = doctor(tidy, home)
    assert done.returncode == 1
    assert f"→ chmod 600 {tidy.config_path}" in done.stdout
    tidy.config_path.chmod(0o600)


def test_a_server_without_a_usable_credential(tmp_path: Path, home: Path, sim: Simulator) -> None:
    with Proxy(tmp_path, {}, [credential(disabled=True)], upstream=sim.url) as running:
        running.config_path.chmod(0o600)
        found = findings(running, home)
    assert (found["server"], found["tokens"]) == ("failure", "warning")


def test_a_stopped_server_and_a_renewed_token(tmp_path: Path, home: Path, sim: Simulator) -> None:
    """With consent each token rotates, and is stored; without, nothing is asked."""
    sim.account(id="a", refreshToken=LONG_TOKEN)
    proxy = Proxy(tmp_path, {}, [credential(expiresAt="2020-01-01T00:00:00Z")], upstream=sim.url)
    proxy.config_path.chmod(0o600)
    assert findings(proxy, home)["server"] == "warning"
    assert sim.requests("/refreshToken") == []
    found = findings(proxy, home, "--refresh")
    assert (found["refresh"], len(sim.requests("/refreshToken"))) == ("ok", 1)
    (stored,) = json.loads(proxy.credentials_path.read_text())
    assert stored["refreshToken"] != LONG_TOKEN


def test_names_proxies_and_tls(tmp_path: Path, home: Path) -> None:
    for number, (config, check) in enumerate(
        (
            ({"apiUrl": "https://no-such-host.invalid"}, "dns"),
            ({"proxyUrl": "http://127.0.0.1:9"}, "proxy"),
        )
    ):
        place = tmp_path / str(number)
        place.mkdir()
        proxy = Proxy(place, config, [credential()], upstream="http://127.0.0.1:9")
        assert findings(proxy, home)[check] == "failure"


def test_a_configuration_that_cannot_be_read(tmp_path: Path, home: Path) -> None:
    proxy = Proxy(tmp_path, {"port": "no port"}, [credential()])
    done = doctor(proxy, home)
    assert done.returncode == 2
    assert "port: must be a whole number" in done.stdout
    assert findings(proxy, home) == {"config": "failure"}


def test_nothing_at_all(tmp_path: Path, home: Path) -> None:
    proxy = Proxy(tmp_path, {}, [], upstream="http://127.0.0.1:9")
    proxy.config_path.unlink()
    proxy.credentials_path.unlink()
    found = findings(proxy, home, KIROPROXY_API_URL="http://127.0.0.1:9")
    assert (found["config"], found["files"], found["gunicorn"]) == ("failure",) * 3
