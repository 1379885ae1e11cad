"""Reply events → chunks, or one completion; both say the same (S25, S27, S28, trap 35)."""

import json
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
from kiroproxy.dialects.openai_chat.request import ChatRequest
from kiroproxy.dialects.openai_chat.stream import ChatStream, Head, collect
from kiroproxy.dialects.openai_common import PING
from kiroproxy.dialects.openai_errors import error_object
from kiroproxy.dialects.openai_tools import Offered
from kiroproxy.errors import KiroProxyError, Overloaded
from kiroproxy.kiro import events as kiro
from tests.dialects.openai_chat.helpers import DONE, assemble, chunks_of
from tests.kiro.helpers import EVENTS, EXPECTATIONS, run, thorough

HEAD = Head("chatcmpl-1", "gpt-x", 7)
END = Stop("end_turn", Usage(10, 5))
TOOL = [ToolUseStart("t1", "write"), ToolInputDelta('{"a":'), ToolInputDelta("1}")]
WHOLE = ToolUseEnd(complete=True)
CUT = ToolUseEnd(complete=False)


def request(**more: Any) -> ChatRequest:
    return ChatRequest(Conversation("gpt-x", []), **more)


def written(events: list[ReplyEvent], **more: Any) -> list[Any]:
    return chunks_of(ChatStream(HEAD, request(**more)).feed(events))


def collected(events: list[ReplyEvent], **more: Any) -> dict[str, Any]:
    return collect(events, HEAD, request(**more))


def test_s27_s28_whole_stream() -> None:
    """As the genuine API writes it."""
    events = [TextDelta("Hi"), *TOOL, WHOLE, Stop("tool_use", Usage(10, 5))]
    wire = ChatStream(HEAD, request()).feed(events)
    head = (
        '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-x",'
        '"service_tier":"default","system_fingerprint":"fp_kiroproxy","choices":[{"index":0,"delta":'
    )
    tail = ',"logprobs":null,"finish_reason":null}]}'
    deltas = [
        '{"role":"assistant"}',
        '{"content":"Hi"}',
        '{"tool_calls":[{"index":0,"id":"t1","type":"function",'
        '"function":{"name":"write","arguments":""}}]}',
        '{"tool_calls":[{"index":0,"function":{"arguments":"{\\"a\\":"}}]}',
        '{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}',
    ]
    end = head + '{},"logprobs":null,"finish_reason":"tool_calls"}]}'
    lines = [head + delta + tail for delta in deltas] + [end, DONE]
    assert wire.decode() == "".join(f"data: {line}\n\n" for line in lines)


def test_usage_chunk_only_when_asked_for() -> None:
    chunks = written([TextDelta("Hi"), END], include_usage=True)
    assert [chunk["usage"] for chunk in chunks[:-2]] == [None] * 3
    assert chunks[-2]["choices"] == []
    usage = chunks[-2]["usage"]
    counts = ("prompt_tokens", "completion_tokens", "total_tokens")
    assert [usage[key] for key in counts] == [10, 5, 15]
    assert chunks[-1] == DONE


REASONS: list[tuple[StopReason, str]] = [
    ("end_turn", "stop"),
    ("stop_sequence", "stop"),
    ("tool_use", "tool_calls"),
    ("max_tokens", "length"),
    ("model_context_window_exceeded", "length"),
    ("refusal", "content_filter"),
]


@pytest.mark.parametrize(("reason", "finish"), REASONS)
def test_finish_reasons(reason: StopReason, finish: str) -> None:
    events = [TextDelta("Hi"), Stop(reason, Usage(1, 1))]
    assert assemble(written(events))["finish_reason"] == finish
    assert collected(events)["choices"][0]["finish_reason"] == finish


def test_an_error_is_never_followed_by_a_normal_end() -> None:
    chunks = written([TextDelta("Hi"), Failed(Overloaded("busy"))])
    assert chunks[-1] == {"error": error_object(Overloaded("busy"))}
    assert DONE not in chunks


def test_calls_count_up() -> None:
    events = [*TOOL, WHOLE, ToolUseStart("t2", "read"), ToolInputDelta("{}"), WHOLE, END]
    message = assemble(written(events))
    assert message["calls"] == [
        {"id": "t1", "type": "function", "name": "write", "arguments": '{"a":1}'},
        {"id": "t2", "type": "function", "name": "read", "arguments": "{}"},
    ]


def test_a_cut_call_stays_as_it_came_or_is_left_out() -> None:
    events = [TextDelta("a"), *TOOL[:2], CUT, Stop("max_tokens", Usage(1, 1))]
    message = assemble(written(events))
    assert (message["calls"][0]["arguments"], message["finish_reason"]) == ('{"a":', "length")
    [choice] = collected(events)["choices"]
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "length"


def test_thoughts() -> None:
    events = [ThinkingDelta("Hm"), ThinkingDelta("."), ThinkingEnd("c2ln"), TextDelta("Hi"), END]
    message = assemble(written(events, include_usage=True), include_usage=True)
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "Hi")
    whole = collected(events)
    assert whole["choices"][0]["message"]["reasoning_content"] == "Hm."
    assert message["usage"] == whole["usage"]
    assert whole["usage"]["completion_tokens_details"]["reasoning_tokens"] == 1


def test_what_chat_has_no_words_for() -> None:
    search = [
        ServerToolUse("s", "web_search", {"query": "q"}),
        WebSearchResult("s", [SearchHit("t", "u", "x")]),
    ]
    events = [RedactedThinkingBlock("cmVk"), *search, ThinkingDelta(""), TextDelta("Hi"), END]
    assert assemble(written(events))["content"] == "Hi"
    assert collected(events)["choices"][0]["message"]["content"] == "Hi"


def test_custom_tools() -> None:
    offered = {"x": Offered("patch", "custom")}
    pieces = ['{"input": "a', "\\", 'nb"', "}"]
    events = [ToolUseStart("t1", "x"), *map(ToolInputDelta, pieces), WHOLE, END]
    message = assemble(written(events, offered=offered))
    assert message["calls"] == [{"id": "t1", "type": "custom", "name": "patch", "input": "a\nb"}]
    [call] = collected(events, offered=offered)["choices"][0]["message"]["tool_calls"]
    assert call == {"id": "t1", "type": "custom", "custom": {"name": "patch", "input": "a\nb"}}


def test_a_custom_tool_with_another_input_gets_it_whole() -> None:
    offered = {"x": Offered("patch", "custom")}
    events = [ToolUseStart("t1", "x"), ToolInputDelta('{"a": 1}'), WHOLE, END]
    assert assemble(written(events, offered=offered))["calls"][0]["input"] == '{"a": 1}'


def test_legacy_function_call() -> None:
    events = [*TOOL, WHOLE, Stop("tool_use", Usage(1, 1))]
    message = assemble(written(events, legacy=True))
    assert message["calls"] == [{"name": "write", "arguments": '{"a":1}'}]
    assert message["finish_reason"] == "function_call"
    [choice] = collected(events, legacy=True)["choices"]
    assert choice["message"]["function_call"] == {"name": "write", "arguments": '{"a":1}'}
    assert "tool_calls" not in choice["message"]


def test_ping_is_a_comment() -> None:
    stream = ChatStream(HEAD, request())
    first = stream.ping()
    assert first.endswith(PING)
    assert len(chunks_of(first)) == 1
    assert stream.ping() == PING == b": ping\n\n"


def test_s25_collect() -> None:
    whole = collected(
        [TextDelta("H"), TextDelta("i"), *TOOL, WHOLE, Stop("tool_use", Usage(10, 5))]
    )
    usage = whole.pop("usage")
    assert (usage["prompt_tokens"], usage["total_tokens"]) == (10, 15)
    assert whole == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "gpt-x",
        "service_tier": "default",
        "system_fingerprint": "fp_kiroproxy",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hi",
                    "refusal": None,
                    "annotations": [],
                    "tool_calls": [
                        {
                            "id": "t1",
                            "type": "function",
                            "function": {"name": "write", "arguments": '{"a":1}'},
                        }
                    ],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
    }


def test_content_is_null_beside_calls_alone() -> None:
    assert collected([*TOOL, WHOLE, END])["choices"][0]["message"]["content"] is None
    assert collected([END])["choices"][0]["message"]["content"] == ""


def test_cached_tokens_are_part_of_the_prompt() -> None:
    usage = Usage(10, 5, "upstream", cache_read_tokens=3, cache_write_tokens=2)
    shown = collected([Stop("end_turn", usage)])["usage"]
    assert shown["prompt_tokens"] == 15
    assert shown["prompt_tokens_details"]["cached_tokens"] == 3


def test_a_failed_reply_raises() -> None:
    with pytest.raises(Overloaded):
        collected([TextDelta("a"), Failed(Overloaded("busy"))])


# ---- any reply -------------------------------------------------------------------------------


@thorough
@given(EVENTS, EXPECTATIONS)
def test_any_reply_is_a_valid_stream_and_equals_the_completion(
    events: list[kiro.KiroEvent], expectations: dict[str, Any]
) -> None:
    replied = run(events, **expectations)
    streamed = (
        assemble(written(replied, include_usage=True), include_usage=True)
        if not isinstance(replied[-1], Failed)
        else assemble(written(replied))
    )
    if "error" in streamed:
        with pytest.raises(KiroProxyError) as caught:
            collected(replied)
        assert streamed["error"] == error_object(caught.value)
        return
    whole = collected(replied)
    [choice] = whole["choices"]
    message = choice["message"]
    assert streamed["content"] == (message["content"] or "")
    assert streamed["reasoning_content"] == message.get("reasoning_content", "")
    assert streamed["finish_reason"] == choice["finish_reason"]
    assert streamed["usage"] == whole["usage"]
    ends = [event.complete for event in replied if isinstance(event, ToolUseEnd)]
    kept = [call for call, good in zip(streamed["calls"], ends, strict=True) if good]
    assert [(call["id"], call["arguments"]) for call in kept] == [
        (call["id"], call["function"]["arguments"]) for call in message.get("tool_calls", [])
    ]
    for call in kept:
        assert isinstance(json.loads(call["arguments"]), dict)


@thorough
@given(EVENTS, EXPECTATIONS)
def test_any_batches_give_the_same_stream(
    events: list[kiro.KiroEvent], expectations: dict[str, Any]
) -> None:
    replied = run(events, **expectations)
    stream = ChatStream(HEAD, request())
    whole = ChatStream(HEAD, request()).feed(replied)
    assert b"".join(stream.feed([event]) for event in replied) == whole
