"""/api/keys (requirements 13): kiro2api's surface, behind the admin key."""

import json
from typing import Any

import pytest

from tests.web.conftest import ADMIN, AUTH, Place

OPERATOR = {"x-api-key": ADMIN}


def call(place: Place, method: str, path: str = "", body: Any = None) -> Any:
    more = {} if body is None else {"data": body if isinstance(body, str) else json.dumps(body)}
    return place.client.open(f"/api/keys{path}", method=method, headers=OPERATOR, **more)


def make(place: Place, **body: Any) -> dict[str, Any]:
    answer = call(place, "POST", body={"name": "ci"} | body)
    assert answer.status_code == 201, answer.get_data()
    made: dict[str, Any] = answer.get_json()
    return made


def test_x17_it_needs_the_admin_key(place: Place) -> None:
    made = make(place)
    client = {"x-api-key": made["key"]}
    for number, headers in enumerate(({}, AUTH, client)):
        for turn, (method, path) in enumerate(
            (
                ("GET", ""),
                ("POST", ""),
                ("GET", "/ci"),
                ("PATCH", "/ci"),
                ("DELETE", "/ci"),
                ("POST", "/ci/rotate"),
            )
        ):
            answer = place.client.open(
                f"/api/keys{path}",
                method=method,
                headers=headers,
                json={"name": "x"},
                # each from elsewhere: wrong keys are throttled
                environ_base={"REMOTE_ADDR": f"192.0.2.{number * 10 + turn}"},
            )
            assert answer.status_code == 401, (method, path)
    assert [one["name"] for one in call(place, "GET").get_json()["keys"]] == ["ci"]


def test_without_an_admin_key_there_is_nothing(make: Any) -> None:
    place = make(admin_api_key="")
    assert call(place, "GET").status_code == 404


def test_a_keys_life(place: Place) -> None:
    made = make(place, owner="me", limits={"concurrent": 2})
    secret = made.pop("key")
    assert secret.startswith("kp_")
    assert made["key_preview"] == f"kp_…{secret[-4:]}"
    assert call(place, "GET", f"/{made['id']}").get_json() == made
    assert call(place, "GET").get_json() == {"keys": [made], "total": 1}
    changed = call(place, "PATCH", "/ci", {"allowed_groups": ["pro"], "enabled": False})
    assert changed.get_json() | {"allowed_groups": [], "disabled": False} == made
    assert changed.get_json()["disabled"] is True
    whole = call(place, "GET", "/ci").get_json() | {"name": "new"}
    back = call(place, "PATCH", "/ci", whole | {"disabled": False})
    assert back.status_code == 200, "what an answer held may come back"
    assert back.get_json()["name"] == "new"
    rotated = call(place, "POST", "/new/rotate").get_json()
    assert rotated["key"] != secret
    assert rotated["old_key_until"]
    assert "old_key_until" in call(place, "POST", "/new/rotate", {"overlap_sec": 0}).get_json()
    actions = [one.action for one in place.services.ledger.audit.entries().entries]
    assert sorted(set(actions)) == ["key.create", "key.edit", "key.rotate"]
    log = str(place.services.ledger.audit.entries().entries)
    assert secret not in log
    assert rotated["key"] not in log


def test_the_last_key_stays(place: Place) -> None:
    first, second = make(place), make(place, name="two")
    assert call(place, "DELETE", f"/{first['id']}").status_code == 204
    refused = call(place, "DELETE", f"/{second['id']}")
    assert refused.status_code == 400
    assert "last" in refused.get_json()["error"]["message"]
    assert call(place, "GET").get_json()["total"] == 1


def test_a_key_that_is_brought_along(place: Place) -> None:
    made = make(place, key="sk-brought-along")
    assert made["key"] == "sk-brought-along"
    again = call(place, "POST", body={"name": "b", "key": "sk-brought-along"})
    assert again.status_code == 400
    assert b"sk-brought" not in again.get_data()


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        ({"name": 7}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"key": 7}, "key"),
        ({"key": ""}, "key"),
        ({"key": "short"}, "key"),
        ({"colour": "red"}, "colour"),
        ({"hash": "0" * 64}, "hash"),
        ({"enabled": "yes"}, "enabled"),
        ({"enabled": True, "disabled": True}, "enabled"),
        ({"disabled": 1}, "disabled"),
        ({"allowed_groups": "pro"}, "allowed_groups"),
        ({"models": [7]}, "models"),
        ({"models": ["x" * 201]}, "models"),
        ({"models": ["x"] * 201}, "models"),
        ({"allowed_groups": ["a\0b"]}, "allowed_groups"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"limits": {"qps": 1}}, "limits.qps"),
        ({"limits": {"concurrent": -1}}, "limits.concurrent"),
        ({"budgets": {"day_hard": "5"}}, "budgets.day_hard"),
    ],
)
def test_bad_bodies(place: Place, body: Any, named: str) -> None:
    make(place)
    before = call(place, "GET").get_json()
    refused = call(place, "POST", body=body)
    assert refused.status_code == 400, refused.get_data()
    assert named in refused.get_json()["error"]["message"]
    assert refused.get_json()["error"]["type"] == "invalid_request"
    assert call(place, "PATCH", "/ci", body).status_code == 400
    assert call(place, "GET").get_json() == before


@pytest.mark.parametrize("overlap", ["1", True, -1, 1e12, None])
def test_bad_overlaps(place: Place, overlap: Any) -> None:
    before = make(place)
    assert call(place, "POST", "/ci/rotate", {"overlap_sec": overlap}).status_code == 400
    before.pop("key")
    assert call(place, "GET", "/ci").get_json() == before


def test_a_key_that_is_not_there(place: Place) -> None:
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate")):
        answer = call(place, method, f"/nobody{path}", {} if method != "DELETE" else None)
        assert answer.status_code == 404, method
        assert answer.get_json()["error"]["type"] == "not_found"
