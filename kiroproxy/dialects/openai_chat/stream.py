"""ReplyEvents → chat completion chunks, or one whole completion.

`feed` is on the hot path: one call per upstream read, one bytes object back. What surrounds a delta
is rendered once.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from kiroproxy.conversation import (
    Failed,
    RedactedThinkingBlock,
    ReplyEvent,
    ServerToolUse,
    Stop,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ThinkingEnd,
    ToolInputDelta,
    ToolUseEnd,
    ToolUseStart,
    Usage,
    WebSearchResult,
)
from kiroproxy.dialects.jsontext import dump_text, dumps
from kiroproxy.dialects.openai_chat.errors import error_chunk
from kiroproxy.dialects.openai_chat.request import ChatRequest
from kiroproxy.dialects.openai_common import PING, Thoughts, prompt_count
from kiroproxy.dialects.openai_tools import CustomText, Offered, custom_text

FINISH: Mapping[StopReason, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
FINGERPRINT = "fp_kiroproxy"
DONE = b"data: [DONE]\n\n"


class Head(msgspec.Struct, frozen=True):
    """What every chunk repeats; `model` is the name that the client asked for (S71)."""

    id: str
    model: str
    created: int

    def fields(self, kind: str) -> dict[str, Any]:
        """The fields in front."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }


class ChatStream:
    """Writes one completion as SSE."""

    def __init__(self, head: Head, request: ChatRequest) -> None:
        self._head = dumps(head.fields("chat.completion.chunk"))[:-1]
        self._request = request
        self._started = False
        self._calls = -1
        """Index of the last tool call."""
        self._custom: CustomText | None = None
        """The open call is one of a custom tool."""
        self._thoughts = Thoughts()
        usage = b',"usage":null' if request.include_usage else b""
        self._before = b"data: " + self._head + b',"choices":[{"index":0,"delta":'
        self._after = b',"logprobs":null,"finish_reason":null}]' + usage + b"}\n\n"
        self._text = self._before + b'{"content":'
        self._text_end = b"}" + self._after
        self._input = self._input_end = b""

    def feed(self, events: Iterable[ReplyEvent]) -> bytes:
        """Render the events of one read."""
        out: list[bytes] = []
        if not self._started:
            self._started = True
            out += (self._before, b'{"role":"assistant"}', self._after)
        for event in events:
            kind = type(event)
            if kind is TextDelta:
                out += (self._text, dump_text(event.text), self._text_end)  # type: ignore[union-attr]
            elif kind is ToolInputDelta and self._custom is None:
                out += (self._input, dump_text(event.json), self._input_end)  # type: ignore[union-attr]
            else:
                _RENDER[kind](self, event, out)
        return b"".join(out)

    def ping(self) -> bytes:
        """Something to send in a silence."""
        return (b"" if self._started else self.feed(())) + PING

    def _think(self, event: ThinkingDelta, out: list[bytes]) -> None:
        if event.text:
            self._thoughts.add(event.text)
            delta = b'{"reasoning_content":%s}' % dump_text(event.text)
            out += (self._before, delta, self._after)

    def _start_tool(self, event: ToolUseStart, out: list[bytes]) -> None:
        self._calls += 1
        call = call_object(event, "", self._request)
        kind, key = ("custom", "input") if "custom" in call else ("function", "arguments")
        self._custom = CustomText() if kind == "custom" else None
        if self._request.legacy:
            first: dict[str, Any] = {"function_call": call["function"]}
            self._input = self._before + b'{"function_call":{"arguments":'
            self._input_end = b"}}" + self._after
        else:
            first = {"tool_calls": [{"index": self._calls, **call}]}
            inner = b'{"tool_calls":[{"index":%d,"%s":{"%s":'
            self._input = self._before + inner % (self._calls, kind.encode(), key.encode())
            self._input_end = b"}}]}" + self._after
        out += (self._before, dumps(first), self._after)

    def _custom_input(self, event: ToolInputDelta, out: list[bytes]) -> None:
        assert self._custom is not None  # noqa: S101 - else `feed` has rendered it
        if text := self._custom.feed(event.json):
            out += (self._input, dump_text(text), self._input_end)

    def _end_tool(self, event: ToolUseEnd, out: list[bytes]) -> None:
        if self._custom is not None and event.complete and (text := self._custom.close()):
            out += (self._input, dump_text(text), self._input_end)
        self._custom = None

    def _stop(self, event: Stop, out: list[bytes]) -> None:
        choice = {
            "index": 0,
            "delta": {},
            "logprobs": None,
            "finish_reason": finish_reason(event.reason, self._request),
        }
        usage = b',"usage":null' if self._request.include_usage else b""
        out += (b"data: ", self._head, b',"choices":[', dumps(choice), b"]", usage, b"}\n\n")
        if self._request.include_usage:
            counts = usage_object(event.usage, self._thoughts)
            out += (b"data: ", self._head, b',"choices":[],"usage":', dumps(counts), b"}\n\n")
        out.append(DONE)

    def _fail(self, event: Failed, out: list[bytes]) -> None:
        out.append(error_chunk(event.error))

    def _skip(self, event: ReplyEvent, out: list[bytes]) -> None:
        """Chat completions have no words for it."""


_RENDER: Mapping[type, Callable[[ChatStream, Any, list[bytes]], None]] = {
    ThinkingDelta: ChatStream._think,
    ThinkingEnd: ChatStream._skip,
    RedactedThinkingBlock: ChatStream._skip,
    ToolUseStart: ChatStream._start_tool,
    ToolInputDelta: ChatStream._custom_input,
    ToolUseEnd: ChatStream._end_tool,
    ServerToolUse: ChatStream._skip,
    WebSearchResult: ChatStream._skip,
    Stop: ChatStream._stop,
    Failed: ChatStream._fail,
}


def finish_reason(reason: StopReason, request: ChatRequest) -> str:
    """OpenAI's word for how it ended."""
    return "function_call" if reason == "tool_use" and request.legacy else FINISH[reason]


def call_object(event: ToolUseStart, text: str, request: ChatRequest) -> dict[str, Any]:
    """A tool call; `text` is its input."""
    offered = request.offered.get(event.name, Offered(event.name))
    if offered.kind == "custom":
        custom = {"name": offered.name, "input": custom_text(text)}
        return {"id": event.id, "type": "custom", "custom": custom}
    function = {"name": offered.name, "arguments": text}
    return {"id": event.id, "type": "function", "function": function}


def usage_object(usage: Usage, thoughts: Thoughts) -> dict[str, Any]:
    """The API's usage."""
    prompt = prompt_count(usage)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output_tokens,
        "total_tokens": prompt + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens or 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": thoughts.count(usage),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def collect(events: Iterable[ReplyEvent], head: Head, request: ChatRequest) -> dict[str, Any]:
    """Fold a whole reply into one completion. A cut tool call is left out (design 4).

    Raises:
        Exception: the error of a `Failed` event.
    """
    texts: list[str] = []
    thoughts: list[str] = []
    count = Thoughts()
    calls: list[dict[str, Any]] = []
    open_call: tuple[ToolUseStart, list[str]] | None = None
    stop: Stop | None = None
    for event in events:
        match event:
            case TextDelta():
                texts.append(event.text)
            case ThinkingDelta():
                thoughts.append(event.text)
                count.add(event.text)
            case ToolUseStart():
                open_call = event, []
            case ToolInputDelta() if open_call is not None:
                open_call[1].append(event.json)
            case ToolUseEnd() if open_call is not None and event.complete:
                calls.append(call_object(open_call[0], "".join(open_call[1]), request))
            case Stop():
                stop = event
            case Failed():
                raise event.error
    assert stop is not None, "a reply ends with Stop or Failed"  # noqa: S101
    message = _message("".join(texts), "".join(thoughts), calls, legacy=request.legacy)
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": finish_reason(stop.reason, request),
    }
    usage = usage_object(stop.usage, count)
    return head.fields("chat.completion") | {"choices": [choice], "usage": usage}


def _message(
    text: str, thoughts: str, calls: list[dict[str, Any]], *, legacy: bool
) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not calls else None,
        "refusal": None,
        "annotations": [],
    }
    if thoughts:
        message["reasoning_content"] = thoughts
    if calls and legacy:
        message["function_call"] = calls[0]["function"]
    elif calls:
        message["tool_calls"] = calls
    return message
