"""Messages request → Conversation.

Clients resend what they have, so unknown kinds of blocks are kept as text instead of being
refused; only what cannot be understood at all is a 400 that names its place.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from kiroproxy.conversation import (
    Block,
    Conversation,
    Image,
    Json,
    Message,
    RedactedThinking,
    Text,
    Thinking,
    ThinkingMode,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from kiroproxy.dialects.anthropic.server_tools import (
    client_side_tool,
    is_server_side,
    is_web_search,
)
from kiroproxy.dialects.anthropic.stream import OUR_SIGNATURE
from kiroproxy.dialects.documents import pdf_text
from kiroproxy.errors import InvalidRequest

ROLES: Mapping[str, Any] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}
_SESSION = re.compile(r"session_([0-9a-fA-F-]{36})")


def translate(loaded: Mapping[str, Any]) -> Conversation:
    """Translate a request that the schema has passed.

    Raises:
        InvalidRequest: names the block that cannot be understood.
    """
    messages = [_message(m, f"messages.{i}") for i, m in enumerate(loaded["messages"])]
    given = loaded["tools"] or ()
    tools = [tool for i, t in enumerate(given) if (tool := _tool(t, i))]
    searching = sum(map(is_web_search, given))
    choice = _tool_choice(loaded["tool_choice"], tools, given)
    output = loaded["output_config"] or {}
    return Conversation(
        model=loaded["model"],
        messages=messages,
        system=_system(loaded["system"] or ""),
        tools=tools,
        tool_choice=choice,
        thinking=_thinking(loaded["thinking"], output),
        max_tokens=loaded.get("max_tokens", 0),
        stop_sequences=loaded.get("stop_sequences") or [],
        stream=bool(loaded.get("stream")),
        session=session_of(loaded["metadata"]),
        json_schema=_json_schema(output.get("format") or loaded["output_format"]),
        web_search=searching > 0 and choice.kind != "none",
        left_out=len(tools) + searching < len(given),
    )


def _system(system: Any) -> list[str]:
    if isinstance(system, str):
        return [system] if system else []
    return [_text_of(block, f"system.{i}") for i, block in enumerate(system)]


def _text_of(block: Any, where: str) -> str:
    if isinstance(block, str):
        return block
    text = block.get("text") if isinstance(block, dict) else None
    if isinstance(text, str):
        return text
    raise InvalidRequest(f"{where}: Input should be a text block", param=where)


def _message(message: Mapping[str, Any], where: str) -> Message:
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise InvalidRequest(
            f"{where}.role: Input should be 'user', 'assistant' or 'system'", param=f"{where}.role"
        )
    content = message.get("content")
    if isinstance(content, str):
        return Message(ROLES[role], [Text(content)])
    if not isinstance(content, list):
        raise InvalidRequest(
            f"{where}.content: Input should be a string or a list of content blocks",
            param=f"{where}.content",
        )
    blocks: list[Block] = []
    for i, block in enumerate(content):
        blocks += block_of(block, f"{where}.content.{i}")
    return Message(ROLES[role], blocks)


def block_of(block: Any, where: str) -> list[Block]:
    """What a content block says.

    Raises:
        InvalidRequest: it cannot be understood.
    """
    if isinstance(block, str):
        return [Text(block)]
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        raise InvalidRequest(f"{where}.type: Field required", param=where)
    read = _BLOCKS.get(block["type"], _as_text)
    return read(block, where)


def _string(block: Mapping[str, Any], key: str, where: str) -> str:
    value = block.get(key)
    if not isinstance(value, str):
        raise InvalidRequest(f"{where}.{key}: Input should be a string", param=f"{where}.{key}")
    return value


def _text(block: Mapping[str, Any], where: str) -> list[Block]:
    return [Text(_string(block, "text", where))]


def _image(block: Mapping[str, Any], where: str) -> list[Block]:
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    if kind == "base64" and isinstance(source, dict):
        data = _string(source, "data", f"{where}.source")
        if data.startswith("data:"):
            data = data.partition(",")[2]
        return [Image(data, where)]
    if kind == "url" and isinstance(source, dict):
        return [Image("", where, _string(source, "url", f"{where}.source"))]
    raise InvalidRequest(
        f"{where}.source: only base64 images and URLs can be passed on to Kiro, not type {kind!r}",
        param=where,
    )


def _thinking_block(block: Mapping[str, Any], where: str) -> list[Block]:
    signature = block.get("signature")
    own = signature if isinstance(signature, str) and signature != OUR_SIGNATURE else ""
    return [Thinking(_string(block, "thinking", where), own)]


def _redacted(block: Mapping[str, Any], where: str) -> list[Block]:
    return [RedactedThinking(_string(block, "data", where))]


def _tool_use(block: Mapping[str, Any], where: str) -> list[Block]:
    value = block.get("input")
    if isinstance(value, str):  # some clients send the JSON text
        value = _object_or_text(value)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{where}.input: Input should be an object", param=f"{where}.input")
    return [ToolUse(_string(block, "id", where), _string(block, "name", where), value)]


def _object_or_text(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"input": text}


def _tool_result(block: Mapping[str, Any], where: str) -> list[Block]:
    content = block.get("content")
    parts: list[Block] = []
    if isinstance(content, str):
        parts = [Text(content)]
    elif isinstance(content, list):
        for i, part in enumerate(content):
            parts += block_of(part, f"{where}.content.{i}")
    elif content is not None:
        raise InvalidRequest(
            f"{where}.content: Input should be a string or a list of content blocks",
            param=f"{where}.content",
        )
    kept = [flat for part in parts for flat in _flat(part)]
    id_ = _string(block, "tool_use_id", where)
    return [ToolResult(id_, kept, is_error=block.get("is_error") is True)]


def _flat(block: Block) -> list[Text | Image]:
    """What a tool may answer with: nothing but texts and images."""
    if isinstance(block, Text | Image):
        return [block]
    if isinstance(block, ToolResult):
        return block.content
    if isinstance(block, ToolUse):
        return [Text(f"[tool_use] {block.name} {json.dumps(block.input, ensure_ascii=False)}")]
    return [Text(block.text)] if isinstance(block, Thinking) else []


def _document(block: Mapping[str, Any], where: str) -> list[Block]:
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    about = {"Document": block.get("title"), "About it": block.get("context")}
    lines = [
        f"[{key}: {value}]" for key, value in about.items() if isinstance(value, str) and value
    ]
    heading = [Text("\n".join(lines))] if lines else []
    if kind == "text" and isinstance(source, dict):
        return [*heading, Text(_string(source, "data", f"{where}.source"))]
    if kind == "base64" and isinstance(source, dict):
        data = _string(source, "data", f"{where}.source")
        if source.get("media_type") == "text/plain":
            return [*heading, Text(_decoded(data, where))]
        return [*heading, Text(pdf_text(data, where))]
    if kind == "content" and isinstance(source, dict):
        inner = source.get("content")
        blocks = [Text(inner)] if isinstance(inner, str) else []
        for i, part in enumerate(inner if isinstance(inner, list) else ()):
            blocks += block_of(part, f"{where}.source.content.{i}")  # type: ignore[arg-type]
        return [*heading, *blocks]
    raise InvalidRequest(
        f"{where}.source: documents of type {kind!r} cannot be passed on to Kiro", param=where
    )


def _decoded(data: str, where: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError:
        raise InvalidRequest(f"{where}: the document is no base64 text", param=where) from None


def has_pdf(loaded: Mapping[str, Any]) -> bool:
    """Whether translating takes a document to be read, which is slow."""
    return any(
        isinstance(block, dict) and _holds_document(block)
        for message in loaded["messages"]
        if isinstance(message.get("content"), list)
        for block in message["content"]
    )


def _holds_document(block: Mapping[str, Any]) -> bool:
    if block.get("type") == "tool_result" and isinstance(block.get("content"), list):
        return any(isinstance(part, dict) and _holds_document(part) for part in block["content"])
    source = block.get("source")
    return (
        block.get("type") == "document"
        and isinstance(source, dict)
        and source.get("type") == "base64"
    )


def _search_result(block: Mapping[str, Any], where: str) -> list[Block]:
    head = f"[Search result: {block.get('title', '')} — {block.get('source', '')}]"
    content = block.get("content")
    blocks: list[Block] = [Text(head)]
    for i, part in enumerate(content if isinstance(content, list) else ()):
        blocks += block_of(part, f"{where}.content.{i}")
    return blocks


def _tool_reference(block: Mapping[str, Any], where: str) -> list[Block]:
    return [Text(f"[The tool {block.get('tool_name', '')} is available now.]")]


def _as_text(block: Mapping[str, Any], where: str) -> list[Block]:
    """A server block of an earlier turn, or something newer than this program."""
    if isinstance(block.get("text"), str):
        return [Text(block["text"])]
    shown = {key: value for key, value in block.items() if key != "cache_control"}
    return [Text(f"[{block['type']}] {json.dumps(shown, ensure_ascii=False)}")]


_BLOCKS: Mapping[str, Callable[[Mapping[str, Any], str], list[Block]]] = {
    "text": _text,
    "image": _image,
    "thinking": _thinking_block,
    "redacted_thinking": _redacted,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "document": _document,
    "search_result": _search_result,
    "tool_reference": _tool_reference,
}


def _tool(tool: Mapping[str, Any], index: int) -> Tool | None:
    """A tool of the request; None for those that run on the server."""
    kind = tool.get("type")
    if is_web_search(tool):
        return None
    if isinstance(kind, str) and kind != "custom":
        return client_side_tool(tool)
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"tools.{index}.name: Field required", param="tools")
    description = tool.get("description")
    words = description if isinstance(description, str) else ""
    return Tool(name, words + _examples(tool.get("input_examples")), tool.get("input_schema"))


def _examples(given: Any) -> str:
    """Kiro has no field for them."""
    if not isinstance(given, list) or not given:
        return ""
    lines = [json.dumps(one, ensure_ascii=False) for one in given]
    return "\n\nExamples of its input:\n" + "\n".join(lines)


def _tool_choice(
    choice: Mapping[str, Any] | None, tools: Sequence[Tool], given: Sequence[Mapping[str, Any]]
) -> ToolChoice:
    """A tool that only Anthropic's servers can run cannot be forced."""
    if not choice:
        return ToolChoice()
    kind: Any = choice.get("type")
    if kind not in ("auto", "any", "tool", "none"):
        raise InvalidRequest(
            "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'",
            param="tool_choice",
        )
    name = _string(choice, "name", "tool_choice") if kind == "tool" else ""
    offered = any(tool.name == name for tool in tools)
    if name and not offered and any(is_server_side(t) and t.get("name") == name for t in given):
        kind, name = "auto", ""
    return ToolChoice(kind, name, parallel=choice.get("disable_parallel_tool_use") is not True)


def _thinking(thinking: Mapping[str, Any] | None, output: Mapping[str, Any]) -> ThinkingMode:
    if not thinking:
        return ThinkingMode()
    kind = thinking.get("type")
    if kind not in ("enabled", "adaptive", "disabled"):
        raise InvalidRequest(
            "thinking.type: Input should be 'enabled', 'adaptive' or 'disabled'", param="thinking"
        )
    budget = thinking.get("budget_tokens")
    effort = output.get("effort")
    return ThinkingMode(
        kind,
        budget if isinstance(budget, int) and budget > 0 else 0,
        effort if isinstance(effort, str) else "",
    )


def _json_schema(wanted: Json) -> Json:
    """`output_format` is what `output_config.format` was called in its beta."""
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    return wanted.get("schema") or {}


def session_of(metadata: Mapping[str, Any] | None) -> str:
    """The client's session: Claude Code writes it into `metadata.user_id` (protocol notes 3.3)."""
    user = (metadata or {}).get("user_id")
    if not isinstance(user, str):
        return ""
    try:
        value = msgspec.json.decode(user)
    except (msgspec.DecodeError, RecursionError):
        match = _SESSION.search(user)
        return match[1] if match else ""
    session = value.get("session_id") if isinstance(value, dict) else None
    return session if isinstance(session, str) else ""
