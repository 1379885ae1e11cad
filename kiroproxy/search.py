"""Web search around the relay: a search of its own, or a loop in which the model searches.

Anthropic's servers would run the search; here it is Kiro's MCP endpoint (X3). Seen from the
client both look the same: `server_tool_use` and `web_search_tool_result` blocks in place.
"""

import secrets
from collections.abc import Callable, Iterator

import gevent
import msgspec
from msgspec.structs import replace

from kiroproxy.conversation import (
    Block,
    Conversation,
    Failed,
    Message,
    ReplyEvent,
    SearchHit,
    ServerToolUse,
    Stop,
    Text,
    TextDelta,
    ToolChoice,
    ToolInputDelta,
    ToolResult,
    ToolUse,
    ToolUseEnd,
    ToolUseStart,
    Usage,
    WebSearchResult,
)
from kiroproxy.errors import KiroProxyError
from kiroproxy.kiro.websearch import MAX_ROUNDS, SEARCH_TOOL, TOOL_NAME, query_of, results_text
from kiroproxy.relay import ReplyStream
from kiroproxy.token_count import TokenTally, estimate_conversation

Search = Callable[[str], list[SearchHit]]
OpenReply = Callable[[Conversation], ReplyStream]


class _Call(msgspec.Struct):
    """The model's call of the search, put together from its fragments."""

    id: str
    parts: list[str] = msgspec.field(default_factory=list)

    @property
    def query(self) -> str:
        value = msgspec.json.decode("".join(self.parts) or "{}")
        return str(value.get("query") or "") if isinstance(value, dict) else ""


def searched(search: Search, query: str, tool_use_id: str) -> tuple[list[ReplyEvent], str]:
    """Search, and give the blocks for the client and the text for the model."""
    use = ServerToolUse(tool_use_id, TOOL_NAME, {"query": query})
    try:
        hits = search(query)
    except KiroProxyError:
        failed = WebSearchResult(tool_use_id, [], error_code="unavailable")
        return [use, failed], "The web search is unavailable."
    return [use, WebSearchResult(tool_use_id, hits)], results_text(query, hits)


def new_search_id() -> str:
    """An id as Anthropic's servers give."""
    return f"srvtoolu_{secrets.token_hex(16)}"


class SearchOnlyStream:
    """The reply to a request whose only tool is the web search: no model is asked (S58)."""

    def __init__(self, conversation: Conversation, search: Search, ping_s: float) -> None:
        self.error: Exception | None = None
        self.held = False
        self.input_tokens = estimate_conversation(conversation)
        query = query_of(conversation)
        self._work = _Background(lambda: searched(search, query, new_search_id()), ping_s)
        self._head: list[ReplyEvent] | None = [TextDelta(f"Searching the web for: {query}")]
        self._done = False

    def __iter__(self) -> Iterator[list[ReplyEvent] | None]:
        return self

    def __next__(self) -> list[ReplyEvent] | None:
        if self._done:
            raise StopIteration
        if self._head is not None:
            head, self._head = self._head, None
            return head
        if not self._work.wait():
            return None
        self._done = True
        blocks, text = self._work.result()
        tally = TokenTally()
        tally.add(text)
        usage = Usage(self.input_tokens, tally.tokens(), web_search_requests=1)
        return [*blocks, TextDelta(text), Stop("end_turn", usage)]

    def usage(self) -> Usage:
        """Nothing that Kiro bills."""
        return Usage(self.input_tokens, 0)

    def close(self) -> None:
        """Stop the search."""
        self._work.close()


class SearchLoopStream:
    """A reply in which the model may search: its searches are run and it is asked again.

    Calls of the client's own tools go to the client, and end the loop.
    """

    def __init__(
        self, conversation: Conversation, open_reply: OpenReply, search: Search, ping_s: float
    ) -> None:
        self.error: Exception | None = None
        self._open_reply = open_reply
        self._search = search
        self._ping_s = ping_s
        self._conversation = replace(conversation, tools=[*conversation.tools, SEARCH_TOOL])
        self._stream = open_reply(self._conversation)
        self.input_tokens = self._stream.input_tokens
        self._round = _Round()
        self._rounds = 0
        self._searches = 0
        self._spent = Usage(0, 0)
        self._counted = False
        """Whether that holds the present stream's use."""
        self._work: _Background | None = None
        self._stop: Stop | None = None
        self._done = False

    @property
    def held(self) -> bool:
        """Whether the client sees nothing but pings for now."""
        return self._stream.held

    @held.setter
    def held(self, value: bool) -> None:
        self._stream.held = value

    def __iter__(self) -> Iterator[list[ReplyEvent] | None]:
        return self

    def __next__(self) -> list[ReplyEvent] | None:
        while not self._done:
            if self._stop is not None:
                batch = self._search_on(self._stop)
            else:
                events = next(self._stream)
                batch = None if events is None else self._take(events)
            if batch is None or batch:
                return batch
        raise StopIteration

    def _take(self, events: list[ReplyEvent]) -> list[ReplyEvent]:
        """Pass on what is the client's; keep the calls of the search."""
        out: list[ReplyEvent] = []
        now = self._round
        for event in events:
            if type(event) is TextDelta:
                now.texts.append(event.text)
            if type(event) is ToolUseStart:
                now.open = _Call(event.id) if event.name == TOOL_NAME else None
                now.client_calls += now.open is None
            if now.open is not None:
                if type(event) is ToolInputDelta:
                    now.open.parts.append(event.json)
                elif type(event) is ToolUseEnd:
                    if event.complete:
                        now.calls.append(now.open)
                    now.open = None
                if type(event) in (ToolUseStart, ToolInputDelta, ToolUseEnd):
                    continue
            if type(event) is Stop and now.calls:
                self._stop = event
            elif type(event) is Stop:
                out.append(self._final(event))
            else:
                out.append(event)
                self._done = self._done or type(event) is Failed
        return out

    def _search_on(self, stop: Stop) -> list[ReplyEvent] | None:
        """Run the searches of this round, one at a time; then ask again, or end."""
        now = self._round
        if now.calls:
            call = now.calls[0]
            if self._work is None:
                id_ = new_search_id()
                query = call.query
                self._work = _Background(lambda: searched(self._search, query, id_), self._ping_s)
            if not self._work.wait():
                return None
            blocks, text = self._work.result()
            self._work = None
            now.calls.pop(0)
            now.answered.append((call, text))
            self._searches += 1
            return blocks
        self._spent = _sum(self._spent, stop.usage)
        self._counted = True
        if now.client_calls or stop.reason != "tool_use":
            return [self._final(Stop(stop.reason, Usage(0, 0), stop.stop_sequence))]
        return self._ask_again()

    def _ask_again(self) -> list[ReplyEvent]:
        self._rounds += 1
        held = self.held
        self._stream.close()
        self._conversation = _continued(self._conversation, self._round)
        if self._rounds >= MAX_ROUNDS:
            tools = [tool for tool in self._conversation.tools if tool.name != TOOL_NAME]
            self._conversation = replace(self._conversation, tools=tools)
        self._round = _Round()
        self._stop = None
        try:
            self._stream = self._open_reply(self._conversation)
        except KiroProxyError as error:
            self._done = True
            return [Failed(error)]
        self._counted = False
        self._stream.held = held
        return []

    def _final(self, stop: Stop) -> Stop:
        self._done = True
        usage = _sum(self._spent, stop.usage)
        usage.web_search_requests = self._searches
        reason = stop.reason
        if reason == "tool_use" and not self._round.client_calls:
            reason = "end_turn"
        return Stop(reason, usage, stop.stop_sequence)

    def usage(self) -> Usage:
        """What all rounds have come to so far."""
        return self._spent if self._counted else _sum(self._spent, self._stream.usage())

    def close(self) -> None:
        """Close upstream and stop a search."""
        if self._work is not None:
            self._work.close()
        self._stream.error = self.error
        self._stream.close()


class _Round(msgspec.Struct):
    """What one reply of the model came to."""

    texts: list[str] = msgspec.field(default_factory=list)
    calls: list[_Call] = msgspec.field(default_factory=list)
    answered: list[tuple[_Call, str]] = msgspec.field(default_factory=list)
    open: _Call | None = None
    client_calls: int = 0


def _continued(conversation: Conversation, now: _Round) -> Conversation:
    """The conversation with the model's calls and their results added."""
    said: list[Block] = [Text("".join(now.texts))] if now.texts else []
    uses: list[Block] = [
        ToolUse(call.id, TOOL_NAME, {"query": call.query}) for call, _ in now.answered
    ]
    results: list[Block] = [ToolResult(call.id, [Text(text)]) for call, text in now.answered]
    turns = [Message("assistant", said + uses), Message("user", results)]
    # a choice that was forced has been made: forcing it again would search for ever
    return replace(
        conversation, messages=[*conversation.messages, *turns], tool_choice=ToolChoice()
    )


def _sum(spent: Usage, last: Usage) -> Usage:
    """Output and credits add up; the input is that of the last call, which holds all before it."""
    return Usage(
        input_tokens=last.input_tokens or spent.input_tokens,
        output_tokens=spent.output_tokens + last.output_tokens,
        source=last.source if last.input_tokens else spent.source,
        cache_read_tokens=last.cache_read_tokens,
        cache_write_tokens=last.cache_write_tokens,
        credits=spent.credits + last.credits,
    )


class _Background:
    """Work in a greenlet of its own, so that its waiter can send pings meanwhile."""

    def __init__(self, work: Callable[[], tuple[list[ReplyEvent], str]], ping_s: float) -> None:
        self._greenlet = gevent.spawn(work)
        self._ping_s = ping_s

    def wait(self) -> bool:
        """Wait until the work is done, but not longer than a ping interval."""
        self._greenlet.join(self._ping_s)
        return bool(self._greenlet.ready())

    def result(self) -> tuple[list[ReplyEvent], str]:
        """What it came to."""
        value: tuple[list[ReplyEvent], str] = self._greenlet.get()
        return value

    def close(self) -> None:
        """End it."""
        self._greenlet.kill(block=False)
