"""Chat completions request → Conversation; and that Kiro takes what comes of it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiroproxy.conversation import (
    Conversation,
    Image,
    Message,
    Text,
    Thinking,
    ThinkingMode,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from kiroproxy.dialects.openai_chat.request import ChatRequest, translate
from kiroproxy.dialects.openai_chat.schema import load_chat
from kiroproxy.errors import InvalidRequest
from kiroproxy.simulator.refusals import find_refusal
from tests.dialects.anthropic.test_request import ARN, CALLER, CAPTURES
from tests.dialects.neutral import built, refusal_of
from tests.dialects.openai_chat.helpers import PNG, REQUESTS

HI = {"role": "user", "content": "Hi"}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def wanted(*messages: Any, **more: Any) -> ChatRequest:
    body = {"model": "claude-sonnet-4-5", "messages": list(messages) or [HI], **more}
    return translate(load_chat(body))


def conversation(*messages: Any, **more: Any) -> Conversation:
    return wanted(*messages, **more).conversation


# ---- messages --------------------------------------------------------------------------------


def test_s29_system_texts_in_front() -> None:
    made = conversation(
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        HI,
    )
    assert made.system == ["Be brief.", "Be kind."]
    assert made.messages == [Message("user", [Text("Hi")])]


def test_late_system_messages_stay_in_place() -> None:
    made = conversation(HI, {"role": "developer", "content": "Now in French."}, HI)
    assert [message.role for message in made.messages] == ["user", "system", "user"]


def test_s28_s29_tool_loop() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    made = conversation(
        HI,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]},
    )
    assert made.messages[1:] == [
        Message("assistant", [ToolUse("c1", "f", {"a": 1})]),
        Message("user", [ToolResult("c1", [Text("sunny")])]),
    ]


def test_custom_calls() -> None:
    call = {"id": "c1", "type": "custom", "custom": {"name": "x", "input": "free"}}
    made = conversation(HI, {"role": "assistant", "tool_calls": [call]})
    assert made.messages[1].content == [ToolUse("c1", "x", {"input": "free"})]


def test_legacy_functions() -> None:
    """Their results name the function, not the call."""
    request = wanted(
        HI,
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "2"},
        functions=[{"name": "f", "parameters": {}}],
        function_call={"name": "f"},
    )
    assert request.legacy
    made = request.conversation
    assert [tool.name for tool in made.tools] == ["f"]
    assert made.tool_choice == ToolChoice("tool", "f", parallel=False)
    ids = [block.id for m in made.messages for block in m.content if isinstance(block, ToolUse)]
    results = [b.tool_use_id for m in made.messages for b in m.content if isinstance(b, ToolResult)]
    assert ids == results == ["call_1", "call_2"]


def test_result_of_an_unknown_legacy_call() -> None:
    made = conversation(HI, {"role": "function", "name": "f", "content": "1"})
    assert made.messages[1].content == [ToolResult("call_f", [Text("1")])]


def test_refusal_and_thoughts_of_earlier_turns() -> None:
    turn = {"role": "assistant", "reasoning_content": "Hm.", "content": "", "refusal": "No."}
    made = conversation(HI, turn)
    assert made.messages[1].content == [Thinking("Hm."), Text(""), Text("No.")]


def test_images() -> None:
    url = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{PNG}"}}
    made = conversation({"role": "user", "content": [url]})
    assert made.messages[0].content == [Image(PNG, "messages[0].content[0]")]


@pytest.mark.parametrize(
    ("message", "where"),
    [
        ({"role": "robot", "content": "x"}, "messages[0].role"),
        ({"content": "x"}, "messages[0].role"),
        ({"role": ["user"], "content": "x"}, "messages[0].role"),
        ({"role": "user", "content": 7}, "messages[0].content"),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
        ({"role": "function", "content": "x"}, "messages[0].name"),
        ({"role": "assistant", "tool_calls": 7}, "messages[0].tool_calls"),
        ({"role": "assistant", "tool_calls": [7]}, "messages[0].tool_calls[0]"),
        ({"role": "assistant", "tool_calls": [{}]}, "messages[0].tool_calls[0].id"),
        (
            {"role": "assistant", "tool_calls": [{"id": "x"}]},
            "messages[0].tool_calls[0].function",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "x", "function": {}}]},
            "messages[0].tool_calls[0].function.name",
        ),
        ({"role": "assistant", "function_call": {}}, "messages[0].function_call.name"),
    ],
)
def test_what_cannot_be_understood_is_named(message: Any, where: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wanted(message)
    assert caught.value.param == where
    assert where in str(caught.value)


# ---- options ---------------------------------------------------------------------------------


def test_s26_max_tokens() -> None:
    assert conversation().max_tokens == 16_384
    assert conversation(max_tokens=7).max_tokens == 7
    assert conversation(max_tokens=7, max_completion_tokens=9).max_tokens == 9


@pytest.mark.parametrize(
    ("stop", "stops"), [(None, []), ("END", ["END"]), (["a", "b"], ["a", "b"]), ("", [])]
)
def test_stop(stop: Any, stops: list[str]) -> None:
    assert conversation(stop=stop).stop_sequences == stops


def test_stop_of_another_type() -> None:
    with pytest.raises(InvalidRequest) as caught:
        wanted(stop=["a", 7])
    assert caught.value.param == "stop[1]"


def test_effort_format_and_choice() -> None:
    schema = {"type": "object"}
    made = conversation(
        reasoning_effort="low",
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        tools=[FUNCTION],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    assert made.thinking == ThinkingMode("enabled", 4_000, "low")
    assert made.json_schema == schema
    assert made.tool_choice == ToolChoice("any", parallel=False)


def test_usage_in_the_stream() -> None:
    assert not wanted(stream=True).include_usage
    request = wanted(stream=True, stream_options={"include_usage": True})
    assert request.include_usage
    assert request.conversation.stream


def test_web_search_options() -> None:
    assert conversation(web_search_options={}).web_search
    assert conversation(tools=[{"type": "web_search"}]).web_search
    assert not conversation().web_search


# ---- whatever is sent ------------------------------------------------------------------------


def test_recorded_request_passes_the_refusals() -> None:
    body = json.loads((CAPTURES / "oai_03_chat_tool_turn2.json").read_text("utf-8"))["body"]
    request = translate(load_chat(body))
    assert find_refusal(built(request.conversation).body(ARN), CALLER) is None


@settings(deadline=None, max_examples=300)
@given(REQUESTS)
def test_any_legal_order_of_messages_passes_the_refusals(body: dict[str, Any]) -> None:
    """S30 and trap 2."""
    if not body.get("tools") and not body.get("functions"):
        body.pop("tool_choice", None)
    made = translate(load_chat(body)).conversation
    assert find_refusal(built(made).body(ARN), CALLER) is None


KEYS = st.sampled_from(
    ["type", "text", "role", "content", "image_url", "url", "tool_calls", "function", "id", "name"]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from(["text", "user", "assistant", "tool", "image_url", "function", "custom", ""]),
    st.sampled_from(["file", "json_schema", "allowed_tools", "namespace", "data:x;base64,e"]),
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300)
@given(
    st.fixed_dictionaries(
        {"model": st.just("m"), "messages": st.lists(JSON, min_size=1, max_size=3) | JSON},
        optional={
            "tools": JSON,
            "tool_choice": JSON,
            "functions": JSON,
            "function_call": JSON,
            "response_format": JSON,
            "stop": JSON,
            "stream_options": JSON,
            "reasoning_effort": JSON,
        },
    )
)
def test_anything_is_a_conversation_or_a_400_that_names_its_place(body: dict[str, Any]) -> None:
    error = refusal_of(lambda: translate(load_chat(body)))
    assert error is None or error.param


# ---- what clients take over from other APIs ----------------------------------------------------


def test_blocks_of_anthropics_api() -> None:
    """Cursor, for one, sends them here."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    made = conversation(
        {"role": "user", "content": [{"type": "text", "text": "look"}, image]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]},
    )
    assert [message.content for message in made.messages] == [
        [Text("look"), Image(PNG, "messages[0].content[1]")],
        [Thinking("hm", "c2ln"), ToolUse("t", "f", {"a": 1})],
        [ToolResult("t", [Text("x")])],
    ]


@pytest.mark.parametrize("kind", [{}, {"type": None}, {"type": "custom"}, {"type": "function"}])
def test_tools_of_anthropics_api(kind: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": {}}}
    made = wanted(tools=[{"name": "f", "description": "d", "input_schema": schema} | kind])
    assert made.conversation.tools == [Tool("f", "d", schema)]
    assert made.offered["f"].kind == "function"


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({"reasoning": {"effort": "low"}}, ThinkingMode("enabled", 4000, "low")),
        ({"reasoning": {"max_tokens": 2000}}, ThinkingMode("enabled", 2000)),
        ({"reasoning": {"effort": "odd"}}, ThinkingMode()),
        ({"reasoning": True}, ThinkingMode()),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, ThinkingMode("enabled", 9)),
        ({"thinking": {"type": "adaptive"}}, ThinkingMode("enabled", 10_000)),
        ({"thinking": {"type": "disabled"}}, ThinkingMode()),
        (
            {"thinking": {"type": "enabled"}, "reasoning_effort": "low"},
            ThinkingMode("enabled", 4000, "low"),
        ),
    ],
)
def test_other_ways_to_ask_for_thoughts(fields: dict[str, Any], thinking: ThinkingMode) -> None:
    assert conversation(**fields).thinking == thinking


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"reasoning": {"x": 1}, "thinking_blocks": [{"type": "thinking", "thinking": "hm"}]},
        {"reasoning_details": [7, {"type": "reasoning.encrypted"}, {"text": "hm"}]},
    ],
)
def test_names_of_earlier_thoughts(fields: dict[str, Any]) -> None:
    made = conversation(HI, {"role": "assistant", "content": "a", **fields})
    assert made.messages[1].content == [Thinking("hm"), Text("a")]


def test_an_object_that_a_tool_returned() -> None:
    made = conversation(HI, {"role": "tool", "tool_call_id": "c", "content": {"a": "é"}})
    assert made.messages[1].content == [ToolResult("c", [Text('{"a": "é"}')])]
