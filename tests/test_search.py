"""The search loop on scripted replies: what goes to the client, what goes up again."""

from typing import Any

import pytest

from kiroproxy.conversation import (
    Conversation,
    Failed,
    Message,
    ReplyEvent,
    SearchHit,
    ServerToolUse,
    Stop,
    Text,
    TextDelta,
    Tool,
    ToolChoice,
    ToolInputDelta,
    ToolResult,
    ToolUse,
    ToolUseEnd,
    ToolUseStart,
    Usage,
    WebSearchResult,
)
from kiroproxy.errors import NoCredential, ServerFault
from kiroproxy.search import SearchLoopStream, SearchOnlyStream

HITS = [SearchHit("T", "https://x.example", "s")]
ASKED = Conversation(
    "m",
    [Message("user", [Text("news?")])],
    tools=[Tool("t", "", {})],
    tool_choice=ToolChoice("any"),
)


class Scripted:
    """A reply that was written down; None is a silence."""

    input_tokens = 10

    def __init__(self, *batches: list[ReplyEvent] | None) -> None:
        self.error: Exception | None = None
        self.held = False
        self.closed = 0
        self._batches = list(batches)

    def __iter__(self) -> "Scripted":
        return self

    def __next__(self) -> list[ReplyEvent] | None:
        if not self._batches:
            raise StopIteration
        return self._batches.pop(0)

    def close(self) -> None:
        self.closed += 1


def call(name: str, query: str = "q", *, complete: bool = True) -> list[ReplyEvent]:
    text = f'{{"query":"{query}"}}'
    parts = [ToolInputDelta(text[:5]), ToolInputDelta(text[5:])]
    return [ToolUseStart("id-" + query, name), *parts, ToolUseEnd(complete)]


def stop(reason: Any = "tool_use") -> list[ReplyEvent]:
    return [Stop(reason, Usage(5, 2, credits=0.5))]


class Loop:
    """A loop over scripted replies; keeps what was asked."""

    def __init__(self, *replies: Any, search: Any = lambda query: HITS) -> None:
        self.asked: list[Conversation] = []
        self.replies = list(replies)
        self._left = list(replies)
        self.stream = SearchLoopStream(ASKED, self._open, search, ping_s=0.05)

    def _open(self, conversation: Conversation) -> Any:
        self.asked.append(conversation)
        reply = self._left.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def run(self) -> list[ReplyEvent]:
        return [event for batch in self.stream if batch for event in batch]


def test_search_is_offered_beside_the_clients_tools() -> None:
    loop = Loop(Scripted([TextDelta("no need")], stop("end_turn")))
    assert [tool.name for tool in ASKED.tools] == ["t"], "the client's request stays as it is"
    assert [tool.name for tool in loop.stream._conversation.tools] == ["t", "web_search"]
    events = loop.run()
    assert [type(event) for event in events] == [TextDelta, Stop]
    assert isinstance(events[-1], Stop)
    assert events[-1].usage.web_search_requests == 0


def test_one_search_and_on() -> None:
    first = Scripted([TextDelta("I look. ")], None, call("web_search"), stop())
    loop = Loop(first, Scripted([TextDelta("News.")], stop("end_turn")))
    events = loop.run()
    assert [type(e) for e in events] == [TextDelta, ServerToolUse, WebSearchResult, TextDelta, Stop]
    last = events[-1]
    assert isinstance(last, Stop)
    assert last.usage == Usage(5, 4, credits=1.0, web_search_requests=1)
    assert first.closed == 1
    again = loop.asked[1]
    assert again.tool_choice == ToolChoice(), "a forced choice is not forced again"
    assert again.messages[1:] == [
        Message("assistant", [Text("I look. "), ToolUse("id-q", "web_search", {"query": "q"})]),
        Message(
            "user",
            [
                ToolResult(
                    "id-q",
                    [Text("Web search results for: q\n\n1. T\n   https://x.example\n   s")],
                )
            ],
        ),
    ]


def test_client_calls_end_the_loop_after_the_search() -> None:
    loop = Loop(Scripted([*call("web_search"), *call("t", "mine")], stop()))
    kinds = [type(event) for event in loop.run()]
    assert kinds == [
        ToolUseStart,
        ToolInputDelta,
        ToolInputDelta,
        ToolUseEnd,
        ServerToolUse,
        WebSearchResult,
        Stop,
    ]
    assert len(loop.asked) == 1


def test_cut_call_is_no_search() -> None:
    loop = Loop(Scripted([*call("web_search", complete=False), *stop("max_tokens")]))
    [last] = loop.run()
    assert isinstance(last, Stop)
    assert last.reason == "max_tokens"


def test_failed_search_is_told_to_client_and_model() -> None:
    def search(query: str) -> list[SearchHit]:
        raise ServerFault("down")

    loop = Loop(
        Scripted([*call("web_search"), *stop()]),
        Scripted([TextDelta("x"), *stop("end_turn")]),
        search=search,
    )
    events = loop.run()
    assert isinstance(events[1], WebSearchResult)
    assert events[1].error_code == "unavailable"
    [result] = loop.asked[1].messages[-1].content
    assert isinstance(result, ToolResult)
    assert result.content == [Text("The web search is unavailable.")]


@pytest.mark.parametrize("way", ["opening", "inside"])
def test_broken_second_round_ends_in_its_error(way: str) -> None:
    error = NoCredential("none")
    second: Any = error if way == "opening" else Scripted([TextDelta("x"), Failed(error)])
    last = Loop(Scripted([*call("web_search"), *stop()]), second).run()[-1]
    assert isinstance(last, Failed)
    assert last.error is error


def test_slow_search_gives_silences() -> None:
    import gevent

    def search(query: str) -> list[SearchHit]:
        gevent.sleep(0.2)
        return HITS

    loop = Loop(
        Scripted([*call("web_search"), *stop()]),
        Scripted([TextDelta("x"), *stop("end_turn")]),
        search=search,
    )
    assert list(loop.stream).count(None) >= 2


def test_search_alone() -> None:
    asked = Conversation("m", [Message("user", [Text("kiro")])], web_search=True)
    stream = SearchOnlyStream(asked, lambda query: HITS, ping_s=1)
    events = [event for batch in stream if batch for event in batch]
    assert [type(e) for e in events] == [TextDelta, ServerToolUse, WebSearchResult, TextDelta, Stop]
    stream.close()
    stream.close()
