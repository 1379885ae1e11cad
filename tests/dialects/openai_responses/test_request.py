"""Responses request → Conversation; and that Kiro takes what comes of it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiroproxy.conversation import (
    Conversation,
    Image,
    Message,
    RedactedThinking,
    Text,
    Thinking,
    ThinkingMode,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from kiroproxy.dialects.anthropic.stream import OUR_SIGNATURE
from kiroproxy.dialects.openai_responses.request import (
    ResponsesRequest,
    own_items,
    translate,
)
from kiroproxy.dialects.openai_responses.schema import load_responses
from kiroproxy.dialects.openai_tools import Offered
from kiroproxy.errors import InvalidRequest
from kiroproxy.simulator.refusals import find_refusal
from tests.dialects.anthropic.test_request import ARN, CALLER, CAPTURES
from tests.dialects.neutral import built, refusal_of
from tests.dialects.openai_chat.helpers import PNG
from tests.dialects.openai_chat.test_request import JSON
from tests.dialects.openai_responses.helpers import REQUESTS

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
AGENTS = {"type": "namespace", "name": "agents", "tools": [{"type": "function", "name": "spawn"}]}
Items = list[dict[str, Any]]


def wanted(
    given: Any, earlier: Items | None = None, resolve: Any = lambda _: None, **more: Any
) -> ResponsesRequest:
    loaded = load_responses({"model": "claude-sonnet-4-5", "input": given, **more})
    return translate(loaded, own_items(loaded), earlier or [], resolve)


def conversation(given: Any, **more: Any) -> Conversation:
    return wanted(given, **more).conversation


# ---- items -----------------------------------------------------------------------------------


def test_a_string() -> None:
    request = wanted("Hi", instructions="Be brief.")
    assert request.conversation.system == ["Be brief."]
    assert request.conversation.messages == [Message("user", [Text("Hi")])]
    assert request.items == [{"type": "message", "role": "user", "content": "Hi"}]


def test_roles_and_system_texts() -> None:
    made = conversation(
        [
            {
                "type": "message",
                "role": "developer",
                "content": [{"type": "input_text", "text": "d"}],
            },
            {"role": "user", "content": "u"},
            {"type": None, "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
            {"role": "system", "content": "late"},
        ]
    )
    assert made.system == ["d"]
    assert made.messages == [
        Message("user", [Text("u")]),
        Message("assistant", [Text("a")]),
        Message("system", [Text("late")]),
    ]


def test_calls_and_their_results() -> None:
    made = conversation(
        [
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
            {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "free"},
            {
                "type": "custom_tool_call_output",
                "call_id": "c2",
                "output": [{"type": "input_text", "text": "done"}],
                "status": "incomplete",
            },
        ]
    )
    assert [block for message in made.messages for block in message.content] == [
        ToolUse("c1", "f", {"a": 1}),
        ToolResult("c1", [Text("sunny")]),
        ToolUse("c2", "patch", {"input": "free"}),
        ToolResult("c2", [Text("done")], is_error=True),
    ]


def test_calls_of_a_namespace_find_their_tool() -> None:
    call = {"type": "function_call", "call_id": "c", "namespace": "agents", "name": "spawn"}
    request = wanted([call], tools=[AGENTS])
    assert request.conversation.messages[0].content == [ToolUse("c", "agents__spawn", {})]
    assert request.offered["agents__spawn"] == Offered("spawn", namespace="agents")


@pytest.mark.parametrize(
    ("item", "blocks"),
    [
        (
            {"summary": [{"type": "summary_text", "text": "a"}], "encrypted_content": "c2ln"},
            [Thinking("a", "c2ln")],
        ),
        (
            {
                "summary": [{"type": "summary_text", "text": "a"}],
                "encrypted_content": OUR_SIGNATURE,
            },
            [Thinking("a")],
        ),
        (
            {"summary": [], "content": [{"type": "reasoning_text", "text": "b"}]},
            [Thinking("b")],
        ),
        ({"summary": [], "encrypted_content": "cmVk"}, [RedactedThinking("cmVk")]),
    ],
)
def test_reasoning(item: dict[str, Any], blocks: list[Any]) -> None:
    [message] = conversation([{"type": "reasoning", **item}]).messages
    assert message == Message("assistant", blocks)


def test_empty_reasoning_says_nothing() -> None:
    made = conversation([{"type": "reasoning", "summary": []}, {"role": "user", "content": "u"}])
    assert len(made.messages) == 1


def test_searches_and_unknown_items_become_text() -> None:
    made = conversation(
        [
            {"type": "web_search_call", "action": {"type": "search", "query": "q"}},
            {"type": "odd_call", "x": 1},
            {"type": "odd", "x": 1},
        ]
    )
    assert [message.role for message in made.messages] == ["assistant", "assistant", "user"]
    assert made.messages[0].content == [Text("[Searched the web for: q]")]
    assert made.messages[2].content == [Text('[odd] {"type": "odd", "x": 1}')]


def test_pages_and_sources_of_a_search_become_text() -> None:
    actions = [
        {"type": "open_page", "url": "https://x.example"},
        {"type": "search", "query": "q", "sources": [{"type": "url", "url": "https://x.example"}]},
    ]
    for action in actions:
        [message] = conversation([{"type": "web_search_call", "action": action}]).messages
        assert "https://x.example" in str(message.content)


@pytest.mark.parametrize(
    ("item", "role"),
    [
        ({"type": "image_generation_call", "id": "i", "result": PNG}, "assistant"),
        (
            {
                "type": "computer_call_output",
                "call_id": "c",
                "output": {
                    "type": "computer_screenshot",
                    "image_url": f"data:image/png;base64,{PNG}",
                },
            },
            "user",
        ),
    ],
)
def test_images_of_unknown_items_are_seen(item: dict[str, Any], role: str) -> None:
    [message] = conversation([item]).messages
    assert message.role == role
    text, image = message.content
    assert image == Image(PNG)
    assert isinstance(text, Text)
    assert PNG not in text.text
    assert "(attached image 1)" in text.text


def test_an_object_that_a_tool_returned() -> None:
    output = {"type": "function_call_output", "call_id": "c", "output": {"a": 1}}
    [message] = conversation([output]).messages
    assert message.content == [ToolResult("c", [Text('{"a": 1}')])]


def test_additional_tools() -> None:
    made = conversation([{"type": "additional_tools", "role": "developer", "tools": [FUNCTION]}])
    assert [tool.name for tool in made.tools] == ["f"]


def test_earlier_items_come_first() -> None:
    earlier: Items = [
        {"type": "message", "role": "user", "content": "one"},
        {"type": "message", "role": "assistant", "content": "two"},
    ]
    request = wanted("three", earlier)
    texts = [block.text for m in request.conversation.messages for block in m.content]  # type: ignore[union-attr]
    assert texts == ["one", "two", "three"]
    assert len(request.items) == 1, "only its own are stored"


MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "content": "said"}


@pytest.mark.parametrize("reference", [{"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}])
def test_references(reference: dict[str, Any]) -> None:
    """Within the request, to earlier items, and to stored ones, which Vercel's SDK sends."""
    stored = {"msg_1": MESSAGE}
    for request in (
        wanted([MESSAGE, reference]),
        wanted([reference], [MESSAGE]),
        wanted([reference], resolve=stored.get),
    ):
        assert request.conversation.messages[-1] == Message("assistant", [Text("said")])
        assert request.items[-1] == MESSAGE


@pytest.mark.parametrize(
    ("given", "where"),
    [
        (["x"], "input[0]"),
        ([{"type": 7}], "input[0].type"),
        ([{"type": "message", "content": "x"}], "input[0].role"),
        ([{"role": "robot", "content": "x"}], "input[0].role"),
        ([{"role": "user", "content": 7}], "input[0].content"),
        ([{"type": "function_call", "name": "f"}], "input[0].call_id"),
        ([{"type": "function_call", "call_id": "c"}], "input[0].name"),
        ([{"type": "custom_tool_call", "call_id": "c", "name": "f"}], "input[0].input"),
        ([{"type": "function_call_output", "output": "x"}], "input[0].call_id"),
        ([{"type": "function_call_output", "call_id": "c", "output": 7}], "input[0].output"),
        ([{"type": "item_reference", "id": "msg_9"}], "input[0].id"),
        ([{"type": "item_reference"}], "input[0].id"),
        ([{"id": "msg_9"}], "input[0].id"),
    ],
)
def test_what_cannot_be_understood_is_named(given: Any, where: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wanted(given)
    assert caught.value.param == where


# ---- options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reasoning", "mode"),
    [
        (None, ThinkingMode()),
        ({}, ThinkingMode()),
        ({"effort": "none", "summary": "auto"}, ThinkingMode()),
        ({"effort": "high"}, ThinkingMode("enabled", 20_000, "high")),
        ({"summary": "auto"}, ThinkingMode("enabled", 10_000, "medium")),
        ({"effort": None, "summary": None}, ThinkingMode()),
    ],
)
def test_reasoning_effort(reasoning: Any, mode: ThinkingMode) -> None:
    assert conversation("Hi", reasoning=reasoning).thinking == mode


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"reasoning": {"effort": "odd"}}, "reasoning.effort"),
        ({"reasoning": {"effort": 7}}, "reasoning.effort"),
        ({"text": {"format": 7}}, "text.format"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"tool_choice": "odd"}, "tool_choice"),
        ({"instructions": [7]}, "instructions[0].content"),
    ],
)
def test_wrong_options_are_named(more: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        wanted("Hi", **more)
    assert caught.value.param == where


def test_format_choice_and_search() -> None:
    schema = {"type": "object"}
    made = conversation(
        "Hi",
        text={"format": {"type": "json_schema", "name": "x", "schema": schema}},
        tools=[FUNCTION, {"type": "web_search", "external_web_access": True}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        max_output_tokens=77,
        stream=True,
    )
    assert made.json_schema == schema
    assert made.tool_choice == ToolChoice("tool", "f", parallel=False)
    assert made.web_search
    assert (made.max_tokens, made.stream) == (77, True)


def test_instructions_as_items() -> None:
    made = conversation("Hi", instructions=[{"role": "developer", "content": "a"}, "b"])
    assert made.system == ["a", "b"]


def test_echo() -> None:
    echo = wanted(
        "Hi", tools=[FUNCTION], metadata={"a": "b"}, store=False, previous_response_id="resp_1"
    ).echo
    assert echo["tools"] == [FUNCTION]
    assert echo["metadata"] == {"a": "b"}
    assert echo["store"] is False
    assert echo["previous_response_id"] == "resp_1"
    assert echo["text"] == {"format": {"type": "text"}}
    assert echo["reasoning"] == {"effort": None, "summary": None}


# ---- whatever is sent ------------------------------------------------------------------------


def test_recorded_request_passes_the_refusals() -> None:
    body = json.loads((CAPTURES / "codex_02_tool_turn2.json").read_text("utf-8"))["body"]
    loaded = load_responses(body)
    made = translate(loaded, own_items(loaded)).conversation
    assert find_refusal(built(made).body(ARN), CALLER) is None
    assert len(made.tools) == 12, "5 of them in a namespace"
    assert made.web_search


@settings(deadline=None, max_examples=300)
@given(REQUESTS)
def test_any_sequence_of_items_passes_the_refusals(body: dict[str, Any]) -> None:
    loaded = load_responses(body)
    made = translate(loaded, own_items(loaded)).conversation
    assert find_refusal(built(made).body(ARN), CALLER) is None


@settings(deadline=None, max_examples=300)
@given(
    st.fixed_dictionaries(
        {"model": st.just("m"), "input": st.lists(JSON, max_size=3) | JSON},
        optional={
            "tools": JSON,
            "tool_choice": JSON,
            "text": JSON,
            "reasoning": JSON,
            "include": JSON,
            "instructions": JSON,
        },
    )
)
def test_anything_is_a_conversation_or_a_400_that_names_its_place(body: dict[str, Any]) -> None:
    def act() -> None:
        loaded = load_responses(body)
        translate(loaded, own_items(loaded))

    error = refusal_of(act)
    assert error is None or error.param
