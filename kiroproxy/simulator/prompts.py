"""What to play for a request: directives in the prompt, and the default answer (pure).

A directive is `[[sim: NAME]]`, `[[sim: tool NAME {input}]]` or `[[sim: {script}]]` in the current
user message. The last one counts; several tool directives make parallel calls.
"""

import json
import re
from typing import Any

from kiroproxy.simulator.scenes import TRAILER, Script, find_scene
from kiroproxy.simulator.script import ScriptError, cut_text

OPENING = re.compile(r"\[\[sim:\s*")
TOOL = re.compile(r"tool\s+([^\s{\]]+)\s*")
SHORTENED_CHARS = 54
"""Long names come as their first 54 characters, `_` and 8 hex digits (`protocol.md` 3.5)."""
HEAD_CHARS = 80
CHARS_PER_TOKEN = 4
_decoder = json.JSONDecoder()


def user_message(body: dict[str, Any]) -> dict[str, Any]:
    """The current user message of a request that was not refused."""
    message: dict[str, Any] = body["conversationState"]["currentMessage"]["userInputMessage"]
    return message


def tool_results(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The tool results that a user message carries."""
    results: list[dict[str, Any]] = message.get("userInputMessageContext", {}).get(
        "toolResults", []
    )
    return results


def searchable(message: dict[str, Any]) -> str:
    """The text on which queued scripts match: the prompt and the tool results."""
    parts = [message["content"]]
    for result in tool_results(message):
        parts += [part["text"] for part in result["content"] if "text" in part]
    return "\n".join(parts)


def declared_tools(message: dict[str, Any]) -> list[str]:
    """Names of the tools that the request declares."""
    tools = message.get("userInputMessageContext", {}).get("tools", [])
    return [t["toolSpecification"]["name"] for t in tools if "toolSpecification" in t]


def directed_script(message: dict[str, Any]) -> Script | None:
    """The script that the prompt asks for.

    Raises:
        ScriptError: the directive cannot be understood.
    """
    prompt: str = message["content"]
    if "[[sim:" not in prompt:
        return None
    tools: list[Script] = []
    script: Script | None = None
    for opening in OPENING.finditer(prompt):
        tool = TOOL.match(prompt, opening.end())
        if tool:
            name = resolve_tool(tool[1], declared_tools(message))
            tools.append({"tool": {"name": name, "input": _tool_input(prompt, tool.end())}})
        else:
            script = _script_at(prompt, opening.end())
    return {"steps": [*tools, *TRAILER]} if tools else script


def _tool_input(prompt: str, at: int) -> dict[str, Any]:
    if prompt.startswith("]]", at):
        return {}
    return _json_at(prompt, at)


def _script_at(prompt: str, at: int) -> Script:
    if prompt.startswith("{", at):
        return _json_at(prompt, at)
    words, closed, _ = prompt[at:].partition("]]")
    if not closed or not words.strip():
        raise ScriptError("a directive ends with ]]")
    try:
        return find_scene(words)
    except ValueError as error:
        raise ScriptError(str(error)) from error


def _json_at(prompt: str, at: int) -> dict[str, Any]:
    try:
        value, end = _decoder.raw_decode(prompt, at)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ScriptError(f"directive: {error}") from error
    if not isinstance(value, dict) or not prompt[end:].lstrip().startswith("]]"):
        raise ScriptError("a directive holds one JSON object and ends with ]]")
    return value


def resolve_tool(name: str, declared: list[str]) -> str:
    """The declared tool that is meant: by its name, or by what shortening makes of it."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:SHORTENED_CHARS]
    shortened = re.compile(re.escape(plain) + r"_[0-9a-f]{8}")
    found = [] if name in declared else [d for d in declared if shortened.fullmatch(d)]
    return found[0] if len(found) == 1 else name


def default_script(message: dict[str, Any], context_percent: float) -> Script:
    """A short text that says what it is and what it was asked."""
    results = tool_results(message)
    head = " ".join(message["content"].split())[:HEAD_CHARS]
    if results:
        said = f"I received {len(results)} tool result(s)"
        first = next((p["text"] for p in results[0]["content"] if "text" in p), "")
        head = " ".join(first.split())[:HEAD_CHARS]
    else:
        said = "You said"
    text = f"This is a simulated answer; no model was asked. {said}: {head}"
    steps = [{"text": part} for part in cut_text(text, 6)]
    trailer = [{"context": context_percent}, {"metering": TRAILER[1]["metering"]}]
    return {"steps": [*steps, *trailer]}


def context_percent(body_bytes: int, window: int) -> float:
    """How much of a window a request body takes, by a rule of thumb."""
    return round(100 * body_bytes / CHARS_PER_TOKEN / window, 4)
