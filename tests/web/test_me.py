"""GET /v1/me: what a key may do, has used, and has left."""

from collections.abc import Callable
from typing import Any

import pytest

from kiroproxy.errors import DatabaseError
from kiroproxy.ledger.key_book import parse_settings
from tests.web.conftest import AUTH, Place


def key(place: Place, **settings: Any) -> dict[str, str]:
    """Headers with a new key."""
    made = place.services.ledger.book.create(parse_settings({"name": "ci"} | settings))
    place.services.ledger.keys.look()
    return {"x-api-key": made.secret}


@pytest.fixture(autouse=True)
def closed(place: Place) -> Any:
    yield
    place.services.ledger.close()


def ask(place: Place, headers: dict[str, str], path: str = "/v1/me") -> Any:
    answer = place.client.get(path, headers=headers)
    assert answer.status_code == 200, answer.get_data()
    assert answer.headers["cache-control"] == "no-store"
    return answer.get_json()


def test_what_is_left_after_a_request(place: Place) -> None:
    own = key(
        place,
        owner="me",
        limits={"requests_per_minute": 5, "concurrent": 2, "output_tokens_per_day": 1000},
        budgets={"day_hard": 0.5, "month_soft": 0.25, "month_hard": 10},
    )
    assert place.post(headers=own).status_code == 200
    place.services.ledger.usage.flush()
    said = ask(place, own)
    assert (said["key"]["kind"], said["key"]["name"], said["group"]) == ("client", "ci", "default")
    limits = said["limits"]
    assert limits["requests_per_minute"] == {"limit": 5, "used": 1, "remaining": 4}
    assert limits["concurrent"] == {"limit": 2, "used": 0, "remaining": 2}
    tokens = limits["output_tokens_per_day"]
    assert tokens["used"] == said["usage"]["today"]["output_tokens"] > 0
    assert tokens["resets_at"].endswith("T00:00:00Z")
    month, day = said["budgets"]
    assert (day["period"], day["spent"], day["exhausted"], day["remaining"]) == (
        "day",
        0.5,
        True,
        0,
    )
    assert (month["spent"], month["warned"], month["exhausted"]) == (0.5, True, False)
    assert said["usage"]["today"]["credits"] == said["usage"]["month"]["credits"] == 0.5
    assert said["usage"]["today"]["requests"] == 1
    text = place.client.get("/v1/me", headers=own).get_data(as_text=True)
    assert own["x-api-key"] not in text
    assert place.post(headers=own).status_code == 429, "asking is not limited, using is"


def test_a_key_sees_its_own_and_the_root_key_everything(place: Place) -> None:
    first, second = key(place), key(place, name="two")
    for headers in (first, first, second, AUTH):
        assert place.post(headers=headers).status_code == 200
    place.services.ledger.usage.flush()
    assert ask(place, first)["usage"]["today"]["requests"] == 2
    assert ask(place, second)["usage"]["today"]["requests"] == 1
    said = ask(place, AUTH)
    assert said["usage"]["today"]["requests"] == 4
    assert (said["key"]["kind"], said["limits"]) == ("root", {})
    assert said["pool"] == {"credentials": 1, "usable": 1}
    assert "pool" not in ask(place, first)


def test_groups(place: Place) -> None:
    own = key(place, allowed_groups=["pro"])
    said = ask(place, own)
    assert (said["group"], said["key"]["allowed_groups"]) == ("pro", ["pro"])
    assert place.client.get("/default/v1/me", headers=own).status_code == 403
    assert place.client.get("/nobody/v1/me", headers=AUTH).status_code == 404
    assert ask(place, AUTH, "/default/v1/me")["group"] == "default"
    assert ask(place, AUTH, "/v1/v1/me")["group"] == "default"


def test_who_may_not(place: Place) -> None:
    own = key(place, disabled=True)
    for headers in ({}, own, {"x-api-key": "kp_nobody"}):
        answer = place.client.get("/v1/me", headers=headers)
        assert answer.status_code == 401
        assert answer.get_json()["error"]["type"] == "authentication_error"
    assert place.client.post("/v1/me", headers=AUTH).status_code == 405


def test_an_ill_database_takes_only_the_figures(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = key(place, limits={"concurrent": 2})

    def ill(*arguments: object, **named: object) -> Callable[..., Any]:
        raise DatabaseError("it is ill")

    monkeypatch.setattr(place.services.ledger.database, "read", ill)
    said = ask(place, own)
    assert said["usage"] is None
    assert said["limits"]["concurrent"]["limit"] == 2
