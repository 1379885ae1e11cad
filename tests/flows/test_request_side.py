"""What Kiro lacks or is particular about, seen from both ends."""

from pathlib import Path
from typing import Any

import pytest
import requests

from tests.flows.client import assemble, body, events_of, post, text_of
from tests.flows.conftest import credential
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

TRAILERS = [{"context": 3.5}, {"metering": 0.01}]
CHAT = "/generateAssistantResponse"
EFFORT = "additionalModelRequestFields"
ADAPTIVE = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}


def test_native_effort_is_sent(sim: Simulator, proxy: Proxy) -> None:
    assert post(proxy, body(model="claude-opus-4-6", **ADAPTIVE)).status_code == 200
    [request] = sim.requests(CHAT)
    assert request["body"][EFFORT] == {"output_config": {"effort": "low"}}


def test_native_effort_is_given_up_where_it_is_refused(sim: Simulator, tmp_path: Path) -> None:
    """Protocol notes 3.9: asked again once without the field, and remembered."""
    config = {"effortModels": ["claude-sonnet-4.5"]}  # the simulator knows better
    with Proxy(tmp_path, config, [credential()], upstream=sim.url, workers=1) as proxy:
        for _ in range(3):
            assert post(proxy, body(model="claude-sonnet-4-5", **ADAPTIVE)).status_code == 200
        with_field = [EFFORT in request["body"] for request in sim.requests(CHAT)]
        assert with_field == [True, False, False, False]


def test_models_of_the_4_5_generation_get_tags_alone(sim: Simulator, proxy: Proxy) -> None:
    assert post(proxy, body(model="claude-sonnet-4-5", **ADAPTIVE)).status_code == 200
    [request] = sim.requests(CHAT)
    assert EFFORT not in request["body"]
    system = request["body"]["conversationState"]["history"][0]["userInputMessage"]["content"]
    assert system.startswith("<thinking_mode>adaptive</thinking_mode>")


@pytest.mark.parametrize("stream", [True, False])
def test_probe_with_one_token(sim: Simulator, proxy: Proxy, stream: bool) -> None:
    """Trap 22: answered, and no thinking asked for."""
    asked = body("quota", max_tokens=1, stream=stream, thinking={"type": "adaptive"})
    assert post(proxy, asked).status_code == 200
    [request] = sim.requests(CHAT)
    assert "thinking_mode" not in str(request["body"])


@pytest.mark.parametrize("stream", [True, False])
def test_stop_sequence_across_deltas(sim: Simulator, proxy: Proxy, stream: bool) -> None:
    steps = [{"text": "one ST"}, {"text": "O"}, {"text": "P two"}, *TRAILERS]
    sim.script({"steps": steps})
    asked = body(stop_sequences=["STOP"])
    message = assemble(events_of(proxy, asked)) if stream else post(proxy, asked).json()
    assert text_of(message) == "one "
    assert message["stop_reason"] == "stop_sequence"


def test_long_description_goes_on_in_the_system_text(sim: Simulator, proxy: Proxy) -> None:
    """S56."""
    words = " ".join(f"word{n}" for n in range(3000))
    tool = {"name": "t", "description": words, "input_schema": {"type": "object"}}
    assert post(proxy, body(tools=[tool])).status_code == 200
    state = sim.requests(CHAT)[0]["body"]["conversationState"]
    context = state["currentMessage"]["userInputMessage"]["userInputMessageContext"]
    kept = context["tools"][0]["toolSpecification"]["description"]
    system = state["history"][0]["userInputMessage"]["content"]
    assert len(kept) == 10_000
    assert words[10_000:] in system


@pytest.mark.parametrize("stream", [True, False])
def test_long_tool_name_comes_back_whole(sim: Simulator, proxy: Proxy, stream: bool) -> None:
    """S61, trap 9."""
    name = "mcp__very_long_server_name__an_extremely_descriptive_tool_name_that_goes_on"
    short = "mcp__very_long_server_name__an_extremely_descriptive_t_6da742dd"
    sim.script({"steps": [{"tool": {"name": short, "input": {}}}, *TRAILERS]})
    tool = {"name": name, "input_schema": {"type": "object"}}
    message: Any
    asked = body(tools=[tool])
    message = assemble(events_of(proxy, asked)) if stream else post(proxy, asked).json()
    assert message["content"][-1]["name"] == name


def test_live_catalogue_decides_on_names_that_no_rule_knows(sim: Simulator, proxy: Proxy) -> None:
    """Design 5: a name that Kiro lists is itself."""
    headers = {"x-api-key": proxy.key}
    listed = requests.get(f"{proxy.url}/v1/models", headers=headers, timeout=10).json()["data"]
    windows = {model["id"]: model["max_input_tokens"] for model in listed}
    assert "claude-opus-5" in windows, "the simulator lists it, the built-in table does not"
    assert "claude-opus-5-thinking" in windows
    assert post(proxy, body(model="claude-opus-5")).status_code == 200
    assert post(proxy, body(model="gpt-5-codex")).status_code == 404
