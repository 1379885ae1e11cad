"""Reply events → SSE, or one message; both say the same (S32 to S35, S44, S47, S48)."""

import json
from typing import Any

import pytest
from hypothesis import given

from kiroproxy.conversation import (
    Failed,
    RedactedThinkingBlock,
    ReplyEvent,
    SearchHit,
    ServerToolUse,
    Stop,
    TextDelta,
    ThinkingDelta,
    ThinkingEnd,
    ToolInputDelta,
    ToolUseEnd,
    ToolUseStart,
    Usage,
    WebSearchResult,
)
from kiroproxy.dialects.anthropic.errors import status_and_type
from kiroproxy.dialects.anthropic.stream import (
    OUR_SIGNATURE,
    AnthropicStream,
    HeldStream,
    collect,
    usage_object,
)
from kiroproxy.dialects.sse import PING
from kiroproxy.errors import KiroProxyError, Overloaded
from kiroproxy.kiro import events as kiro
from tests.dialects.anthropic.helpers import Event, assemble, events_of
from tests.kiro.helpers import EVENTS, EXPECTATIONS, run, thorough

END = Stop("end_turn", Usage(10, 5))
TOOL = [ToolUseStart("t1", "write"), ToolInputDelta('{"a":'), ToolInputDelta("1}")]


def writer() -> AnthropicStream:
    return AnthropicStream("msg_1", "claude-sonnet-4-5", 7, "req_1")


def written(events: list[ReplyEvent]) -> list[Event]:
    return events_of(writer().feed(events))


def test_whole_conversation() -> None:
    """S33 to S35, S47: as the genuine API writes it."""
    wire = writer().feed([ThinkingDelta("hm"), ThinkingEnd("c2ln"), TextDelta("Hi"), *TOOL])
    golden = [
        '{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
        '"model":"claude-sonnet-4-5","content":[],"stop_reason":null,"stop_sequence":null,'
        '"usage":{"input_tokens":7,"output_tokens":1}}}',
        '{"type":"content_block_start","index":0,'
        '"content_block":{"type":"thinking","thinking":"","signature":""}}',
        '{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}',
        '{"type":"content_block_delta","index":0,'
        '"delta":{"type":"signature_delta","signature":"c2ln"}}',
        '{"type":"content_block_stop","index":0}',
        '{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}',
        '{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Hi"}}',
        '{"type":"content_block_stop","index":1}',
        '{"type":"content_block_start","index":2,'
        '"content_block":{"type":"tool_use","id":"t1","name":"write","input":{}}}',
        '{"type":"content_block_delta","index":2,'
        '"delta":{"type":"input_json_delta","partial_json":"{\\"a\\":"}}',
        '{"type":"content_block_delta","index":2,'
        '"delta":{"type":"input_json_delta","partial_json":"1}"}}',
    ]
    names = [json.loads(data)["type"] for data in golden]
    expected = "".join(f"event: {n}\ndata: {d}\n\n" for n, d in zip(names, golden, strict=True))
    assert wire.decode() == expected


def test_end() -> None:
    stream = writer()
    stream.feed([TextDelta("Hi")])
    stop = Stop("stop_sequence", Usage(10, 5, cache_read_tokens=3), "END")
    events = events_of(stream.feed([stop]))
    assert [event["type"] for event in events] == [
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[1]["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    assert events[1]["usage"] == {
        "input_tokens": 10,
        "output_tokens": 5,
        "cache_read_input_tokens": 3,
    }


def test_error_is_never_followed_by_a_normal_end() -> None:
    events = written([TextDelta("Hi"), Failed(Overloaded("busy"))])
    assert [event["type"] for event in events[-2:]] == ["content_block_delta", "error"]
    assert events[-1]["error"] == {"type": "overloaded_error", "message": "busy"}


def test_message_start_comes_once() -> None:
    stream = writer()
    first, second = stream.feed([]), stream.feed([])
    assert [event["type"] for event in events_of(first)] == ["message_start"]
    assert second == b""


def test_ping() -> None:
    stream = writer()
    assert stream.ping().endswith(PING)
    assert stream.ping() == PING
    stream.feed([TextDelta("Hi")])
    assert stream.ping() == PING, "an open block stays open"


def test_trap_12_thoughts_have_a_signature() -> None:
    """Clients replay thinking blocks only with one; ours says that it is none of Anthropic's."""
    message = assemble(written([ThinkingDelta("hm"), ThinkingEnd(), TextDelta("Hi"), END]))
    assert message["content"][0]["signature"] == OUR_SIGNATURE


def test_trap_13_blocks_get_new_indexes() -> None:
    events = [TextDelta("a"), *TOOL, ToolUseEnd(complete=True), TextDelta("b"), END]
    kinds = [block["type"] for block in assemble(written(events))["content"]]
    assert kinds == ["text", "tool_use", "text"]


def test_redacted_thinking() -> None:
    message = assemble(written([RedactedThinkingBlock("cmVk"), TextDelta("a"), END]))
    assert message["content"][0] == {"type": "redacted_thinking", "data": "cmVk"}


@pytest.mark.parametrize("text", ["\u2028\n\r\x00", '"\\', "🧪", " "])
def test_text_of_any_kind(text: str) -> None:
    assert assemble(written([TextDelta(text), END]))["content"][0]["text"] == text


# ---- one message -----------------------------------------------------------------------------


def collected(events: list[ReplyEvent]) -> dict[str, Any]:
    return collect(events, "msg_1", "claude-sonnet-4-5")


def test_s4_s48_collect() -> None:
    events = [ThinkingDelta("h"), ThinkingDelta("m"), ThinkingEnd("c2ln"), TextDelta("H")]
    events += [TextDelta("i"), *TOOL, ToolUseEnd(complete=True), END]
    assert collected(events) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "t1", "name": "write", "input": {"a": 1}},
        ],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def test_a_cut_call_is_left_out() -> None:
    events = [TextDelta("a"), *TOOL, ToolUseEnd(complete=False), TextDelta("b"), END]
    assert collected(events)["content"] == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]
    assert collected([*TOOL, ToolUseEnd(complete=False), END])["content"] == []


def test_big_integers_of_tools_survive() -> None:
    events = [ToolUseStart("t", "w"), ToolInputDelta('{"n":1180591620717411303424}')]
    message = collected([*events, ToolUseEnd(complete=True), END])
    assert message["content"][0]["input"] == {"n": 2**70}


def test_a_failed_reply_raises() -> None:
    with pytest.raises(Overloaded):
        collected([TextDelta("a"), Failed(Overloaded("busy"))])


def test_usage_object() -> None:
    """Cache figures only from upstream."""
    assert usage_object(Usage(1, 2)) == {"input_tokens": 1, "output_tokens": 2}
    whole = Usage(1, 2, "upstream", cache_read_tokens=3, cache_write_tokens=0, credits=0.1)
    whole.web_search_requests = 1
    assert usage_object(whole) == {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 3,
        "server_tool_use": {"web_search_requests": 1},
    }


# ---- any reply -------------------------------------------------------------------------------


def without_cut_calls(message: dict[str, Any], replied: list[ReplyEvent]) -> dict[str, Any]:
    """The streamed message as it would be without streaming."""
    whole = iter([event.complete for event in replied if isinstance(event, ToolUseEnd)])
    content = []
    for block in message["content"]:
        if block["type"] == "tool_use":
            if not next(whole):
                continue
            block = block | {"input": json.loads(block["json"])}
            del block["json"]
        content.append(block)
    return message | {"content": content}


@thorough
@given(EVENTS, EXPECTATIONS)
def test_any_reply_is_a_valid_stream_and_equals_the_message(
    events: list[kiro.KiroEvent], expectations: dict[str, Any]
) -> None:
    replied = run(events, **expectations)
    streamed = assemble(written(replied))
    if "error" in streamed:
        with pytest.raises(KiroProxyError) as caught:
            collected(replied)
        assert streamed["error"]["type"] == status_and_type(caught.value)[1]
        return
    assert without_cut_calls(streamed, replied) == collected(replied)


@thorough
@given(EVENTS, EXPECTATIONS)
def test_any_batches_give_the_same_stream(
    events: list[kiro.KiroEvent], expectations: dict[str, Any]
) -> None:
    replied = run(events, **expectations)
    stream = writer()
    assert b"".join(stream.feed([event]) for event in replied) == writer().feed(replied)


# ---- `/cc`, and the search that we run ourselves ----------------------------------------------

SEARCH = [
    ServerToolUse("srvtoolu_1", "web_search", {"query": "q"}),
    WebSearchResult("srvtoolu_1", hits=[SearchHit(title="T", url="https://x", snippet="s")]),
]


def test_s15_s18_nothing_but_pings_before_the_end() -> None:
    stream = HeldStream("msg_1", "claude-sonnet-4-5", 7, "req_1")
    assert stream.feed([]) == stream.feed([TextDelta("H")]) == stream.feed([TextDelta("i")]) == b""
    assert stream.ping() == PING
    message = assemble(events_of(stream.feed([Stop("end_turn", Usage(7000, 5, "context"))])))
    assert message["content"] == [{"type": "text", "text": "Hi"}]


def test_s16_message_start_has_the_exact_count() -> None:
    stream = HeldStream("msg_1", "claude-sonnet-4-5", 7, "req_1")
    stream.feed([TextDelta("Hi")])
    start = events_of(stream.feed([Stop("end_turn", Usage(7000, 5, "context"))]))[0]
    assert start["message"]["usage"]["input_tokens"] == 7000


def test_a_held_reply_that_fails() -> None:
    stream = HeldStream("msg_1", "claude-sonnet-4-5", 7, "req_1")
    stream.feed([TextDelta("Hi")])
    events = events_of(stream.feed([Failed(Overloaded("busy"))]))
    assert events[-1]["error"]["type"] == "overloaded_error"


def test_search_blocks() -> None:
    events = [TextDelta("a"), *SEARCH, TextDelta("b"), END]
    streamed, whole = assemble(written(events)), collected(events)
    assert [block["type"] for block in whole["content"]] == [
        "text",
        "server_tool_use",
        "web_search_tool_result",
        "text",
    ]
    asked = streamed["content"][1]
    assert json.loads(asked.pop("json")) == {"query": "q"}
    assert asked["input"] == {}, "the deltas bring it, as for any tool"
    asked["input"] = {"query": "q"}
    assert streamed["content"] == whole["content"]


def test_failed_search() -> None:
    error = WebSearchResult("srvtoolu_1", [], error_code="unavailable")
    content = collected([SEARCH[0], error, TextDelta("b"), END])["content"]
    assert content[1]["content"] == {
        "type": "web_search_tool_result_error",
        "error_code": "unavailable",
    }
