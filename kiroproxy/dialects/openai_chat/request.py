"""Chat completions request → Conversation."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from kiroproxy.conversation import (
    Block,
    Conversation,
    Message,
    Text,
    Thinking,
    ThinkingMode,
    ToolResult,
    ToolUse,
)
from kiroproxy.dialects.anthropic.request import block_of as anthropic_block
from kiroproxy.dialects.openai_common import (
    BUDGETS,
    arguments_of,
    invalid,
    json_schema_of,
    output_parts,
    parts,
    text_field,
    thinking_of,
)
from kiroproxy.dialects.openai_tools import (
    CUSTOM_KEY,
    Offered,
    Toolset,
    tool_choice_of,
    toolset_of,
)

DEFAULT_MAX_TOKENS = 16_384
"""S26."""
FOREIGN = frozenset(
    {
        "document",
        "image",
        "redacted_thinking",
        "search_result",
        "thinking",
        "tool_result",
        "tool_use",
    }
)
"""Blocks of Anthropic's API; Cursor, for one, puts them into chat completions."""


class ChatRequest(msgspec.Struct):
    """A request, and how its answer is to be written."""

    conversation: Conversation
    offered: Mapping[str, Offered] = msgspec.field(default_factory=dict)
    include_usage: bool = False
    """Whether a stream ends with a chunk of token counts."""
    legacy: bool = False
    """Whether the client knows `function_call` only, from before there were `tool_calls`."""


def translate(loaded: Mapping[str, Any]) -> ChatRequest:
    """Translate a request that the schema has passed.

    Raises:
        InvalidRequest: names what cannot be understood.
    """
    legacy = bool(loaded["functions"]) and not loaded["tools"]
    tools = toolset_of(_functions(loaded["functions"]) if legacy else loaded["tools"])
    if loaded["web_search_options"] is not None:
        tools.web_search = True
    parallel = loaded["parallel_tool_calls"] is not False and not legacy
    choice = tool_choice_of(_choice(loaded, legacy=legacy), tools, parallel=parallel)
    system, messages = _messages(loaded["messages"], tools)
    conversation = Conversation(
        model=loaded["model"],
        messages=messages,
        system=system,
        tools=tools.tools,
        tool_choice=choice,
        thinking=_thinking(loaded),
        max_tokens=loaded["max_completion_tokens"] or loaded["max_tokens"] or DEFAULT_MAX_TOKENS,
        stop_sequences=_stop(loaded["stop"]),
        stream=bool(loaded["stream"]),
        json_schema=json_schema_of(loaded["response_format"], "response_format"),
        web_search=tools.web_search,
        left_out=bool(tools.left_out),
    )
    options = loaded["stream_options"] or {}
    return ChatRequest(
        conversation, tools.offered, bool(options.get("include_usage")), legacy=legacy
    )


def _thinking(loaded: Mapping[str, Any]) -> ThinkingMode:
    """As OpenAI's API asks for it, else as OpenRouter's clients do, else as Anthropic's."""
    effort = loaded["reasoning_effort"]
    if effort is not None:
        return thinking_of(effort, "reasoning_effort")
    other, foreign = loaded["reasoning"], loaded["thinking"]
    if isinstance(other, dict) and other.get("effort") in BUDGETS:
        return thinking_of(other["effort"], "reasoning.effort")
    budget: Any = other.get("max_tokens") if isinstance(other, dict) else None
    if isinstance(foreign, dict) and foreign.get("type") in ("enabled", "adaptive"):
        budget = foreign.get("budget_tokens") or BUDGETS["medium"]
    return (
        ThinkingMode("enabled", budget)
        if isinstance(budget, int) and budget > 0
        else (ThinkingMode())
    )


def _functions(functions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [{"type": "function", "function": function} for function in functions]


def _choice(loaded: Mapping[str, Any], *, legacy: bool) -> Any:
    choice = loaded["function_call"] if legacy else loaded["tool_choice"]
    return {"type": "function", **choice} if legacy and isinstance(choice, dict) else choice


def _stop(stop: Any) -> list[str]:
    if stop is None:
        return []
    stops = [stop] if isinstance(stop, str) else stop
    for index, one in enumerate(stops):
        if not isinstance(one, str):
            raise invalid(f"stop[{index}]", "expected a string", "invalid_type")
    return [one for one in stops if one]


# ---- messages --------------------------------------------------------------------------------


def _messages(
    messages: Sequence[Mapping[str, Any]], tools: Toolset
) -> tuple[list[str], list[Message]]:
    """The system texts in front, and the turns; later system messages stay in place."""
    system: list[str] = []
    turns: list[Message] = []
    calls = _LegacyCalls()
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = message.get("role")
        if role in ("system", "developer"):
            blocks: list[Block] = [*parts(message.get("content"), f"{where}.content")]
            if turns:
                turns.append(Message("system", blocks))
            else:
                system += [block.text for block in blocks if isinstance(block, Text)]
        elif role == "user":
            turns.append(Message("user", _blocks(message.get("content"), f"{where}.content")))
        elif role == "assistant":
            turns.append(Message("assistant", _assistant(message, where, tools, calls)))
        elif role in ("tool", "function"):
            turns.append(Message("user", [_result(message, where, calls)]))
        else:
            raise invalid(
                f"{where}.role",
                "expected 'system', 'developer', 'user', 'assistant', 'tool' or 'function'",
            )
    return system, turns


class _LegacyCalls:
    """Gives calls from before `tool_calls` an id, by which their results find them."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._count = 0

    def new(self, name: str) -> str:
        self._count += 1
        self._ids[name] = f"call_{self._count}"
        return self._ids[name]

    def of(self, name: str) -> str:
        return self._ids.get(name, f"call_{name}")


def _assistant(
    message: Mapping[str, Any], where: str, tools: Toolset, calls: _LegacyCalls
) -> list[Block]:
    blocks: list[Block] = []
    if thought := _thought(message):
        blocks.append(Thinking(thought))
    blocks += _blocks(message.get("content"), f"{where}.content")
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        blocks.append(Text(refusal))
    made = message.get("tool_calls")
    if made is not None and not isinstance(made, list):
        raise invalid(f"{where}.tool_calls", "expected a list of objects", "invalid_type")
    for index, call in enumerate(made or ()):
        blocks.append(_call(call, f"{where}.tool_calls[{index}]", tools))
    old = message.get("function_call")
    if isinstance(old, dict):
        name = text_field(old, "name", f"{where}.function_call")
        blocks.append(ToolUse(calls.new(name), name, arguments_of(old.get("arguments"))))
    return blocks


def _blocks(content: Any, where: str) -> list[Block]:
    """Content of a message; some clients put blocks of Anthropic's API into it."""
    if not isinstance(content, list):
        return [*parts(content, where)]
    blocks: list[Block] = []
    for index, part in enumerate(content):
        if isinstance(part, dict) and str(part.get("type")) in FOREIGN:
            blocks += anthropic_block(part, f"{where}[{index}]")
        else:
            blocks += parts([part], where, index)
    return blocks


def _thought(message: Mapping[str, Any]) -> str:
    """The reasoning of an earlier answer, under one of the names that clients have for it."""
    for key in ("reasoning_content", "reasoning"):
        if isinstance(message.get(key), str) and message[key]:
            return str(message[key])
    for key, inner in (("thinking_blocks", "thinking"), ("reasoning_details", "text")):
        details = message.get(key)
        texts = (
            [one.get(inner) for one in details or () if isinstance(one, dict)]
            if (isinstance(details, list))
            else []
        )
        if any(texts):
            return "\n\n".join(text for text in texts if isinstance(text, str))
    return ""


def _call(call: Any, where: str, tools: Toolset) -> ToolUse:
    if not isinstance(call, dict):
        raise invalid(where, "expected an object", "invalid_type")
    id_ = text_field(call, "id", where)
    custom = call.get("custom")
    if isinstance(custom, dict):
        name = text_field(custom, "name", f"{where}.custom")
        text = text_field(custom, "input", f"{where}.custom")
        return ToolUse(id_, tools.neutral(name), {CUSTOM_KEY: text})
    function = call.get("function")
    if not isinstance(function, dict):
        raise invalid(f"{where}.function", "expected an object", "missing_required_parameter")
    name = text_field(function, "name", f"{where}.function")
    return ToolUse(id_, tools.neutral(name), arguments_of(function.get("arguments")))


def _result(message: Mapping[str, Any], where: str, calls: _LegacyCalls) -> ToolResult:
    if message.get("role") == "function":
        id_ = calls.of(text_field(message, "name", where))
    else:
        id_ = text_field(message, "tool_call_id", where)
    return ToolResult(id_, output_parts(message.get("content"), f"{where}.content"))
