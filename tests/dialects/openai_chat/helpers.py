"""A client's side of chat completions: read a stream, put its completion together."""

import json
from typing import Any

from hypothesis import strategies as st

DONE = "[DONE]"
Chunk = dict[str, Any]


def chunks_of(wire: bytes) -> list[Any]:
    """The chunks of a stream, pings left out; `[DONE]` stands for itself."""
    assert wire.endswith(b"\n\n") or not wire
    found: list[Any] = []
    for part in wire.split(b"\n\n")[:-1]:
        if part == b": ping":
            continue
        assert part.startswith(b"data: "), part
        assert b"\n" not in part
        data = part.removeprefix(b"data: ").decode()
        found.append(DONE if data == DONE else json.loads(data))
    return found


def assemble(chunks: list[Any], *, include_usage: bool = False) -> dict[str, Any]:
    """Put a message together, checking the order (S27, S28, trap 35).

    `error` holds an in-stream error; nothing follows it.
    """
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "calls": []}
    first, *rest = chunks
    assert first["choices"][0]["delta"] == {"role": "assistant"}
    head = {k: first[k] for k in ("id", "object", "created", "model", "system_fingerprint")}
    finish: str | None = None
    for index, chunk in enumerate(rest, 1):
        last = index == len(chunks) - 1
        if chunk == DONE:
            assert last
            assert finish
        elif "error" in chunk:
            assert last
            assert finish is None
            return {"error": chunk["error"]}
        elif chunk["choices"] == []:
            assert include_usage
            assert finish
            message["usage"] = chunk["usage"]
        else:
            assert finish is None, "nothing follows the chunk with finish_reason"
            assert head.items() <= chunk.items()
            assert ("usage" in chunk) == include_usage
            assert chunk.get("usage") is None
            [choice] = chunk["choices"]
            assert choice["index"] == 0
            finish = choice["finish_reason"]
            assert (not choice["delta"]) == (finish is not None), "in a chunk of its own"
            _apply(message, choice["delta"])
    assert chunks[-1] == DONE
    assert ("usage" in message) == include_usage
    return message | {"finish_reason": finish}


def _apply(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for key in ("content", "reasoning_content"):
        message[key] += delta.get(key, "")
    for call in delta.get("tool_calls", ()):
        inner = call.get("function") or call.get("custom")
        key = "arguments" if "function" in call else "input"
        if "id" in call:
            assert call["index"] == len(message["calls"])
            assert "name" in inner
            assert inner[key] == ""
            message["calls"].append({"id": call["id"], "type": call["type"], **inner})
        else:
            assert call["index"] == len(message["calls"]) - 1
            assert set(inner) == {key}
            message["calls"][-1][key] += inner[key]
    if "function_call" in delta:
        inner = delta["function_call"]
        if "name" in inner:
            message["calls"].append(dict(inner))
        else:
            message["calls"][-1]["arguments"] += inner["arguments"]


# ---- requests of any kind --------------------------------------------------------------------

PNG = "iVBORw0KGgoAAAAAAAAAAAAAAAAAAAAA"
WORDS = st.sampled_from(["", " ", "\n", "Hi", "é你🧪", "<thinking>", "\x00", "word " * 3])
IDS = st.sampled_from(["call_1", "call_2", "call\nx", "", "x" * 80])
NAMES = st.sampled_from(["read", "Read", "mcp__" + "x" * 80, "a.b", "7"])
ARGUMENTS = st.sampled_from(["{}", '{"a": 1}', "", None, '{"a', "[1]", {"a": 1}])


def shape(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """An object of these fields; plain values stand for themselves."""
    return st.fixed_dictionaries(
        {k: v if isinstance(v, st.SearchStrategy) else st.just(v) for k, v in fields.items()}
    )


PARTS = st.lists(
    st.one_of(
        shape(type="text", text=WORDS),
        shape(type="refusal", refusal=WORDS),
        shape(type="image_url", image_url={"url": f"data:image/png;base64,{PNG}"}),
        shape(type="something_new", a=[1, {"b": None}]),
    ),
    max_size=3,
)
CONTENT = st.none() | WORDS | PARTS
CALL = shape(id=IDS, type="function", function=shape(name=NAMES, arguments=ARGUMENTS))
CUSTOM = shape(id=IDS, type="custom", custom=shape(name=NAMES, input=WORDS))
MESSAGE = st.one_of(
    shape(role=st.sampled_from(["system", "developer"]), content=CONTENT),
    shape(role="user", content=CONTENT),
    shape(role="user", content=CONTENT),
    shape(role="assistant", content=CONTENT, refusal=st.none() | WORDS, reasoning_content=WORDS),
    shape(role="assistant", content=CONTENT, tool_calls=st.lists(CALL | CUSTOM, max_size=3)),
    shape(role="assistant", content=None, function_call=shape(name=NAMES, arguments=ARGUMENTS)),
    shape(role="tool", tool_call_id=IDS, content=CONTENT),
    shape(role="function", name=NAMES, content=CONTENT),
)
TOOL = st.one_of(
    shape(
        type="function",
        function=shape(
            name=NAMES,
            description=WORDS | st.none() | st.just("d" * 12_000),
            parameters=st.sampled_from([None, {}, {"type": "object", "properties": None}]),
            strict=True,
        ),
    ),
    shape(type="custom", custom=shape(name=NAMES, description=WORDS)),
)
REQUESTS = st.fixed_dictionaries(
    {
        "model": st.just("claude-sonnet-4-5"),
        "messages": st.lists(MESSAGE, min_size=1, max_size=8),
    },
    optional={
        "tools": st.lists(TOOL, max_size=4) | st.none(),
        "functions": st.lists(shape(name=NAMES, parameters={}), max_size=2),
        "tool_choice": st.sampled_from([None, "auto", "none", "required"]),
        "parallel_tool_calls": st.booleans(),
        "reasoning_effort": st.sampled_from(["none", "low", "high"]),
        "response_format": st.sampled_from([{"type": "text"}, {"type": "json_object"}]),
        "max_completion_tokens": st.integers(1, 64_000),
        "stop": st.none() | WORDS | st.lists(WORDS, max_size=2),
        "stream_options": st.just({"include_usage": True}),
        "seed": st.integers(),
    },
)
