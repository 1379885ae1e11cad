"""MCP search bodies ⇄ conversation (pure).

Source: protocol notes 7; S58.
"""

import json
import random
import string
from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from kiroproxy.conversation import (
    Block,
    Conversation,
    Message,
    SearchHit,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from kiroproxy.errors import ServerFault

TOOL_NAME = "web_search"
HELPER_PREFIX = "Perform a web search for the query: "
"""How Claude Code's search helper begins its only message."""
MAX_ROUNDS = 5
"""X3."""
SNIPPET_WORDS = 60
"""Where a result does not say how much of it may be quoted."""
_ALNUM = string.ascii_letters + string.digits
_LOWER = string.ascii_lowercase + string.digits

SEARCH_TOOL = Tool(
    TOOL_NAME,
    "Search the web. Gives titles, addresses and snippets of pages that fit the query.",
    {
        "type": "object",
        "properties": {"query": {"type": "string", "description": "What to search for"}},
        "required": ["query"],
    },
)


def search_request(query: str, now: datetime, chance: random.Random) -> dict[str, Any]:
    """The JSON-RPC call; its id has the form that Kiro's own client uses."""
    long = "".join(chance.choices(_ALNUM, k=22))
    short = "".join(chance.choices(_LOWER, k=8))
    return {
        "id": f"web_search_tooluse_{long}_{int(now.timestamp() * 1000)}_{short}",
        "jsonrpc": "2.0",
        "method": "tools/call",
        "params": {"name": TOOL_NAME, "arguments": {"query": query}},
    }


def parse_search(body: bytes) -> list[SearchHit]:
    """The results in an answer of `/mcp`.

    Raises:
        ServerFault: it is an error, or no search result.
    """
    try:
        answer = json.loads(body)
        result = answer["result"]
        if result.get("isError"):
            raise ServerFault("Kiro's web search failed.")
        text = next(part["text"] for part in result["content"] if part.get("type") == "text")
        found = json.loads(text).get("results") or []
        return [_hit(one) for one in found if isinstance(one, dict)]
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ServerFault("Kiro's web search gave no usable answer.") from error


def _hit(one: Mapping[str, Any]) -> SearchHit:
    limit = one.get("maxVerbatimWordLimit")
    words = str(one.get("snippet") or "").split(" ")
    allowed = limit if isinstance(limit, int) and limit > 0 else SNIPPET_WORDS
    snippet = " ".join(words[:allowed]) + ("…" if len(words) > allowed else "")
    return SearchHit(
        title=str(one.get("title") or one.get("url") or ""),
        url=str(one.get("url") or ""),
        snippet=snippet,
        page_age=page_age(one.get("publishedDate")),
    )


def page_age(published_ms: Any) -> str | None:
    """`January 5, 2026` from milliseconds since the epoch."""
    if not isinstance(published_ms, int | float) or isinstance(published_ms, bool):
        return None
    try:
        day = datetime.fromtimestamp(published_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return f"{day:%B} {day.day}, {day.year}"


def query_of(conversation: Conversation) -> str:
    """What a search-only request wants to know: its first text, without the helper's prefix."""
    texts = (
        block.text
        for message in conversation.messages
        if message.role == "user"
        for block in message.content
        if isinstance(block, Text) and block.text.strip()
    )
    return next(texts, "").removeprefix(HELPER_PREFIX).strip()


def without_search(conversation: Conversation, *, everything: bool) -> Conversation:
    """Take out search tools that nobody will answer (S57, X3).

    `websearch` alone is always one of them; with `everything`, which is `webSearch: "filter"`,
    `web_search` too, and the history loses its calls of them. Without it, a tool of that name is
    the client's own.
    """
    names = {"websearch", TOOL_NAME} if everything else {"websearch"}
    if not everything and [tool.name for tool in conversation.tools] != ["websearch"]:
        return conversation
    tools = [tool for tool in conversation.tools if tool.name not in names]
    choice = conversation.tool_choice
    if choice.kind == "tool" and choice.name in names:
        choice = ToolChoice(parallel=choice.parallel)  # nothing is left that could be forced
    if not everything:
        return replace(conversation, tools=tools, tool_choice=choice)
    if not conversation.web_search and len(tools) == len(conversation.tools):
        return conversation
    messages = _without_calls(conversation, names)
    return replace(conversation, tools=tools, tool_choice=choice, messages=messages)


def _without_calls(conversation: Conversation, names: Set[str]) -> list[Message]:
    """The turns, but for calls of these tools and the results of such calls."""
    dropped = {
        block.id
        for message in conversation.messages
        for block in message.content
        if isinstance(block, ToolUse) and block.name in names
    }
    if not dropped:
        return conversation.messages

    def stays(block: Block) -> bool:
        if isinstance(block, ToolUse):
            return block.id not in dropped
        return not (isinstance(block, ToolResult) and block.tool_use_id in dropped)

    return [
        Message(message.role, [block for block in message.content if stays(block)])
        for message in conversation.messages
    ]


def results_text(query: str, hits: Sequence[SearchHit]) -> str:
    """The results for the model, or for a person where no model is asked."""
    if not hits:
        return f"No results for: {query}"
    lines = [f"Web search results for: {query}", ""]
    for number, hit in enumerate(hits, 1):
        age = f" ({hit.page_age})" if hit.page_age else ""
        lines += [f"{number}. {hit.title}{age}", f"   {hit.url}", f"   {hit.snippet}", ""]
    return "\n".join(lines).rstrip()
