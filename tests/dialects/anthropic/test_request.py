"""Messages request → Conversation; and whatever clients send, Kiro's refusals let it pass."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiroproxy.conversation import (
    Block,
    Conversation,
    Image,
    RedactedThinking,
    Text,
    Thinking,
    ThinkingMode,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from kiroproxy.dialects.anthropic.request import has_pdf, session_of, translate
from kiroproxy.dialects.anthropic.schema import load_count, load_messages
from kiroproxy.dialects.anthropic.stream import OUR_SIGNATURE
from kiroproxy.dialects.jsontext import parse_body
from kiroproxy.errors import InvalidRequest, NotFound
from kiroproxy.kiro.models import BUILT_IN, ModelSettings, choose_model
from kiroproxy.kiro.request import KiroRequest, RequestSettings, build_request
from kiroproxy.simulator.refusals import Caller, find_refusal
from kiroproxy.token_count import estimate_conversation
from tests.dialects.anthropic.helpers import PNG, REQUESTS

CAPTURES = Path(__file__).parents[2] / "data" / "captures"
CALLER = Caller([model.id for model in BUILT_IN], strict=True)
ARN = "arn:aws:codewhisperer:us-east-1:111122223333:profile/EXAMPLE"
ID = "6f3c0d5e-7c0e-4a50-9a0e-3f1b1d3f8c11"


def translated(**fields: Any) -> Conversation:
    messages = [{"role": "user", "content": "Hi"}]
    return translate(load_messages({"model": "m", "max_tokens": 9, "messages": messages} | fields))


def blocks(*content: Any, role: str = "user") -> list[Block]:
    return translated(messages=[{"role": role, "content": list(content)}]).messages[0].content


def build(body: dict[str, Any]) -> KiroRequest:
    """The whole way up, from bytes."""
    conversation = translate(load_messages(parse_body(json.dumps(body).encode())))
    return build_request(
        conversation,
        choose_model(conversation.model, ModelSettings()),
        RequestSettings(),
        conversation_id=ID,
        continuation_id=ID,
    )


SOURCE = {"type": "base64", "media_type": "image/png", "data": PNG}
TEXT = {"type": "text", "text": "a"}
DOCUMENT = {"type": "document", "source": {"type": "base64", "data": ""}}
BLOCKS: dict[str, tuple[dict[str, Any], list[Block]]] = {
    "text": (TEXT | {"cache_control": {"type": "ephemeral"}}, [Text("a")]),
    "image": ({"type": "image", "source": SOURCE}, [Image(PNG, "messages.0.content.0")]),
    "image with a data: prefix": (
        {"type": "image", "source": SOURCE | {"data": f"data:image/png;base64,{PNG}"}},
        [Image(PNG, "messages.0.content.0")],
    ),
    "image by URL": (
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        [Image("", "messages.0.content.0", "https://x/y.png")],
    ),
    "thinking": (
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        [Thinking("hm", "c2ln")],
    ),
    "thinking of ours": (
        {"type": "thinking", "thinking": "hm", "signature": OUR_SIGNATURE},
        [Thinking("hm")],
    ),
    "thinking without signature": ({"type": "thinking", "thinking": "hm"}, [Thinking("hm")]),
    "redacted": ({"type": "redacted_thinking", "data": "x"}, [RedactedThinking("x")]),
    "tool use": (
        {"type": "tool_use", "id": "t", "name": "n", "input": {"a": 1}},
        [ToolUse("t", "n", {"a": 1})],
    ),
    "tool use with JSON text": (
        {"type": "tool_use", "id": "t", "name": "n", "input": '{"a":1}'},
        [ToolUse("t", "n", {"a": 1})],
    ),
    "tool use with other text": (
        {"type": "tool_use", "id": "t", "name": "n", "input": "x"},
        [ToolUse("t", "n", {"input": "x"})],
    ),
    "tool use without input": (
        {"type": "tool_use", "id": "t", "name": "n"},
        [ToolUse("t", "n", {})],
    ),
    "result, string": (
        {"type": "tool_result", "tool_use_id": "t", "content": "x", "is_error": True},
        [ToolResult("t", [Text("x")], is_error=True)],
    ),
    "result, nothing": ({"type": "tool_result", "tool_use_id": "t"}, [ToolResult("t", [])]),
    "result, null": (
        {"type": "tool_result", "tool_use_id": "t", "content": None},
        [ToolResult("t", [])],
    ),
    "result, blocks": (
        {
            "type": "tool_result",
            "tool_use_id": "t",
            "content": [
                TEXT,
                "b",
                {"type": "image", "source": SOURCE},
                {"type": "tool_reference", "tool_name": "n"},
                {"type": "tool_use", "id": "x", "name": "n", "input": {"é": 1}},
                {"type": "tool_result", "tool_use_id": "x", "content": "nested"},
                {"type": "thinking", "thinking": "hm"},
                {"type": "redacted_thinking", "data": "x"},
            ],
        },
        [
            ToolResult(
                "t",
                [
                    Text("a"),
                    Text("b"),
                    Image(PNG, "messages.0.content.0.content.2"),
                    Text("[The tool n is available now.]"),
                    Text('[tool_use] n {"é": 1}'),
                    Text("nested"),
                    Text("hm"),
                ],
            )
        ],
    ),
    "trap 16: text document": (
        {"type": "document", "title": "T", "source": {"type": "text", "data": "body"}},
        [Text("[Document: T]"), Text("body")],
    ),
    "document of blocks": (
        {"type": "document", "source": {"type": "content", "content": [TEXT]}},
        [Text("a")],
    ),
    "document of a string": (
        {"type": "document", "source": {"type": "content", "content": "b"}},
        [Text("b")],
    ),
    "search result": (
        {"type": "search_result", "title": "T", "source": "https://x", "content": [TEXT]},
        [Text("[Search result: T — https://x]"), Text("a")],
    ),
    "server block": (
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        [
            Text(
                '[server_tool_use] {"type": "server_tool_use", "id": "s", '
                '"name": "web_search", "input": {"query": "q"}}'
            )
        ],
    ),
    "something new with text": ({"type": "new", "text": "x"}, [Text("x")]),
}


@pytest.mark.parametrize(("sent", "expected"), BLOCKS.values(), ids=BLOCKS)
def test_s9_blocks(sent: dict[str, Any], expected: list[Block]) -> None:
    assert blocks(sent) == expected


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "role": ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
    "no role": ({"messages": [{"content": "x"}]}, "messages.0.role"),
    "content": ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
    "no content": ({"messages": [{"role": "user"}]}, "messages.0.content"),
    "block": ({"messages": [{"role": "user", "content": [7]}]}, "messages.0.content.0"),
    "block type": (
        {"messages": [{"role": "user", "content": [{"type": 1}]}]},
        "messages.0.content.0",
    ),
    "text": (
        {"messages": [{"role": "user", "content": [TEXT, {"type": "text", "text": None}]}]},
        "messages.0.content.1.text",
    ),
    "image": (
        {"messages": [{"role": "user", "content": [{"type": "image"}]}]},
        "messages.0.content.0",
    ),
    "tool input": (
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "t", "name": "n", "input": [1]}],
                }
            ]
        },
        "messages.0.content.0.input",
    ),
    "tool id": (
        {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "name": "n"}]}]},
        "messages.0.content.0.id",
    ),
    "result content": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "t", "content": 7}],
                }
            ]
        },
        "messages.0.content.0.content",
    ),
    "document by URL": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "document", "source": {"type": "url"}}]}
            ]
        },
        "messages.0.content.0",
    ),
    "system": ({"system": [{"type": "image"}]}, "system.0"),
    "tool name": ({"tools": [{"input_schema": {}}]}, "tools"),
    "tool choice": ({"tool_choice": {"type": "some"}}, "tool_choice"),
    "tool choice without a name": ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
    "thinking": ({"thinking": {"type": "hard"}}, "thinking"),
}


@pytest.mark.parametrize(("fields", "param"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_understood_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translated(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("system", "texts"),
    [
        ("", []),
        (None, []),
        ("a", ["a"]),
        ([], []),
        ([TEXT, {"type": "text", "text": "b"}], ["a", "b"]),
        (["a"], ["a"]),
    ],
)
def test_s8_system(system: Any, texts: list[str]) -> None:
    assert translated(system=system).system == texts


@pytest.mark.parametrize(
    ("block", "slow"),
    [
        (TEXT, False),
        (DOCUMENT, True),
        ({"type": "tool_result", "content": [TEXT, DOCUMENT]}, True),
        ({"type": "tool_result", "content": "x"}, False),
        ({"type": "document", "source": {"type": "text"}}, False),
        ("x", False),
    ],
)
def test_documents_are_known_beforehand(block: Any, slow: bool) -> None:
    """Reading a PDF is slow: it is done off the event loop."""
    assert has_pdf({"messages": [{"content": "x"}, {"content": [block]}]}) is slow


def test_plain_text_in_base64() -> None:
    source = {"type": "base64", "media_type": "text/plain", "data": "aGVsbG8="}
    assert blocks({"type": "document", "source": source}) == [Text("hello")]
    with pytest.raises(InvalidRequest):
        blocks({"type": "document", "source": source | {"data": "_"}})


def test_roles() -> None:
    roles = ["user", "assistant", "system", "developer"]
    messages = [{"role": role, "content": "x"} for role in roles]
    got = [message.role for message in translated(messages=messages).messages]
    assert got == ["user", "assistant", "system", "system"]


def test_tools() -> None:
    sent = [
        {"name": "a", "description": "d", "input_schema": {"type": "object"}},
        {"type": "custom", "name": "b", "description": None, "defer_loading": True},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
    ]
    conversation = translated(tools=sent)
    assert conversation.tools[:2] == [Tool("a", "d", {"type": "object"}), Tool("b", "", None)]
    assert [tool.name for tool in conversation.tools] == ["a", "b", "bash"]
    assert conversation.web_search


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ToolChoice()),
        ({}, ToolChoice()),
        ({"type": "any"}, ToolChoice("any")),
        ({"type": "none"}, ToolChoice("none")),
        (
            {"type": "tool", "name": "a", "disable_parallel_tool_use": True},
            ToolChoice("tool", "a", parallel=False),
        ),
    ],
)
def test_tool_choice(choice: Any, expected: ToolChoice) -> None:
    assert translated(tool_choice=choice).tool_choice == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ThinkingMode()),
        ({"thinking": {"type": "disabled"}}, ThinkingMode()),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 31_999}},
            ThinkingMode("enabled", 31_999),
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": "x"}}, ThinkingMode("enabled")),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
            ThinkingMode("adaptive", effort="max"),
        ),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": 3}},
            ThinkingMode("adaptive"),
        ),
    ],
)
def test_thinking(fields: dict[str, Any], expected: ThinkingMode) -> None:
    assert translated(**fields).thinking == expected


@pytest.mark.parametrize(
    ("output", "schema"),
    [
        ({"format": {"type": "json_schema", "schema": {"a": 1}}}, {"a": 1}),
        ({"format": {"type": "json_schema"}}, {}),
        ({"format": {"type": "text"}}, None),
        ({"format": "json"}, None),
        ({}, None),
    ],
)
def test_json_schema(output: dict[str, Any], schema: Any) -> None:
    assert translated(output_config=output).json_schema == schema


SESSION = "0a1b2c3d-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("user_id", "session"),
    [
        (json.dumps({"device_id": "d", "session_id": SESSION}), SESSION),
        (f"user_ab_account__session_{SESSION}", SESSION),
        ("someone", ""),
        ("{", ""),
        ("[]", ""),
        ('{"session_id": 7}', ""),
        ("[" * 5000, ""),
        (None, ""),
        (7, ""),
    ],
)
def test_session(user_id: Any, session: str) -> None:
    assert session_of({"user_id": user_id}) == session
    assert session_of(None) == ""


def test_s7_count_takes_less() -> None:
    """`/context` sends requests without max_tokens and system."""
    loaded = load_count({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    assert estimate_conversation(translate(loaded)) >= 1


# ---- whatever is sent ------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(CAPTURES.glob("cc_*.json")), ids=lambda path: path.stem)
def test_recorded_requests_pass_the_refusals(path: Path) -> None:
    if path.stem in ("cc_11_websearch_inner", "cc_39_count_tokens"):
        pytest.skip("goes elsewhere: the search, the estimate")
    body = json.loads(path.read_text("utf-8"))["body"]
    assert find_refusal(build(body).body(ARN), CALLER) is None


@settings(deadline=None, max_examples=400)
@given(REQUESTS)
def test_trap_2_any_sequence_of_blocks_passes_the_refusals(body: dict[str, Any]) -> None:
    assert find_refusal(build(body).body(ARN), CALLER) is None


@settings(deadline=None, max_examples=200)
@given(REQUESTS)
def test_texts_of_users_are_not_lost(body: dict[str, Any]) -> None:
    sent = build(body).body(ARN).decode()
    for message in body["messages"]:
        content = message["content"]
        texts = [content] if isinstance(content, str) else [b.get("text", "") for b in content]
        for text in texts:
            assert json.dumps(text, ensure_ascii=False)[1:-1] in sent or not text.strip()


KEYS = st.sampled_from(
    ["type", "text", "role", "content", "source", "data", "id", "name", "input", "tool_use_id", "a"]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["text", "user", "assistant", "image", "base64", "tool_use", "tool_result", ""]
    ),
    st.sampled_from(["document", "search_result", "thinking", "enabled", "any", "json_schema"]),
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["system", "tools", "tool_choice", "thinking", "metadata", "output_config", "stop_sequences"]
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system"]),
        "content": st.lists(JSON, max_size=3),
    }
)


@settings(deadline=None, max_examples=500)
@given(st.lists(MESSAGE | JSON, max_size=3), st.dictionaries(FIELDS, JSON))
def test_a_body_that_fails_is_always_the_callers_fault(
    messages: list[Any], fields: dict[str, Any]
) -> None:
    body = {"model": "claude-sonnet-4-5", "max_tokens": 99, "messages": messages} | fields
    with contextlib.suppress(InvalidRequest, NotFound):
        assert find_refusal(build(body).body(ARN), CALLER) is None


# ---- what has no field of its own on the way ---------------------------------------------------


def test_context_of_a_document_is_kept() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "body"}
    document = {"type": "document", "source": source, "title": "T", "context": "C"}
    assert blocks(document) == [Text("[Document: T]\n[About it: C]"), Text("body")]


def test_examples_of_a_tools_input_are_told() -> None:
    given = {"name": "f", "description": "d", "input_schema": {}, "input_examples": [{"a": "é"}]}
    [tool] = translated(tools=[given]).tools
    assert tool.description == 'd\n\nExamples of its input:\n{"a": "é"}'


def test_output_format_of_the_beta() -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    assert translated(output_format=wanted).json_schema == {"type": "object"}
    assert translated(output_format=None).json_schema is None


@pytest.mark.parametrize("kind", ["web_fetch_20250910", "code_execution_20250825"])
def test_what_nobody_here_can_run_is_not_forced(kind: str) -> None:
    server = {"type": kind, "name": "s"}
    choice = {"type": "tool", "name": "s", "disable_parallel_tool_use": True}
    made = translated(tools=[server], tool_choice=choice)
    assert made.tool_choice == ToolChoice(parallel=False)
    assert made.left_out
    assert build(
        {
            "model": "claude-sonnet-4-5",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "x"}],
        }
        | {"tools": [server], "tool_choice": choice}
    )
    own = {"name": "s", "input_schema": {}}
    assert translated(tools=[own], tool_choice=choice).tool_choice.name == "s"
    assert not translated(tools=[own]).left_out


def test_none_means_no_search_either() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    assert translated(tools=[search]).web_search
    assert not translated(tools=[search], tool_choice={"type": "none"}).web_search
