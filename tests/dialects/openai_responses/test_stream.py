"""Reply events → the events of a response, and the response that they end with."""

from typing import Any

import pytest
from hypothesis import given

from kiroproxy.conversation import (
    Conversation,
    Failed,
    RedactedThinkingBlock,
    ReplyEvent,
    SearchHit,
    ServerToolUse,
    Stop,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ThinkingEnd,
    ToolInputDelta,
    ToolUseEnd,
    ToolUseStart,
    Usage,
    WebSearchResult,
)
from kiroproxy.dialects.anthropic.stream import OUR_SIGNATURE
from kiroproxy.dialects.openai_common import PING
from kiroproxy.dialects.openai_errors import error_object
from kiroproxy.dialects.openai_responses.request import ENCRYPTED, SOURCES, ResponsesRequest
from kiroproxy.dialects.openai_responses.stream import (
    ResponsesStream,
    collect,
    response_id_of,
)
from kiroproxy.dialects.openai_tools import Offered
from kiroproxy.errors import KiroProxyError, Overloaded
from kiroproxy.kiro import events as kiro
from tests.dialects.openai_responses.helpers import Assembly, Event, assemble, events_of
from tests.kiro.helpers import EVENTS, EXPECTATIONS, run, thorough

END = Stop("end_turn", Usage(10, 5))
TOOL = [ToolUseStart("t1", "write"), ToolInputDelta('{"a":'), ToolInputDelta("1}")]
WHOLE = ToolUseEnd(complete=True)
CUT = ToolUseEnd(complete=False)
LONG = Stop("max_tokens", Usage(10, 5))
ID = "resp_" + "0a" * 16


def writer(include: tuple[str, ...] = (), **more: Any) -> ResponsesStream:
    request = ResponsesRequest(
        Conversation("gpt-x", []), include=frozenset(include), echo={"store": True}, **more
    )
    return ResponsesStream(ID, 7, request)


def written(events: list[ReplyEvent], *include: str, **more: Any) -> list[Event]:
    return events_of(writer(include, **more).feed(events))


def assembled(events: list[ReplyEvent], *include: str, **more: Any) -> Assembly:
    return assemble(written(events, *include, **more))


def kinds(events: list[Event]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


TEXT_EVENTS = [
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.done",
    "content_part.done",
    "output_item.done",
]


def test_the_whole_order() -> None:
    events = [
        ThinkingDelta("Hm."),
        ThinkingEnd("c2ln"),
        TextDelta("Hi"),
        *TOOL,
        WHOLE,
        Stop("tool_use", Usage(10, 5)),
    ]
    assert kinds(written(events)) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        *TEXT_EVENTS,
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    response = assembled(events).response
    assert [item["type"] for item in response["output"]] == [
        "reasoning",
        "message",
        "function_call",
    ]
    assert response["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 15,
    }


def test_deltas_on_the_wire() -> None:
    stream = writer()
    stream.feed([TextDelta("a")])
    item = "msg_" + "0a" * 16 + "0000"
    assert stream.feed([TextDelta("é\n")]).decode() == (
        "event: response.output_text.delta\n"
        'data: {"type":"response.output_text.delta","sequence_number":5,'
        f'"item_id":"{item}","output_index":0,"content_index":0,"delta":"é\\n","logprobs":[]}}\n\n'
    )


def test_item_ids_lead_back_to_their_response() -> None:
    response = assembled([TextDelta("Hi"), *TOOL, WHOLE, END]).response
    assert {response_id_of(item["id"]) for item in response["output"]} == {ID}
    assert len({item["id"] for item in response["output"]}) == 2


def test_message_item() -> None:
    [item] = assembled([TextDelta("H"), TextDelta("i"), END]).response["output"]
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": "Hi"}
    assert item == {
        "id": item["id"],
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }


def test_function_call_of_a_namespace() -> None:
    offered = {"agents__spawn": Offered("spawn", namespace="agents")}
    events = [ToolUseStart("t1", "agents__spawn"), ToolInputDelta("{}"), WHOLE, END]
    [item] = assembled(events, offered=offered).response["output"]
    assert item == {
        "id": item["id"],
        "type": "function_call",
        "status": "completed",
        "call_id": "t1",
        "name": "spawn",
        "arguments": "{}",
        "namespace": "agents",
    }


def test_custom_tool() -> None:
    offered = {"exec": Offered("exec", "custom", "functions")}
    pieces = ['{"input"', ': "a\\', 'nb"}']
    events: list[ReplyEvent] = [
        ToolUseStart("t1", "exec"),
        *map(ToolInputDelta, pieces),
        WHOLE,
        END,
    ]
    names = kinds(written(events, offered=offered))
    assert names.count("custom_tool_call_input.delta") == 2
    [item] = assembled(events, offered=offered).response["output"]
    assert (item["type"], item["input"], item["namespace"]) == (
        "custom_tool_call",
        "a\nb",
        "functions",
    )
    other: list[ReplyEvent] = [ToolUseStart("t1", "exec"), ToolInputDelta('{"b": 1}'), WHOLE, END]
    assert assembled(other, offered=offered).response["output"][0]["input"] == '{"b": 1}'


def test_a_cut_call_is_never_done() -> None:
    """Codex executes a call when its item is done."""
    for offered in ({}, {"write": Offered("write", "custom")}):
        result = assembled([TextDelta("a"), *TOOL[:2], CUT, LONG], offered=offered)
        assert result.items[-1]["type"].endswith("_call")
        assert [item["type"] for item in result.done] == ["message"]
        assert result.response["status"] == "incomplete"
        assert [item["type"] for item in result.response["output"]] == ["message"]


def test_items_after_a_cut_call() -> None:
    result = assembled([*TOOL[:2], CUT, TextDelta("b"), LONG])
    assert [item["type"] for item in result.response["output"]] == ["message"]


REASONS: list[tuple[StopReason, str, dict[str, str] | None]] = [
    ("end_turn", "completed", None),
    ("stop_sequence", "completed", None),
    ("tool_use", "completed", None),
    ("max_tokens", "incomplete", {"reason": "max_output_tokens"}),
    ("model_context_window_exceeded", "incomplete", {"reason": "max_output_tokens"}),
    ("refusal", "incomplete", {"reason": "content_filter"}),
]


@pytest.mark.parametrize(("reason", "status", "details"), REASONS)
def test_endings(reason: StopReason, status: str, details: Any) -> None:
    response = assembled([TextDelta("Hi"), Stop(reason, Usage(1, 1))]).response
    assert (response["status"], response["incomplete_details"]) == (status, details)
    assert response["output"][0]["status"] == status


def test_an_error_is_never_followed_by_a_normal_end() -> None:
    events = written([TextDelta("Hi"), Failed(Overloaded("busy"))])
    assert kinds(events)[-2:] == ["error", "failed"]
    result = assemble(events)
    assert result.error == error_object(Overloaded("busy"))
    assert result.response["error"] == {"code": "server_is_overloaded", "message": "busy"}
    assert result.response["output"] == []


def test_thoughts_and_their_signature() -> None:
    events: list[ReplyEvent] = [ThinkingDelta("a"), ThinkingEnd("c2ln"), ThinkingDelta("b"), END]
    plain = assembled(events).response["output"]
    assert [item["summary"][0]["text"] for item in plain] == ["a", "b"]
    assert not any("encrypted_content" in item for item in plain)
    signed = assembled(events, ENCRYPTED).response["output"]
    assert [item["encrypted_content"] for item in signed] == ["c2ln", OUR_SIGNATURE]


def test_thoughts_that_upstream_keeps_to_itself() -> None:
    events: list[ReplyEvent] = [ThinkingDelta(""), ThinkingEnd("c2ln"), TextDelta("a"), END]
    item = assembled(events, ENCRYPTED).response["output"][0]
    assert (item["summary"], item["encrypted_content"]) == ([], "c2ln")


def test_redacted_thinking() -> None:
    item = assembled([RedactedThinkingBlock("cmVk"), TextDelta("a"), END]).response["output"][0]
    assert (item["type"], item["summary"], item["encrypted_content"]) == ("reasoning", [], "cmVk")


SEARCH: list[ReplyEvent] = [
    ServerToolUse("s", "web_search", {"query": "q"}),
    WebSearchResult("s", [SearchHit("t", "https://x.example", "x")]),
]


def test_web_search() -> None:
    assert kinds(written([*SEARCH, END]))[2:-1] == [
        "output_item.added",
        "web_search_call.in_progress",
        "web_search_call.searching",
        "web_search_call.completed",
        "output_item.done",
    ]
    [item] = assembled([*SEARCH, END]).response["output"]
    assert item["action"] == {"type": "search", "query": "q"}
    assert item["status"] == "completed"
    [item] = assembled([*SEARCH, END], SOURCES).response["output"]
    assert item["action"]["sources"] == [{"type": "url", "url": "https://x.example"}]


def test_failed_web_search() -> None:
    failed = WebSearchResult("s", [], error_code="unavailable")
    [item] = assembled([SEARCH[0], failed, END]).response["output"]
    assert item["status"] == "failed"
    assert assembled([failed, END]).response["output"] == []


def test_ping_is_a_comment() -> None:
    stream = writer()
    first = stream.ping()
    assert first.endswith(PING)
    assert kinds(events_of(first)) == ["created", "in_progress"]
    assert stream.ping() == PING


def test_the_response_repeats_its_request() -> None:
    request = ResponsesRequest(
        Conversation("gpt-x", []), echo={"metadata": {"a": "b"}, "store": False}
    )
    response = collect([TextDelta("Hi"), END], ID, 7, request)
    assert (response["id"], response["created_at"], response["model"]) == (ID, 7, "gpt-x")
    assert (response["metadata"], response["store"]) == ({"a": "b"}, False)


# ---- any reply -------------------------------------------------------------------------------


@thorough
@given(EVENTS, EXPECTATIONS)
def test_any_reply_is_a_valid_stream_and_equals_the_response(
    events: list[kiro.KiroEvent], expectations: dict[str, Any]
) -> None:
    replied = run(events, **expectations)
    streamed = assembled(replied, ENCRYPTED)
    request = ResponsesRequest(
        Conversation("gpt-x", []), include=frozenset([ENCRYPTED]), echo={"store": True}
    )
    if streamed.error is not None:
        with pytest.raises(KiroProxyError) as caught:
            collect(replied, ID, 7, request)
        assert streamed.error == error_object(caught.value)
        return
    assert streamed.response == collect(replied, ID, 7, request)
    assert streamed.response["output"] == streamed.done


@thorough
@given(EVENTS, EXPECTATIONS)
def test_any_batches_give_the_same_stream(
    events: list[kiro.KiroEvent], expectations: dict[str, Any]
) -> None:
    replied = run(events, **expectations)
    stream = writer()
    assert b"".join(stream.feed([event]) for event in replied) == writer().feed(replied)
