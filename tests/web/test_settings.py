"""/api/settings (requirements 13): kiro2api's names for what can be set here."""

import json
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.config import load_config
from kiroproxy.web.settings import FIXED, KNOWN
from tests.web.conftest import ADMIN, AUTH, KEY, Place

OPERATOR = {"x-api-key": ADMIN}
NAMES = {
    "rate_limit_qps",
    "rate_limit_burst",
    "request_timeout_sec",
    "max_retries",
    "cooldown_sec",
    "token_rate_limit_qps",
    "token_rate_limit_burst",
    "token_max_concurrent",
    "group_max_concurrent",
    "refresh_concurrency",
    "session_duration_min",
}


@pytest.fixture
def place(make: Any, tmp_path: Path) -> Place:
    """One with a configuration file."""
    (tmp_path / "config.json").write_text(json.dumps({"apiKey": KEY, "adminApiKey": ADMIN}))
    built: Place = make(config_path=tmp_path / "config.json")
    return built


def settings(place: Place) -> dict[str, Any]:
    answer = place.client.get("/api/settings", headers=OPERATOR)
    assert answer.status_code == 200
    said: dict[str, Any] = answer.get_json()
    return said


def post(place: Place, body: Any) -> Any:
    return place.client.post("/api/settings", headers=OPERATOR, json=body)


def test_all_names_are_there(place: Place) -> None:
    said = settings(place)
    assert set(said) == NAMES | {"restart_required"}
    assert set(KNOWN) == NAMES
    assert (said["cooldown_sec"], said["token_max_concurrent"]) == (30, 8)
    assert (said["request_timeout_sec"], said["session_duration_min"]) == (120, 60)
    assert said["restart_required"] == []


def test_it_needs_the_admin_key(place: Place) -> None:
    for headers in ({}, AUTH):
        assert place.client.get("/api/settings", headers=headers).status_code == 401
        answer = place.client.post("/api/settings", headers=headers, json={"cooldown_sec": 1})
        assert answer.status_code == 401
    assert settings(place)["cooldown_sec"] == 30


def test_what_the_page_of_kiro2api_does(place: Place) -> None:
    """It sends all of them back, some changed."""
    whole = settings(place) | {"cooldown_sec": 12.5, "token_max_concurrent": 3}
    answer = post(place, whole | {"rate_limit_qps": 2, "rate_limit_burst": 4})
    assert answer.status_code == 200, answer.get_data()
    said = settings(place)
    assert (said["cooldown_sec"], said["token_max_concurrent"]) == (12.5, 3)
    assert said["restart_required"] == ["cooldown_sec", "token_max_concurrent"]
    assert place.services.groups.settings("default").rate_limit_qps == 2, "at once"
    assert place.services.config.cooldown_sec == 30, "from the next restart on"
    path = place.services.config.config_path
    written = load_config({"config_path": path}, environ={})
    assert (written.cooldown_sec, written.max_concurrent, written.api_key) == (12.5, 3, KEY)
    (entry,) = place.services.ledger.audit.entries().entries
    assert entry.action == "setting.set"


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"colour": 1},
        {"cooldown_sec": "12"},
        {"cooldown_sec": -1},
        {"cooldown_sec": None},
        {"cooldown_sec": True},
        {"token_max_concurrent": 0},
        {"token_max_concurrent": 1.5},
        {"request_timeout_sec": 0},
        {"rate_limit_qps": -1},
        {"rate_limit_burst": "x"},
        {"rate_limit_qps": 1e10},
        *({name: value + 1} for name, value in FIXED.items()),
    ],
)
def test_nothing_is_changed_by_what_cannot_be(place: Place, body: Any) -> None:
    path = place.services.config.config_path
    before, file = settings(place), path.read_bytes()
    if isinstance(body, dict):
        body = {"cooldown_sec": 7, "rate_limit_qps": 3} | body
    answer = post(place, body)
    assert answer.status_code == 400, answer.get_data()
    assert settings(place) == before
    assert path.read_bytes() == file
