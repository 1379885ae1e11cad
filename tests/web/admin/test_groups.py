"""Groups with their settings and budgets."""

from typing import Any

import pytest

from tests.web.admin.conftest import Desk

SETTINGS = {"priority": 2, "cooldown_sec": 5.0, "rate_limit_qps": 1.0, "rate_limit_burst": 2.0}
BUDGETS = {"day_soft": 1.0, "day_hard": 2.0, "month_soft": 0.0, "month_hard": 30.0}


def test_from_its_beginning_to_its_end(desk: Desk) -> None:
    body = {"name": "pro", "display_name": "Pro", "settings": SETTINGS, "budgets": BUDGETS}
    made = desk.post("/groups", body, 201)
    assert (made["settings"], made["budgets"]) == (SETTINGS, BUDGETS)
    desk.send("PATCH", "/credentials/1", {"group": "pro"})
    assert desk.get("/groups/pro")["token_count"] == 1
    changed = desk.send("PATCH", "/groups/pro", {"settings": {"priority": 9}})
    assert changed["settings"] == SETTINGS | {"priority": 9}
    assert changed["budgets"] == BUDGETS
    assert desk.post("/groups/pro/rename", {"new_name": "best"})["budgets"] == BUDGETS
    desk.refused("GET", "/groups/pro", status=404)
    desk.send("DELETE", "/groups/best")
    names = [one["name"] for one in desk.get("/groups")["groups"]]
    assert names == ["default"]
    assert desk.get("/credentials/1")["group"] == "default"
    ends = ["group.delete", "group.rename", "group.edit", "credential.edit", "group.create"]
    assert desk.actions() == ends


def test_budgets_of_the_default_group(desk: Desk) -> None:
    told = desk.send("PATCH", "/groups/default", {"budgets": {"day_hard": 5}})
    assert told["budgets"]["day_hard"] == 5
    desk.parts.ledger.keys.start()
    try:
        assert desk.get("/groups")["groups"][0]["budgets"]["day_hard"] == 5
    finally:
        desk.parts.ledger.keys.close()
    told = desk.send("PATCH", "/groups/default", {"budgets": None})
    assert set(told["budgets"].values()) == {0.0}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/groups", {"name": "default"}, 400),
        ("POST", "/groups", {"name": "a/b"}, 400),
        ("POST", "/groups", {}, 400),
        ("POST", "/groups", {"name": "x", "settings": {"priority": "1"}}, 400),
        ("POST", "/groups", {"name": "x", "budgets": {"day_hard": -1}}, 400),
        ("POST", "/groups", {"name": "x", "budgets": {"century": 1}}, 400),
        ("PATCH", "/groups/none", {"display_name": "x"}, 404),
        ("POST", "/groups/default/rename", {"new_name": "x"}, 400),
        ("DELETE", "/groups/default", None, 400),
        ("DELETE", "/groups/none", None, 404),
    ],
)
def test_what_cannot_be(desk: Desk, method: str, path: str, body: Any, status: int) -> None:
    desk.refused(method, path, body, status)
    assert [one["name"] for one in desk.get("/groups")["groups"]] == ["default"]


def test_what_is_not_named_stays_and_null_takes_back(desk: Desk) -> None:
    made = {"name": "pro", "settings": {"cooldown_sec": 5, "priority": 2}}
    desk.post("/groups", made | {"budgets": {"day_hard": 3, "day_soft": 2}}, 201)
    told = desk.send("PATCH", "/groups/pro", {"settings": {"cooldown_sec": None}})
    assert (told["settings"]["cooldown_sec"], told["settings"]["priority"]) == (None, 2)
    told = desk.send("PATCH", "/groups/pro", {"budgets": {"day_hard": 9}})
    assert (told["budgets"]["day_hard"], told["budgets"]["day_soft"]) == (9, 2)
    told = desk.send("PATCH", "/groups/pro", {"budgets": None})
    assert set(told["budgets"].values()) == {0}
    for wrong in ({"settings": {"cooldown": 1}}, {"budgets": {"day": 1}}):
        error = desk.refused("PATCH", "/groups/pro", wrong)
        assert error["param"] in ("settings.cooldown", "budgets.day")


def test_s124_keys_go_along_with_a_group_that_is_renamed(desk: Desk) -> None:
    desk.post("/groups", {"name": "pro"}, 201)
    key = desk.post("/keys", {"name": "k", "allowed_groups": ["pro", "other"]}, 201)["id"]
    desk.post("/groups/pro/rename", {"new_name": "best"})
    assert desk.get(f"/keys/{key}")["allowed_groups"] == ["best", "other"]
