"""ReplyEvents → the Responses API's SSE events; the last of them holds the whole response.

`feed` is on the hot path: one call per upstream read, one bytes object back. What surrounds a delta
is rendered once per item, but for its sequence number.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kiroproxy.conversation import (
    Failed,
    Json,
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
from kiroproxy.dialects.anthropic.stream import OUR_SIGNATURE
from kiroproxy.dialects.jsontext import dump_text, dumps
from kiroproxy.dialects.openai_client_tools import CLIENT_TOOLS, call_input
from kiroproxy.dialects.openai_common import PING, Thoughts, arguments_of, prompt_count
from kiroproxy.dialects.openai_responses.errors import error_fields, response_error
from kiroproxy.dialects.openai_responses.request import ENCRYPTED, SOURCES, ResponsesRequest
from kiroproxy.dialects.openai_tools import CustomText, Offered
from kiroproxy.dialects.sse import named_event

INCOMPLETE: Mapping[StopReason, str] = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "refusal": "content_filter",
}
"""Why an answer is not whole; all other reasons are a whole answer."""
ITEM_ID_DIGITS = 4


class ResponsesStream:
    """Writes one response as SSE.

    `response` is the whole response as soon as it has ended, well or not; `failed` says which. The
    id has the form `resp_<hex>`; its items' ids are made of it, so that they lead back to it.
    """

    def __init__(self, response_id: str, created_at: int, request: ResponsesRequest) -> None:
        self.response: dict[str, Any] | None = None
        self.failed = False
        self._id = response_id
        self._created_at = created_at
        self._request = request
        self._started = False
        self._sequence = -1
        self._index = -1
        """Of the last item that was begun."""
        self._output: list[dict[str, Any]] = []
        self._item: dict[str, Any] = {}
        """The open item; empty where there is none."""
        self._kind = ""
        """Of the open item: text, reasoning, function, custom, search, a client tool's, nothing."""
        self._pieces: list[str] = []
        """Text, thoughts or JSON of the open item."""
        self._custom = CustomText()
        self._thoughts = Thoughts()
        self._prefix = self._middle = self._end = b""

    def feed(self, events: Iterable[ReplyEvent]) -> bytes:
        """Render the events of one read."""
        out: list[bytes] = []
        if not self._started:
            self._begin(out)
        for event in events:
            kind = type(event)
            if kind is TextDelta:
                if self._kind != "text":
                    self._start_text(out)
                self._delta(event.text, out)  # type: ignore[union-attr]
            elif kind is ToolInputDelta and self._kind == "function":
                self._delta(event.json, out)  # type: ignore[union-attr]
            else:
                _RENDER[kind](self, event, out)
        return b"".join(out)

    def ping(self) -> bytes:
        """Something to send in a silence."""
        return (b"" if self._started else self.feed(())) + PING

    # ---- what surrounds the items ----------------------------------------------------------

    def _begin(self, out: list[bytes]) -> None:
        self._started = True
        response = self._snapshot("in_progress")
        self._event(out, "response.created", response=response)
        self._event(out, "response.in_progress", response=response)

    def _snapshot(self, status: str, **fields: Json) -> dict[str, Any]:
        """The response as it is now."""
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created_at,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "model": self._request.conversation.model,
            "output": [],
            "usage": None,
            **self._request.echo,
            **fields,
        }

    def _event(self, out: list[bytes], name: str, /, **fields: Json) -> None:
        self._sequence += 1
        data = {"type": name, "sequence_number": self._sequence, **fields}
        out.append(named_event(name, data))

    def _stop(self, event: Stop, out: list[bytes]) -> None:
        reason = INCOMPLETE.get(event.reason)
        status = "incomplete" if reason else "completed"
        self._close(out, status)
        self.response = self._snapshot(
            status,
            output=self._output,
            usage=usage_object(event.usage, self._thoughts),
            incomplete_details={"reason": reason} if reason else None,
        )
        self._event(out, f"response.{status}", response=self.response)

    def _fail(self, event: Failed, out: list[bytes]) -> None:
        self.failed = True
        self._event(out, "error", **error_fields(event.error))
        error = response_error(event.error)
        self.response = self._snapshot("failed", output=self._output, error=error)
        self._event(out, "response.failed", response=self.response)

    # ---- items -----------------------------------------------------------------------------

    def _open(self, out: list[bytes], kind: str, prefix: str, item: dict[str, Any]) -> None:
        """Begin an item, after the one before."""
        self._close(out, "completed")
        self._index += 1
        self._kind = kind
        id_ = f"{prefix}_{self._id.removeprefix('resp_')}{self._index:0{ITEM_ID_DIGITS}x}"
        self._item = {"id": id_, **item}
        self._event(
            out, "response.output_item.added", output_index=self._index, item=dict(self._item)
        )

    def _place(self, **more: Json) -> dict[str, Any]:
        return {"item_id": self._item["id"], "output_index": self._index, **more}

    def _prepare(self, name: str, after: bytes, /, **place: Json) -> None:
        """Render what surrounds the deltas of the open item."""
        shown = dumps(self._place(**place))[1:-1]
        self._prefix = b'event: %s\ndata: {"type":"%s","sequence_number":' % (
            name.encode(),
            name.encode(),
        )
        self._middle = b"," + shown + b',"delta":'
        self._end = after + b"}\n\n"

    def _delta(self, text: str, out: list[bytes]) -> None:
        self._sequence += 1
        self._pieces.append(text)
        number = b"%d" % self._sequence
        out += (self._prefix, number, self._middle, dump_text(text), self._end)

    def _close(self, out: list[bytes], status: str) -> None:
        """End the open item. A tool call that is still open was cut: it is never done."""
        kind, self._kind = self._kind, ""
        text = "".join(self._pieces)
        self._pieces.clear()
        if kind == "text":
            self._end_text(text, status, out)
        elif kind == "reasoning":
            self._end_reasoning(text, "", out)

    def _done(self, out: list[bytes], **fields: Json) -> None:
        self._item |= fields
        self._output.append(self._item)
        self._event(out, "response.output_item.done", output_index=self._index, item=self._item)

    # ---- text ------------------------------------------------------------------------------

    def _start_text(self, out: list[bytes]) -> None:
        item = {"type": "message", "status": "in_progress", "role": "assistant", "content": []}
        self._open(out, "text", "msg", item)
        self._event(
            out, "response.content_part.added", **self._place(content_index=0, part=_text_part(""))
        )
        self._prepare("response.output_text.delta", b',"logprobs":[]', content_index=0)

    def _end_text(self, text: str, status: str, out: list[bytes]) -> None:
        place = self._place(content_index=0)
        part = _text_part(text)
        self._event(out, "response.output_text.done", **place, text=text, logprobs=[])
        self._event(out, "response.content_part.done", **place, part=part)
        self._done(out, status=status, content=[part])

    # ---- thoughts --------------------------------------------------------------------------

    def _think(self, event: ThinkingDelta, out: list[bytes]) -> None:
        if self._kind != "reasoning":
            self._open(out, "reasoning", "rs", {"type": "reasoning", "summary": []})
        if not event.text:
            return
        if not self._pieces:
            part = {"type": "summary_text", "text": ""}
            place = self._place(summary_index=0)
            self._event(out, "response.reasoning_summary_part.added", **place, part=part)
            self._prepare("response.reasoning_summary_text.delta", b"", summary_index=0)
        self._thoughts.add(event.text)
        self._delta(event.text, out)

    def _finish_thinking(self, event: ThinkingEnd, out: list[bytes]) -> None:
        if self._kind == "reasoning":
            text = "".join(self._pieces)
            self._pieces.clear()
            self._kind = ""
            self._end_reasoning(text, event.signature, out)

    def _end_reasoning(self, text: str, signature: str, out: list[bytes]) -> None:
        summary = [{"type": "summary_text", "text": text}] if text else []
        if text:
            place = self._place(summary_index=0)
            self._event(out, "response.reasoning_summary_text.done", **place, text=text)
            self._event(out, "response.reasoning_summary_part.done", **place, part=summary[0])
        more = {}
        if ENCRYPTED in self._request.include:
            more["encrypted_content"] = signature or OUR_SIGNATURE
        self._done(out, summary=summary, **more)

    def _redacted(self, event: RedactedThinkingBlock, out: list[bytes]) -> None:
        self._open(out, "redacted", "rs", {"type": "reasoning", "summary": []})
        self._kind = ""
        self._done(out, encrypted_content=event.data)

    # ---- tools -----------------------------------------------------------------------------

    def _start_tool(self, event: ToolUseStart, out: list[bytes]) -> None:
        offered = self._request.offered.get(event.name, Offered(event.name))
        if offered.kind in CLIENT_TOOLS:
            self._close(out, "completed")
            self._kind, self._item = offered.kind, {"call_id": event.id}
            return
        custom = offered.kind == "custom"
        item: dict[str, Any] = {
            "type": "custom_tool_call" if custom else "function_call",
            "status": "in_progress",
            "call_id": event.id,
            "name": offered.name,
            "input" if custom else "arguments": "",
        }
        if offered.namespace:
            item["namespace"] = offered.namespace
        self._open(out, offered.kind, "ctc" if custom else "fc", item)
        if custom:
            self._custom = CustomText()
            self._prepare("response.custom_tool_call_input.delta", b"")
        else:
            self._prepare("response.function_call_arguments.delta", b"")

    def _end_client_call(self, out: list[bytes]) -> None:
        """A call of a tool that OpenAI's models know: it comes as a whole, or not at all."""
        kind, call_id = self._kind, self._item["call_id"]
        tool = CLIENT_TOOLS[kind]
        given = call_input(kind, arguments_of("".join(self._pieces)))
        item = {"type": f"{kind}_call", "call_id": call_id, tool.key: given}
        self._open(out, kind, tool.prefix, item | {"status": "in_progress"})
        self._done(out, status="completed")

    def _custom_input(self, event: ToolInputDelta, out: list[bytes]) -> None:
        if self._kind in CLIENT_TOOLS:
            self._pieces.append(event.json)
        elif text := self._custom.feed(event.json):
            self._delta(text, out)

    def _end_tool(self, event: ToolUseEnd, out: list[bytes]) -> None:
        kind = self._kind
        if event.complete and kind == "custom":
            if rest := self._custom.close():
                self._delta(rest, out)
            text = self._custom.text
            self._event(out, "response.custom_tool_call_input.done", **self._place(input=text))
            self._done(out, status="completed", input=text)
        elif event.complete and kind == "function":
            text = "".join(self._pieces)
            place = self._place(name=self._item["name"], arguments=text)
            self._event(out, "response.function_call_arguments.done", **place)
            self._done(out, status="completed", arguments=text)
        elif event.complete and kind in CLIENT_TOOLS:
            self._end_client_call(out)
        self._kind = ""
        self._pieces.clear()

    # ---- web search ------------------------------------------------------------------------

    def _search(self, event: ServerToolUse, out: list[bytes]) -> None:
        action = {"type": "search", "query": event.input.get("query", "")}
        item = {"type": "web_search_call", "status": "in_progress", "action": action}
        self._open(out, "search", "ws", item)
        self._event(out, "response.web_search_call.in_progress", **self._place())
        self._event(out, "response.web_search_call.searching", **self._place())

    def _search_result(self, event: WebSearchResult, out: list[bytes]) -> None:
        if self._kind != "search":
            return
        self._kind = ""
        if SOURCES in self._request.include:
            sources = [{"type": "url", "url": hit.url} for hit in event.hits]
            self._item["action"] = self._item["action"] | {"sources": sources}
        self._event(out, "response.web_search_call.completed", **self._place())
        self._done(out, status="failed" if event.error_code else "completed")


_RENDER: Mapping[type, Callable[[ResponsesStream, Any, list[bytes]], None]] = {
    ThinkingDelta: ResponsesStream._think,
    ThinkingEnd: ResponsesStream._finish_thinking,
    RedactedThinkingBlock: ResponsesStream._redacted,
    ToolUseStart: ResponsesStream._start_tool,
    ToolInputDelta: ResponsesStream._custom_input,
    ToolUseEnd: ResponsesStream._end_tool,
    ServerToolUse: ResponsesStream._search,
    WebSearchResult: ResponsesStream._search_result,
    Stop: ResponsesStream._stop,
    Failed: ResponsesStream._fail,
}


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def usage_object(usage: Usage, thoughts: Thoughts) -> dict[str, Any]:
    """The API's usage."""
    count = prompt_count(usage)
    return {
        "input_tokens": count,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens or 0,
            "cache_write_tokens": usage.cache_write_tokens or 0,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": thoughts.count(usage)},
        "total_tokens": count + usage.output_tokens,
    }


def response_id_of(item_id: str) -> str:
    """The response that an item came with."""
    return "resp_" + item_id.partition("_")[2][:-ITEM_ID_DIGITS]


def collect(
    events: Iterable[ReplyEvent], response_id: str, created_at: int, request: ResponsesRequest
) -> dict[str, Any]:
    """Fold a whole reply into one response: the one that its stream would end with.

    Raises:
        Exception: the error of a `Failed` event.
    """
    replied = list(events)
    last = replied[-1]
    if type(last) is Failed:
        raise last.error
    stream = ResponsesStream(response_id, created_at, request)
    stream.feed(replied)
    assert stream.response is not None, "a reply ends with Stop or Failed"  # noqa: S101
    return stream.response
