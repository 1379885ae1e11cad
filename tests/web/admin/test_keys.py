"""Client keys: made, shown once, changed, rotated, deleted."""

import json
from typing import Any

import pytest

from tests.web.admin.conftest import Desk


def test_from_its_beginning_to_its_end(desk: Desk) -> None:
    body = {
        "name": "laptop",
        "allowed_groups": ["pro"],
        "limits": {"requests_per_minute": 5},
        "budgets": {"day_hard": 2},
    }
    made = desk.post("/keys", body, 201)
    key, secret = made, made.pop("key")
    assert secret.startswith("kp_")
    assert secret not in json.dumps(key)
    assert key["limits"]["requests_per_minute"] == 5
    assert key["standing"][0]["hard"] == 2
    [listed] = desk.get("/keys")["keys"]
    assert (listed["id"], listed["name"]) == (key["id"], "laptop")
    path = f"/keys/{key['id']}"
    changed = desk.send("PATCH", path, {"disabled": True, "owner": "me"})
    assert (changed["disabled"], changed["owner"], changed["name"]) == (True, "me", "laptop")
    rotated = desk.post(f"{path}/rotate", {"overlap": 60})
    assert rotated["id"] == key["id"]
    assert rotated["key"] != secret
    assert rotated["old_key_until"]
    assert desk.send("DELETE", path)["success"] is True
    desk.refused("GET", path, status=404)
    assert desk.actions() == ["key.delete", "key.rotate", "key.edit", "key.create"]
    audit = desk.call("GET", "/audit").text
    for one in (secret, rotated["key"]):
        assert one not in audit


def test_a_secret_from_another_program(desk: Desk) -> None:
    made = desk.post("/keys", {"key": "sk-of-another-program"}, 201)
    assert made["key"] == "sk-of-another-program"
    desk.refused("POST", "/keys", {"key": "sk-of-another-program"})


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/keys", {"limits": {"requests_per_minute": -1}}, 400),
        ("POST", "/keys", {"limits": {"unknown": 1}}, 400),
        ("POST", "/keys", {"expires_at": "soon"}, 400),
        ("POST", "/keys", {"key": "short"}, 400),
        ("POST", "/keys", {"models": "x"}, 400),
        ("POST", "/keys", {"hash": "x"}, 400),
        ("PATCH", "/keys/none", {}, 404),
        ("DELETE", "/keys/none", None, 404),
        ("POST", "/keys/none/rotate", {}, 404),
        ("POST", "/keys/none/rotate", {"overlap": -1}, 400),
    ],
)
def test_what_cannot_be(desk: Desk, method: str, path: str, body: Any, status: int) -> None:
    desk.refused(method, path, body, status)
    assert desk.get("/keys") == {"keys": [], "total": 0}


def test_what_is_not_named_stays(desk: Desk) -> None:
    limits = {"concurrent": 2, "requests_per_minute": 7}
    key = desk.post("/keys", {"name": "k", "limits": limits}, 201)["id"]
    told = desk.send("PATCH", f"/keys/{key}", {"limits": {"concurrent": 3}})
    assert told["limits"] == {
        "concurrent": 3,
        "requests_per_minute": 7,
        "output_tokens_per_day": 0,
    }
    told = desk.send("PATCH", f"/keys/{key}", {"limits": None})
    assert set(told["limits"].values()) == {0}
