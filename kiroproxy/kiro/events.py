"""Frames of the event stream → Kiro's events.

Source: protocol notes 4.1 (AWS's generated client; `contextUsageEvent` from the field). Unknown
event types are kept as `Unknown` and counted, never an error: the service adds some now and then.
"""

import json
import math
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec

from kiroproxy.errors import BadPayload
from kiroproxy.eventstream import Frame
from kiroproxy.kiro.surrogates import sanitize


class AssistantResponse(msgspec.Struct, gc=False):
    """More text; `content` is to be appended, never compared with what came before."""

    content: str | None = ""


class ToolUseEvent(msgspec.Struct, gc=False, rename="camel"):
    """Part of a tool call: an opening, a fragment of its JSON input, or its `stop`."""

    tool_use_id: str | None = ""
    name: str | None = ""
    input: str | dict[str, Any] | None = None
    stop: bool | None = False


class ReasoningContent(msgspec.Struct, gc=False, rename="camel"):
    """Native reasoning."""

    text: str | None = ""
    signature: str | None = ""
    redacted_content: str | None = ""


class ContextUsage(msgspec.Struct, gc=False, rename="camel"):
    """How full the model's window is after this exchange, in per cent of the whole."""

    context_usage_percentage: float | None = None


class Metering(msgspec.Struct, gc=False):
    """What the exchange cost, in credits. Marks the end of a reply that was not cut."""

    usage: float | None = None


class TokenUsage(msgspec.Struct, gc=False, rename="camel"):
    """Upstream's own token counts."""

    uncached_input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None


class Metadata(msgspec.Struct, gc=False):
    """Token counts and a stop reason, where upstream gives them."""

    tokenUsage: TokenUsage | None = None
    stopReason: str | None = None
    stop_reason: str | None = None


class UpstreamException(msgspec.Struct):
    """An exception or error frame inside an HTTP 200."""

    type: str
    message: str = ""
    reason: str = ""


class Undecodable(msgspec.Struct):
    """A sound frame whose payload is not what its type promises: the reply ends here."""

    error: BadPayload


class Unknown(msgspec.Struct):
    """An event that this version does not know, or does not need."""

    type: str


KiroEvent = (
    AssistantResponse
    | ToolUseEvent
    | ReasoningContent
    | ContextUsage
    | Metering
    | Metadata
    | UpstreamException
    | Undecodable
    | Unknown
)


WHOLE = frozenset({"tool_use_id", "name", "signature", "redacted_content"})
"""Fields that do not go on in the next frame, unlike text: nothing rejoins half a character."""


def _decoder(kind: type[msgspec.Struct]) -> Callable[[bytes], Any]:
    fast = msgspec.json.Decoder(kind).decode

    def decode(payload: bytes) -> Any:
        try:
            return fast(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return _decode_with_halves(kind, payload)

    return decode


def _decode_with_halves(kind: type[msgspec.Struct], payload: bytes) -> Any:
    """Decode JSON that may hold one half of a surrogate pair, as upstream cuts text anywhere.

    Raises:
        BadPayload: it is not JSON, not UTF-8, or of another shape.
    """
    try:
        text = payload.decode().strip() or "{}"
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        event = msgspec.convert(value, kind)
    except (ValueError, RecursionError) as error:
        raise BadPayload(f"payload of a {kind.__name__} frame: {type(error).__name__}") from error
    for name in WHOLE.intersection(kind.__struct_fields__):
        if part := getattr(event, name):
            setattr(event, name, sanitize(part))
    return event


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(number)
    return value


_DECODERS: dict[str, Callable[[bytes], Any]] = {
    "assistantResponseEvent": _decoder(AssistantResponse),
    "toolUseEvent": _decoder(ToolUseEvent),
    "reasoningContentEvent": _decoder(ReasoningContent),
    "contextUsageEvent": _decoder(ContextUsage),
    "meteringEvent": _decoder(Metering),
    "metadataEvent": _decoder(Metadata),
}


QUIET = frozenset(
    {
        "messageMetadataEvent",
        "codeReferenceEvent",
        "supplementaryWebLinksEvent",
        "citationEvent",
        "followupPromptEvent",
        "codeEvent",
        "intentsEvent",
        "interactionComponentsEvent",
        "toolResultEvent",
        "dryRunSucceedEvent",
    }
)
"""Known events that say nothing to a client (protocol notes 4.1)."""
INVALID_STATE = "invalidStateEvent"


def parse_events(frames: list[Frame]) -> list[KiroEvent]:
    """Name what each frame says. Never raises: a bad payload is an event, the last that counts."""
    events: list[KiroEvent] = []
    append = events.append
    for frame in frames:
        headers = frame.headers
        if headers.get(":message-type", "event") != "event":
            append(_parse_exception(frame))
            continue
        name = headers.get(":event-type", "")
        decode = _DECODERS.get(name) if type(name) is str else None
        if decode is None:
            unnamed = not name and (":exception-type" in headers or ":error-code" in headers)
            append(_parse_exception(frame) if unnamed else Unknown(str(name)))
            continue
        try:
            append(decode(frame.payload))
        except BadPayload as error:
            append(Undecodable(error))
    return events


def _parse_exception(frame: Frame) -> UpstreamException:
    """Read an exception or error frame; AWS's SDK takes any other message type for one too."""
    headers = frame.headers
    body = lenient_json(frame.payload)
    kind = (
        headers.get(":exception-type")
        or headers.get(":error-code")
        or body.get("__type")
        or body.get("code")
        or headers.get(":message-type")
    )
    message = body.get("message") or body.get("Message") or headers.get(":error-message") or ""
    reason = body.get("reason")
    return UpstreamException(
        type=str(kind).rpartition("#")[2],
        message=str(message),
        reason=reason if isinstance(reason, str) else "",
    )


def lenient_json(data: bytes) -> dict[str, Any]:
    """Read a JSON object; anything else gives an empty one."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
