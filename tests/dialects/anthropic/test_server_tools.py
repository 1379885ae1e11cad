"""Anthropic's own tools (trap 19; clients.md, "A proxy must tolerate")."""

import json
from typing import Any

import msgspec
import pytest

from kiroproxy.dialects.anthropic.server_tools import CLIENT_SIDE, client_side_tool, is_web_search
from kiroproxy.kiro.tools import clean_schema
from kiroproxy.simulator.tool_rules import check_schema

CLIENTS = [
    ("bash_20241022", "bash"),
    ("bash_20250124", "bash"),
    ("text_editor_20250124", "str_replace_editor"),
    ("text_editor_20250728", "str_replace_based_edit_tool"),
    ("memory_20250818", "memory"),
    ("computer_20250124", "computer"),
]


@pytest.mark.parametrize(("kind", "name"), CLIENTS)
def test_tools_that_the_client_runs_become_ordinary_ones(kind: str, name: str) -> None:
    tool = client_side_tool({"type": kind, "name": name})
    assert tool is not None
    assert tool.name == name
    assert tool.description
    check_schema(json.loads(bytes(clean_schema(tool.input_schema)[0])), kind, strict=True)


@pytest.mark.parametrize(
    "kind", ["web_search_20250305", "web_fetch_20250910", "code_execution_20250825"]
)
def test_tools_that_anthropics_servers_run_have_no_counterpart(kind: str) -> None:
    assert client_side_tool({"type": kind, "name": "x"}) is None


def test_a_type_of_tomorrow_with_a_schema_is_an_ordinary_tool() -> None:
    tool = client_side_tool(
        {"type": "new_20270101", "name": "n", "input_schema": {"type": "object"}}
    )
    assert tool is not None
    assert (tool.name, tool.description) == ("n", "")


@pytest.mark.parametrize("more", [{}, {"name": None}, {"name": ""}, {"name": 7}])
def test_names_are_optional(more: dict[str, Any]) -> None:
    tool = client_side_tool({"type": "bash_20250124"} | more)
    assert tool is not None
    assert tool.name == "bash"


def test_screen_size_is_told() -> None:
    size = {"display_width_px": 1024, "display_height_px": 768}
    tool = client_side_tool({"type": "computer_20250124", "name": "computer"} | size)
    assert tool is not None
    assert "1024 × 768" in tool.description


@pytest.mark.parametrize(
    ("kind", "search"),
    [
        ("web_search_20250305", True),
        ("web_search", True),
        ("web_fetch_20250910", False),
        (None, False),
    ],
)
def test_web_search(kind: str | None, search: bool) -> None:
    assert is_web_search({"type": kind, "name": "web_search"}) is search


def test_schemas_are_not_changed_by_use() -> None:
    before = msgspec.json.encode(CLIENT_SIDE)
    client_side_tool({"type": "computer_20250124", "display_width_px": 1})
    assert msgspec.json.encode(CLIENT_SIDE) == before
