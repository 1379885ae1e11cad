"""Conversation → the body of `generateAssistantResponse`.

Kiro has no field for the system text, sampling, stop sequences or the tool choice (protocol notes
3.2); they are written into the text or emulated on the way back.
"""

import base64
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from kiroproxy.conversation import Conversation, Image, Json, ThinkingMode
from kiroproxy.errors import InvalidRequest
from kiroproxy.kiro.history import (
    AssistantTurn,
    Turn,
    UserTurn,
    build_turns,
    kiro_result,
    used_tool_names,
)
from kiroproxy.kiro.models import Choice, Model
from kiroproxy.kiro.reply import Expectations
from kiroproxy.kiro.tools import Toolbox, ToolNames, build_tools, kiro_tool_id
from kiroproxy.token_count import estimate_conversation

ORIGIN = "AI_EDITOR"
ACKNOWLEDGED = "I will follow these instructions."
"""A user turn of system text alone would stand next to the first user turn, which made models
repeat themselves without end (protocol notes 3.3)."""
BILLING_HEADER = re.compile(
    r"\Ax-anthropic-billing-header:"
    r"(?:(?:[^\S\n]*[\w-]+=[^;\n]*;)+[^\S\n]*(?:[\w-]+=\S*(?=\n|\Z))?|[^\n]*)\n?"
)
"""Claude Code's first system block: it differs in each turn and would spoil upstream's cache.
Its fields go, or its whole line where it has none; instructions that follow it stay."""
DEFAULT_BUDGET = 20_000
MAX_BUDGET = 24_576
"""S46."""
MIN_TOKENS_FOR_THINKING = 512
"""Title helpers and probes with fewer get an empty answer when they must think first."""
EFFORTS = ("low", "medium", "high", "xhigh", "max")
BUDGET_EFFORTS = ((4_000, "low"), (16_000, "medium"), (64_000, "high"), (2**63, "xhigh"))
"""Protocol notes 3.9: thinking budget in tokens → native effort."""
MAX_IMAGES = 10
EARLIER = "earlier images are left out here"
TOO_MANY = f"images are left out here, the first ones: no more than {MAX_IMAGES} can be had at once"
MAX_IMAGE_BYTES = 10 * 1024 * 1024
"""Protocol notes 3.5."""
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)


class KiroRequest(msgspec.Struct):
    """A request that can be sent on behalf of any credential: `state` is encoded once.

    `effort` is the native field's value, empty where the model is not known to take it.
    """

    state: bytes
    model: Model
    expectations: Expectations
    effort: str = ""

    def body(
        self, profile_arn: str = "", *, with_effort: bool = False, state: bytes | None = None
    ) -> bytes:
        """The JSON to send; API keys and some accounts have no profile ARN.

        `state` takes the place of its own, for a program that puts some of it otherwise.
        """
        parts = [b"{"]
        if profile_arn:
            parts += b'"profileArn":', msgspec.json.encode(profile_arn), b","
        parts += b'"conversationState":', self.state if state is None else state
        if with_effort and self.effort:
            fields = {"output_config": {"effort": self.effort}}
            parts += b',"additionalModelRequestFields":', msgspec.json.encode(fields)
        parts.append(b"}")
        return b"".join(parts)


class RequestSettings(msgspec.Struct, frozen=True):
    """The operator's say in how requests are built."""

    description_limit: int = 10_000
    complete_without_trailer: bool = False
    effort_models: tuple[str, ...] = ()
    """Globs of Kiro ids that take the native effort field (protocol notes 3.9)."""


def build_request(
    conversation: Conversation,
    choice: Choice,
    settings: RequestSettings,
    *,
    conversation_id: str,
    continuation_id: str,
    token_factor: float = 1.0,
) -> KiroRequest:
    """Build the request and what its reply is to be read with; ids are UUIDs.

    `token_factor` is the model's, for the estimate of the input.

    Raises:
        InvalidRequest: something in it that Kiro cannot take, named.
    """
    turns = build_turns(conversation.messages)
    names = ToolNames()
    box = build_tools(
        conversation.tools,
        conversation.tool_choice,
        names,
        used=used_tool_names(turns),
        description_limit=settings.description_limit,
    )
    thinking = thinking_of(conversation, choice)
    if system := system_text(conversation, thinking, box):
        turns[:0] = UserTurn([system]), AssistantTurn([ACKNOWLEDGED])
    *history, current = _messages(turns, names, choice.model.id)
    if box.specifications:
        context = current["userInputMessage"].setdefault("userInputMessageContext", {})
        context["tools"] = box.specifications
    state: dict[str, Any] = {
        "conversationId": conversation_id,
        "agentContinuationId": continuation_id,
        "agentTaskType": "vibe",
        "chatTriggerType": "MANUAL",
        "currentMessage": current,
    }
    if history:
        state["history"] = history
    expectations = Expectations(
        thinking=thinking.kind != "disabled",
        stop_sequences=conversation.stop_sequences,
        client_names=names.client,
        needs_input=box.needs_input,
        parallel_tools=conversation.tool_choice.parallel,
        input_tokens=estimate_conversation(conversation, token_factor),
        context_window=choice.model.window,
        complete_without_trailer=settings.complete_without_trailer,
    )
    takes_effort = any(fnmatchcase(choice.model.id, glob) for glob in settings.effort_models)
    return KiroRequest(
        msgspec.json.encode(state),
        choice.model,
        expectations,
        effort_of(thinking) if takes_effort else "",
    )


def effort_of(thinking: ThinkingMode) -> str:
    """The native effort for a way of thinking: as asked, else by the budget."""
    if thinking.kind == "disabled":
        return ""
    if thinking.effort in EFFORTS:
        return thinking.effort
    if thinking.kind == "adaptive":
        return "high"
    budget = thinking.budget_tokens or DEFAULT_BUDGET
    return next(effort for limit, effort in BUDGET_EFFORTS if budget <= limit)


def _limit_images(turns: Sequence[Turn]) -> None:
    """Keep the newest images, as many as Kiro takes.

    Those of earlier turns give way, with a note in their place: the client resends them for ever,
    and a refusal would end the session. The same holds for a turn that answers tool calls, whose
    images are the agent's own doing.

    Raises:
        InvalidRequest: a prompt alone holds too many.
    """
    room = MAX_IMAGES
    users = [turn for turn in turns if isinstance(turn, UserTurn)]
    current = users[-1]
    if len(current.images) > MAX_IMAGES and not current.results:
        raise InvalidRequest(
            f"{current.images[MAX_IMAGES].where}: one image too many, Kiro takes at most "
            f"{MAX_IMAGES}"
        )
    for turn in reversed(users):
        dropped = len(turn.images) - room
        if dropped > 0:
            turn.images = turn.images[dropped:]
            turn.texts.append(f"[{dropped} {EARLIER if turn is not current else TOO_MANY}]")
        room -= len(turn.images)


def _messages(turns: Sequence[Turn], names: ToolNames, model_id: str) -> list[Json]:
    _limit_images(turns)
    return [
        _user(turn, model_id) if isinstance(turn, UserTurn) else _assistant(turn, names)
        for turn in turns
    ]


def thinking_of(conversation: Conversation, choice: Choice) -> ThinkingMode:
    """What the request and the model's name say together about thinking."""
    asked = conversation.thinking
    if 0 < conversation.max_tokens < MIN_TOKENS_FOR_THINKING:
        return ThinkingMode()
    if asked.kind == "disabled" and choice.thinking:
        return ThinkingMode("enabled", DEFAULT_BUDGET)
    return asked


def thinking_tags(thinking: ThinkingMode) -> str:
    """The tags that make the model think; empty when it shall not (S45, S46)."""
    if thinking.kind == "enabled":
        budget = min(thinking.budget_tokens or DEFAULT_BUDGET, MAX_BUDGET)
        return (
            "<thinking_mode>enabled</thinking_mode>"
            f"<max_thinking_length>{budget}</max_thinking_length>"
        )
    if thinking.kind == "adaptive":
        effort = {"xhigh": "max"}.get(thinking.effort, thinking.effort or "high")
        return f"<thinking_mode>adaptive</thinking_mode><thinking_effort>{effort}</thinking_effort>"
    return ""


def system_text(conversation: Conversation, thinking: ThinkingMode, box: Toolbox) -> str:
    """All that the model is told before the first turn."""
    texts = [BILLING_HEADER.sub("", text) for text in conversation.system]
    tags = thinking_tags(thinking)
    if tags and not any("<thinking_mode>" in text for text in texts):
        texts.insert(0, tags)
    texts += box.overflow
    if conversation.json_schema is not None:
        schema = msgspec.json.encode(conversation.json_schema).decode()
        texts.append(
            "Answer with one JSON value and nothing else: no prose, no code fence. "
            + (f"It must match this JSON Schema:\n{schema}" if conversation.json_schema else "")
        )
    return "\n".join(text for text in texts if text.strip())


def _user(turn: UserTurn, model_id: str) -> Json:
    message: dict[str, Any] = {"content": turn.content, "modelId": model_id, "origin": ORIGIN}
    if turn.images:
        message["images"] = [_image(image) for image in turn.images]
    if turn.results:
        results = [kiro_result(result) for result in turn.results]
        message["userInputMessageContext"] = {"toolResults": results}
    return {"userInputMessage": message}


def _assistant(turn: AssistantTurn, names: ToolNames) -> Json:
    message: dict[str, Any] = {"content": turn.content}
    if turn.uses:
        message["toolUses"] = [
            {"toolUseId": kiro_tool_id(use.id), "name": names.to_kiro(use.name), "input": use.input}
            for use in turn.uses
        ]
    return {"assistantResponseMessage": message}


def _image(image: Image) -> Json:
    """Kiro goes by the name of the format, clients often lie: the bytes decide."""
    text = "".join(image.data.split())  # some encoders break lines
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidRequest(f"{image.where}: the image is not valid base64") from None
    kind = next((name for magic, name in _MAGIC if data.startswith(magic)), "")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "webp"
    if not kind:
        raise InvalidRequest(f"{image.where}: the image is not a PNG, JPEG, GIF or WebP")
    if len(data) > MAX_IMAGE_BYTES:
        raise InvalidRequest(
            f"{image.where}: the image has {len(data)} bytes, Kiro takes at most {MAX_IMAGE_BYTES}"
        )
    return {"format": kind, "source": {"bytes": text}}
