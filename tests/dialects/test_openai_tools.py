"""Functions, custom tools and namespaces ⇄ neutral tools."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.conversation import ToolChoice
from kiroproxy.dialects.openai_tools import (
    CUSTOM_SCHEMA,
    CustomText,
    Offered,
    custom_text,
    tool_choice_of,
    toolset_of,
)
from kiroproxy.errors import InvalidRequest

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
CHAT = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
FLAT = {"type": "function", "name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edit.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: X"},
}
AGENTS = {"type": "namespace", "name": "agents", "tools": [{"type": "function", "name": "spawn"}]}


@pytest.mark.parametrize("specification", [CHAT, FLAT])
def test_a_function_in_both_shapes(specification: dict[str, Any]) -> None:
    tools = toolset_of([specification])
    [tool] = tools.tools
    assert (tool.name, tool.description, tool.input_schema) == ("f", "d", SCHEMA)
    assert tools.offered == {"f": Offered("f")}


def test_a_custom_tool_is_a_function_with_one_text() -> None:
    tools = toolset_of([PATCH])
    [tool] = tools.tools
    assert tool.input_schema == CUSTOM_SCHEMA
    assert tool.description == "Edit.\n\nThe input must match this lark grammar:\nstart: X"
    assert tools.offered["apply_patch"].kind == "custom"


def test_a_custom_tool_of_chat_completions() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}
    tools = toolset_of([{"type": "custom", "custom": {"name": "x", "format": grammar}}])
    assert tools.tools[0].description.endswith("this regex grammar:\na+")


def test_tools_of_a_namespace_get_names_of_their_own() -> None:
    tools = toolset_of([AGENTS, {"type": "function", "name": "spawn"}])
    assert [tool.name for tool in tools.tools] == ["agents__spawn", "spawn"]
    assert tools.offered["agents__spawn"] == Offered("spawn", "function", "agents")
    assert tools.neutral("spawn", "agents") == "agents__spawn"
    assert tools.neutral("gone", "agents") == "agents__gone"


def test_names_that_would_be_the_same_stay_apart() -> None:
    tools = toolset_of([{"type": "function", "name": "agents__spawn"}, AGENTS, AGENTS])
    assert [tool.name for tool in tools.tools] == ["agents__spawn", "agents__spawn_"]
    assert tools.neutral("spawn", "agents") == "agents__spawn_"


@pytest.mark.parametrize("kind", ["web_search", "web_search_preview", "web_search_2025_08_26"])
def test_web_search(kind: str) -> None:
    assert toolset_of([{"type": kind}]).web_search


@pytest.mark.parametrize("kind", ["file_search", "image_generation", "mcp", "tool_search", 7])
def test_tools_of_openais_servers_are_left_out(kind: Any) -> None:
    tools = toolset_of([{"type": kind, "name": "x"}])
    assert not tools.tools
    assert not tools.web_search
    assert tools.left_out
    if isinstance(kind, str):  # and so they cannot be forced
        assert tool_choice_of({"type": kind}, tools, parallel=True) == ToolChoice()


def test_words_about_a_namespace_are_kept() -> None:
    tools = toolset_of([AGENTS | {"description": "To work in parallel."}])
    assert "Of all tools of agents: To work in parallel." in tools.tools[0].description


@pytest.mark.parametrize(
    ("specification", "where"),
    [
        ({"type": "function"}, "tools[0].name"),
        ({"type": "function", "name": ""}, "tools[0].name"),
        ({"type": "function", "function": 7}, "tools[0].function"),
        ({"type": "namespace", "name": "n", "tools": [7]}, "tools[0].tools[0]"),
        ({"type": "namespace", "tools": []}, "tools[0].name"),
    ],
)
def test_what_is_no_tool(specification: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        toolset_of([specification])
    assert caught.value.param == where


# ---- tool_choice -----------------------------------------------------------------------------

ALL = [FLAT, PATCH, AGENTS, {"type": "web_search"}]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (None, ToolChoice("auto")),
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("any")),
        ({"type": "function", "name": "f"}, ToolChoice("tool", "f")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("tool", "f")),
        ({"type": "custom", "custom": {"name": "apply_patch"}}, ToolChoice("tool", "apply_patch")),
        (
            {"type": "function", "namespace": "agents", "name": "spawn"},
            ToolChoice("tool", "agents__spawn"),
        ),
        ({"type": "web_search"}, ToolChoice("tool", "web_search")),
        ("any", ToolChoice("any")),
        ({"type": "any"}, ToolChoice("any")),
        ({"type": "auto"}, ToolChoice("auto")),
        ({"type": "tool", "name": "f"}, ToolChoice("tool", "f")),
    ],
)
def test_tool_choice(choice: Any, wanted: ToolChoice) -> None:
    assert tool_choice_of(choice, toolset_of(ALL), parallel=True) == wanted


@pytest.mark.parametrize(
    "inner",
    [
        {"mode": "required", "tools": [{"type": "function", "name": "f"}]},
        {
            "allowed_tools": {
                "mode": "required",
                "tools": [{"type": "function", "function": {"name": "f"}}],
            }
        },
    ],
)
def test_allowed_tools_take_the_others_away(inner: dict[str, Any]) -> None:
    tools = toolset_of(ALL)
    choice = tool_choice_of({"type": "allowed_tools", **inner}, tools, parallel=False)
    assert choice == ToolChoice("any", parallel=False)
    assert [tool.name for tool in tools.tools] == ["f"]
    assert not tools.web_search


def test_allowed_namespace_and_search() -> None:
    tools = toolset_of(ALL)
    wanted = [{"type": "namespace", "name": "agents"}, {"type": "web_search"}]
    tool_choice_of({"type": "allowed_tools", "tools": wanted}, tools, parallel=True)
    assert [tool.name for tool in tools.tools] == ["agents__spawn"]
    assert tools.web_search


def test_none_means_no_search_either() -> None:
    tools = toolset_of([{"type": "web_search"}])
    tool_choice_of("none", tools, parallel=True)
    assert not tools.web_search


@pytest.mark.parametrize(
    "choice",
    [
        "sometimes",
        7,
        ["auto"],
        {"type": "function", "name": "nope"},
        {"type": "function"},
        {"type": "file_search"},
        {"type": "allowed_tools", "tools": 7},
        {"type": "allowed_tools", "mode": "odd", "tools": []},
    ],
)
def test_impossible_choices(choice: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        tool_choice_of(choice, toolset_of(ALL), parallel=True)
    assert str(caught.value.param).startswith("tool_choice")


# ---- the text of a custom tool ---------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from('"\\\n\r\t\x00/🧪é'), max_size=30)


@given(TEXTS, st.lists(st.integers(0, 200), max_size=8), st.booleans(), st.booleans())
def test_any_cut_gives_the_same_text(
    text: str, cuts: list[int], ascii_only: bool, spaced: bool
) -> None:
    source = json.dumps({"input": text}, ensure_ascii=ascii_only, indent=1 if spaced else None)
    edges = [0, *sorted(cut % (len(source) + 1) for cut in cuts), len(source)]
    reader = CustomText()
    pieces = [reader.feed(source[a:b]) for a, b in itertools.pairwise(edges)]
    assert "".join(pieces) + reader.close() == text == reader.text


def test_text_comes_as_soon_as_it_can() -> None:
    reader = CustomText()
    fed = [
        reader.feed(piece) for piece in ['{"inp', 'ut": "a', "b\\", "n\\ud83e\\u", "ddea!", '"}']
    ]
    assert fed == ["", "a", "b", "\n", "🧪!", ""]
    assert reader.close() == ""


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('{"other": 1}', '{"other": 1}'),
        ('{"input": 7}', '{"input": 7}'),
        ('{"other": 1, "input": "late"}', "late"),
        ("plain", "plain"),
        ('{"input": "\\ud83e!"}', "\ufffd!"),
        ("[]", "[]"),
    ],
)
def test_inputs_of_other_forms_come_at_the_end(source: str, text: str) -> None:
    reader = CustomText()
    assert reader.feed(source) + reader.close() == text == custom_text(source)


def test_a_rest_that_contradicts_is_not_given() -> None:
    """Two inputs in one object: what was given cannot be taken back."""
    reader = CustomText()
    assert reader.feed('{"input": "a", "input": "b"}') == "a"
    assert reader.close() == ""
