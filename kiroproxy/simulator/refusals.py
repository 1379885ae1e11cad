"""What Kiro refuses in a chat request, rule by rule (pure).

`find_refusal` takes a body and returns the first rule that it breaks. Every rule has a row in
`RULES`: the error that Kiro answers with, and where the rule comes from. Where sources contradict
each other, the harsher reading holds only with `strict`.
"""

import base64
import binascii
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from kiroproxy.simulator.image_facts import image_format
from kiroproxy.simulator.kiro_errors import KIRO_ERRORS, KiroError
from kiroproxy.simulator.tool_rules import Broken, check_tools, tool_name_fits

MAX_HISTORY = 10_000
MAX_CONTENT_CHARS = 600_000
MAX_TOOL_RESPONSE_CHARS = 800_000
MAX_IMAGES = 10
MAX_IMAGE_BYTES = 10 * 1024 * 1024
MAX_CWD_CHARS = 256
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
TOOL_USE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
EFFORT_MODELS = re.compile(r"claude-(opus-4\.[678]|sonnet-4\.6|(opus|sonnet|fable|mythos)-5)$")
EFFORTS = {"low", "medium", "high", "max", "xhigh"}

RULES: dict[str, tuple[str, str]] = {
    "not-json": ("improperly-formed", "8"),
    "surrogate": ("improperly-formed", "3.4 rule 10"),
    "wrong-type": ("improperly-formed", "3.1"),
    "missing-key": ("improperly-formed", "3.1"),
    "unknown-key": ("body-invalid", "3.1, 3.2"),
    "chat-trigger": ("body-invalid", "3.1"),
    "task-type": ("body-invalid", "3.1"),
    "conversation-id": ("invalid-conversation", "3.3"),
    "continuation-id": ("improperly-formed", "3.1"),
    "message-arm": ("improperly-formed", "3.1"),
    "history-start": ("improperly-formed", "3.4 rule 1"),
    "history-end": ("improperly-formed", "3.4 rule 1"),
    "alternation": ("improperly-formed", "3.4 rule 1"),
    "history-length": ("too-long", "3.5"),
    "empty-content": ("improperly-formed", "3.4 rule 2"),
    "content-length": ("too-long", "3.5"),
    "tool-response-length": ("too-long", "3.5"),
    "empty-tool-result": ("body-invalid", "10 trap 18"),
    "tool-result-content": ("body-invalid", "3.1"),
    "tool-result-status": ("body-invalid", "3.1"),
    "orphan-result": ("tool-mismatch", "3.4 rule 3"),
    "unanswered-use": ("tool-mismatch", "3.4 rule 3"),
    "duplicate-result": ("tool-mismatch", "3.4 rule 3"),
    "duplicate-use": ("tool-mismatch", "3.4 rule 3"),
    "no-tools": ("tool-config-missing", "3.4 rule 4"),
    "undeclared-tool": ("tool-format", "3.4 rule 4"),
    "tool-use-id": ("body-invalid", "3.4 rule 5"),
    "empty-tool-uses": ("body-invalid", "3.4 rule 6"),
    "tool-use-input": ("tool-format", "3.1"),
    "tools-in-history": ("body-invalid", "3.4 rule 4"),
    "tool-arm": ("body-invalid", "3.1"),
    "cache-point": ("body-invalid", "3.1, 3.10"),
    "tool-name": ("body-invalid", "3.5"),
    "tool-name-twice": ("body-invalid", "10 trap 29"),
    "tool-description": ("tool-format", "3.7"),
    "tool-description-length": ("body-invalid", "3.5"),
    "schema-object": ("tool-schema", "3.7"),
    "schema-properties": ("tool-schema", "3.7"),
    "schema-required": ("tool-schema", "3.7"),
    "schema-combinator": ("tool-schema", "3.7"),
    "schema-keyword": ("tool-schema", "3.7"),
    "schema-number": ("tool-schema", "3.7"),
    "schema-type-case": ("tool-schema", "3.7"),
    "schema-contested": ("tool-schema", "3.7, 12; strict"),
    "image-count": ("body-invalid", "3.5"),
    "image-size": ("body-invalid", "3.5"),
    "image-format": ("body-invalid", "3.6"),
    "image-bytes": ("body-invalid", "3.6"),
    "model-id": ("invalid-model", "8, 9.1"),
    "profile-missing": ("profile-required", "2.5; strict"),
    "profile-shape": ("improperly-formed", "2.5"),
    "profile-with-key": ("improperly-formed", "2.5, 5.1"),
    "effort-model": ("effort-unsupported", "3.9"),
    "effort-fields": ("effort-invalid", "3.9"),
    "cwd-length": ("body-invalid", "3.5"),
    "environment-missing": ("improperly-formed", "2.4"),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A broken rule, where, and what Kiro says."""

    rule: str
    detail: str
    error: KiroError


@dataclass(frozen=True, slots=True)
class Caller:
    """What the account behind the request allows, and whether it speaks as kiro-cli (2.4)."""

    models: Collection[str]
    strict: bool = False
    api_key: bool = False
    profile_required: bool = False
    cli: bool = False


def parse_body(raw: bytes) -> Any:
    """Parse a request body as strictly as Kiro.

    Raises:
        Broken: no JSON, or text that has no UTF-8 form.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        try:
            json.dumps(json.loads(raw), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Broken("surrogate", "a lone surrogate") from error
        except (ValueError, RecursionError):
            pass
        raise Broken("not-json", str(error)) from error


def find_refusal(raw: bytes, caller: Caller) -> Refusal | None:
    """Return the first rule that a chat request breaks, or nothing."""
    try:
        check_root(parse_body(raw), caller)
    except Broken as broken:
        error = KIRO_ERRORS[RULES[broken.rule][0]]
        return Refusal(broken.rule, broken.detail, error)
    return None


# ---- shapes (3.1) ------------------------------------------------------------------------------

Shape = Mapping[str, type | tuple[type, ...]]

ROOT: Shape = {
    "conversationState": dict,
    "profileArn": str,
    "agentMode": str,
    "additionalModelRequestFields": dict,
}
STATE: Shape = {
    "currentMessage": dict,
    "chatTriggerType": str,
    "conversationId": str,
    "history": list,
    "workspaceId": str,
    "customizationArn": str,
    "agentContinuationId": str,
    "agentTaskType": str,
}
USER: Shape = {
    "content": str,
    "userInputMessageContext": dict,
    "userIntent": str,
    "origin": str,
    "images": list,
    "modelId": str,
    "cachePoint": dict,
    "clientCacheConfig": dict,
}
CONTEXT: Shape = {
    "toolResults": list,
    "tools": list,
    "additionalContext": list,
    "envState": dict,
    "editorState": dict,
    "shellState": dict,
    "gitState": dict,
    "appStudioContext": dict,
    "diagnostic": dict,
    "consoleState": dict,
    "userSettings": dict,
}
ASSISTANT: Shape = {
    "content": str,
    "messageId": str,
    "supplementaryWebLinks": list,
    "references": list,
    "followupPrompt": dict,
    "toolUses": list,
    "cachePoint": dict,
    "reasoningContent": dict,
}
ENV_STATE: Shape = {
    "operatingSystem": str,
    "currentWorkingDirectory": str,
    "environmentVariables": list,
    "timezoneOffset": int,
}
# `isError` is no member in the SDK, but one program sends it and is not refused (3.1).
TOOL_RESULT: Shape = {"toolUseId": str, "content": list, "status": str, "isError": bool}
TOOL_USE: Shape = {"toolUseId": str, "name": str, "input": object}
REASONING: Shape = {"reasoningText": dict, "redactedContent": str}
REASONING_TEXT: Shape = {"text": str, "signature": str}
IMAGE: Shape = {"format": str, "source": dict}
SOURCE: Shape = {"bytes": str}


def check_shape(value: Any, shape: Shape, where: str, required: Collection[str] = ()) -> None:
    """Compare an object's keys and their types with a shape of the SDK."""
    if not isinstance(value, dict):
        raise Broken("wrong-type", f"{where} is no object")
    for key, member in value.items():
        if key not in shape:
            raise Broken("unknown-key", f"{where}.{key}")
        if not isinstance(member, shape[key]):
            raise Broken("wrong-type", f"{where}.{key}")
    for key in required:
        if key not in value:
            raise Broken("missing-key", f"{where}.{key}")


def check_cache_point(value: dict[str, Any], where: str) -> None:
    """A cache point has one shape."""
    if value.get("cachePoint", {"type": "default"}) != {"type": "default"}:
        raise Broken("cache-point", where)


# ---- the whole request -------------------------------------------------------------------------


def check_root(body: Any, caller: Caller) -> None:
    """Check a whole request body."""
    check_shape(body, ROOT, "body", ("conversationState",))
    _check_profile(body.get("profileArn"), caller)
    state = body["conversationState"]
    check_shape(state, STATE, "conversationState", ("currentMessage", "chatTriggerType"))
    _check_state(state)
    messages = _messages(state)
    declared = _check_messages(messages, caller)
    _check_environment(messages[-1][1], caller)
    check_pairing(messages)
    _check_declared(messages, declared)
    _check_effort(body.get("additionalModelRequestFields"), messages[-1][1].get("modelId"))


def _check_profile(arn: str | None, caller: Caller) -> None:
    if caller.api_key:
        if arn is not None:
            raise Broken("profile-with-key", "an API key takes no profileArn")
    elif arn is None:
        # kiro-cli sends one only where a profile was selected
        if caller.profile_required or (caller.strict and not caller.cli):
            raise Broken("profile-missing", "profileArn")
    elif not arn.startswith("arn:aws:codewhisperer:"):
        raise Broken("profile-shape", arn)


def _check_state(state: dict[str, Any]) -> None:
    if state["chatTriggerType"] != "MANUAL":
        raise Broken("chat-trigger", state["chatTriggerType"])
    if state.get("agentTaskType", "vibe") not in ("vibe", "spectask"):
        raise Broken("task-type", state["agentTaskType"])
    for key, rule in (
        ("conversationId", "conversation-id"),
        ("agentContinuationId", "continuation-id"),
    ):
        if key in state and not UUID.fullmatch(state[key]):
            raise Broken(rule, state[key])


Message = tuple[str, dict[str, Any]]
USER_ARM, ASSISTANT_ARM = "userInputMessage", "assistantResponseMessage"


def _messages(state: dict[str, Any]) -> list[Message]:
    """History and current message as (arm, message), in the order that Kiro demands."""
    history = state.get("history", [])
    if len(history) > MAX_HISTORY:
        raise Broken("history-length", f"{len(history)} messages")
    messages = [_arm(entry, f"history[{i}]") for i, entry in enumerate(history)]
    if messages and messages[0][0] != USER_ARM:
        raise Broken("history-start", "history starts with the assistant")
    if messages and messages[-1][0] != ASSISTANT_ARM:
        raise Broken("history-end", "history ends with the user")
    for index in range(1, len(messages)):
        if messages[index][0] == messages[index - 1][0]:
            raise Broken("alternation", f"history[{index}]")
    current = _arm(state["currentMessage"], "currentMessage")
    if current[0] != USER_ARM:
        raise Broken("message-arm", "the current message is the assistant's")
    return [*messages, current]


def _arm(entry: Any, where: str) -> Message:
    if not isinstance(entry, dict) or len(entry) != 1:
        raise Broken("message-arm", where)
    arm, message = next(iter(entry.items()))
    if arm not in (USER_ARM, ASSISTANT_ARM):
        raise Broken("message-arm", f"{where}.{arm}")
    return arm, message


def _check_messages(messages: list[Message], caller: Caller) -> list[str]:
    """Check each message by itself; return the declared tools' names."""
    declared: list[str] = []
    images = 0
    for index, (arm, message) in enumerate(messages):
        where = f"message[{index}]"
        if arm == ASSISTANT_ARM:
            _check_assistant(message, where)
            continue
        _check_user(message, where, caller)
        images += len(message.get("images", []))
        tools = message.get("userInputMessageContext", {}).get("tools")
        if tools is not None:
            if message is not messages[-1][1]:
                raise Broken("tools-in-history", where)
            declared = check_tools(tools, strict=caller.strict)
    if images > MAX_IMAGES:
        raise Broken("image-count", f"{images} images")
    return declared


def _check_content(message: dict[str, Any], where: str) -> None:
    if not message["content"]:
        raise Broken("empty-content", where)
    if len(message["content"]) > MAX_CONTENT_CHARS:
        raise Broken("content-length", f"{where}: {len(message['content'])} characters")
    check_cache_point(message, where)


def _check_user(message: Any, where: str, caller: Caller) -> None:
    check_shape(message, USER, where, ("content",))
    _check_content(message, where)
    if "modelId" in message and message["modelId"] not in caller.models:
        raise Broken("model-id", message["modelId"])
    context = message.get("userInputMessageContext", {})
    check_shape(context, CONTEXT, f"{where}.userInputMessageContext")
    for index, result in enumerate(context.get("toolResults", [])):
        _check_tool_result(result, f"{where}.toolResults[{index}]")
    for index, image in enumerate(message.get("images", [])):
        _check_image(image, f"{where}.images[{index}]")
    environment = context.get("envState", {})
    check_shape(environment, ENV_STATE, f"{where}.envState")
    if len(environment.get("currentWorkingDirectory", "")) > MAX_CWD_CHARS:
        raise Broken("cwd-length", where)


def _check_environment(current: dict[str, Any], caller: Caller) -> None:
    environment = current.get("userInputMessageContext", {}).get("envState", {})
    if caller.cli and not environment.get("operatingSystem"):
        raise Broken("environment-missing", "kiro-cli tells the system in envState")


def _check_tool_result(result: Any, where: str) -> None:
    check_shape(result, TOOL_RESULT, where, ("toolUseId", "content"))
    if not TOOL_USE_ID.fullmatch(result["toolUseId"]):
        raise Broken("tool-use-id", f"{where}: {result['toolUseId']!r}")
    if result.get("status", "success") not in ("success", "error"):
        raise Broken("tool-result-status", f"{where}: {result['status']}")
    if not result["content"]:
        raise Broken("empty-tool-result", where)
    chars = 0
    for part in result["content"]:
        if not isinstance(part, dict) or set(part) not in ({"text"}, {"json"}):
            raise Broken("tool-result-content", where)
        if "text" in part:
            chars += _result_text_chars(part["text"], where)
        elif not isinstance(part["json"], dict):
            raise Broken("tool-result-content", where)
    if chars > MAX_TOOL_RESPONSE_CHARS:
        raise Broken("tool-response-length", f"{where}: {chars} characters")


def _result_text_chars(text: Any, where: str) -> int:
    if not isinstance(text, str):
        raise Broken("tool-result-content", where)
    if not text:
        raise Broken("empty-tool-result", where)
    return len(text)


def _check_assistant(message: Any, where: str) -> None:
    check_shape(message, ASSISTANT, where, ("content",))
    _check_content(message, where)
    reasoning = message.get("reasoningContent", {})
    check_shape(reasoning, REASONING, f"{where}.reasoningContent")
    check_shape(reasoning.get("reasoningText", {}), REASONING_TEXT, f"{where}.reasoningText")
    uses = message.get("toolUses")
    if uses == []:
        raise Broken("empty-tool-uses", where)
    for index, use in enumerate(uses or []):
        _check_tool_use(use, f"{where}.toolUses[{index}]")


def _check_tool_use(use: Any, where: str) -> None:
    check_shape(use, TOOL_USE, where, ("toolUseId", "name", "input"))
    if not TOOL_USE_ID.fullmatch(use["toolUseId"]):
        raise Broken("tool-use-id", f"{where}: {use['toolUseId']!r}")
    if not tool_name_fits(use["name"]):
        raise Broken("tool-name", f"{where}: {use['name']!r}")
    if not isinstance(use["input"], dict):
        raise Broken("tool-use-input", where)


# ---- tools and results across messages (3.4 rules 3 and 4) --------------------------------------


def check_pairing(messages: list[Message]) -> None:
    """Results answer exactly the uses of the assistant message right before them."""
    asked: list[str] = []
    for index, (arm, message) in enumerate(messages):
        where = f"message[{index}]"
        if arm == ASSISTANT_ARM:
            asked = [use["toolUseId"] for use in message.get("toolUses", [])]
            if len(set(asked)) < len(asked):
                raise Broken("duplicate-use", where)
            continue
        results = message.get("userInputMessageContext", {}).get("toolResults", [])
        answered = [result["toolUseId"] for result in results]
        if len(set(answered)) < len(answered):
            raise Broken("duplicate-result", where)
        if set(answered) - set(asked):
            raise Broken("orphan-result", f"{where}: {sorted(set(answered) - set(asked))}")
        if set(asked) - set(answered):
            raise Broken("unanswered-use", f"{where}: {sorted(set(asked) - set(answered))}")
        asked = []


def _check_declared(messages: list[Message], declared: list[str]) -> None:
    """Every tool of the history is declared; the comparison ignores case, as Kiro's does."""
    used = {use["name"] for _, message in messages for use in message.get("toolUses", [])}
    if used and not declared:
        raise Broken("no-tools", f"{sorted(used)}")
    missing = {name.casefold() for name in used} - {name.casefold() for name in declared}
    if missing:
        raise Broken("undeclared-tool", f"{sorted(missing)}")


# ---- images and effort (3.6, 3.9) ----------------------------------------------------------------


def _check_image(image: Any, where: str) -> None:
    check_shape(image, IMAGE, where, ("format", "source"))
    check_shape(image["source"], SOURCE, f"{where}.source", ("bytes",))
    if image["format"] not in ("png", "jpeg", "gif", "webp"):
        raise Broken("image-format", f"{where}: {image['format']}")
    try:
        data = base64.b64decode(image["source"]["bytes"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Broken("image-bytes", f"{where}: {error}") from error
    if len(data) > MAX_IMAGE_BYTES:
        raise Broken("image-size", f"{where}: {len(data)} bytes")
    if image_format(data) != image["format"]:
        raise Broken("image-bytes", f"{where}: {image_format(data)}, not {image['format']}")


def _check_effort(fields: dict[str, Any] | None, model: str | None) -> None:
    if fields is None:
        return
    if not EFFORT_MODELS.match(model or ""):
        raise Broken("effort-model", str(model))
    output = fields.get("output_config", {})
    known = set(fields) <= {"output_config", "thinking"} and isinstance(output, dict)
    if not known or set(output) - {"effort"} or output.get("effort", "low") not in EFFORTS:
        raise Broken("effort-fields", str(sorted(fields)))
    if fields.get("thinking", {"type": "adaptive"}) != {"type": "adaptive"}:
        raise Broken("effort-fields", "thinking")
