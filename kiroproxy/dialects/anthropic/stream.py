"""ReplyEvents → the Anthropic API's SSE events, or one whole message.

`feed` is on the hot path: one call per upstream read, one bytes object back. The frame around each
delta is rendered once per block.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from kiroproxy.conversation import (
    Failed,
    Json,
    RedactedThinkingBlock,
    ReplyEvent,
    ServerToolUse,
    Stop,
    TextDelta,
    ThinkingDelta,
    ThinkingEnd,
    ToolInputDelta,
    ToolUseEnd,
    ToolUseStart,
    Usage,
    WebSearchResult,
)
from kiroproxy.dialects.anthropic.errors import error_event
from kiroproxy.dialects.jsontext import dump_text, dumps
from kiroproxy.dialects.sse import PING, named_event

OUR_SIGNATURE = "a2lyb3Byb3h5LXRob3VnaHRzLWZyb20tdGV4dA=="
"""Clients replay thinking blocks only with a signature; thoughts taken from text have none of their
own. This one says so in base64 and is dropped on its way back."""

_END = b"}}\n\n"


class AnthropicStream:
    """Writes one message as SSE.

    `model` is the name that the client asked for (S71); `input_tokens` our estimate, for
    `message_start` (S34).
    """

    def __init__(self, message_id: str, model: str, input_tokens: int, request_id: str) -> None:
        self._message_id = message_id
        self._model = model
        self._input_tokens = input_tokens
        self._request_id = request_id
        self._started = False
        self._index = -1
        self._open: str = ""
        """Type of the open block: text, thinking, tool_use, or nothing."""
        self._prefix = b""
        """What stands before the value in a delta of the open block."""

    def feed(self, events: Iterable[ReplyEvent]) -> bytes:
        """Render the events of one read."""
        out: list[bytes] = []
        if not self._started:
            self._started = True
            out.append(self._message_start())
        for event in events:
            kind = type(event)
            if kind is TextDelta:
                if self._open != "text":
                    self._start_block(out, "text", _TEXT, "text_delta", "text")
                out += (self._prefix, dump_text(event.text), _END)  # type: ignore[union-attr]
            elif kind is ToolInputDelta:
                out += (self._prefix, dump_text(event.json), _END)  # type: ignore[union-attr]
            else:
                _RENDER[kind](self, event, out)
        return b"".join(out)

    def ping(self) -> bytes:
        """Something to send in a silence."""
        return (b"" if self._started else self.feed(())) + PING

    def _message_start(self) -> bytes:
        message: dict[str, Any] = {
            "id": self._message_id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": self._input_tokens, "output_tokens": 1},
        }
        return named_event("message_start", {"type": "message_start", "message": message})

    def _start_block(
        self, out: list[bytes], kind: str, block: Json, delta: str = "", key: str = ""
    ) -> None:
        self._stop_block(out)
        self._index += 1
        self._open = kind
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        out.append(named_event("content_block_start", start))
        if delta:
            self._prefix = (
                b"event: content_block_delta\ndata: "
                b'{"type":"content_block_delta","index":%d,"delta":{"type":"%s","%s":'
            ) % (self._index, delta.encode(), key.encode())

    def _stop_block(self, out: list[bytes]) -> None:
        if self._open:
            self._open = ""
            stop = {"type": "content_block_stop", "index": self._index}
            out.append(named_event("content_block_stop", stop))

    def _think(self, event: ThinkingDelta, out: list[bytes]) -> None:
        if self._open != "thinking":
            self._start_block(out, "thinking", _THINKING, "thinking_delta", "thinking")
        out += (self._prefix, dump_text(event.text), _END)

    def _end_thinking(self, event: ThinkingEnd, out: list[bytes]) -> None:
        if self._open != "thinking":
            return
        delta = {"type": "signature_delta", "signature": event.signature or OUR_SIGNATURE}
        event_data = {"type": "content_block_delta", "index": self._index, "delta": delta}
        out.append(named_event("content_block_delta", event_data))
        self._stop_block(out)

    def _redacted(self, event: RedactedThinkingBlock, out: list[bytes]) -> None:
        self._start_block(out, "redacted", {"type": "redacted_thinking", "data": event.data})
        self._stop_block(out)

    def _start_tool(self, event: ToolUseStart, out: list[bytes]) -> None:
        block = {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
        self._start_block(out, "tool_use", block, "input_json_delta", "partial_json")

    def _server_tool(self, event: ServerToolUse, out: list[bytes]) -> None:
        block = server_tool_block(event) | {"input": {}}
        self._start_block(out, "server", block, "input_json_delta", "partial_json")
        out += (self._prefix, dump_text(dumps(event.input).decode()), _END)
        self._stop_block(out)

    def _search_result(self, event: WebSearchResult, out: list[bytes]) -> None:
        self._start_block(out, "server", search_result_block(event))
        self._stop_block(out)

    def _end_tool(self, event: ToolUseEnd, out: list[bytes]) -> None:
        self._stop_block(out)

    def _stop(self, event: Stop, out: list[bytes]) -> None:
        self._stop_block(out)
        delta = {"stop_reason": event.reason, "stop_sequence": event.stop_sequence}
        data = {"type": "message_delta", "delta": delta, "usage": usage_object(event.usage)}
        out.append(named_event("message_delta", data))
        out.append(named_event("message_stop", {"type": "message_stop"}))

    def _fail(self, event: Failed, out: list[bytes]) -> None:
        out.append(error_event(event.error, self._request_id))


_TEXT = {"type": "text", "text": ""}
_THINKING = {"type": "thinking", "thinking": "", "signature": ""}
_RENDER: Mapping[type, Callable[[AnthropicStream, Any, list[bytes]], None]] = {
    ThinkingDelta: AnthropicStream._think,
    ThinkingEnd: AnthropicStream._end_thinking,
    RedactedThinkingBlock: AnthropicStream._redacted,
    ToolUseStart: AnthropicStream._start_tool,
    ToolUseEnd: AnthropicStream._end_tool,
    ServerToolUse: AnthropicStream._server_tool,
    WebSearchResult: AnthropicStream._search_result,
    Stop: AnthropicStream._stop,
    Failed: AnthropicStream._fail,
}


class HeldStream(AnthropicStream):
    """Writes nothing but pings until the reply has ended; then all of it, its usage exact (S15)."""

    def __init__(self, message_id: str, model: str, input_tokens: int, request_id: str) -> None:
        super().__init__(message_id, model, input_tokens, request_id)
        self._kept: list[ReplyEvent] = []

    def feed(self, events: Iterable[ReplyEvent]) -> bytes:
        """Keep the events; render all of them with the last one."""
        self._kept += events
        last = self._kept[-1] if self._kept else None
        if type(last) is Stop:
            self._input_tokens = last.usage.input_tokens
        elif type(last) is not Failed:
            return b""
        kept, self._kept = self._kept, []
        return super().feed(kept)

    def ping(self) -> bytes:
        """Only that."""
        return PING


def server_tool_block(event: ServerToolUse) -> dict[str, Any]:
    """The block of a call that we answered ourselves."""
    return {
        "type": "server_tool_use",
        "id": event.id,
        "name": event.name,
        "input": event.input,
    }


def search_result_block(event: WebSearchResult) -> dict[str, Any]:
    """The block of its results, or of the API's own error (protocol notes 7)."""
    content: Any = [
        {
            "type": "web_search_result",
            "title": hit.title,
            "url": hit.url,
            "encrypted_content": hit.snippet,
            "page_age": hit.page_age,
        }
        for hit in event.hits
    ]
    if event.error_code:
        content = {"type": "web_search_tool_result_error", "error_code": event.error_code}
    return {
        "type": "web_search_tool_result",
        "tool_use_id": event.tool_use_id,
        "content": content,
    }


def usage_object(usage: Usage) -> dict[str, Any]:
    """The API's usage; cache figures only where upstream gave them."""
    shown: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.cache_write_tokens is not None:
        shown["cache_creation_input_tokens"] = usage.cache_write_tokens
    if usage.cache_read_tokens is not None:
        shown["cache_read_input_tokens"] = usage.cache_read_tokens
    if usage.web_search_requests:
        shown["server_tool_use"] = {"web_search_requests": usage.web_search_requests}
    return shown


def collect(events: Iterable[ReplyEvent], message_id: str, model: str) -> dict[str, Any]:
    """Fold a whole reply into one message. A cut tool call is left out (design 4).

    Raises:
        Exception: the error of a `Failed` event.
    """
    content: list[dict[str, Any]] = []
    parts: list[str] = []
    """Text, thoughts or JSON of the last block."""
    stop: Stop | None = None
    for event in events:
        match event:
            case TextDelta():
                _extend(content, parts, "text", event.text)
            case ThinkingDelta():
                _extend(content, parts, "thinking", event.text)
            case ThinkingEnd() if content and content[-1]["type"] == "thinking":
                _close(content, parts)
                content[-1]["signature"] = event.signature or OUR_SIGNATURE
            case RedactedThinkingBlock():
                _close(content, parts)
                content.append({"type": "redacted_thinking", "data": event.data})
            case ToolUseStart():
                _close(content, parts)
                content.append({"type": "tool_use", "id": event.id, "name": event.name})
            case ToolInputDelta():
                parts.append(event.json)
            case ToolUseEnd():
                text = "".join(parts)
                parts.clear()
                if event.complete:
                    content[-1]["input"] = msgspec.json.decode(text)
                else:
                    content.pop()
            case ServerToolUse():
                _close(content, parts)
                content.append(server_tool_block(event))
            case WebSearchResult():
                content.append(search_result_block(event))
            case Stop():
                stop = event
            case Failed():
                raise event.error
    assert stop is not None, "a reply ends with Stop or Failed"  # noqa: S101
    _close(content, parts)
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop.reason,
        "stop_sequence": stop.stop_sequence,
        "usage": usage_object(stop.usage),
    }


def _extend(content: list[dict[str, Any]], parts: list[str], kind: str, text: str) -> None:
    last = content[-1] if content else {}
    if last.get("type") != kind or "signature" in last or not parts:
        _close(content, parts)
        content.append({"type": kind})
    parts.append(text)


def _close(content: list[dict[str, Any]], parts: list[str]) -> None:
    """Write the collected pieces into the last block."""
    if content and content[-1]["type"] in ("text", "thinking") and parts:
        content[-1][content[-1]["type"]] = "".join(parts)
        parts.clear()
