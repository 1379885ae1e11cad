"""The control API over real HTTP."""

from typing import Any

import pytest

from kiroproxy.simulator.scenes import SCENES
from tests.simulation import Simulator, chat_body
from tests.simulator.conftest import Caller
from tests.simulator.test_app import text


def test_scripts_are_listed(sim: Simulator) -> None:
    listed = sim.control("GET", "/scripts")
    assert set(listed["scripts"]) == set(SCENES)
    assert "burst" in listed["withArguments"]


def test_queued_scripts_are_played_in_order(sim: Simulator, caller: Caller) -> None:
    sim.script({"steps": [{"text": "red"}]}, match="colour")
    sim.script({"steps": [{"text": "blue"}]}, match="colour", times=2)
    sim.script("error-throttled", bearer="b")
    assert "simulated answer" in text(caller.chat("other")[1])
    heard = [text(caller.chat("colour")[1])[:5] for _ in range(4)]
    assert heard[:3] == ["red", "blue", "blue"]
    assert caller.chat("other", bearer="b")[0] == 429
    assert caller.chat("other", bearer="b")[0] == 200


def test_a_directive_wins_over_the_queue(sim: Simulator, caller: Caller) -> None:
    sim.script({"steps": [{"text": "queued"}]})
    assert text(caller.chat('[[sim: {"steps": [{"text": "asked"}]}]]')[1]) == "asked"
    assert text(caller.chat("x")[1]) == "queued"


def test_what_is_always_played_wins_over_all(sim: Simulator, caller: Caller) -> None:
    """A replay plays what Kiro sent, whatever the simulator thinks of the request."""
    one = {"script": {"steps": [{"text": "always"}]}, "always": True, "match": "red"}
    sim.script({"steps": [{"text": "queued"}]})
    sim.control("POST", "/script", one | {"times": 2})
    assert text(caller.chat("red [[sim: slow]]")[1]) == "always"
    assert text(caller.chat("blue")[1]) == "queued"
    assert caller.start(chat_body("", history=[{"red": 1}])).status == 200
    assert caller.start(chat_body("")).status == 400


def test_lone_surrogates_pass_through_the_queue(sim: Simulator, caller: Caller) -> None:
    sim.script({"steps": [{"text": "\ud83e"}]})
    assert b"\\ud83e" in caller.chat()[1]


def test_chat_may_have_faults_too(sim: Simulator, caller: Caller) -> None:
    sim.fault("/generateAssistantResponse", status=500, times=2, bearer="me")
    assert caller.chat(bearer="you")[0] == 200
    assert [caller.chat()[0] for _ in range(3)] == [500, 500, 200]
    assert [r["refused"] for r in sim.requests()] == [None, "fault", "fault", None]
    assert sim.state()["callsPerBearer"] == {"me": 3, "you": 1}


def test_streams_in_flight_are_counted_per_bearer(sim: Simulator, caller: Caller) -> None:
    waiting = [caller.start("[[sim: gated]]", bearer=bearer) for bearer in "aab"]
    state = sim.state()
    assert (state["inFlight"], state["perBearer"]) == (3, {"a": 2, "b": 1})
    sim.gate("gated", None)
    for response in waiting:
        response.read()
    state = sim.wait_for(inFlight=0)
    assert (state["inFlightMax"], state["perBearerMax"]) == (3, {"a": 2, "b": 1})


def test_reset_forgets_everything(sim: Simulator, caller: Caller) -> None:
    sim.script("text", times=None)
    sim.fault("/mcp", status=500)
    sim.account(id="x", accessToken="t")
    sim.device(mode="deny")
    caller.chat()
    sim.reset()
    state = sim.state()
    assert (state["generateCalls"], state["queued"], state["faults"]) == (0, 0, 0)
    assert state["accounts"] == {}
    assert sim.requests() == []
    assert sim.device()["mode"] == "auto"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/script", {"script": {"steps": [{"nope": 1}]}}, 400),
        ("POST", "/script", {"name": "nope"}, 400),
        ("POST", "/script", {}, 400),
        ("POST", "/script", {"name": "text", "tmies": 1}, 400),
        ("POST", "/script", b"{", 400),
        ("POST", "/fault", {"pth": "/x"}, 400),
        ("POST", "/fault", {"path": "/x", "end": "explode"}, 400),
        ("POST", "/accounts", {"fault": "weather"}, 400),
        ("POST", "/device", {"mode": "x"}, 400),
        ("GET", "/nope", None, 404),
    ],
)
def test_mistakes_are_told(caller: Caller, method: str, path: str, body: Any, status: int) -> None:
    got, answer = caller.call(method, f"/_sim{path}", body)
    assert got == status
    assert answer["error"]


def test_the_control_api_lists_itself(sim: Simulator) -> None:
    assert "POST /_sim/gate/NAME" in sim.control("GET", "")["paths"]


def test_control_calls_are_not_recorded(sim: Simulator) -> None:
    sim.state()
    assert sim.requests() == []
