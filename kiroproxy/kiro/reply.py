"""Kiro's events → the neutral reply: blocks, stop reason, usage and truncation, decided once.

`feed` takes the events of one read and returns what they mean; `close` ends the reply by the table
of design 4. A reply ends with exactly one `Stop` or one `Failed`.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from kiroproxy.conversation import (
    Failed,
    RedactedThinkingBlock,
    ReplyEvent,
    Stop,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ThinkingEnd,
    ToolInputDelta,
    ToolUseEnd,
    ToolUseStart,
    Usage,
)
from kiroproxy.errors import ContextTooLong, EmptyReply
from kiroproxy.kiro import events as kiro
from kiroproxy.kiro.errors import error_from_exception, is_length_exception
from kiroproxy.kiro.stop import StopScanner
from kiroproxy.kiro.surrogates import Rejoiner
from kiroproxy.kiro.thinking import ThinkingSplitter
from kiroproxy.token_count import TokenTally

SETTLE_AFTER_BOTH_S = 0.25
"""After metering and contextUsage nothing more is expected (design 4)."""
SETTLE_AFTER_METERING_S = 5.0
"""After metering alone: upstream often leaves the connection open (protocol notes 4.2)."""
FILTERED = frozenset({"content_filtered", "guardrail_intervened"})
LENGTH = frozenset({"max_tokens"})
WINDOW_FULL = frozenset({"model_context_window_exceeded"})
"""Stop reasons of `metadataEvent`, in lower case: those of Amazon Bedrock, which answers behind
Kiro. Others say nothing that the table of design 4 does not know better."""


class Expectations(msgspec.Struct):
    """What a reply has to know of its request."""

    thinking: bool = False
    stop_sequences: list[str] = msgspec.field(default_factory=list)
    client_names: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Kiro's tool name → the client's, where they differ."""
    needs_input: frozenset[str] = frozenset()
    """The client's names of tools with required parameters: a call without input was cut."""
    parallel_tools: bool = True
    input_tokens: int = 1
    """Our estimate."""
    context_window: int = 200_000
    complete_without_trailer: bool = False
    """`untrailedEnd: "complete"`."""


class _Call(msgspec.Struct):
    """A tool call in progress."""

    id: str
    name: str
    parts: list[str] = msgspec.field(default_factory=list)
    stopped: bool = False
    rejoiner: Rejoiner = msgspec.field(default_factory=Rejoiner)
    passed_on: int = 0
    """How many of `parts` the client has."""


class Reply:
    """The state machine of one reply.

    `done` says that nothing more is to be read; `settle_s` how long to wait for stragglers;
    `passed_over` counts events that had nothing for the client, by their types.
    """

    def __init__(self, expectations: Expectations) -> None:
        self.done = False
        self.last: Stop | Failed | None = None
        """How it ended."""
        self.input_tokens = expectations.input_tokens
        self.passed_over: Counter[str] = Counter()
        self.settle_s: float | None = None
        self._expect = expectations
        self._splitter = ThinkingSplitter() if expectations.thinking else None
        self._stops = StopScanner(expectations.stop_sequences)
        self._scan = bool(expectations.stop_sequences)
        self._rejoin_text = Rejoiner()
        self._rejoin_thought = Rejoiner()
        self._tally = TokenTally()
        self._begun = False
        """Something of the answer has been passed on."""
        self._said = False
        """Text or a tool call, as opposed to thoughts alone."""
        self._thinking_open = False
        self._native_thinking: bool | None = None
        """Who thinks in this reply: reasoning events (True) or tags (False), never both."""
        self._signature = ""
        self._calls: dict[str, _Call] = {}
        """Calls that the client has not whole, in order; the first one is the open block."""
        self._last_call = ""
        self._whole_calls = 0
        self._cut = ""
        """Why the answer is not whole: `tool_call`, or `no_answer` behind thoughts."""
        self._length_exceeded = False
        """Upstream said so itself."""
        self.truncated = False
        """The client is told `max_tokens` since the end is missing, not by upstream's word."""
        self._filtered = False
        self._window_full = False
        self._ended_calls: dict[str, str] = {}
        """Ids of ended calls → their names."""
        self._ids_again: dict[str, str] = {}
        """An id that upstream gave to one more call → that call's id for the client."""
        self._held: list[kiro.KiroEvent] = []
        """Text and thoughts that came inside a tool call: they follow it."""
        self._metering: float | None = None
        self._context: float | None = None
        self._metadata = False
        self._tokens: kiro.TokenUsage | None = None

    # ---- events in -------------------------------------------------------------------------

    def feed(self, events: list[kiro.KiroEvent]) -> list[ReplyEvent]:
        """Take the events of one read."""
        out: list[ReplyEvent] = []
        for event in events:
            if self.done:
                break
            if type(event) is kiro.AssistantResponse:
                if self._metering is not None and event.content:
                    self._go_on()
                if self._calls:
                    self._held.append(event)
                elif event.content:
                    self._text(event.content, out)
            else:
                _HANDLERS[type(event)](self, event, out)
        return out

    def fail(self, error: Exception) -> list[ReplyEvent]:
        """The stream broke: whatever was held back is passed on, then the error."""
        out: list[ReplyEvent] = []
        if not self.done:
            self._fail(error, out)
        return out

    def close(self) -> list[ReplyEvent]:
        """The body ended cleanly, or nothing more is awaited."""
        out: list[ReplyEvent] = []
        if self.done:
            return out
        self._end_calls(out)  # first: what came inside them may be held back again
        self._end_text(out, last=True)
        if self.done:  # a stop sequence in what was held back
            return out
        if not self._begun and not self._filtered:
            error = self._too_long() if self._full else EmptyReply("Kiro sent an empty answer")
            self._finish(Failed(error), out)
            return out
        if not self._said and not self._filtered:
            out.append(TextDelta(" "))  # S50: clients choke on an answer of thoughts alone
            self._cut = self._cut or "no_answer"
        self._stop(out)
        return out

    # ---- text and thoughts -----------------------------------------------------------------

    def _text(self, text: str, out: list[ReplyEvent]) -> None:
        if not text.isascii() or self._rejoin_text.held:
            text = self._rejoin_text.feed(text)
            if not text:
                return
        if self._splitter is None:
            self._say(text, out)
        else:
            pieces: list[ReplyEvent] = []
            self._splitter.feed(text, pieces)
            self._pass(pieces, out)

    def _pass(self, pieces: list[ReplyEvent], out: list[ReplyEvent]) -> None:
        """Pass on what the splitter made of the text."""
        for piece in pieces:
            if self.done:
                return
            if type(piece) is TextDelta:
                self._say(piece.text, out)
            elif type(piece) is ThinkingDelta and self._native_thinking is not True:
                self._native_thinking = False
                self._think(piece.text, out)

    def _say(self, text: str, out: list[ReplyEvent]) -> None:
        if self._scan:
            text = self._stops.feed(text)
        if text:
            if self._thinking_open:
                self._close_thinking(out)
            self._begun = self._said = True
            self._tally.add(text)
            out.append(TextDelta(text))
        if self._stops.matched is not None:
            self._stop(out)

    def _think(self, text: str, out: list[ReplyEvent]) -> None:
        self._begun = self._thinking_open = True
        self._tally.add(text)
        out.append(ThinkingDelta(text))

    def _close_thinking(self, out: list[ReplyEvent]) -> None:
        if self._thinking_open:
            if half := self._rejoin_thought.close():
                self._think(half, out)
            self._thinking_open = False
            out.append(ThinkingEnd(self._signature))
            self._signature = ""

    def _end_text(self, out: list[ReplyEvent], *, last: bool) -> None:
        """The text ends for now: hold nothing back."""
        half = self._rejoin_text.close()
        if half:
            self._text(half, out)
        self._flush(out, last=last)
        self._close_thinking(out)

    def _flush(self, out: list[ReplyEvent], *, last: bool) -> None:
        """Pass on what splitter and scanner hold back."""
        if self._splitter is not None:
            pieces: list[ReplyEvent] = []
            (self._splitter.close if last else self._splitter.flush)(pieces)
            self._pass(pieces, out)
        if self._scan and (rest := self._stops.flush()):
            self._close_thinking(out)
            self._begun = self._said = True
            self._tally.add(rest)
            out.append(TextDelta(rest))

    def _on_reasoning(self, event: kiro.ReasoningContent, out: list[ReplyEvent]) -> None:
        if self._metering is not None:
            self._go_on()
        if self._calls:
            self._held.append(event)
            return
        if not self._expect.thinking or self._native_thinking is False:
            self._begun = True
            return
        if event.text:
            self._native_thinking = True
        if self._splitter is None or not self._splitter.thinking:
            self._flush(out, last=False)  # text in front of the thought stays there
        if not self.done:
            self._reason(event, out)

    def _reason(self, event: kiro.ReasoningContent, out: list[ReplyEvent]) -> None:
        if event.redacted_content:
            self._close_thinking(out)
            self._begun = True
            out.append(RedactedThinkingBlock(event.redacted_content))
        if event.text:
            if self._signature:  # it belongs to the block before
                self._close_thinking(out)
            if text := self._rejoin_thought.feed(event.text):
                self._think(text, out)
        if event.signature:
            if not self._thinking_open and not self._said:
                self._think("", out)  # thoughts that upstream keeps to itself
            if self._thinking_open:
                self._signature += event.signature

    # ---- tools -----------------------------------------------------------------------------

    def _on_tool(self, event: kiro.ToolUseEvent, out: list[ReplyEvent]) -> None:
        key = self._ids_again.get(event.tool_use_id or "", event.tool_use_id) or self._last_call
        if not key or (not event.tool_use_id and event.name and key in self._ended_calls):
            key = f"tooluse_unnamed_{len(self._ended_calls)}"
        fragment = _fragment(event.input)
        name = event.name or ""
        if (ended := self._ended_calls.get(key)) is not None:
            if not fragment:
                return  # a stray repetition of its stop
            key = self._ids_again[event.tool_use_id or key] = f"{key}_{len(self._ended_calls)}"
            name = name or ended
        call = self._calls.get(key) or self._new_call(key, name, out)
        if self.done:
            return
        if fragment:
            fragment = call.rejoiner.feed(fragment)
        if fragment:
            call.parts.append(fragment)
        if event.stop:
            call.stopped = True
        self._advance(out)
        if self._metering is not None:
            self._go_on()

    def _new_call(self, key: str, name: str, out: list[ReplyEvent]) -> _Call:
        call = _Call(
            id=key,
            name=self._expect.client_names.get(name, name),
        )
        if not self._calls:
            self._end_text(out, last=False)
            if self.done:
                return call
        self._calls[key] = call
        self._last_call = key
        self._begun = self._said = True
        if len(self._calls) == 1:
            self._open(call, out)
        return call

    @property
    def _shown(self) -> bool:
        """Whether the open call goes to the client: not a second one if it asked for one only."""
        return self._expect.parallel_tools or not self._whole_calls

    def _open(self, call: _Call, out: list[ReplyEvent]) -> None:
        if self._shown:
            out.append(ToolUseStart(call.id, call.name))

    def _advance(self, out: list[ReplyEvent]) -> None:
        """Pass on what the open call has; when it is whole, go on with the next."""
        while self._calls:
            call = next(iter(self._calls.values()))
            if self._shown:
                for part in call.parts[call.passed_on :]:
                    self._tally.add(part)
                    out.append(ToolInputDelta(part))
            call.passed_on = len(call.parts)
            if not call.stopped:
                return
            self._end_call(out)
        self._release(out)

    def _end_call(self, out: list[ReplyEvent]) -> None:
        """End the open call, whole or cut, and open the next."""
        key, call = next(iter(self._calls.items()))
        text = "".join(call.parts)
        if text.strip():
            whole = call.stopped and _is_object(text)
        else:
            whole = call.stopped and call.name not in self._expect.needs_input
            if whole and self._shown:
                out.append(ToolInputDelta("{}"))
        if self._shown:
            out.append(ToolUseEnd(whole))
            self._cut = self._cut if whole else "tool_call"
            self._whole_calls += whole
        del self._calls[key]
        self._ended_calls[key] = call.name
        if self._calls:
            self._open(next(iter(self._calls.values())), out)

    def _end_calls(self, out: list[ReplyEvent]) -> None:
        """No more will come: the open call was cut; whole ones behind it are passed on."""
        while self._calls:
            self._end_call(out)
            self._advance(out)
        self._release(out)

    def _release(self, out: list[ReplyEvent]) -> None:
        held, self._held = self._held, []
        out.extend(self.feed(held))

    # ---- the end ---------------------------------------------------------------------------

    def _on_context(self, event: kiro.ContextUsage, out: list[ReplyEvent]) -> None:
        if event.context_usage_percentage is not None:
            self._context = event.context_usage_percentage
            self._settle()

    def _on_metering(self, event: kiro.Metering, out: list[ReplyEvent]) -> None:
        self._metering = (self._metering or 0.0) + (event.usage or 0.0)
        self._settle()

    def _settle(self) -> None:
        if self._metering is not None:
            both = self._context is not None
            self.settle_s = SETTLE_AFTER_BOTH_S if both else SETTLE_AFTER_METERING_S

    def _go_on(self) -> None:
        """More of the answer behind its trailers: the next pause is no proof of its end."""
        self.settle_s = None if self._calls else SETTLE_AFTER_METERING_S

    def _on_metadata(self, event: kiro.Metadata, out: list[ReplyEvent]) -> None:
        self._metadata = True
        if event.tokenUsage is not None:
            self._tokens = event.tokenUsage
        reason = (event.stopReason or event.stop_reason or "").lower()
        self._filtered = self._filtered or reason in FILTERED
        self._length_exceeded = self._length_exceeded or reason in LENGTH
        self._window_full = self._window_full or reason in WINDOW_FULL

    def _on_exception(self, event: kiro.UpstreamException, out: list[ReplyEvent]) -> None:
        if is_length_exception(event):
            if not self._calls:
                self._end_text(out, last=True)  # what is held back may be all there is
            if self._begun:
                self._length_exceeded = True
                out.extend(self.close())
                return
        self._fail(self._translate(event), out)

    def _translate(self, event: kiro.UpstreamException) -> Exception:
        error = error_from_exception(event)
        return self._too_long() if isinstance(error, ContextTooLong) else error

    def _too_long(self) -> ContextTooLong:
        return ContextTooLong(self._expect.input_tokens, self._expect.context_window)

    def _on_undecodable(self, event: kiro.Undecodable, out: list[ReplyEvent]) -> None:
        self._fail(event.error, out)

    def _on_unknown(self, event: kiro.Unknown, out: list[ReplyEvent]) -> None:
        """Nothing for the client; the relay counts them."""
        self.passed_over[event.type] += 1

    def _fail(self, error: Exception, out: list[ReplyEvent]) -> None:
        if not self._calls:  # a cut call stays open: its block never ends
            self._end_text(out, last=True)
        if not self.done:
            self._finish(Failed(error), out)

    @property
    def _full(self) -> bool:
        return self._window_full or (self._context is not None and self._context >= 100)

    def _stop_reason(self) -> StopReason:
        """By the table and the order of design 4; what upstream said goes before what we infer."""
        trailer = self._metadata or self._metering is not None or self._context is not None
        matched = self._stops.matched is not None  # then we ended it ourselves
        untrailed = not (trailer or matched or self._expect.complete_without_trailer)
        rules: tuple[tuple[bool | int, StopReason], ...] = (
            (self._length_exceeded, "max_tokens"),
            (self._full, "model_context_window_exceeded"),
            (self._filtered, "refusal"),
            (bool(self._cut) or untrailed, "max_tokens"),
            (matched, "stop_sequence"),
            (self._whole_calls, "tool_use"),
        )
        return next((reason for applies, reason in rules if applies), "end_turn")

    def _stop(self, out: list[ReplyEvent]) -> None:
        reason = self._stop_reason()
        self.truncated = reason == "max_tokens" and not self._length_exceeded
        self._close_thinking(out)
        matched = self._stops.matched if reason == "stop_sequence" else None
        self._finish(Stop(reason, self.usage(), matched), out)

    def _finish(self, last: Stop | Failed, out: list[ReplyEvent]) -> None:
        self.done = True
        self.last = last
        out.append(last)

    @property
    def truncation(self) -> str:
        """Why it ended as cut though Kiro had not said so; `no_trailer` if it just ended."""
        cut = type(self.last) is Stop and self.last.reason == "max_tokens"
        return (self._cut or "no_trailer") if cut and not self._length_exceeded else ""

    @property
    def counted_input(self) -> int | None:
        """The input alone as upstream counted it; its percentage holds the answer too."""
        if self._context is None:
            return None
        whole = int(self._context * self._expect.context_window / 100)
        return whole - self._tally.tokens()

    def usage(self) -> Usage:
        """Upstream's token counts where they came, else the context percentage, else our own."""
        estimate = self._tally.tokens()
        credits = self._metering or 0.0
        tokens = self._tokens
        if tokens is not None and tokens.uncached_input_tokens is not None:
            return Usage(
                input_tokens=tokens.uncached_input_tokens,
                output_tokens=estimate if tokens.output_tokens is None else tokens.output_tokens,
                source="upstream",
                cache_read_tokens=tokens.cache_read_input_tokens,
                cache_write_tokens=tokens.cache_write_input_tokens,
                credits=credits,
            )
        if self._context and self._context > 0:
            counted = int(self._context * self._expect.context_window / 100)
            return Usage(counted, estimate, source="context", credits=credits)
        return Usage(self._expect.input_tokens, estimate, credits=credits)


_HANDLERS: dict[type, Callable[[Reply, Any, list[ReplyEvent]], None]] = {
    kiro.ToolUseEvent: Reply._on_tool,
    kiro.ReasoningContent: Reply._on_reasoning,
    kiro.ContextUsage: Reply._on_context,
    kiro.Metering: Reply._on_metering,
    kiro.Metadata: Reply._on_metadata,
    kiro.UpstreamException: Reply._on_exception,
    kiro.Undecodable: Reply._on_undecodable,
    kiro.Unknown: Reply._on_unknown,
}


def _fragment(value: str | dict[str, Any] | None) -> str:
    """Upstream sends JSON text in pieces; now and then a whole object, or an empty one first."""
    if not value:
        return ""
    if isinstance(value, str):
        return value
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # half a surrogate pair, which the rejoiner repairs
        return json.dumps(value, ensure_ascii=False)


def _is_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
