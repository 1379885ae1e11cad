"""A client's side of the Anthropic API: read a stream, put its message together, make requests."""

import json
from typing import Any

from hypothesis import strategies as st

Event = dict[str, Any]


def events_of(wire: bytes) -> list[Event]:
    """The events of a stream; each has the type that its name line says (S32)."""
    events = []
    for part in wire.split(b"\n\n")[:-1]:
        name, data = part.split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        events.append(event)
    assert wire.endswith(b"\n\n") or not wire
    return events


def assemble(events: list[Event]) -> dict[str, Any]:
    """Put a message together as an SDK does, checking the order of its events (S33, trap 14).

    A tool's input stays the text that came, under `json`. `error` holds an in-stream error.
    """
    message: dict[str, Any] = dict(events[0]["message"])
    assert events[0]["type"] == "message_start"
    assert message["content"] == []
    content: list[dict[str, Any]] = []
    opened = False
    ended = False
    for event in events[1:]:
        kind = event["type"]
        assert not ended or kind == "message_stop"
        if kind == "ping":
            continue
        if kind == "content_block_start":
            assert not opened
            assert event["index"] == len(content)
            content.append(dict(event["content_block"]))
            opened = True
        elif kind == "content_block_delta":
            assert opened
            assert event["index"] == len(content) - 1
            _apply(content[-1], event["delta"])
        elif kind == "content_block_stop":
            assert opened
            assert event["index"] == len(content) - 1
            opened = False
        elif kind == "message_delta":
            assert not opened
            message |= event["delta"]
            message["usage"] = event["usage"]
            ended = True
        elif kind == "message_stop":
            assert event is events[-1]
            assert ended
        else:
            assert kind == "error"
            assert event is events[-1]
            message["error"] = event["error"]
    assert events[-1]["type"] in ("message_stop", "error")
    return message | {"content": content}


def _apply(block: dict[str, Any], delta: dict[str, Any]) -> None:
    match delta["type"]:
        case "text_delta":
            assert block["type"] == "text"
            block["text"] += delta["text"]
        case "thinking_delta":
            assert block["type"] == "thinking"
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            assert block["type"] == "thinking"
            block["signature"] = delta["signature"]
        case "input_json_delta":
            assert block["type"].endswith("tool_use")
            block["json"] = block.get("json", "") + delta["partial_json"]
        case other:
            raise AssertionError(other)


# ---- requests of any kind --------------------------------------------------------------------

PNG = "iVBORw0KGgoAAAAAAAAAAAAAAAAAAAAA"
WORDS = st.sampled_from(["", " ", "\n", "Hi", "é你🧪", "<thinking>", "\x00", "word " * 3])
IDS = st.sampled_from(["t1", "t2", "toolu_3", "call\nx", "", "x" * 80])
NAMES = st.sampled_from(["Read", "read", "mcp__" + "x" * 80, "a.b", "", "7"])
INPUTS = st.sampled_from([{}, {"a": 1}, {"__unparsedToolInput": '{"a'}, None, '{"a":1}', "x"])


def block(kind: str, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(kind)} | fields)


SOURCE = st.just({"type": "base64", "media_type": "image/jpg", "data": PNG})
LEAVES = st.one_of(
    block("text", text=WORDS),
    block("image", source=SOURCE),
    block("document", source=st.just({"type": "text", "data": "doc"}), title=WORDS),
    block("search_result", title=WORDS, source=WORDS, content=st.just([])),
    block("tool_reference", tool_name=NAMES),
    block("server_tool_use", id=IDS, name=st.just("web_search"), input=INPUTS),
    block("web_search_tool_result", tool_use_id=IDS, content=st.just([{"type": "x"}])),
    block("something_new", a=st.just([1, {"b": None}])),
)
RESULTS = block(
    "tool_result",
    tool_use_id=IDS,
    content=st.none() | WORDS | st.lists(LEAVES, max_size=2),
    is_error=st.sampled_from([True, False, None]),
)
BLOCKS = st.one_of(
    LEAVES,
    RESULTS,
    RESULTS,
    block("tool_use", id=IDS, name=NAMES, input=INPUTS),
    block("tool_use", id=IDS, name=NAMES, input=INPUTS),
    block("thinking", thinking=WORDS, signature=WORDS),
    block("redacted_thinking", data=WORDS),
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(
                ["user", "user", "assistant", "assistant", "system", "developer"]
            ),
            "content": WORDS | st.lists(BLOCKS, max_size=4),
        }
    ),
    min_size=1,
    max_size=7,
)
TOOLS = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {
                "name": NAMES.filter(bool),
                "description": WORDS | st.none() | st.just("d" * 12_000),
                "input_schema": st.sampled_from(
                    [
                        None,
                        {},
                        {"type": "object", "properties": None},
                        {"anyOf": [{"type": "null"}]},
                    ]
                ),
            }
        ),
        st.sampled_from(
            [
                {"type": "bash_20250124", "name": "bash"},
                {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
                {"type": "web_search_20250305", "name": "web_search"},
                {"type": "custom", "name": "Read", "input_schema": {"type": "object"}},
            ]
        ),
    ),
    max_size=4,
)
REQUESTS = st.fixed_dictionaries(
    {
        "model": st.just("claude-sonnet-4-5"),
        "max_tokens": st.integers(1, 64_000),
        "messages": MESSAGES,
    },
    optional={
        "system": WORDS | st.lists(block("text", text=WORDS), max_size=3),
        "tools": TOOLS | st.none(),
        "tool_choice": st.sampled_from(
            [
                None,
                {"type": "auto"},
                {"type": "any", "disable_parallel_tool_use": True},
                {"type": "none"},
            ]
        ),
        "thinking": st.sampled_from(
            [{"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}, {"type": "disabled"}]
        ),
        "output_config": st.sampled_from(
            [{"effort": "low"}, {"format": {"type": "json_schema", "schema": {"type": "object"}}}]
        ),
        "stop_sequences": st.lists(WORDS, max_size=2),
        "context_management": st.just({}),
    },
)
