"""Web search: of its own (S58, S59), in a loop with other tools (X3), and filtered (S57)."""

from pathlib import Path
from typing import Any

import pytest

from tests.flows.client import assemble, body, events_of, post, text_of
from tests.flows.conftest import credential
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

TRAILERS = [{"context": 3.5}, {"metering": 0.01}]
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
WEATHER = {"name": "get_weather", "description": "w", "input_schema": {"type": "object"}}
ALONE = body(
    "Perform a web search for the query: event stream framing",
    tools=[SEARCH],
    tool_choice={"type": "tool", "name": "web_search"},
)
MIXED = body("what is new?", tools=[WEATHER, SEARCH])


def wants_search(query: str, *more: dict[str, Any]) -> dict[str, Any]:
    call = {"tool": {"name": "web_search", "input": {"query": query}, "fragments": 3}}
    return {"steps": [{"text": "I will look. "}, call, *more, *TRAILERS]}


def kinds(message: dict[str, Any]) -> list[str]:
    return [block["type"] for block in message["content"]]


@pytest.mark.parametrize("stream", [True, False])
def test_s58_s59_search_alone_asks_no_model(sim: Simulator, proxy: Proxy, stream: bool) -> None:
    message = assemble(events_of(proxy, ALONE)) if stream else post(proxy, ALONE).json()
    assert kinds(message) == ["text", "server_tool_use", "web_search_tool_result", "text"]
    use, result = message["content"][1:3]
    assert use["id"].startswith("srvtoolu_")
    assert use["input"] == {"query": "event stream framing"}
    assert result["tool_use_id"] == use["id"]
    assert {"type", "title", "url", "encrypted_content", "page_age"} == set(result["content"][0])
    assert message["stop_reason"] == "end_turn"
    assert message["usage"]["server_tool_use"] == {"web_search_requests": 1}
    assert sim.requests("/generateAssistantResponse") == []
    [call] = sim.requests("/mcp")
    assert call["body"]["method"] == "tools/call"
    assert call["body"]["params"]["arguments"] == {"query": "event stream framing"}
    assert "x-amzn-kiro-agent-mode" not in call["headers"]


@pytest.mark.parametrize("stream", [True, False])
def test_failed_search_is_the_apis_error_block(sim: Simulator, proxy: Proxy, stream: bool) -> None:
    sim.fault("/mcp", times=None, status=500, body={"message": "boom"})
    message = assemble(events_of(proxy, ALONE)) if stream else post(proxy, ALONE).json()
    assert message["content"][2]["content"] == {
        "type": "web_search_tool_result_error",
        "error_code": "unavailable",
    }


@pytest.mark.parametrize("stream", [True, False])
def test_x3_model_searches_and_goes_on(sim: Simulator, proxy: Proxy, stream: bool) -> None:
    sim.script(wants_search("first"))
    sim.script(wants_search("second"))
    sim.script({"steps": [{"text": "Here is the news."}, *TRAILERS]})
    message = assemble(events_of(proxy, MIXED)) if stream else post(proxy, MIXED).json()
    searched = ["text", "server_tool_use", "web_search_tool_result"]
    assert kinds(message) == [*searched, *searched, "text"]
    assert message["stop_reason"] == "end_turn"
    assert message["usage"]["server_tool_use"] == {"web_search_requests": 2}
    last = sim.requests("/generateAssistantResponse")[-1]
    assert last["refused"] is None
    result = last["body"]["conversationState"]["currentMessage"]["userInputMessage"]
    text = result["userInputMessageContext"]["toolResults"][0]["content"][0]["text"]
    assert "Web search results for: second" in text


def test_x3_at_most_five_rounds(sim: Simulator, proxy: Proxy) -> None:
    for round_ in range(5):
        sim.script(wants_search(f"round {round_}"))
    sim.script({"steps": [{"text": "Enough."}, *TRAILERS]})
    message = post(proxy, MIXED).json()
    assert text_of(message).endswith("Enough.")
    assert len(sim.requests("/mcp")) == 5
    assert len(sim.requests("/generateAssistantResponse")) == 6


def test_x3_calls_of_the_clients_tools_go_to_the_client(sim: Simulator, proxy: Proxy) -> None:
    other = {"tool": {"name": "get_weather", "input": {"city": "Bern"}}}
    sim.script(wants_search("q", other), times=2)
    for message in (assemble(events_of(proxy, MIXED)), post(proxy, MIXED).json()):
        assert sorted(kinds(message)) == [
            "server_tool_use",
            "text",
            "tool_use",
            "web_search_tool_result",
        ]
        assert message["stop_reason"] == "tool_use"
    assert len(sim.requests("/generateAssistantResponse")) == 2


def test_searches_of_earlier_turns_reach_the_model_as_text(sim: Simulator, proxy: Proxy) -> None:
    first = post(proxy, ALONE).json()
    turns = [
        *ALONE["messages"],
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": "and then?"},
    ]
    assert post(proxy, body(messages=turns)).status_code == 200
    [recorded] = sim.requests("/generateAssistantResponse")
    assert "example.com/simulated/1" in str(recorded["body"])


def test_broken_second_round_is_an_error(sim: Simulator, proxy: Proxy) -> None:
    sim.script(wants_search("q"), times=1)
    sim.script({"status": 500, "body": {"message": "boom"}}, times=None)
    assert assemble(events_of(proxy, MIXED))["stop_reason"] == "error:api_error"
    assert post(proxy, MIXED).status_code == 502


def test_client_that_leaves_during_a_search_frees_all(sim: Simulator, proxy: Proxy) -> None:
    from tests.flows.client import Stream

    sim.fault("/mcp", times=1, gate="never")
    stream = Stream(proxy, ALONE)
    assert stream.next("content_block_delta")
    stream.close()
    assert post(proxy, body()).status_code == 200


def test_s57_filter(sim: Simulator, tmp_path: Path) -> None:
    with Proxy(
        tmp_path, {"webSearch": "filter"}, [credential()], upstream=sim.url, workers=1
    ) as proxy:
        assert post(proxy, MIXED).status_code == 200
        assert post(proxy, body(tools=[SEARCH])).status_code == 200
        first, second = sim.requests("/generateAssistantResponse")
        message = first["body"]["conversationState"]["currentMessage"]["userInputMessage"]
        tools = message["userInputMessageContext"]["tools"]
        assert [tool["toolSpecification"]["name"] for tool in tools] == ["get_weather"]
        assert "tools" not in str(second["body"]["conversationState"]["currentMessage"])
        assert sim.requests("/mcp") == []


@pytest.mark.parametrize("beside", [[], [WEATHER]])
def test_a_tool_of_that_name_with_a_schema_is_the_clients(
    sim: Simulator, proxy: Proxy, beside: list[Any]
) -> None:
    """Many clients bring a search of their own; only they can run it."""
    own = {"name": "web_search", "description": "mine", "input_schema": {"type": "object"}}
    sim.script(wants_search("q"))
    message = post(proxy, body(tools=[own, *beside])).json()
    assert [block["name"] for block in message["content"] if block["type"] == "tool_use"] == [
        "web_search"
    ]
    assert sim.requests("/mcp") == []
    [asked] = sim.requests("/generateAssistantResponse")
    assert "mine" in str(asked["body"])


def test_beside_tools_that_nobody_here_can_run_the_model_is_asked(
    sim: Simulator, proxy: Proxy
) -> None:
    """X3: only a search that stands alone is answered without a model."""
    fetch = {"type": "web_fetch_20250910", "name": "web_fetch"}
    forced = {"type": "tool", "name": "web_fetch"}
    message = post(proxy, body(tools=[SEARCH, fetch], tool_choice=forced)).json()
    assert "simulated answer" in text_of(message)
    assert sim.requests("/mcp") == []
