"""Groups in paths, /api/tokens and /api/groups (S118 to S125, X6, X17)."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from kiroproxy.credentials.model import Credential
from kiroproxy.upstream.usage import Balances, Usage
from kiroproxy.web.groups import mask_email, preview
from kiroproxy.web.services import Services
from tests.web.conftest import ADMIN, AUTH, BODY, KEY, Place

OPERATOR = {"x-api-key": ADMIN}
TOKEN = "refresh-token-" + "x" * 100


class Source:
    def usage(self, credential: Credential) -> Usage:
        return Usage("KIRO PRO", 100, 25, None)


@pytest.fixture
def grouped(make: Callable[..., Place]) -> Place:
    """Credential 1 in `default`, 2 in `pro`."""
    place = make(2)
    store = place.services.pool.store
    path = store.path  # type: ignore[attr-defined]
    stored = json.loads(path.read_text())
    stored[1]["group"] = "pro"
    stored[1]["email"] = "someone@example.org"
    path.write_text(json.dumps(stored))
    parts: Services = place.services
    parts.balances = Balances(parts.pool, Source())
    return place


def bearer_of(place: Place, answer: Any) -> int:
    told = place.client.get(
        f"/api/admin/explain/{answer.headers['x-kiroproxy-trace']}", headers=OPERATOR
    ).get_json()
    return int(told["attempts"][-1]["credential_id"])


@pytest.mark.parametrize(
    ("path", "used"),
    [
        ("/v1/messages", 1),
        ("/default/v1/messages", 1),
        ("/pro/v1/messages", 2),
        ("/pro/v1/v1/messages", 2),
        ("/cc/v1/messages", 1),
        ("/pro/v1/chat/completions", 2),
    ],
)
def test_s119_a_group_uses_its_own_credentials(grouped: Place, path: str, used: int) -> None:
    answer = grouped.post(path)
    assert answer.status_code == 200, answer.get_data()
    assert bearer_of(grouped, answer) == used


def test_s120_unknown_and_empty_groups(grouped: Place) -> None:
    unknown = grouped.post("/nobody/v1/messages")
    assert unknown.status_code == 404
    assert "nobody" in unknown.get_json()["error"]["message"]
    assert grouped.client.post("/api/groups", json={"name": "empty"}, headers=OPERATOR)
    empty = grouped.post("/empty/v1/messages")
    assert empty.status_code == 503
    assert "empty" in empty.get_json()["error"]["message"]
    assert grouped.kiro.requests == []


def test_a_stranger_does_not_learn_which_groups_there_are(grouped: Place) -> None:
    for group in ("pro", "nobody"):
        answer = grouped.client.post(f"/{group}/v1/messages", json=BODY)
        assert answer.status_code == 401


@pytest.mark.parametrize("name", ["v1", "cc", "api", "admin", "health", "metrics", "CC"])
def test_x6_fixed_routes_win(grouped: Place, name: str) -> None:
    refused = grouped.client.post("/api/groups", json={"name": name}, headers=OPERATOR)
    assert refused.status_code == 400
    if name not in ("v1", "cc"):
        # the page at /admin takes every path below it, for GET alone
        wanted = 405 if name == "admin" else 404
        assert grouped.post(f"/{name}/v1/messages").status_code == wanted


def test_models_and_counts_of_a_group(grouped: Place) -> None:
    assert grouped.client.get("/pro/v1/models", headers=AUTH).status_code == 200
    assert grouped.client.get("/pro/v1/models/claude-opus-4.8", headers=AUTH).status_code == 200
    assert grouped.post("/pro/v1/messages/count_tokens").status_code == 200
    assert grouped.client.get("/nobody/v1/models", headers=AUTH).status_code == 404
    preflight = grouped.client.options("/pro/v1/messages")
    assert preflight.status_code == 204


# ---- /api/tokens -----------------------------------------------------------------------------


def tokens(place: Place, query: str = "", headers: dict[str, str] = AUTH) -> dict[str, Any]:
    answer = place.client.get(f"/api/tokens{query}", headers=headers)
    assert answer.status_code == 200, answer.get_data()
    told: dict[str, Any] = answer.get_json()
    return told


def test_s125_the_pool_in_the_shape_of_the_document(grouped: Place) -> None:
    grouped.post("/pro/v1/messages")
    told = tokens(grouped)
    assert (told["total_tokens"], told["active_tokens"]) == (2, 2)
    assert (told["page"], told["page_size"]) == (1, 100)
    assert told["pool_stats"] == {
        "total_tokens": 2,
        "active_tokens": 2,
        "global_in_flight": 0,
        "tokens_with_in_flight": 0,
    }
    pro = told["tokens"][1]
    assert pro.pop("last_used").endswith("Z")
    assert pro.pop("avg_latency") >= 0
    assert pro == {
        "id": 2,
        "index": 1,
        "user_email": "s***@example.org",
        "token_preview": "***",
        "auth_type": "social",
        "remaining_usage": 75.0,
        "expires_at": "2099-01-01T00:00:00.000Z",
        "status": "active",
        "group": "pro",
        "name": "",
        "request_count": 1,
        "success_count": 1,
        "failure_count": 0,
        "in_flight": 0,
        "usage_limits": {"total_limit": 100.0, "current_usage": 25.0, "is_exceeded": False},
    }


def test_pages_and_groups(grouped: Place) -> None:
    assert [one["id"] for one in tokens(grouped, "?page=2&page_size=1")["tokens"]] == [2]
    assert [one["id"] for one in tokens(grouped, "?group=pro")["tokens"]] == [2]
    assert tokens(grouped, "?group=nobody")["tokens"] == []
    for query in ("?page=0", "?page_size=1001", "?page=x", "?page=²"):
        assert grouped.client.get(f"/api/tokens{query}", headers=AUTH).status_code == 400


def test_s125d_no_credentials(make: Callable[..., Place]) -> None:
    told = tokens(make(0))
    assert (told["total_tokens"], told["active_tokens"], told["tokens"]) == (0, 0, [])


def test_x17_who_may(grouped: Place, make: Callable[..., Place]) -> None:
    assert tokens(grouped, headers=OPERATOR)["total_tokens"] == 2
    assert grouped.client.get("/api/tokens").status_code == 401
    for method, path in (
        ("post", "/api/tokens"),
        ("delete", "/api/tokens/1"),
        ("get", "/api/groups"),
    ):
        ask = getattr(grouped.client, method)
        assert ask(path, headers={"x-api-key": KEY}).status_code == 401
    closed = make(1, admin_api_key="")
    assert closed.client.get("/api/tokens", headers=AUTH).status_code == 200
    assert closed.client.post("/api/tokens", json={}, headers=AUTH).status_code == 404
    assert closed.client.get("/api/groups", headers=AUTH).status_code == 404


@pytest.mark.parametrize(
    ("groups", "query", "shown"),
    [
        ([], "", [1, 2]),
        (["pro"], "", [2]),
        (["pro", "default"], "?group=default", [1]),
        (["elsewhere"], "", []),
    ],
)
def test_x17_a_client_key_sees_its_groups(
    grouped: Place, groups: list[str], query: str, shown: list[int]
) -> None:
    own = grouped.new_key(allowed_groups=groups)
    seen = grouped.client.get(f"/api/tokens{query}", headers=own)
    assert seen.status_code == 200, seen.get_data()
    assert [one["id"] for one in seen.get_json()["tokens"]] == shown
    assert seen.get_json()["total_tokens"] == len(shown)
    assert grouped.client.delete("/api/tokens/1", headers=own).status_code == 401
    assert grouped.client.get("/api/groups", headers=own).status_code == 401


def test_adding_changing_and_removing(grouped: Place) -> None:
    client = grouped.client
    added = client.post("/api/tokens", json={"refreshToken": TOKEN}, headers=OPERATOR)
    assert (added.status_code, added.get_json()["id"]) == (201, 3)
    again = client.post("/api/tokens", json={"refreshToken": TOKEN}, headers=OPERATOR)
    assert again.status_code == 409
    assert again.get_json()["duplicate"] is True
    assert again.get_json()["existing"] == {"id": 3, "name": "", "group": "default"}
    short = client.post("/api/tokens", json={"refreshToken": "short"}, headers=OPERATOR)
    assert short.status_code == 400
    assert "truncated" in short.get_json()["error"]["message"]
    change = {"disabled": True, "group": "pro", "name": "mine"}
    changed = client.patch("/api/tokens/3", json=change, headers=OPERATOR).get_json()
    assert (changed["disabled"], changed["group"], changed["name"]) == (True, "pro", "mine")
    assert tokens(grouped)["tokens"][2]["status"] == "disabled"
    moved = client.put("/api/tokens/3/move", json={"group": "default"}, headers=OPERATOR)
    assert moved.get_json()["group"] == "default"
    assert client.delete("/api/tokens/3", headers=OPERATOR).status_code == 204
    assert client.delete("/api/tokens/3", headers=OPERATOR).status_code == 404
    assert client.patch("/api/tokens/1", json={"name": 5}, headers=OPERATOR).status_code == 400
    bulk = {"tokens": [{"refreshToken": TOKEN}, {"refreshToken": TOKEN}, {}]}
    told = client.post("/api/tokens/bulk", json=bulk, headers=OPERATOR).get_json()
    assert (told["added"], told["duplicate"], told["failed"], told["total"]) == (1, 1, 1, 3)
    assert TOKEN not in json.dumps(told)


def test_no_whole_token_is_ever_told(grouped: Place) -> None:
    text = json.dumps(tokens(grouped))
    assert "rt-0" not in text
    assert "someone" not in text
    assert preview("x" * 60 + "0123456789") == "***0123456789"
    assert preview("short-secret") == "***"
    assert (preview(None), mask_email(None), mask_email("odd")) == ("", "", "o***")


# ---- /api/groups -----------------------------------------------------------------------------


def test_s123_groups_from_first_to_last(grouped: Place) -> None:
    client = grouped.client
    made = client.post(
        "/api/groups",
        json={"name": "team", "display_name": "Team", "settings": {"cooldown_sec": 5}},
        headers=OPERATOR,
    )
    assert made.status_code == 201
    assert made.get_json() == {
        "name": "team",
        "display_name": "Team",
        "settings": {
            "priority": 0,
            "rate_limit_qps": 0.0,
            "rate_limit_burst": 0.0,
            "cooldown_sec": 5,
        },
        "token_count": 0,
        "active_count": 0,
    }
    names = [
        one["name"] for one in client.get("/api/groups", headers=OPERATOR).get_json()["groups"]
    ]
    assert names == ["default", "pro", "team"]
    put = client.put("/api/groups/team", json={"settings": {"priority": 3}}, headers=OPERATOR)
    assert put.get_json()["settings"]["cooldown_sec"] == 5
    renamed = client.post("/api/groups/pro/rename", json={"new_name": "best"}, headers=OPERATOR)
    assert (renamed.get_json()["name"], renamed.get_json()["token_count"]) == ("best", 1)
    assert grouped.post("/best/v1/messages").status_code == 200
    assert grouped.post("/pro/v1/messages").status_code == 404
    assert client.delete("/api/groups/best", headers=OPERATOR).status_code == 204
    assert tokens(grouped)["tokens"][1]["group"] == "default"
    for answer in (
        client.delete("/api/groups/default", headers=OPERATOR),
        client.post("/api/groups/default/rename", json={"new_name": "x"}, headers=OPERATOR),
        client.post("/api/groups", json={"name": "banned"}, headers=OPERATOR),
        client.post("/api/groups", json={}, headers=OPERATOR),
    ):
        assert answer.status_code == 400
    assert client.get("/api/groups/nobody", headers=OPERATOR).status_code == 404


def test_every_change_is_in_the_audit_log(place: Place) -> None:
    """The same log as of /api/admin (S125, S139)."""
    headers = {"x-api-key": ADMIN}

    def send(method: str, path: str, body: Any = None) -> None:
        answer = place.client.open(f"/api{path}", method=method, json=body, headers=headers)
        assert answer.status_code < 300, answer.text

    send("POST", "/groups", {"name": "pro"})
    send("PUT", "/groups/pro", {"display_name": "Pro"})
    send("PATCH", "/tokens/1", {"disabled": True})
    send("PUT", "/tokens/1/move", {"group": "pro"})
    send("POST", "/groups/pro/rename", {"new_name": "more"})
    send("POST", "/tokens", {"refreshToken": "canary" + "c" * 120})
    send("DELETE", "/tokens/2")
    send("DELETE", "/groups/more")
    found = place.client.get("/api/admin/audit", headers=headers)
    assert [one["action"] for one in found.get_json()["entries"]] == [
        "group.delete",
        "credential.delete",
        "credential.add",
        "group.rename",
        "credential.move",
        "credential.edit",
        "group.edit",
        "group.create",
    ]
    assert "canary" not in found.text


def test_what_is_sent_reaches_for_no_file_and_no_metadata(grouped: Place) -> None:
    def add(**more: Any) -> Any:
        entry = {"refreshToken": TOKEN} | more
        one = grouped.client.post("/api/tokens", json=entry, headers=OPERATOR)
        many = grouped.client.post("/api/tokens/bulk", json={"tokens": [entry]}, headers=OPERATOR)
        return one, many.get_json()["results"][0]

    for wrong in (
        {"proxyUrl": "http://169.254.169.254"},
        {"region": "evil.example/"},
        {"priority": 10**30},
        {"endpoint": "evil.example"},
    ):
        one, row = add(**wrong)
        assert one.status_code == 400
        assert row["status"] == "failed"
        assert next(iter(wrong)) in one.get_json()["error"]["message"]
    added, _ = add(linkedTo="/etc/passwd", disabledReason="mine", importedFrom="x")
    stored = grouped.services.pool.store.snapshot().get(added.get_json()["id"])
    assert stored is not None
    assert (stored.linked_to, stored.disabled_reason) == (None, None)


def test_x17_a_client_key_sees_its_own_groups(grouped: Place) -> None:
    def key(**settings: Any) -> dict[str, str]:
        made = grouped.client.post("/api/keys", json=settings, headers=OPERATOR)
        return {"x-api-key": made.get_json()["key"]}

    pro, free = key(name="a", allowed_groups=["pro"]), key(name="b")
    limited, off = key(name="c", allowed_groups=["pro", "other"]), key(name="d", disabled=True)
    told = tokens(grouped, headers=pro)
    assert ([one["id"] for one in told["tokens"]], told["total_tokens"]) == ([2], 1)
    assert told["pool_stats"]["total_tokens"] == 1
    assert tokens(grouped, headers=free)["total_tokens"] == 2
    assert tokens(grouped, "?group=pro", limited)["total_tokens"] == 1
    assert grouped.client.get("/api/tokens?group=default", headers=limited).status_code == 403
    assert grouped.client.get("/api/tokens", headers=off).status_code == 401
