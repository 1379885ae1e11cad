"""Models, "try a name", and which credential would serve a request."""

from collections.abc import Callable

from kiroproxy import errors as e
from tests.web.admin.conftest import Desk
from tests.web.conftest import BODY, KEY


def test_the_list(open_desk: Callable[..., Desk]) -> None:
    told = open_desk(model_mapping={"gpt-*": "auto"}, unknown_model="pass").get("/models")
    assert (told["mapping"], told["table"], told["unknown"]) == ({"gpt-*": "auto"}, "kiro", "pass")
    assert {"id", "name", "window", "max_output"} == set(told["models"][0])


def test_try_a_name(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(model_mapping={"gpt-*": "claude-opus-4.5"})
    told = desk.post("/models/try", {"name": "gpt-4o"})
    assert (told["known"], told["model"]["id"]) == (True, "claude-opus-4.5")
    told = desk.post("/models/try", {"name": "claude-sonnet-4-5-thinking"})
    assert told["thinking"] is True
    told = desk.post("/models/try", {"name": "nobody's"})
    assert (told["known"], "nobody's" in told["message"]) == (False, True)


def test_which_one_and_why_not_the_others(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(4)
    desk.post("/credentials/1/disabled", {"disabled": True})
    desk.send("PATCH", "/credentials/2", {"group": "pro"})
    told = desk.post("/choice", {"model": "claude-sonnet-4-5", "group": "default"})
    assert (told["kiroModel"], told["outcome"]) == ("claude-sonnet-4.5", "served")
    assert (told["credentialId"], told["next"]) == (3, [4])
    assert told["skipped"] == [
        {"credentialId": 1, "reason": "disabled: Manual"},
        {"credentialId": 2, "reason": "group pro only"},
    ]
    assert desk.place.in_flight == {}, "nothing is taken"


def test_one_that_rests(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(1)
    daily = e.Throttled("429")
    daily.scope = "day"
    desk.place.kiro.scripts = [daily] * 5
    desk.place.client.post("/v1/messages", json=BODY, headers={"x-api-key": KEY})
    told = desk.post("/choice", {"model": "claude-sonnet-4-5"})
    assert (told["outcome"], told["credentialId"]) == ("resting", None)
    assert told["waitSec"] > 1
    assert "cooling" in told["skipped"][0]["reason"]


def test_nobody_at_all(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(0)
    assert desk.post("/choice", {"model": "claude-sonnet-4-5"})["outcome"] == "refused"
    desk.refused("POST", "/choice", {"model": "claude-sonnet-4-5", "group": "none"}, 404)
    desk.refused("POST", "/choice", {"model": "nobody's"}, 404)
    desk.refused("POST", "/choice", {}, 400)
