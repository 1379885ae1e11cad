"""The neutral vocabulary between the client dialects and Kiro, after Anthropic's content blocks.

Going up, a client's request becomes a `Conversation`. Coming down, Kiro's events become
`ReplyEvent`s. This module holds values only: no IO, no decisions.
"""

from typing import Any, Literal

import msgspec

Json = Any
"""A decoded JSON value."""

# ---- going up ------------------------------------------------------------------------------


class Text(msgspec.Struct):
    """Plain text of a turn."""

    text: str


class Image(msgspec.Struct):
    """An image as base64 text, or as a URL to be fetched; `where` names its place for errors."""

    data: str
    where: str = ""
    url: str = ""


class Thinking(msgspec.Struct):
    """Reasoning of an earlier assistant turn; `signature` is empty where the client had none."""

    text: str
    signature: str = ""


class RedactedThinking(msgspec.Struct):
    """Encrypted reasoning of an earlier turn, base64."""

    data: str


class ToolUse(msgspec.Struct):
    """A tool call of an earlier assistant turn."""

    id: str
    name: str
    input: dict[str, Json]


class ToolResult(msgspec.Struct):
    """What the client's tool answered."""

    tool_use_id: str
    content: list["Text | Image"]
    is_error: bool = False


Block = Text | Image | Thinking | RedactedThinking | ToolUse | ToolResult


class Message(msgspec.Struct):
    """One turn. `system` turns stand in place: they refer to what comes before them."""

    role: Literal["user", "assistant", "system"]
    content: list[Block]


class Tool(msgspec.Struct):
    """A tool that the model may call; `input_schema` is JSON Schema as the client sent it."""

    name: str
    description: str
    input_schema: Json


class ToolChoice(msgspec.Struct):
    """Which tools may or must be called; Kiro has no such field, it is emulated."""

    kind: Literal["auto", "any", "tool", "none"] = "auto"
    name: str = ""
    parallel: bool = True


class ThinkingMode(msgspec.Struct):
    """How much the model shall think. `budget_tokens` is 0 where the client named none."""

    kind: Literal["disabled", "enabled", "adaptive"] = "disabled"
    budget_tokens: int = 0
    effort: str = ""


class Conversation(msgspec.Struct):
    """A whole request, whichever API it came through."""

    model: str
    messages: list[Message]
    system: list[str] = msgspec.field(default_factory=list)
    tools: list[Tool] = msgspec.field(default_factory=list)
    tool_choice: ToolChoice = msgspec.field(default_factory=ToolChoice)
    thinking: ThinkingMode = msgspec.field(default_factory=ThinkingMode)
    max_tokens: int = 0
    stop_sequences: list[str] = msgspec.field(default_factory=list)
    stream: bool = False
    session: str = ""
    json_schema: Json = None
    web_search: bool = False
    left_out: bool = False
    """Whether the client offered tools, beside the search, that nobody here can run."""


# ---- coming down ---------------------------------------------------------------------------
# msgspec structs without garbage-collector tracking: made and read in 42 ns (style.md).


class TextDelta(msgspec.Struct, gc=False):
    """More text of the answer."""

    text: str


class ThinkingDelta(msgspec.Struct, gc=False):
    """More reasoning."""

    text: str


class ThinkingEnd(msgspec.Struct, gc=False):
    """The reasoning block is whole; `signature` is empty where upstream gave none."""

    signature: str = ""


class RedactedThinkingBlock(msgspec.Struct, gc=False):
    """A whole block of encrypted reasoning, base64."""

    data: str


class ToolUseStart(msgspec.Struct, gc=False):
    """The model begins a tool call; its input follows as fragments of one JSON text."""

    id: str
    name: str


class ToolInputDelta(msgspec.Struct, gc=False):
    """A fragment of the open call's JSON input, passed on as the text it is."""

    json: str


class ToolUseEnd(msgspec.Struct, gc=False):
    """The open call ends. Not `complete`: it was cut, and must never be executed."""

    complete: bool


class ServerToolUse(msgspec.Struct):
    """A call that we answer ourselves, as Anthropic's servers would."""

    id: str
    name: str
    input: dict[str, Any]


class SearchHit(msgspec.Struct):
    """One result of a web search; `page_age` in words, such as `January 5, 2026`."""

    title: str
    url: str
    snippet: str
    page_age: str | None = None


class WebSearchResult(msgspec.Struct):
    """The results of a `ServerToolUse`, or why there are none."""

    tool_use_id: str
    hits: list[SearchHit]
    error_code: str = ""


class Usage(msgspec.Struct, gc=False):
    """Token counts of the exchange; `source` says who counted."""

    input_tokens: int
    output_tokens: int
    source: Literal["upstream", "context", "estimate"] = "estimate"
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    credits: float = 0.0
    web_search_requests: int = 0


StopReason = Literal[
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "refusal",
    "model_context_window_exceeded",
]


class Stop(msgspec.Struct, gc=False):
    """The answer is over and was passed on whole, as far as `reason` says."""

    reason: StopReason
    usage: Usage
    stop_sequence: str | None = None


class Failed(msgspec.Struct):
    """The answer broke off. Always the last event; a dialect turns it into its error event."""

    error: Exception


ReplyEvent = (
    TextDelta
    | ThinkingDelta
    | ThinkingEnd
    | RedactedThinkingBlock
    | ToolUseStart
    | ToolInputDelta
    | ToolUseEnd
    | ServerToolUse
    | WebSearchResult
    | Stop
    | Failed
)
