"""Search bodies in both directions (protocol notes 7, S57, S58)."""

import json
import random
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.conversation import (
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
from kiroproxy.kiro.websearch import (
    page_age,
    parse_search,
    query_of,
    results_text,
    search_request,
    without_search,
)

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def answer(results: Any, **result: Any) -> bytes:
    text = json.dumps({"results": results, "totalResults": 1})
    content = [{"type": "text", "text": text}]
    return json.dumps(
        {"id": "x", "jsonrpc": "2.0", "result": {"content": content} | result}
    ).encode()


def test_s58_request() -> None:
    request = search_request("café", NOW, random.Random(1))
    assert re.fullmatch(
        r"web_search_tooluse_[A-Za-z0-9]{22}_1767571200000_[a-z0-9]{8}", request["id"]
    )
    assert request["params"] == {"name": "web_search", "arguments": {"query": "café"}}


def test_results() -> None:
    one = {
        "title": "T",
        "url": "https://x.example",
        "snippet": "a b c",
        "publishedDate": 1767571200000,
    }
    [hit] = parse_search(answer([one]))
    assert hit == SearchHit("T", "https://x.example", "a b c", "January 5, 2026")


def test_verbatim_limit_is_respected() -> None:
    [hit] = parse_search(answer([{"snippet": "one two three", "maxVerbatimWordLimit": 2}]))
    assert hit.snippet == "one two…"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        json.dumps({"error": {"code": 1, "message": "m"}}).encode(),
        json.dumps({"result": {"content": []}}).encode(),
        json.dumps({"result": {"content": [{"type": "text", "text": "no JSON"}]}}).encode(),
        answer([], isError=True),
    ],
)
def test_unusable_answers(body: bytes) -> None:
    with pytest.raises(ServerFault):
        parse_search(body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
    )
)
def test_any_json_is_results_or_a_server_fault(value: Any) -> None:
    for body in (json.dumps(value).encode(), answer(value)):
        try:
            hits = parse_search(body)
        except ServerFault:
            continue
        assert all(isinstance(hit, SearchHit) for hit in hits)


@pytest.mark.parametrize("value", [None, "x", True, 1e30, -1e30, float("inf")])
def test_odd_dates(value: Any) -> None:
    assert page_age(value) is None


def test_query_of_claude_codes_helper() -> None:
    asked = Conversation(
        "m", [Message("user", [Text(" "), Text("Perform a web search for the query: kiro wire")])]
    )
    assert query_of(asked) == "kiro wire"
    assert query_of(Conversation("m", [Message("user", [Text("plain words")])])) == "plain words"
    assert query_of(Conversation("m", [])) == ""


def test_results_as_text() -> None:
    hits = [SearchHit("T", "https://x.example", "s", "May 1, 2026"), SearchHit("U", "u", "v")]
    text = results_text("q", hits)
    assert "1. T (May 1, 2026)" in text
    assert "2. U\n   u\n   v" in text
    assert results_text("q", []) == "No results for: q"


def tool(name: str) -> Tool:
    return Tool(name, "", {})


def test_x3_websearch_alone_is_filtered() -> None:
    asked = Conversation("m", [Message("user", [Text("x")])], tools=[tool("websearch")])
    assert without_search(asked, everything=False).tools == []
    both = Conversation("m", [Message("user", [Text("x")])], tools=[tool("websearch"), tool("t")])
    assert without_search(both, everything=False) is both


def test_s57_filter_takes_the_history_along() -> None:
    turns = [
        Message("user", [Text("x")]),
        Message("assistant", [ToolUse("1", "web_search", {}), ToolUse("2", "t", {})]),
        Message("user", [ToolResult("1", [Text("a")]), ToolResult("2", [Text("b")])]),
    ]
    asked = Conversation("m", turns, tools=[tool("web_search"), tool("t")])
    left = without_search(asked, everything=True)
    assert [one.name for one in left.tools] == ["t"]
    assert left.messages[1].content == [ToolUse("2", "t", {})]
    assert left.messages[2].content == [ToolResult("2", [Text("b")])]
    plain = Conversation("m", turns[:1], tools=[tool("t")])
    assert without_search(plain, everything=True) is plain


def test_a_search_that_was_taken_out_is_not_forced() -> None:
    turns = [Message("user", [Text("x")])]
    for name, everything in (("web_search", True), ("websearch", False)):
        choice = ToolChoice("tool", name, parallel=False)
        asked = Conversation("m", turns, tools=[tool(name)], tool_choice=choice)
        left = without_search(asked, everything=everything)
        assert left.tool_choice == ToolChoice(parallel=False)


def test_a_web_search_of_the_clients_own_stays() -> None:
    asked = Conversation("m", [Message("user", [Text("x")])], tools=[tool("web_search")])
    assert without_search(asked, everything=False) is asked
