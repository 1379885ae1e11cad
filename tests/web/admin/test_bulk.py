"""One act on many, with the outcome of each."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from kiroproxy.credentials.model import Credential
from kiroproxy.errors import InvalidRequest, StoreLocked
from kiroproxy.upstream.usage import Usage
from kiroproxy.web.admin.bulk import in_few_edits
from tests.web.admin.conftest import TOKEN, Desk


@pytest.fixture
def many(open_desk: Callable[..., Desk]) -> Desk:
    return open_desk(5)


def outcomes(told: dict[str, Any]) -> dict[int, bool]:
    return {one["id"]: one["success"] for one in told["results"]}


def test_each_has_its_own_outcome(many: Desk) -> None:
    told = many.post("/credentials/bulk", {"action": "disable", "ids": [1, 2, 9, 2]})
    assert (told["total"], told["succeeded"], told["failed"]) == (3, 2, 1)
    assert outcomes(told) == {1: True, 2: True, 9: False}
    assert "9" in told["results"][-1]["error"]
    assert [one.get("disabled", False) for one in many.stored()] == [True, True, *[False] * 3]
    told = many.post("/credentials/bulk", {"action": "delete", "ids": [1, 3]})
    assert outcomes(told) == {1: True, 3: False}, "one is enabled"
    assert [one["id"] for one in many.stored()] == [2, 3, 4, 5]
    assert many.actions() == ["credential.delete", *["credential.disable"] * 2]


def test_move_and_priority(many: Desk) -> None:
    many.post("/credentials/bulk", {"action": "move", "ids": [1, 2], "group": "pro"})
    many.post("/credentials/bulk", {"action": "priority", "ids": [2, 3], "priority": 7})
    assert [one.get("group") for one in many.stored()[:3]] == ["pro", "pro", None]
    assert [one.get("priority", 0) for one in many.stored()[:3]] == [0, 7, 7]


def test_asking_kiro(many: Desk) -> None:
    many.auth.refused.add(many.stored()[2]["refreshToken"])
    told = many.post("/credentials/bulk", {"action": "refresh", "ids": [1, 2, 3]})
    assert outcomes(told) == {1: True, 2: True, 3: False}
    many.accounts.usages[1] = Usage("PRO", 10.0, 1.0, None)
    told = many.post("/credentials/bulk", {"action": "balance", "ids": [1, 2]})
    rows = {one["id"]: one for one in told["results"]}
    assert rows[1]["remaining"] == 9.0
    assert rows[2]["success"] is False


def test_line_by_line(many: Desk) -> None:
    answer = many.call(
        "POST",
        "/credentials/bulk",
        {"action": "reset", "ids": [1, 2]},
        headers={"accept": "application/x-ndjson"},
    )
    assert answer.content_type == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [one["type"] for one in lines] == ["row", "row", "summary"]
    assert lines[-1]["succeeded"] == 2
    assert "results" not in lines[-1]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "disable"},
        {"action": "disable", "ids": []},
        {"action": "disable", "ids": ["1"]},
        {"action": "disable", "ids": list(range(1, 1003))},
        {"action": "dance", "ids": [1]},
        {"action": "move", "ids": [1]},
        {"action": "move", "ids": [1], "group": "api"},
        {"action": "priority", "ids": [1]},
        {"action": "priority", "ids": [1], "priority": -1},
    ],
)
def test_what_cannot_be(many: Desk, body: dict[str, Any]) -> None:
    before = many.stored()
    many.refused("POST", "/credentials/bulk", body)
    assert many.stored() == before


def test_few_edits_find_the_bad_ones() -> None:
    calls = []

    def act(ids: list[int]) -> list[Credential]:
        calls.append(ids)
        if bad := {7, 300} & set(ids):
            raise InvalidRequest(f"no {min(bad)}")
        return [Credential(id=one) for one in ids]

    good, refused = in_few_edits(range(1, 501), act)
    assert len(good) == 498
    assert refused == {7: "no 7", 300: "no 300"}
    assert len(calls) < 60


def test_a_store_that_fails_fails_for_all() -> None:
    def act(ids: list[int]) -> list[Credential]:
        raise StoreLocked("locked")

    assert in_few_edits([1, 2], act) == ({}, {1: "locked", 2: "locked"})


def test_500_at_once_are_one_edit_and_one_note(open_desk: Callable[..., Desk]) -> None:
    """Each edit of the file is written through to the disk, and so is each note."""
    desk = open_desk(1)
    entries = [{"refreshToken": f"{n}-{TOKEN}"} for n in range(500)]
    content = json.dumps([*entries, entries[0], {"refreshToken": "short"}])
    edits: list[object] = []
    store = desk.parts.pool.store
    edit = store.edit
    store.edit = lambda change: (edits.append(change), edit(change))[1]  # type: ignore[method-assign]
    told = desk.post("/credentials/import", {"content": content, "verify": False})
    assert (told["added"], told["duplicate"], told["failed"]) == (500, 1, 1)
    assert len(edits) == 1
    ids = [one["id"] for one in told["results"] if one["status"] == "added"]
    assert len(set(ids)) == 500
    told = desk.post("/credentials/bulk", {"action": "disable", "ids": ids})
    assert (told["succeeded"], len(edits)) == (500, 2)
    told = desk.post("/credentials/bulk", {"action": "delete", "ids": [1, *ids]})
    assert (told["succeeded"], told["failed"]) == (500, 1)
    assert [one["id"] for one in desk.stored()] == [1]
    assert desk.get("/audit?page_size=1")["total"] == 1500
    assert desk.get("/audit?action=credential.import&page_size=1")["total"] == 500
