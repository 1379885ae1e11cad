"""A credentials file in trouble, under a running server: it serves on and says so (issue 4)."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.flows.client import body, post
from tests.flows.conftest import credential
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)


def fill(place: Path) -> None:
    (place / "ballast").write_bytes(bytes(200 * 1024))


def empty(place: Path) -> None:
    (place / "ballast").unlink()


def ready(proxy: Proxy) -> tuple[int, str]:
    answer = requests.get(f"{proxy.url}/readyz", timeout=10)
    return answer.status_code, "; ".join(answer.json()["reasons"])


def wait_until(true: Callable[[], bool], limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("spoil", "mend", "why"),
    [
        (fill, empty, "no room in"),
        (lambda at: remount(at, "ro"), lambda at: remount(at, "rw"), "read-only"),
    ],
    ids=["full", "read-only"],
)
def test_a_token_is_not_redeemed_where_it_cannot_be_stored(
    sim: Simulator,
    small: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    mend: Callable[[Path], None],
    why: str,
) -> None:
    """Design 5, rule 3: the old one serves on; when there is room, it is renewed."""
    due = (datetime.now(UTC) + timedelta(minutes=4)).isoformat()
    config = {"stateDir": str(tmp_path / "state")}
    (tmp_path / "home").mkdir()
    proxy = Proxy(tmp_path / "home", config, upstream=sim.url)
    proxy.credentials_path = small / "credentials.json"
    proxy.credentials_path.write_text(json.dumps([credential(id=1, expiresAt=due)]))
    proxy.credentials_path.chmod(0o600)
    spoil(small)
    with proxy:
        assert [post(proxy, body()).status_code for _ in range(3)] == [200] * 3
        assert sim.state()["refreshes"] == 0
        status, reasons = ready(proxy)
        assert status == 503, "though it serves, for as long as the token lives"
        assert why in reasons
        mend(small)

        def renewed() -> bool:
            assert post(proxy, body()).status_code == 200
            return bool(sim.state()["refreshes"])

        wait_until(renewed)
        assert (sim.state()["refreshes"], sim.state()["reuses"]) == (1, 0)
        wait_until(lambda: ready(proxy) == (200, ""))


@pytest.mark.parametrize("damage", [b'[{"refreshTo', b"", b"\x00" * 300])
def test_a_damaged_file(sim: Simulator, tmp_path: Path, damage: bytes) -> None:
    """It serves on; after a restart too, with nothing lost and the damaged file kept."""
    given = [credential(id=1, note="mine"), credential(id=2, refreshToken="r" * 120)]
    with Proxy(tmp_path, {}, given, upstream=sim.url) as proxy:
        path = proxy.credentials_path
        assert [post(proxy, body()).status_code for _ in range(6)] == [200] * 6
        path.write_bytes(damage)
        time.sleep(1.1)
        assert [post(proxy, body()).status_code for _ in range(6)] == [200] * 6
        _, reasons = ready(proxy)
        assert "credentials" in reasons, reasons
    again = Proxy(tmp_path, {}, given, upstream=sim.url)
    again.credentials_path.write_bytes(damage)
    with again:
        assert post(again, body()).status_code == 200
        restored: Any = json.loads(again.credentials_path.read_text("utf-8"))
        assert [one["id"] for one in restored] == [1, 2]
        assert restored[0]["note"] == "mine"
        assert list(tmp_path.glob("credentials.json.corrupt-*"))


def test_a_file_that_is_mounted_by_itself(sim: Simulator, small: Path, tmp_path: Path) -> None:
    """Design 5, rule 6: said at the start; its tokens serve, and are not rotated."""
    (small / "credentials.json").write_text(json.dumps([credential(id=1)]))
    proxy = Proxy(tmp_path, {}, [], upstream=sim.url, workers=1)
    mount = ["mount", "--bind", str(small / "credentials.json"), str(proxy.credentials_path)]
    subprocess.run(mount, check=True)
    try:
        with proxy:
            assert "is itself a mount point and cannot be replaced: mount the" in proxy.log()
            assert post(proxy, body()).status_code == 200
            status, reasons = ready(proxy)
            assert (status, "mount the directory" in reasons) == (503, True), reasons
    finally:
        subprocess.run(["umount", str(proxy.credentials_path)], check=True)


def test_s163_a_place_that_does_not_last_is_told_at_each_start(
    sim: Simulator, small: Path, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    for given in ([credential(id=1)], [{"id": 1, "authMethod": "api_key", "kiroApiKey": "ksk_x"}]):
        config = {"stateDir": str(tmp_path / "state")}
        proxy = Proxy(tmp_path / "home", config, [], upstream=sim.url, workers=1)
        proxy.credentials_path = small / "credentials.json"
        proxy.credentials_path.write_text(json.dumps(given))
        before = len(proxy.log()) if (tmp_path / "home" / "proxy.log").exists() else 0
        with proxy:
            told = "rotated tokens are lost with" in proxy.log()[before:]
        assert told == (given[0]["authMethod"] != "api_key")
