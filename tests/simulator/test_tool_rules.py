"""Declared tools: names, descriptions and schemas (protocol.md 3.5, 3.7)."""

from typing import Any

import pytest

from kiroproxy.simulator.tool_rules import Broken, check_schema, check_tools, tool_name_fits


def tool(name: str = "stat", description: Any = "d", schema: Any = None) -> dict[str, Any]:
    schema = {"type": "object", "properties": {}} if schema is None else schema
    return {
        "toolSpecification": {
            "name": name,
            "description": description,
            "inputSchema": {"json": schema},
        }
    }


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a" * 64, True),
        ("a" * 65, False),
        ("mcp__x-y_1", True),
        ("", False),
        ("1a", False),
        ("a b", False),
        ("ä", False),
        (7, False),
    ],
)
def test_names(name: Any, fits: bool) -> None:
    assert tool_name_fits(name) is fits


def test_names_are_returned_and_cache_points_pass() -> None:
    tools = [tool("a"), {"cachePoint": {"type": "default"}}, tool("b")]
    assert check_tools(tools, strict=True) == ["a", "b"]


def test_a_property_may_be_called_like_a_keyword() -> None:
    schema = {
        "type": "object",
        "properties": {
            "required": {"type": "boolean"},
            "$schema": {"type": "string"},
            "type": {"type": "string", "enum": ["OBJECT"]},
            "properties": {"type": "object", "properties": {}},
        },
        "required": ["required"],
    }
    check_schema(schema, "here", strict=True)


@pytest.mark.parametrize(
    ("inner", "rule"),
    [
        ({"$schema": "x"}, "schema-keyword"),
        ({"type": "OBJECT"}, "schema-type-case"),
        ({"type": ["STRING", "null"]}, "schema-type-case"),
        ({"exclusiveMinimum": 0}, "schema-number"),
        ({"maximum": 2**31}, "schema-number"),
        ({"minimum": -(2**31) - 1}, "schema-number"),
        ({"required": None}, "schema-required"),
        ({"required": [1]}, "schema-required"),
        ({"properties": None}, "schema-properties"),
    ],
)
def test_nested_schemas_are_checked_wherever_they_stand(inner: dict[str, Any], rule: str) -> None:
    for place in (
        {"properties": {"x": inner}},
        {"properties": {"x": {"type": "array", "items": inner}}},
        {"properties": {"x": {"anyOf": [inner]}}},
        {"properties": {}, "$defs": {"x": inner}},
    ):
        with pytest.raises(Broken) as broken:
            check_schema({"type": "object", **place}, "here", strict=False)
        assert broken.value.rule == rule


@pytest.mark.parametrize(
    "inner", [{"required": []}, {"additionalProperties": False}, {"additionalProperties": True}]
)
def test_contested_keywords_are_refused_when_strict(inner: dict[str, Any]) -> None:
    """protocol.md 12: one program deletes them, another adds them and works."""
    schema = {"type": "object", "properties": {"x": inner}}
    check_schema(schema, "here", strict=False)
    with pytest.raises(Broken, match="schema-contested"):
        check_schema(schema, "here", strict=True)


def test_int32_bounds_pass() -> None:
    limits = {"minimum": -(2**31), "maximum": 2**31 - 1, "exclusiveMinimum": True}
    check_schema({"type": "object", "properties": {"x": limits}}, "here", strict=False)
