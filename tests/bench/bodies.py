"""What the load generator asks: Messages requests whose last words choose a scene of `canned`."""

import json
from typing import Any

MODEL = "claude-sonnet-4-5"
LARGE_BYTES = 1_350_000
LARGE_TOOLS = 150
TURNS = 60
_PROSE = "The quick brown fox jumps over the lazy dog, and then it reads the file again. "
_CODE = (
    'def handler(event: dict[str, Any]) -> None:\n    """Взгляд, 你好."""\n    return event["x"]\n'
)


def ask(scene: str, *, stream: bool = True, **fields: Any) -> bytes:
    """A small request."""
    body = {
        "model": MODEL,
        "max_tokens": 4096,
        "stream": stream,
        "system": "You are a helpful assistant.",
        "messages": [{"role": "user", "content": f"Tell me something. bench:{scene};"}],
    }
    return json.dumps(body | fields).encode()


def think(scene: str) -> bytes:
    """The same with thinking on."""
    return ask(scene, thinking={"type": "enabled", "budget_tokens": 2000})


def call(scene: str) -> bytes:
    """The same with a tool to call."""
    return ask(scene, tools=[{"name": "write", "input_schema": {"type": "object"}}])


def chat(scene: str) -> bytes:
    """The same as a chat completions request."""
    system, user = "You are a helpful assistant.", f"Tell me something. bench:{scene};"
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return json.dumps({"model": MODEL, "stream": True, "messages": messages}).encode()


def responses(scene: str) -> bytes:
    """The same as a Responses request."""
    body = {
        "model": MODEL,
        "stream": True,
        "store": False,
        "instructions": "You are a helpful assistant.",
        "input": f"Tell me something. bench:{scene};",
    }
    return json.dumps(body).encode()


def large(scene: str) -> bytes:
    """A long session of a coding client: 150 tools, 60 tool calls with results, 1.35 MB in all."""
    fields: dict[str, Any] = {"tools": [_tool(i) for i in range(LARGE_TOOLS)], "stream": True}
    room = LARGE_BYTES - len(ask(scene, messages=_session(scene, 0), **fields))
    body = ask(scene, messages=_session(scene, room // TURNS), **fields)
    assert abs(len(body) - LARGE_BYTES) < LARGE_BYTES // 50, len(body)
    return body


def _tool(index: int) -> dict[str, Any]:
    properties = {
        f"field_{i}": {"type": "string", "description": _PROSE, "enum": ["a", "b", "c"]}
        for i in range(10)
    }
    return {
        "name": f"mcp__server_{index % 7}__tool_number_{index}",
        "description": f"Tool {index}. " + _PROSE * 12,
        "input_schema": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": properties | {"limit": {"type": "integer", "minimum": 0}},
            "required": ["field_0"],
            "additionalProperties": False,
        },
    }


def _session(scene: str, result_bytes: int) -> list[dict[str, Any]]:
    unit = _PROSE + _CODE
    result = unit * (result_bytes // len(json.dumps(unit)))
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Fix the bug."}]
    for turn in range(TURNS):
        name = f"mcp__server_{turn % 7}__tool_number_{turn}"
        use = {
            "type": "tool_use",
            "id": f"toolu_{turn:04}",
            "name": name,
            "input": {"field_0": "a"},
        }
        answer = {"type": "tool_result", "tool_use_id": use["id"], "content": f"{turn}\n{result}"}
        text = {"type": "text", "text": f"Step {turn}. {_PROSE}"}
        messages += [
            {"role": "assistant", "content": [text, use]},
            {"role": "user", "content": [answer]},
        ]
    messages.append({"role": "user", "content": f"Go on. bench:{scene};"})
    return messages
