"""One simulator and one proxy (two workers) for the flow tests; each test starts clean."""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Proxy
from tests.simulation import Simulator

LONG_TOKEN = "refresh-token-of-a-test-" + "x" * 100


def credential(**fields: Any) -> dict[str, Any]:
    """A credential whose access token lives long."""
    return {
        "refreshToken": LONG_TOKEN,
        "accessToken": "access-token-of-a-test",
        "expiresAt": "2099-01-01T00:00:00Z",
        "authMethod": "social",
    } | fields


@pytest.fixture(scope="session")
def running_simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def sim(running_simulator: Simulator) -> Simulator:
    running_simulator.reset()
    for shared in SHARED:
        forget(shared)
    return running_simulator


SHARED: list[Proxy] = []


def forget(proxy: Proxy) -> None:
    """Let a proxy forget cooldowns, failures and pins: tests must not hear of each other."""
    runtime = sqlite3.connect(proxy.config_path.with_name("runtime.db"), timeout=5)
    with contextlib.closing(runtime), runtime:
        for table in ("states", "pins", "lacks", "notes", "key_seconds"):
            runtime.execute(f"DELETE FROM {table}")
    stored = json.loads(proxy.credentials_path.read_text("utf-8"))
    if any(one.pop("disabled", False) for one in stored):
        proxy.credentials_path.write_text(json.dumps(stored), "utf-8")
        time.sleep(1.1)  # a snapshot may be a second old


@pytest.fixture(scope="session")
def proxy(
    running_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    place = tmp_path_factory.mktemp("proxy")
    with Proxy(place, {}, [credential()], upstream=running_simulator.url) as running:
        SHARED.append(running)
        yield running
        SHARED.remove(running)


@pytest.fixture(scope="session")
def hasty_proxy(
    running_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """The same with short waits: a ping every 0.3 s, silence ends after 1.2 s."""
    config = {
        "pingIntervalSec": 0.3,
        "idleTimeoutSec": 1.2,
        "firstFrameWaitSec": 0.4,
        "adminApiKey": "sk-admin",
        "maxBodyBytes": 200_000,
        "bodyTimeoutSec": 1,
    }
    place: Path = tmp_path_factory.mktemp("hasty")
    with Proxy(place, config, [credential()], upstream=running_simulator.url) as running:
        SHARED.append(running)
        yield running
        SHARED.remove(running)
