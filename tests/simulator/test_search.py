"""The search answers."""

import json
from typing import Any

import pytest

from kiroproxy.simulator.search import search_answer


def call(query: Any, name: str = "web_search", method: str = "tools/call") -> dict[str, Any]:
    params = {"name": name, "arguments": {"query": query}}
    return search_answer({"id": "i", "jsonrpc": "2.0", "method": method, "params": params}, 1e9)


def found(answer: dict[str, Any]) -> dict[str, Any]:
    inner: dict[str, Any] = json.loads(answer["result"]["content"][0]["text"])
    return inner


def test_a_search_finds_simulated_pages() -> None:
    answer = call("kiro")
    assert answer["id"] == "i"
    assert answer["result"]["isError"] is False
    results = found(answer)["results"]
    assert found(answer)["totalResults"] == len(results) == 3
    assert "Simulated" in results[0]["title"]
    assert set(results[0]) >= {"title", "url", "snippet", "publishedDate", "domain"}


def test_a_search_may_find_nothing_or_fail() -> None:
    assert found(call("x [[sim: nothing]]"))["results"] == []
    assert call("x [[sim: fail]]")["result"]["isError"] is True
    assert "error" in call("x [[sim: error]]")


@pytest.mark.parametrize(
    "answer",
    [call(""), call(None), call("x", name="y"), call("x", method="z"), search_answer({}, 0)],
)
def test_other_calls_are_json_rpc_errors(answer: dict[str, Any]) -> None:
    assert answer["error"]["code"] < 0


def test_tools_are_listed() -> None:
    assert call("", method="tools/list")["result"]["tools"][0]["name"] == "web_search"
