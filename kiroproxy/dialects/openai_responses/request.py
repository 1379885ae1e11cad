"""Responses request → Conversation.

The conversation is a list of items; those of earlier responses, which the client does not send
again, are handed in.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from kiroproxy.conversation import (
    Block,
    Conversation,
    Json,
    Message,
    RedactedThinking,
    Text,
    Thinking,
    ThinkingMode,
    ToolResult,
    ToolUse,
)
from kiroproxy.dialects.anthropic.stream import OUR_SIGNATURE
from kiroproxy.dialects.openai_client_tools import CLIENT_TOOLS, written_input
from kiroproxy.dialects.openai_common import (
    arguments_of,
    invalid,
    json_schema_of,
    output_parts,
    parts,
    text_field,
    thinking_of,
    unknown,
)
from kiroproxy.dialects.openai_tools import (
    CUSTOM_KEY,
    Offered,
    Toolset,
    tool_choice_of,
    toolset_of,
)

Item = Mapping[str, Any]
Resolve = Callable[[str], Item | None]
"""Id of an item of an earlier response → the item."""
ENCRYPTED = "reasoning.encrypted_content"
SOURCES = "web_search_call.action.sources"
DEFAULT_EFFORT = "medium"
"""Of a request that wants a summary of the reasoning and does not say how much of it."""


class ResponsesRequest(msgspec.Struct):
    """A request, and how its answer is to be written."""

    conversation: Conversation
    offered: Mapping[str, Offered] = msgspec.field(default_factory=dict)
    echo: Mapping[str, Json] = msgspec.field(default_factory=dict)
    """The fields of the request that its response repeats."""
    include: frozenset[str] = frozenset()
    items: Sequence[Item] = ()
    """This request's own input, to be stored."""


def own_items(loaded: Mapping[str, Any]) -> list[Item]:
    """The input of a request as items.

    Raises:
        InvalidRequest: names what is no item.
    """
    given = loaded["input"]
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    for index, item in enumerate(given or ()):
        if not isinstance(item, dict):
            raise invalid(f"input[{index}]", "expected an object", "invalid_type")
    return list(given or ())


def translate(
    loaded: Mapping[str, Any],
    items: Sequence[Item],
    earlier: Sequence[Item] = (),
    resolve: Resolve = lambda _: None,
) -> ResponsesRequest:
    """Translate a request that the schema has passed; `items` are its own, after the `earlier`.

    Raises:
        InvalidRequest: names what cannot be understood.
    """
    items = _resolved(items, earlier, resolve)
    tools = toolset_of(loaded["tools"])
    for item in items:
        if item.get("type") == "additional_tools":
            _add_tools(item, tools)
    parallel = loaded["parallel_tool_calls"] is not False
    choice = tool_choice_of(loaded["tool_choice"], tools, parallel=parallel)
    system, messages = _messages(earlier, items, tools)
    wanted = loaded["text"] or {}
    conversation = Conversation(
        model=loaded["model"],
        messages=messages,
        system=_instructions(loaded["instructions"]) + system,
        tools=tools.tools,
        tool_choice=choice,
        thinking=_thinking(loaded["reasoning"]),
        max_tokens=loaded["max_output_tokens"] or 0,
        stream=bool(loaded["stream"]),
        json_schema=json_schema_of(_format(wanted), "text.format"),
        web_search=tools.web_search,
        left_out=bool(tools.left_out),
    )
    include = frozenset(one for one in loaded["include"] or () if isinstance(one, str))
    return ResponsesRequest(conversation, tools.offered, _echo(loaded), include, items)


def _instructions(instructions: Any) -> list[str]:
    if isinstance(instructions, str):
        return [instructions] if instructions else []
    texts = []
    for index, item in enumerate(instructions or ()):
        content = item.get("content") if isinstance(item, dict) else item
        blocks = parts(content, f"instructions[{index}].content")
        texts += [block.text for block in blocks if isinstance(block, Text)]
    return texts


def _format(wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = wanted.get("format")
    if found is not None and not isinstance(found, dict):
        raise invalid("text.format", "expected an object", "invalid_type")
    return found


def _thinking(reasoning: Mapping[str, Any] | None) -> ThinkingMode:
    wanted = reasoning or {}
    effort = wanted.get("effort")
    if effort is not None and not isinstance(effort, str):
        raise invalid("reasoning.effort", "expected a string", "invalid_type")
    if effort is None and (wanted.get("summary") or wanted.get("generate_summary")):
        effort = DEFAULT_EFFORT
    return thinking_of(effort, "reasoning.effort")


def _echo(loaded: Mapping[str, Any]) -> dict[str, Json]:
    reasoning = loaded["reasoning"] or {}
    return {
        "instructions": loaded["instructions"],
        "max_output_tokens": loaded["max_output_tokens"],
        "max_tool_calls": None,
        "metadata": loaded["metadata"] or {},
        "parallel_tool_calls": loaded["parallel_tool_calls"] is not False,
        "previous_response_id": loaded["previous_response_id"],
        "prompt_cache_key": loaded["prompt_cache_key"],
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": loaded["safety_identifier"],
        "service_tier": "default",
        "store": loaded["store"] is not False,
        "temperature": 1.0 if loaded["temperature"] is None else loaded["temperature"],
        "text": {"format": {"type": "text"}} | (loaded["text"] or {}),
        "tool_choice": loaded["tool_choice"] or "auto",
        "tools": loaded["tools"] or [],
        "top_logprobs": 0,
        "top_p": 1.0 if loaded["top_p"] is None else loaded["top_p"],
        "truncation": loaded["truncation"] or "disabled",
        "user": loaded["user"],
    }


# ---- items -----------------------------------------------------------------------------------


def _resolved(items: Sequence[Item], earlier: Sequence[Item], resolve: Resolve) -> list[Item]:
    """Put the items themselves in place of references to them."""
    known = {item["id"]: item for item in (*earlier, *items) if _has_id(item)}
    found = []
    for index, item in enumerate(items):
        if _kind(item, f"input[{index}]") == "item_reference":
            id_ = text_field(item, "id", f"input[{index}]")
            target = known.get(id_) or resolve(id_)
            if target is None:
                raise invalid(f"input[{index}].id", f"no item with id '{id_}' is known here")
            item = target
        found.append(item)
    return found


def _has_id(item: Item) -> bool:
    return isinstance(item.get("id"), str) and _kind(item, "") != "item_reference"


def _kind(item: Item, where: str) -> str:
    """Messages and references may come without their type."""
    kind = item.get("type")
    if kind is None:
        return "item_reference" if "id" in item and "role" not in item else "message"
    if not isinstance(kind, str):
        raise invalid(f"{where}.type", "expected a string", "invalid_type")
    return kind


def _add_tools(item: Item, tools: Toolset) -> None:
    given = item.get("tools")
    for index, tool in enumerate(given if isinstance(given, list) else ()):
        if isinstance(tool, dict):
            tools.add(tool, f"input.additional_tools[{index}]")


def _messages(
    earlier: Iterable[Item], items: Iterable[Item], tools: Toolset
) -> tuple[list[str], list[Message]]:
    """The system texts in front, and the turns; later system messages stay in place."""
    system: list[str] = []
    turns: list[Message] = []
    placed = [(item, "previous_response_id") for item in earlier]
    placed += [(item, f"input[{index}]") for index, item in enumerate(items)]
    for item, where in placed:
        turn = _turn(item, where, tools)
        if turn is None:
            continue
        if turn.role == "system" and not turns:
            system += [block.text for block in turn.content if isinstance(block, Text)]
        else:
            turns.append(turn)
    return system, turns


def _turn(item: Item, where: str, tools: Toolset) -> Message | None:
    kind = _kind(item, where)
    read = _ITEMS.get(kind)
    if read is not None:
        return read(item, where, tools)
    role = "assistant" if kind.endswith("_call") else "user"
    return Message(role, [*unknown(item)])  # type: ignore[arg-type] # one of two literals


ROLES: Mapping[str, Any] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}


def _message(item: Item, where: str, tools: Toolset) -> Message:
    role = item.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise invalid(f"{where}.role", f"expected one of {', '.join(ROLES)}")
    return Message(ROLES[role], [*parts(item.get("content"), f"{where}.content")])


def _call(item: Item, where: str, tools: Toolset) -> Message:
    id_, name = text_field(item, "call_id", where), text_field(item, "name", where)
    if item["type"] == "custom_tool_call":
        value: dict[str, Any] = {CUSTOM_KEY: text_field(item, "input", where)}
    else:
        value = arguments_of(item.get("arguments"))
    return Message("assistant", [ToolUse(id_, tools.neutral(name, _namespace(item)), value)])


def _client_call(item: Item, where: str, tools: Toolset) -> Message:
    kind = item["type"].removesuffix("_call")
    value = written_input(kind, item)
    id_ = text_field(item, "call_id", where)
    return Message("assistant", [ToolUse(id_, tools.neutral(kind), value)])


def _client_output(item: Item, where: str, tools: Toolset) -> Message:
    """Its output is text, or what became of each command."""
    id_ = text_field(item, "call_id" if item.get("call_id") is not None else "id", where)
    output = item.get("output")
    shown = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    failed = item.get("status") in ("failed", "incomplete")
    return Message("user", [ToolResult(id_, [Text(shown)] if output else [], failed)])


def _namespace(item: Item) -> str:
    namespace = item.get("namespace")
    return namespace if isinstance(namespace, str) else ""


def _output(item: Item, where: str, tools: Toolset) -> Message:
    content = output_parts(item.get("output"), f"{where}.output")
    failed = item.get("status") == "incomplete"
    return Message("user", [ToolResult(text_field(item, "call_id", where), content, failed)])


def _reasoning(item: Item, where: str, tools: Toolset) -> Message | None:
    """Summary and content both hold thoughts; encrypted ones come from us, or from OpenAI."""
    texts = [
        part.text
        for key in ("summary", "content")
        for part in parts(item.get(key), f"{where}.{key}")
        if isinstance(part, Text)
    ]
    encrypted = item.get("encrypted_content")
    own = encrypted if isinstance(encrypted, str) and encrypted != OUR_SIGNATURE else ""
    thought = "\n\n".join(texts)
    blocks: list[Block] = []
    if thought:
        blocks = [Thinking(thought, own)]
    elif own:
        blocks = [RedactedThinking(own)]
    return Message("assistant", blocks) if blocks else None


def _search(item: Item, where: str, tools: Toolset) -> Message:
    action = item.get("action")
    query = action.get("query") if isinstance(action, dict) else None
    if not isinstance(query, str) or not isinstance(action, dict) or action.get("sources"):
        return Message("assistant", [*unknown({"type": item["type"], "action": action})])
    return Message("assistant", [Text(f"[Searched the web for: {query}]")])


def _nothing(item: Item, where: str, tools: Toolset) -> None:
    """Read elsewhere, or without a meaning for the model."""


_ITEMS: Mapping[str, Callable[[Item, str, Toolset], Message | None]] = {
    "message": _message,
    "function_call": _call,
    "custom_tool_call": _call,
    "function_call_output": _output,
    "custom_tool_call_output": _output,
    "reasoning": _reasoning,
    "web_search_call": _search,
    **{f"{kind}_call": _client_call for kind in CLIENT_TOOLS},
    **{f"{kind}_call_output": _client_output for kind in CLIENT_TOOLS},
    "additional_tools": _nothing,
}
