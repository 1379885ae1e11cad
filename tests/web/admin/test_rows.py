"""How credentials are shown."""

import hashlib
import json

import pytest

from kiroproxy.web.admin.credentials import registry_of
from tests.web.admin.conftest import TOKEN, Desk


def test_s128_hashes_and_masks_only(desk: Desk) -> None:
    [one, *_] = desk.get("/credentials")["credentials"]
    stored = desk.stored()[0]
    digest = hashlib.sha256(stored["refreshToken"].encode()).hexdigest()
    assert one["refreshTokenHash"] == digest
    assert (one["apiKeyHash"], one["maskedApiKey"]) == (None, None)
    text = json.dumps(one)
    assert stored["refreshToken"] not in text
    assert stored["accessToken"] not in text


def test_s128_an_api_key(desk: Desk) -> None:
    entry = {"authMethod": "api_key", "kiroApiKey": "ksk_" + "k" * 40 + "tail"}
    registry_of(desk.parts).add(entry)
    one = desk.get("/credentials/3")
    assert one["maskedApiKey"] == "***tail"
    assert one["apiKeyHash"] == hashlib.sha256(entry["kiroApiKey"].encode()).hexdigest()
    assert (one["refreshTokenHash"], one["renewable"]) == (None, False)


@pytest.mark.parametrize("length", [1, 9, 39])
def test_of_short_secrets_nothing_is_shown(desk: Desk, length: int) -> None:
    desk.send("PATCH", "/credentials/1", {"machineId": "m" * length})
    assert desk.get("/credentials/1")["details"]["machineId"] == "…"


def test_details(desk: Desk) -> None:
    change = {"proxyUrl": "socks5://user:hidden@127.0.0.1:1080", "proxyUsername": "user"}
    desk.send("PATCH", "/credentials/1", change)
    found = desk.get("/credentials/1")["details"]
    assert found["proxyUrl"] == "socks5://***@127.0.0.1:1080"
    assert found["proxyUsername"] == "user"
    assert found["maxConcurrent"] is None
    assert TOKEN not in json.dumps(found)
