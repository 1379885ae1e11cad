"""Tools within Kiro's limits, and back (protocol notes 3.5, 3.7, 3.8)."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.conversation import Tool, ToolChoice
from kiroproxy.errors import InvalidRequest
from kiroproxy.kiro.tools import (
    NAME_LIMIT_BYTES,
    Toolbox,
    ToolNames,
    build_tools,
    clean_schema,
    kiro_tool_id,
    kiro_tool_name,
)
from kiroproxy.simulator.tool_rules import check_tools, tool_name_fits
from tests.kiro.helpers import thorough

LONG = "mcp__very_long_server_name__an_extremely_descriptive_tool_name_that_goes_on"


def box_of(
    *tools: Tool, choice: ToolChoice | None = None, used: tuple[str, ...] = (), limit: int = 10_000
) -> Toolbox:
    return build_tools(
        tools, choice or ToolChoice(), ToolNames(), used=used, description_limit=limit
    )


def specifications(box: Toolbox) -> list[dict[str, Any]]:
    """As they go over the wire."""
    return [
        tool["toolSpecification"] for tool in json.loads(msgspec.json.encode(box.specifications))
    ]


def named(name: str, description: str = "d", schema: Any = None) -> Tool:
    return Tool(name, description, schema)


# ---- ids and names ---------------------------------------------------------------------------


def test_ids_of_any_shape() -> None:
    """Protocol notes 3.4, rule 5: Cursor's have newlines and 80 characters."""
    expected = "tooluse_4c6d34f656a22d01f0c416c0adc083b531d0e231"
    assert kiro_tool_id("call_abc\nfc_def") == expected
    assert kiro_tool_id("toolu_01-x") == "toolu_01-x"
    assert kiro_tool_id("x" * 64) == "x" * 64
    for odd in ("", "x" * 65, "é", "a.b", "\ud800"):
        assert kiro_tool_id(odd).startswith("tooluse_")


def test_s61_long_name() -> None:
    assert kiro_tool_name(LONG) == "mcp__very_long_server_name__an_extremely_descriptive_t_6da742dd"
    assert len(kiro_tool_name(LONG).encode()) == 63
    assert kiro_tool_name("a" * 63) == "a" * 63
    assert len(kiro_tool_name("a" * 64)) == 63


@pytest.mark.parametrize(
    "name", ["", "_private", "7zip", "a.b", "a b", "工具", "x" * 200, "é" * 40]
)
def test_names_outside_the_pattern(name: str) -> None:
    mapped = kiro_tool_name(name)
    assert mapped != name
    assert tool_name_fits(mapped)
    assert len(mapped.encode()) <= NAME_LIMIT_BYTES


def test_trap_29_names_that_differ_by_case() -> None:
    names = ToolNames()
    assert names.to_kiro("Read") == "Read"
    second = names.to_kiro("read")
    assert second.lower() != "read"
    assert names.client == {second: "read"}
    assert names.to_kiro("read") == second


def test_a_name_that_is_already_taken_by_a_mapped_one() -> None:
    taken = ToolNames().to_kiro(LONG)
    names = ToolNames()
    assert names.to_kiro(taken) == taken
    other = names.to_kiro(LONG)
    assert other != taken
    assert names.client[other] == LONG


NAMES = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["read", "Read", "READ", LONG, LONG.upper(), kiro_tool_name(LONG), "re_ad"]),
    st.sampled_from(["read", "a.b"]).map(lambda name: kiro_tool_name(name + "!")),
)


@thorough
@given(st.lists(NAMES, max_size=10))
def test_names_are_injective_and_come_back(clients: list[str]) -> None:
    names = ToolNames()
    mapped = {client: names.to_kiro(client) for client in clients}
    assert len({name.casefold() for name in mapped.values()}) == len(mapped)
    for client, name in mapped.items():
        assert tool_name_fits(name)
        assert names.client.get(name, name) == client


# ---- descriptions and choice -----------------------------------------------------------------


def test_s53_specification() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    [tool] = specifications(box_of(named("get_weather", "Weather", schema)))
    assert tool == {
        "name": "get_weather",
        "description": "Weather",
        "inputSchema": {"json": schema},
    }


def test_s56_cut_description_goes_on_in_the_system_text() -> None:
    box = box_of(named("t", "é" * 10_000 + "tail"))
    [tool] = specifications(box)
    assert tool["description"] == "é" * 10_000
    [rest] = box.overflow
    assert rest.endswith("\ntail")
    assert "Tool: t" in rest


def test_note_and_description_fit_together() -> None:
    box = box_of(named("t", "é" * 10_000), choice=ToolChoice("any"))
    [tool] = specifications(box)
    assert len(tool["description"]) == 10_000
    assert tool["description"].count("é") + box.overflow[0].count("é") == 10_000


@pytest.mark.parametrize("description", ["", " \n"])
def test_blank_descriptions_become_the_name(description: str) -> None:
    assert specifications(box_of(named("read", description)))[0]["description"] == "read"
    assert specifications(box_of(named(" ", description)))[0]["description"].strip()


def test_tools_declared_twice() -> None:
    assert len(specifications(box_of(named("a"), named("a", "other")))) == 1


def test_order_is_stable() -> None:
    """Trap 11: upstream's prompt cache."""
    tools = [named(name) for name in "zebra"]
    assert [tool["name"] for tool in specifications(box_of(*tools, used=("q", "b")))] == list(
        "zebraq"
    )


def test_s60_tools_of_the_history_get_placeholders() -> None:
    placeholder = specifications(box_of(named("a"), used=("gone", "a")))[1]
    assert placeholder["name"] == "gone"
    assert placeholder["description"].strip()
    assert placeholder["inputSchema"] == {"json": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    ("choice", "offered", "note"),
    [
        (ToolChoice(), ["a", "b", "old"], ""),
        (ToolChoice("none"), ["old"], ""),
        (ToolChoice("any"), ["a", "b", "old"], "must call one"),
        (ToolChoice("tool", "b"), ["b", "old"], "must call this"),
        (ToolChoice(parallel=False), ["a", "b", "old"], "at most one"),
        (ToolChoice("any", parallel=False), ["a", "b", "old"], "at most one"),
    ],
)
def test_tool_choice(choice: ToolChoice, offered: list[str], note: str) -> None:
    tools = specifications(box_of(named("a"), named("b"), choice=choice, used=("old",)))
    assert [tool["name"] for tool in tools] == offered
    for tool in tools[:-1]:
        assert note in tool["description"]
        assert (tool["description"] == "d") == (not note)


def test_tool_choice_of_a_tool_that_is_not_there() -> None:
    with pytest.raises(InvalidRequest, match="'c' not found"):
        box_of(named("a"), choice=ToolChoice("tool", "c"))


def test_tools_that_need_input() -> None:
    needs = {"type": "object", "required": ["a"]}
    assert box_of(named("a", schema=needs), named("b")).needs_input == {"a"}


# ---- schemas ---------------------------------------------------------------------------------


def cleaned(schema: Any) -> Any:
    return json.loads(bytes(clean_schema(schema)[0]))


def as_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


SCHEMAS: dict[str, tuple[Any, Any]] = {
    "none": (None, as_object()),
    "not an object": ([1], as_object()),
    "empty": ({}, as_object()),
    "s62 trap 20 required null": ({"type": "object", "required": None}, as_object()),
    "s62 trap 20 properties null": ({"type": "object", "properties": None}, as_object()),
    "s62 no type": ({"properties": {"a": {"type": "string"}}}, as_object(a={"type": "string"})),
    "array at the top": ({"type": "array", "items": {}}, as_object() | {"items": {}}),
    "type null": (as_object(a={"type": None}), as_object(a={})),
    "trap 21 upper case": (
        {"type": "OBJECT", "properties": {"a": {"type": ["STRING", "NULL"]}}},
        as_object(a={"type": ["string", "null"]}),
    ),
    "required holds more than names": (
        as_object() | {"required": ["a", 1, None, "a"]},
        as_object() | {"required": ["a"]},
    ),
    "empty required": (as_object() | {"required": []}, as_object()),
    "additionalProperties": (
        as_object(a=as_object() | {"additionalProperties": False}) | {"additionalProperties": {}},
        as_object(a=as_object()),
    ),
    "$schema": (as_object(a={"$schema": "x"}) | {"$schema": "x"}, as_object(a={})),
    "bounds": (
        as_object(a={"exclusiveMinimum": 0, "maximum": 2**31, "minimum": -(2**31)}),
        as_object(a={"minimum": -(2**31)}),
    ),
    "properties named like keywords": (
        as_object(required={"type": "string"}, additionalProperties={}, type={"type": "STRING"}),
        as_object(required={"type": "string"}, additionalProperties={}, type={"type": "string"}),
    ),
    "schemas that are none": (as_object(a=None, b="string", c=True), as_object(a={}, b={}, c=True)),
    "literals stay": (
        as_object(a={"enum": ["A", None], "const": {"$schema": 1}, "default": {"required": None}}),
        as_object(a={"enum": ["A", None], "const": {"$schema": 1}, "default": {"required": None}}),
    ),
    "nested combiners stay": (
        as_object(a={"anyOf": [{"type": "STRING"}, {"type": "null"}]}),
        as_object(a={"anyOf": [{"type": "string"}, {"type": "null"}]}),
    ),
    "combiners at the top beside properties go": (
        as_object(a={}) | {"anyOf": [{"required": ["a"]}]},
        as_object(a={}),
    ),
    "combiners at the top alone": (
        {"oneOf": [as_object(a={}) | {"required": ["a"]}, as_object(b={}), 7]},
        as_object(a={}, b={}),
    ),
    "combiners at the top that bring more properties": (
        as_object(a={}) | {"anyOf": [as_object(a={"type": "null"}, b={})]},
        as_object(a={}, b={}),
    ),
    "combiners at the top that refer": (
        {
            "anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/none"}, {"$ref": "https://x"}],
            "allOf": [{"$ref": "#/anyOf"}],
            "oneOf": [{"$ref": "#/$defs/B"}],
            "$defs": {"A": {"$ref": "#/$defs/C"}, "B": {"$ref": "#/$defs/B"}, "C": as_object(c={})},
        },
        as_object(c={})
        | {"$defs": {"A": {"$ref": "#/$defs/C"}, "B": {"$ref": "#/$defs/B"}, "C": as_object(c={})}},
    ),
    "allOf at the top": (
        {"allOf": [as_object(a={}) | {"required": ["a"]}, as_object(b={})]},
        as_object(a={}, b={}) | {"required": ["a"]},
    ),
    "$defs": (
        as_object(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": {"type": "STRING"}}},
        as_object(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": {"type": "string"}}},
    ),
    "dependencies": (
        as_object() | {"dependencies": {"required": ["a"], "b": {"required": []}}},
        as_object() | {"dependencies": {"required": ["a"], "b": {}}},
    ),
}


@pytest.mark.parametrize(("schema", "expected"), SCHEMAS.values(), ids=SCHEMAS)
def test_schema(schema: Any, expected: Any) -> None:
    assert cleaned(schema) == expected


KEYWORDS = st.sampled_from(
    [
        "type",
        "properties",
        "required",
        "oneOf",
        "anyOf",
        "allOf",
        "$schema",
        "items",
        "enum",
        "not",
        "additionalProperties",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "$defs",
        "default",
        "a",
    ]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.sampled_from(["object", "OBJECT", "array", "STRING", "a", "required"]),
)
SCHEMA = st.recursive(
    LEAVES,
    lambda inner: st.dictionaries(KEYWORDS, inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=20,
)


@thorough
@given(SCHEMA)
def test_any_schema_is_accepted_and_cleaned_once(schema: Any) -> None:
    once, required = clean_schema(schema)
    again = clean_schema(json.loads(bytes(once)))
    assert (bytes(again[0]), again[1]) == (bytes(once), required)
    check_tools([specification(once)], strict=True)


def specification(schema: msgspec.Raw) -> dict[str, Any]:
    json_schema = {"json": json.loads(bytes(schema))}
    return {"toolSpecification": {"name": "a", "description": "d", "inputSchema": json_schema}}


@thorough
@given(st.lists(st.builds(Tool, NAMES, st.text(max_size=5), SCHEMA), max_size=5), st.lists(NAMES))
def test_any_tools_are_accepted(tools: list[Tool], used: list[str]) -> None:
    box = box_of(*tools, used=tuple(used))
    names = check_tools(json.loads(msgspec.json.encode(box.specifications)), strict=True)
    assert len(names) == len({tool.name for tool in tools} | set(used))
