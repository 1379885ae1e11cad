"""S128 to S135 and S140, one credential at a time."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from kiroproxy.credentials.model import parse_credential
from kiroproxy.errors import InvalidRequest
from kiroproxy.runtime import Decision, Note
from kiroproxy.upstream.usage import FRESH_S, Usage
from kiroproxy.web.admin.credentials import edited
from tests.web.admin.conftest import TOKEN, Desk
from tests.web.conftest import BODY, KEY

S128 = {
    *("id", "priority", "disabled", "failureCount", "isCurrent", "expiresAt", "authMethod"),
    *("hasProfileArn", "refreshTokenHash", "apiKeyHash", "maskedApiKey", "email"),
    *("successCount", "lastUsedAt", "hasProxy", "refreshFailureCount", "endpoint"),
}


def test_s128_the_list(desk: Desk) -> None:
    desk.post("/credentials/1/priority", {"priority": 5})
    told = desk.get("/credentials")
    assert (told["total"], told["available"], told["currentId"]) == (2, 2, 2)
    assert [one["id"] for one in told["credentials"]] == [2, 1], "by priority"
    for one in told["credentials"]:
        assert set(one) >= S128
        assert one["isCurrent"] is (one["id"] == 2)
        assert "disabledReason" not in one
        assert "proxyUrl" not in one


def test_s128_an_empty_pool(open_desk: Callable[..., Desk]) -> None:
    told = open_desk(0).get("/credentials")
    assert told == {"total": 0, "available": 0, "currentId": 0, "credentials": []}


def test_s128_of_one_group(desk: Desk) -> None:
    desk.send("PATCH", "/credentials/2", {"group": "pro"})
    assert [one["id"] for one in desk.get("/credentials?group=pro")["credentials"]] == [2]


def test_s130_add(desk: Desk) -> None:
    body = {"refreshToken": TOKEN, "priority": 3, "region": "eu-west-1", "email": "a@b.example"}
    told = desk.post("/credentials", body)
    assert told["success"] is True
    assert (told["credentialId"], told["email"]) == (3, "a@b.example")
    assert desk.auth.asked == [TOKEN], "verified by a refresh"
    [*_, one] = desk.stored()
    assert (one["authMethod"], one["priority"], one["region"]) == ("social", 3, "eu-west-1")
    assert one["refreshToken"] != TOKEN, "the rotated one"
    assert not one.get("disabled")
    assert desk.actions() == ["credential.add"]


def test_s130_of_every_kind(desk: Desk) -> None:
    idc = {"refreshToken": TOKEN, "authMethod": "IdC", "clientId": "c", "clientSecret": "s"}
    assert desk.post("/credentials", idc)["credentialId"] == 3
    desk.accounts.usages[4] = Usage("PRO", 50.0, 1.0, None)
    assert desk.post("/credentials", {"kiroApiKey": "ksk_abcdefgh"})["credentialId"] == 4
    assert [one["authMethod"] for one in desk.stored()[2:]] == ["idc", "api_key"]


def test_s130_twice_the_same(desk: Desk) -> None:
    desk.post("/credentials", {"refreshToken": TOKEN})
    error = desk.refused("POST", "/credentials", {"refreshToken": TOKEN})
    assert error["type"] == "invalid_request"
    assert "#3" in error["message"]
    assert len(desk.stored()) == 3


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"refreshToken": "short"},
        {"refreshToken": TOKEN[:50] + "..." + TOKEN[50:]},
        {"refreshToken": 7},
        {"refreshToken": TOKEN, "authMethod": "carrier pigeon"},
        {"refreshToken": TOKEN, "authMethod": "idc"},
        {"refreshToken": TOKEN, "priority": -1},
        {"refreshToken": TOKEN, "region": "x"},
        {"refreshToken": TOKEN, "endpoint": "elsewhere"},
        {"refreshToken": TOKEN, "group": "v1"},
        {"refreshToken": TOKEN, "unknownField": 1},
        {"refreshToken": TOKEN, "linkedTo": "/etc/passwd"},
        {"refreshToken": TOKEN, "tokenEndpoint": "https://evil.example/token"},
        {"refreshToken": TOKEN, "proxyUrl": "http://169.254.169.254/"},
        {"refreshToken": TOKEN, "proxyUrl": "file:///etc/passwd"},
        [],
        "text",
    ],
)
def test_s130_what_cannot_be(desk: Desk, body: Any) -> None:
    error = desk.refused("POST", "/credentials", body)
    assert error["type"] == "invalid_request"
    assert len(desk.stored()) == 2
    assert desk.auth.asked == [], "no token leaves the house for that"


def test_s130_a_token_that_kiro_refuses(desk: Desk) -> None:
    desk.auth.refused.add(TOKEN)
    error = desk.refused("POST", "/credentials", {"refreshToken": TOKEN})
    assert error["param"] == "refreshToken"
    assert TOKEN not in str(error)
    assert len(desk.stored()) == 2


def test_s130_an_api_key_that_nobody_can_try(desk: Desk) -> None:
    error = desk.refused("POST", "/credentials", {"kiroApiKey": "ksk_abcdefgh"}, 502)
    assert error["type"] == "api_error"
    assert len(desk.stored()) == 2


def test_s131_delete(desk: Desk) -> None:
    error = desk.refused("DELETE", "/credentials/1")
    assert error["type"] == "invalid_request"
    assert "disable first" in error["message"]
    desk.post("/credentials/1/disabled", {"disabled": True})
    assert desk.send("DELETE", "/credentials/1")["success"] is True
    assert [one["id"] for one in desk.stored()] == [2]
    assert desk.refused("DELETE", "/credentials/1", status=404)["type"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("GET", "/history", None),
        ("PATCH", "", {"label": "x"}),
        ("DELETE", "", None),
        ("POST", "/disabled", {"disabled": True}),
        ("POST", "/priority", {"priority": 1}),
        ("POST", "/reset", None),
        ("POST", "/refresh", None),
        ("GET", "/balance", None),
        ("POST", "/test", {}),
    ],
)
def test_s136_nobody_there(desk: Desk, method: str, path: str, body: Any) -> None:
    for id_ in (99, 10**30):
        error = desk.refused(method, f"/credentials/{id_}{path}", body, 404)
        assert error["type"] == "not_found"


def test_s132_disable_and_enable(desk: Desk) -> None:
    told = desk.post("/credentials/1/disabled", {"disabled": True})
    assert set(told) == {"success", "message"}
    seen = desk.get("/credentials")
    assert (seen["currentId"], seen["available"]) == (2, 1)
    assert desk.get("/credentials/1")["disabledReason"] == "Manual"
    runtime = desk.parts.runtime
    taken = runtime.admit(lambda shared: Decision(1))
    assert taken.ticket is not None
    runtime.give_back(taken.ticket, lambda state: Note(failed=True, cooldown_s=60, why="x"))
    assert desk.get("/credentials/1")["failureCount"] == 1
    desk.post("/credentials/1/disabled", {"disabled": False})
    one = desk.get("/credentials/1")
    assert (one["state"], one["failureCount"]) == ("active", 0), "counters are forgotten"
    assert desk.get("/credentials")["currentId"] == 1
    assert desk.actions() == ["credential.enable", "credential.disable"]


@pytest.mark.parametrize("value", ["true", 1, None, "yes", []])
def test_s132_true_or_false(desk: Desk, value: Any) -> None:
    assert desk.refused("POST", "/credentials/1/disabled", {"disabled": value})["param"]
    assert not desk.stored()[0].get("disabled")


def test_s133_priority_counts_from_the_next_request_on(desk: Desk) -> None:
    def served_by() -> str:
        answer = desk.place.client.post("/v1/messages", json=BODY, headers={"x-api-key": KEY})
        trace = desk.get(f"/explain/{answer.headers['x-kiroproxy-trace']}")
        return str(trace["attempts"][-1]["credential_id"])

    desk.post("/credentials/1/priority", {"priority": 10})
    desk.post("/credentials/2/priority", {"priority": 0})
    assert served_by() == "2"
    assert [one.get("priority", 0) for one in desk.stored()] == [10, 0], "S139: it is written"


@pytest.mark.parametrize("value", [-1, 1.5, "1", None, True, 2**60])
def test_s133_priorities_are_whole_numbers(desk: Desk, value: Any) -> None:
    desk.refused("POST", "/credentials/1/priority", {"priority": value})


def test_s134_reset(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk()
    change = desk.parts.pool.renewals.disable
    one, two = desk.parts.pool.store.snapshot().credentials
    change(one, "TooManyFailures")
    change(two, "InvalidConfig")
    assert desk.get("/credentials/1")["disabledReason"] == "TooManyFailures"
    desk.post("/credentials/1/reset")
    assert desk.get("/credentials/1")["state"] == "active"
    assert "InvalidConfig" in desk.refused("POST", "/credentials/2/reset")["message"]


@pytest.mark.parametrize(
    "reason",
    [
        *("TooManyFailures", "TooManyRefreshFailures", "QuotaExceeded"),
        *("InvalidRefreshToken", "InvalidConfig"),
    ],
)
def test_s129_reasons(desk: Desk, reason: str) -> None:
    [one, _] = desk.parts.pool.store.snapshot().credentials
    desk.parts.pool.renewals.disable(one, reason)
    assert desk.get("/credentials/1")["disabledReason"] == reason


def test_s140_refresh(desk: Desk) -> None:
    told = desk.post("/credentials/1/refresh")
    assert told["expiresAt"] == "2099-01-01T00:00:00.000Z"
    assert desk.stored()[0]["generation"] == 1
    token = desk.stored()[0]["refreshToken"]
    desk.auth.refused.add(token)
    assert desk.refused("POST", "/credentials/1/refresh", status=502)["type"] == "api_error"


def test_s135_balance(desk: Desk) -> None:
    end = datetime(2026, 12, 1, tzinfo=UTC)
    desk.accounts.usages[1] = Usage("KIRO PRO", 50.0, 12.5, end)
    told = desk.get("/credentials/1/balance")
    assert told == {
        "id": 1,
        "subscriptionTitle": "KIRO PRO",
        "currentUsage": 12.5,
        "usageLimit": 50.0,
        "remaining": 37.5,
        "usagePercentage": 25.0,
        "nextResetAt": "2026-12-01T00:00:00.000Z",
    }
    desk.get("/credentials/1/balance")
    assert desk.accounts.asked == [1], f"asked at most every {FRESH_S} s"
    desk.get("/credentials/1/balance?fresh=true")
    assert desk.accounts.asked == [1, 1]
    assert desk.get("/credentials/1")["balance"]["remaining"] == 37.5


def test_s135_an_account_without_a_limit(desk: Desk) -> None:
    desk.accounts.usages[1] = Usage("", 0.0, 0.0, None)
    told = desk.get("/credentials/1/balance")
    assert (told["usagePercentage"], told["nextResetAt"]) == (0.0, None)


def test_s135_upstream_failure(desk: Desk) -> None:
    error = desk.refused("GET", "/credentials/1/balance", status=502)
    assert error["type"] == "api_error"


def test_a_trial(desk: Desk) -> None:
    told = desk.post("/credentials/2/test", {"model": "claude-sonnet-4-5"})
    assert (told["credentialId"], told["model"]) == (2, "claude-sonnet-4.5")
    assert told["answer"] == "hello you"
    assert desk.refused("POST", "/credentials/2/test", {"model": "nobody's"})["param"] == "model"
    desk.post("/credentials/2/disabled", {"disabled": True})
    assert "enable" in desk.refused("POST", "/credentials/2/test", {})["message"]


# ---- editing -------------------------------------------------------------------------------


def test_edit(desk: Desk) -> None:
    change = {
        "label": "work",
        "group": "pro",
        "priority": 4,
        "region": "eu-west-1",
        "maxConcurrent": 2,
        "endpoint": "cli",
        "proxyUrl": "http://u:secret-of-proxy@127.0.0.1:3128",
        "proxyPassword": "secret-of-proxy",
    }
    told = desk.send("PATCH", "/credentials/1", change)
    assert (told["label"], told["group"], told["maxConcurrent"]) == ("work", "pro", 2)
    assert told["proxyUrl"] == "http://***@127.0.0.1:3128"
    one = desk.stored()[0]
    assert {key: one[key] for key in change} == change
    gone = desk.send("PATCH", "/credentials/1", dict.fromkeys(change))
    assert (gone["label"], gone["group"], gone["hasProxy"]) == (None, "default", False)
    assert not {"proxyUrl", "proxyPassword", "group"} & set(desk.stored()[0])
    assert "secret-of-proxy" not in desk.call("GET", "/audit").text


def test_the_default_group_is_no_group(desk: Desk) -> None:
    desk.send("PATCH", "/credentials/1", {"group": "pro"})
    desk.send("PATCH", "/credentials/1", {"group": "default"})
    assert "group" not in desk.stored()[0]


@pytest.mark.parametrize(
    "change",
    [
        {"region": "nowhere"},
        {"endpoint": "web"},
        {"maxConcurrent": 0},
        {"priority": -2},
        {"group": "admin"},
        {"proxyUrl": "http://[fe80::1]:80"},
        {"refreshToken": TOKEN},
        {"accessToken": "x"},
        {"linkedTo": "/etc/passwd"},
        {"tokenEndpoint": "https://evil.example"},
        {"disabled": True},
        {"id": 7},
    ],
)
def test_edits_that_cannot_be(desk: Desk, change: dict[str, Any]) -> None:
    before = desk.stored()
    error = desk.refused("PATCH", "/credentials/1", change)
    assert error["param"] == next(iter(change)) or "group" in change
    assert desk.stored() == before


def test_an_edit_keeps_all_else() -> None:
    raw = {"refreshToken": TOKEN, "kept": {"a": 1}, "expiresAt": "2027-01-01T00:00:00Z"}
    one = parse_credential(raw)
    after = edited(one, {"label": "x"})
    assert (after.extra, after.expires_at, after.label) == (one.extra, one.expires_at, "x")
    with pytest.raises(InvalidRequest):
        edited(one, {"region": "?"})


def test_history(desk: Desk) -> None:
    desk.post("/credentials/1/priority", {"priority": 5})
    told = desk.get("/credentials/1/history")
    [change] = told["changes"]
    assert (change["action"], change["target"]) == ("credential.priority", "credential 1")
    assert change["after"] == {"priority": 5}
    assert told["requests"] == []
    assert desk.get("/credentials/2/history") == {"changes": [], "requests": []}


def test_a_proxys_password_stays_with_its_host(desk: Desk) -> None:
    path = "/credentials/1"
    first = {"proxyUrl": "http://127.0.0.1:1", "proxyUsername": "u", "proxyPassword": "hidden"}
    desk.send("PATCH", path, first)
    desk.send("PATCH", path, {"proxyUrl": "http://127.0.0.1:2"})
    other = {"proxyUrl": "http://evil.invalid:1"}
    assert desk.refused("PATCH", path, other)["param"] == "proxyUrl"
    desk.send("PATCH", path, {"proxyUrl": None})
    desk.refused("PATCH", path, other)
    desk.send("PATCH", path, other | {"proxyPassword": "another"})
    desk.send("PATCH", path, {"proxyUrl": "http://elsewhere.invalid:1", "proxyPassword": None})
    assert "proxyPassword" not in desk.stored()[0]
