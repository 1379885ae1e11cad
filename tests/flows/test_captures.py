"""Recorded requests of real clients: accepted, and upstream in order past Kiro's refusals."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.flows.conftest import credential
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
ANTHROPIC = [
    "cc_01_plain",
    "cc_02_tool_loop_turn2",
    "cc_06_image_tool_result",
    "cc_27_mcp_long_names",
    "cc_41_title_json_schema",
]


def load(name: str) -> dict[str, Any]:
    capture: dict[str, Any] = json.loads((CAPTURES / f"{name}.json").read_text("utf-8"))
    return capture


def replay(proxy: Proxy, name: str) -> requests.Response:
    """Send a recorded request with the masked key replaced."""
    capture = load(name)
    headers = {
        key: value
        for key, value in capture["headers"].items()
        if key.lower() not in ("accept-encoding", "host", "content-length")
    }
    masked = next(key for key in headers if key.lower() in ("authorization", "x-api-key"))
    headers[masked] = f"Bearer {proxy.key}"
    return requests.request(
        capture["method"],
        proxy.url + capture["path"],
        data=json.dumps(capture["body"]).encode(),
        headers=headers,
        timeout=30,
    )


def texts_of(value: Any) -> list[str]:
    """All texts of a request's messages and system, in order, however they are wrapped."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in texts_of(item)]
    if isinstance(value, dict):
        return texts_of(value.get("text") or value.get("content") or [])
    return []


def sent_texts(state: dict[str, Any]) -> str:
    """What upstream got, in order."""
    parts = []
    for message in [*state.get("history", []), state["currentMessage"]]:
        [inner] = message.values()
        context = inner.get("userInputMessageContext", {})
        parts += [part["text"] for r in context.get("toolResults", []) for part in r["content"]]
        parts.append(inner["content"])
    return "\n".join(parts)


@pytest.mark.parametrize("name", ANTHROPIC)
def test_recorded_request_reaches_upstream_whole(sim: Simulator, proxy: Proxy, name: str) -> None:
    answer = replay(proxy, name)
    assert answer.status_code == 200, answer.text
    [recorded] = sim.requests("/generateAssistantResponse")
    assert recorded["refused"] is None
    body = load(name)["body"]
    state = recorded["body"]["conversationState"]
    sent = sent_texts(state)
    at = 0
    for text in texts_of(body.get("system", [])):
        if text.startswith("x-anthropic-billing-header"):
            assert text not in sent
        else:
            at = sent.index(text, at)
    for message in body["messages"]:
        for text in texts_of(message):
            assert text in sent
    tools = state["currentMessage"]["userInputMessage"].get("userInputMessageContext", {})
    assert len(tools.get("tools", [])) == len(body.get("tools", []))


def test_image_of_a_tool_result_is_lifted(sim: Simulator, proxy: Proxy) -> None:
    """Trap 15."""
    assert replay(proxy, "cc_06_image_tool_result").status_code == 200
    [recorded] = sim.requests("/generateAssistantResponse")
    current = recorded["body"]["conversationState"]["currentMessage"]["userInputMessage"]
    [image] = current["images"]
    assert image["format"] == "png"
    assert current["userInputMessageContext"]["toolResults"][0]["status"] == "success"


def test_late_system_message_stays_in_place(sim: Simulator, proxy: Proxy) -> None:
    """clients.md: `role: system` inside `messages` must reach the model where it stands."""
    assert replay(proxy, "cc_02_tool_loop_turn2").status_code == 200
    [recorded] = sim.requests("/generateAssistantResponse")
    history = recorded["body"]["conversationState"]["history"]
    body = load("cc_02_tool_loop_turn2")["body"]
    late = body["messages"][1]["content"]
    user = history[2]["userInputMessage"]["content"]
    assert user.index("Please do the job") < user.index(late)


def test_session_becomes_the_conversation_id(sim: Simulator, proxy: Proxy) -> None:
    replay(proxy, "cc_01_plain")
    [recorded] = sim.requests("/generateAssistantResponse")
    session = "00000000-0000-4000-8000-000000000000"
    assert recorded["body"]["conversationState"]["conversationId"] == session


def test_count_tokens(proxy: Proxy) -> None:
    answer = replay(proxy, "cc_39_count_tokens")
    assert answer.status_code == 200
    assert 100 < answer.json()["input_tokens"] < 600


def test_threads_are_refused_so_that_the_sdk_falls_back(sim: Simulator, proxy: Proxy) -> None:
    answer = replay(proxy, "sdk_09_tool_runner_thread")
    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["error_code"] == "thread_unsupported_request"
    assert sim.requests("/generateAssistantResponse") == []


@pytest.fixture(scope="module")
def mapping_proxy(
    running_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """Codex asks for one of OpenAI's models."""
    place = tmp_path_factory.mktemp("mapping")
    config = {"modelMapping": {"gpt-5*": "claude-sonnet-4.5"}}
    with Proxy(place, config, [credential()], upstream=running_simulator.url) as running:
        yield running


def test_codex_request_reaches_upstream_whole(sim: Simulator, mapping_proxy: Proxy) -> None:
    answer = replay(mapping_proxy, "codex_02_tool_turn2")
    assert answer.status_code == 200, answer.text
    assert "event: response.completed\n" in answer.text
    [recorded] = sim.requests("/generateAssistantResponse")
    assert recorded["refused"] is None
    body = load("codex_02_tool_turn2")["body"]
    state = recorded["body"]["conversationState"]
    sent = sent_texts(state)
    at = 0
    for item in body["input"]:
        for text in texts_of(item):
            at = sent.index(text, at)
        assert item.get("output", "") in sent
    current = state["currentMessage"]["userInputMessage"]["userInputMessageContext"]
    assert current["toolResults"][0]["toolUseId"] == "call_cap4_0"
    names = [tool["toolSpecification"]["name"] for tool in current["tools"]]
    assert len(names) == 13, "those of a namespace one by one, and the search"
    assert "multi_agent_v1__spawn_agent" in names
    assert state["conversationId"] == "00000000-0000-4000-8000-000000000000"


def test_chat_request_reaches_upstream_whole(sim: Simulator, proxy: Proxy) -> None:
    answer = replay(proxy, "oai_03_chat_tool_turn2")
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["finish_reason"] == "stop"
    [recorded] = sim.requests("/generateAssistantResponse")
    assert recorded["refused"] is None
    state = recorded["body"]["conversationState"]
    assert state["history"][0]["userInputMessage"]["content"] == "#cap:oai_tool"
    [use] = state["history"][1]["assistantResponseMessage"]["toolUses"]
    assert (use["name"], use["input"]) == ("get_weather", {"city": "Zürich 🌤"})
    context = state["currentMessage"]["userInputMessage"]["userInputMessageContext"]
    assert context["toolResults"][0]["content"] == [{"text": "sunny"}]
    assert len(context["tools"]) == 1
