"""Directives and the default answer."""

from typing import Any

import pytest

from kiroproxy.simulator.prompts import (
    context_percent,
    default_script,
    directed_script,
    resolve_tool,
    searchable,
)
from kiroproxy.simulator.scenes import SCENES, TRAILER
from kiroproxy.simulator.script import ScriptError

LONG = "mcp__very_long_server_name__an_extremely_descriptive_tool_name_that_goes_on"
SHORTENED = "mcp__very_long_server_name__an_extremely_descriptive_t_6da742dd"


def message(content: str, *results: str, tools: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "content": content,
        "userInputMessageContext": {
            "toolResults": [{"toolUseId": "x", "content": [{"text": text}]} for text in results],
            "tools": [{"toolSpecification": {"name": name}} for name in tools],
        },
    }


def test_no_directive_is_no_script() -> None:
    assert directed_script(message("hello")) is None
    assert directed_script(message("hello", "[[sim: tool x]]")) is None


def test_a_directive_names_a_script() -> None:
    assert directed_script(message("a [[sim: unicode]] b")) == SCENES["unicode"].script


def test_the_last_directive_counts() -> None:
    prompt = '[[sim: text]] then [[sim: {"steps": []}]]'
    assert directed_script(message(prompt)) == {"steps": []}


def test_json_may_hold_brackets_and_lone_surrogates() -> None:
    prompt = '[[sim: {"steps": [{"text": "]] \\ud83e"}], "chunks": [[1]]} ]] tail'
    script = directed_script(message(prompt))
    assert script == {"steps": [{"text": "]] \ud83e"}], "chunks": [[1]]}


def test_tool_directives_make_parallel_calls() -> None:
    prompt = 'do [[sim: tool Write {"path": "a]]"}]] and [[sim: tool Bash]]'
    assert directed_script(message(prompt)) == {
        "steps": [
            {"tool": {"name": "Write", "input": {"path": "a]]"}}},
            {"tool": {"name": "Bash", "input": {}}},
            *TRAILER,
        ]
    }


def test_a_long_name_means_the_tool_that_was_shortened() -> None:
    """protocol.md 3.5."""
    assert resolve_tool(LONG, ["a", SHORTENED]) == SHORTENED
    assert resolve_tool(LONG, [LONG, SHORTENED]) == LONG
    assert resolve_tool("get", ["get_weather"]) == "get"
    script = directed_script(message(f"[[sim: tool {LONG} {{}}]]", tools=(SHORTENED,)))
    assert script is not None
    assert script["steps"][0]["tool"]["name"] == SHORTENED


@pytest.mark.parametrize(
    "prompt",
    [
        "[[sim: nope]]",
        "[[sim: ]]",
        "[[sim: text",
        '[[sim: {"steps": ]]',
        '[[sim: {"steps": []} text]]',
        "[[sim: tool x {]]",
    ],
)
def test_a_misspelt_directive_is_an_error(prompt: str) -> None:
    with pytest.raises(ScriptError):
        directed_script(message(prompt))


def text_of(script: dict[str, Any]) -> str:
    return "".join(step.get("text", "") for step in script["steps"])


def test_the_default_answer_says_what_it_is_and_what_it_heard() -> None:
    script = default_script(message("the   head " + "x" * 500), 1.5)
    assert "simulated answer" in text_of(script)
    assert "the head xxx" in text_of(script)
    assert len(text_of(script)) < 200
    assert len(script["steps"]) > 4
    assert {"context": 1.5} in script["steps"]


def test_tool_results_are_answered_with_text() -> None:
    assert "1 tool result(s): 12 bytes" in text_of(default_script(message(" ", "12 bytes"), 1))


def test_what_scripts_match_on() -> None:
    assert searchable(message("prompt", "one", "two")) == "prompt\none\ntwo"


def test_context_grows_with_the_body() -> None:
    assert context_percent(400_000, 200_000) == 50.0
