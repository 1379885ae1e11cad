"""Whole sessions of an agent, as they come again with every turn; written in all three dialects.

A session holds what real ones do: calls that were interrupted, answered late, twice or in another
order, results of calls that nobody made, images in results, tools that have gone or are called
otherwise now, ids of any shape, turns that a compaction left behind.
"""

import json
from typing import Any, NamedTuple

from hypothesis import strategies as st

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"
"""The head of a PNG; with some more base64 behind it each image is another one."""
IDS = ["toolu_1", "toolu_2", "call_abc\nfc_def", "é" * 40, "x" * 90, "a|b"]
NAMES = ["Read", "read", "Bash", "mcp__" + "server" * 20, "a.b", "你好", "x" * 64]


class Call(NamedTuple):
    """A call of a tool; `value` goes into its input."""

    id: str
    name: str
    value: str


class Result(NamedTuple):
    """A tool's answer: texts, perhaps none, and images."""

    id: str
    texts: tuple[str, ...]
    images: tuple[str, ...]


class Turn(NamedTuple):
    """What one side says: `user`, `assistant` or `system`."""

    role: str
    results: tuple[Result, ...]
    texts: tuple[str, ...]
    images: tuple[str, ...]
    calls: tuple[Call, ...]


class Session(NamedTuple):
    """All of it, and the tools that are offered now."""

    system: str
    turns: tuple[Turn, ...]
    tools: tuple[str, ...]

    def texts(self) -> list[str]:
        """Every text that must reach the model."""
        found = [self.system]
        for turn in self.turns:
            found += turn.texts
            found += [text for result in turn.results for text in result.texts]
            found += [call.value for call in turn.calls]
        return found

    def images(self) -> list[str]:
        """Every image of it."""
        lifted = [image for turn in self.turns for one in turn.results for image in one.images]
        return [image for turn in self.turns for image in turn.images] + lifted


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    """A session whose texts and images are all different from one another."""
    count = 0

    def fresh() -> str:
        nonlocal count
        count += 1
        return f"<text {count}>"

    def texts(most: int, least: int = 0) -> tuple[str, ...]:
        return tuple(fresh() for _ in range(draw(st.integers(least, most))))

    def images(chance: int) -> tuple[str, ...]:
        nonlocal count
        if draw(st.integers(0, chance)):
            return ()
        count += 1
        return (f"{PNG}{count:04d}",)

    def result(id_: str) -> Result:
        return Result(id_, texts(2), images(5))

    turns: list[Turn] = []
    asked: list[str] = []
    earlier: list[str] = []
    for _ in range(draw(st.integers(1, 8))):
        role = draw(
            st.sampled_from(["user", "assistant", "assistant", "results", "results", "system"])
        )
        if role == "assistant":
            made = draw(
                st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(NAMES)), max_size=3)
            )
            calls = tuple(Call(id_, name, fresh()) for id_, name in made)
            earlier += asked
            asked = [call.id for call in calls]
            turns.append(Turn("assistant", (), texts(1, not turns), (), calls))
        elif role == "results":
            ids = draw(st.permutations(list(dict.fromkeys(asked))))
            missing = draw(st.integers(0, 3))
            answered = ids[: len(ids) - (missing == 1)]
            if draw(st.integers(0, 4)) == 0:
                answered = [*answered, draw(st.sampled_from([*earlier, *answered, "nobody"]))]
            if answered:
                turns.append(Turn("user", tuple(map(result, answered)), texts(1), (), ()))
        elif turns or role == "user":  # in front it is OpenAI's way to write the system text
            turns.append(Turn(role, (), texts(2, 1), images(4) if role == "user" else (), ()))
    if not turns:
        turns.append(Turn("user", (), texts(1, 1), (), ()))
    tools = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=5))
    return Session(fresh(), tuple(turns), tuple(tools))


def schema_of(name: str) -> dict[str, Any]:
    """The input of a tool."""
    return {"type": "object", "properties": {"value": {"type": "string"}}, "title": name}


# ---- Anthropic's Messages ----------------------------------------------------------------------


def _image_block(image: str) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}}


def _text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def anthropic_body(session: Session) -> dict[str, Any]:
    """A Messages request."""
    messages = []
    for turn in session.turns:
        content: list[dict[str, Any]] = [
            {
                "type": "tool_result",
                "tool_use_id": one.id,
                "content": [*map(_text_block, one.texts), *map(_image_block, one.images)],
            }
            for one in turn.results
        ]
        content += map(_text_block, turn.texts)
        content += map(_image_block, turn.images)
        content += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": {"value": call.value}}
            for call in turn.calls
        ]
        messages.append({"role": turn.role, "content": content})
    tools = [
        {"name": name, "description": f"About {name}", "input_schema": schema_of(name)}
        for name in session.tools
    ]
    return {
        "model": "claude-sonnet-4-5",
        "max_tokens": 4096,
        "system": session.system,
        "messages": messages,
        "tools": tools,
    }


# ---- OpenAI's chat completions -----------------------------------------------------------------


def _url(image: str) -> str:
    return f"data:image/png;base64,{image}"


def _chat_parts(texts: tuple[str, ...], images: tuple[str, ...]) -> list[dict[str, Any]]:
    return [*map(_text_block, texts)] + [
        {"type": "image_url", "image_url": {"url": _url(image)}} for image in images
    ]


def chat_body(session: Session) -> dict[str, Any]:
    """A chat completions request."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": session.system}]
    for turn in session.turns:
        messages += [
            {"role": "tool", "tool_call_id": one.id, "content": _chat_parts(one.texts, one.images)}
            for one in turn.results
        ]
        if turn.results and not turn.texts:
            continue
        message: dict[str, Any] = {
            "role": turn.role,
            "content": _chat_parts(turn.texts, turn.images) or None,
        }
        if turn.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps({"value": call.value})},
                }
                for call in turn.calls
            ]
        messages.append(message)
    tools = [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": f"About {name}",
                "parameters": schema_of(name),
            },
        }
        for name in session.tools
    ]
    return {
        "model": "claude-sonnet-4-5",
        "max_tokens": 4096,
        "messages": messages,
        "tools": tools,
    }


# ---- OpenAI's Responses ------------------------------------------------------------------------


def _input_parts(texts: tuple[str, ...], images: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"type": "input_text", "text": text} for text in texts] + [
        {"type": "input_image", "image_url": _url(image)} for image in images
    ]


def responses_body(session: Session) -> dict[str, Any]:
    """A Responses request."""
    items: list[dict[str, Any]] = []
    for turn in session.turns:
        items += [
            {
                "type": "function_call_output",
                "call_id": one.id,
                "output": _input_parts(one.texts, one.images),
            }
            for one in turn.results
        ]
        if turn.texts or turn.images:
            content = _input_parts(turn.texts, turn.images)
            if turn.role == "assistant":
                content = [{"type": "output_text", "text": text} for text in turn.texts]
            items.append({"type": "message", "role": turn.role, "content": content})
        items += [
            {
                "type": "function_call",
                "call_id": call.id,
                "name": call.name,
                "arguments": json.dumps({"value": call.value}),
            }
            for call in turn.calls
        ]
    tools = [
        {
            "type": "function",
            "name": name,
            "description": f"About {name}",
            "parameters": schema_of(name),
        }
        for name in session.tools
    ]
    return {
        "model": "claude-sonnet-4-5",
        "max_output_tokens": 4096,
        "instructions": session.system,
        "input": items,
        "tools": tools,
    }
