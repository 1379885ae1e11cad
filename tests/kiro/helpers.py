"""Kiro's events for tests: short ways to write them, to run a reply, and to make up any of them."""

from collections.abc import Iterable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from kiroproxy.conversation import (
    Failed,
    ReplyEvent,
    Stop,
    TextDelta,
    ThinkingDelta,
    ToolInputDelta,
)
from kiroproxy.errors import BadPayload
from kiroproxy.kiro import events as kiro
from kiroproxy.kiro.reply import Expectations, Reply

thorough = settings(deadline=None, max_examples=300)

METERING = kiro.Metering(usage=0.01)
CONTEXT = kiro.ContextUsage(context_usage_percentage=3.5)
TRAILERS: list[kiro.KiroEvent] = [CONTEXT, METERING]
TOO_LONG = kiro.UpstreamException("ContentLengthExceededException")
THROTTLED = kiro.UpstreamException("ThrottlingException", "slow down")
FILTERED = kiro.Metadata(stopReason="CONTENT_FILTERED")
FULL = kiro.ContextUsage(context_usage_percentage=100.0)


def text(content: str) -> kiro.KiroEvent:
    return kiro.AssistantResponse(content=content)


def thought(content: str = "", **more: str) -> kiro.KiroEvent:
    return kiro.ReasoningContent(text=content, **more)


def tool(id_: str, name: str = "", piece: Any = None, *, stop: bool = False) -> kiro.KiroEvent:
    return kiro.ToolUseEvent(tool_use_id=id_, name=name, input=piece, stop=stop)


def call(id_: str, name: str, *pieces: str, stop: bool = True) -> list[kiro.KiroEvent]:
    """A whole tool call, as upstream sends it: opening, fragments, stop."""
    events = [tool(id_, name), *(tool(id_, name, piece) for piece in pieces)]
    return [*events, tool(id_, name, stop=True)] if stop else events


def run(events: Iterable[kiro.KiroEvent], **expectations: Any) -> list[ReplyEvent]:
    """A reply of these events, whose body ended cleanly."""
    reply = Reply(Expectations(**expectations))
    return reply.feed(list(events)) + reply.close()


def merged(events: Iterable[ReplyEvent]) -> list[Any]:
    """The events with adjacent deltas of one kind joined; a Stop without its usage."""
    out: list[Any] = []
    for event in events:
        match event:
            case TextDelta(text=piece) | ThinkingDelta(text=piece) | ToolInputDelta(json=piece):
                if out and isinstance(out[-1], tuple) and out[-1][0] is type(event):
                    out[-1] = (type(event), out[-1][1] + piece)
                else:
                    out.append((type(event), piece))
            case Stop():
                out.append((Stop, event.reason, event.stop_sequence))
            case Failed():
                out.append((Failed, type(event.error)))
            case _:
                out.append(event)
    return out


def ending(events: list[ReplyEvent]) -> str:
    """The stop reason, or the error's class."""
    last = events[-1]
    if isinstance(last, Stop):
        return last.reason
    assert isinstance(last, Failed)
    return type(last.error).__name__


PIECES = st.sampled_from(
    [
        "<thinking>",
        "</thinking>",
        "<think",
        "ing>",
        "</",
        "\n",
        "\n\n",
        " ",
        "`",
        '"',
        "<",
        ">",
        "a",
        "b",
        "word ",
        ".",
        "STOP",
        "ST",
        "OP",
        "é",
        "你",
        "🧪",
        "\ud83e",
        "\uddea",
        "",
    ]
)
ASCII_PIECES = st.sampled_from(
    ["<thinking>", "</thinking>", "</thinking>\n\n", "\n", "\n\n", " ", "`", '"', "<", "a", "x."]
)
JSON_PIECES = st.sampled_from(
    [
        "{",
        "}",
        "{}",
        '{"a":',
        "1}",
        '"x',
        '"}',
        " ",
        '{"a":1}',
        '{"a":"\ud83d',
        '\ude00"}',
        {},
        {"a": 1},
        {"a": "\ud800"},
        None,
        "",
    ]
)
IDS = st.sampled_from(["t1", "t2", "t3", ""])

TEXTS = st.builds(text, PIECES)
THOUGHTS = st.builds(
    kiro.ReasoningContent,
    text=PIECES,
    signature=st.sampled_from(["", "", "c2ln"]),
    redacted_content=st.sampled_from(["", "", "cmVk"]),
)
TOOLS = st.builds(
    kiro.ToolUseEvent,
    tool_use_id=IDS,
    name=st.sampled_from(["read", "write", ""]),
    input=JSON_PIECES,
    stop=st.booleans(),
)
TRAILING = st.sampled_from(
    [
        METERING,
        CONTEXT,
        FULL,
        FILTERED,
        kiro.Metadata(),
        kiro.Unknown("codeEvent"),
        kiro.ContextUsage(),
        kiro.Metering(),
        kiro.ContextUsage(context_usage_percentage=-1.0),
        kiro.Metadata(tokenUsage=kiro.TokenUsage(uncached_input_tokens=7, output_tokens=3)),
    ]
)
FAULTS = st.sampled_from(
    [TOO_LONG, THROTTLED, kiro.Undecodable(BadPayload("x")), kiro.UpstreamException("error")]
)
EVENTS = st.lists(
    st.one_of(TEXTS, TEXTS, TEXTS, THOUGHTS, TOOLS, TOOLS, TRAILING, FAULTS | TRAILING), max_size=14
)
EXPECTATIONS = st.builds(
    dict,
    thinking=st.booleans(),
    stop_sequences=st.sampled_from([[], [], ["STOP"], ["\n\n", "aST"]]),
    client_names=st.sampled_from([{}, {"read": "Read file"}]),
    needs_input=st.sampled_from([frozenset(), frozenset({"write"})]),
    parallel_tools=st.booleans(),
    complete_without_trailer=st.booleans(),
)
