"""What Kiro refuses in the tools that a request declares (pure): `protocol.md` 3.5 and 3.7."""

import re
from typing import Any

MAX_NAME_BYTES = 64
MAX_DESCRIPTION_CHARS = 10_004
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
"""AWS's own pattern and the hyphen, which passes in practice (3.5)."""
INT32 = 2**31
TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}


class Broken(Exception):
    """A rule of `refusals.RULES` is broken."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule
        self.detail = detail


def tool_name_fits(name: Any) -> bool:
    """Whether Kiro takes a tool of this name."""
    if not isinstance(name, str) or len(name.encode()) > MAX_NAME_BYTES:
        return False
    return NAME.fullmatch(name) is not None


def check_tools(tools: list[Any], *, strict: bool) -> list[str]:
    """Check the declared tools; return their names.

    Raises:
        Broken: one of them would make Kiro refuse the request.
    """
    names: list[str] = []
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        if not isinstance(tool, dict) or len(tool) != 1:
            raise Broken("tool-arm", where)
        if "cachePoint" in tool:
            if tool["cachePoint"] != {"type": "default"}:
                raise Broken("cache-point", where)
        elif isinstance(tool.get("toolSpecification"), dict):
            names.append(_check_specification(tool["toolSpecification"], where, strict=strict))
        else:
            raise Broken("tool-arm", where)
    if len({name.casefold() for name in names}) < len(names):
        raise Broken("tool-name-twice", "two names differ by case at most")
    return names


def _check_specification(tool: dict[str, Any], where: str, *, strict: bool) -> str:
    unknown = set(tool) - {"name", "description", "inputSchema"}
    if unknown:
        raise Broken("unknown-key", f"{where}.{min(unknown)}")
    name = tool.get("name")
    if not isinstance(name, str) or not tool_name_fits(name):
        raise Broken("tool-name", f"{where}: {name!r}")
    description = tool.get("description")
    if not isinstance(description, str) or not description.strip():
        raise Broken("tool-description", f"{where} ({name})")
    if len(description) > MAX_DESCRIPTION_CHARS:
        raise Broken("tool-description-length", f"{where} ({name}): {len(description)}")
    wrapped = tool.get("inputSchema")
    if not isinstance(wrapped, dict) or set(wrapped) != {"json"}:
        raise Broken("schema-object", f"{where} ({name})")
    check_schema(wrapped["json"], f"{where} ({name})", strict=strict)
    return name


def check_schema(schema: Any, where: str, *, strict: bool) -> None:
    """Check an input schema: the top level, then every schema in it."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        if isinstance(schema, dict) and str(schema.get("type")).lower() == "object":
            raise Broken("schema-type-case", where)
        raise Broken("schema-object", where)
    if not isinstance(schema.get("properties"), dict):
        raise Broken("schema-properties", where)
    for key in ("oneOf", "anyOf", "allOf"):
        if key in schema:
            raise Broken("schema-combinator", f"{where}: {key}")
    pending = [schema]
    while pending:
        one = pending.pop()
        _check_node(one, where)
        if strict and (one.get("required") == [] or "additionalProperties" in one):
            raise Broken("schema-contested", where)
        pending += subschemas(one)


def _check_node(schema: dict[str, Any], where: str) -> None:
    if "properties" in schema and not isinstance(schema["properties"], dict):
        raise Broken("schema-properties", where)
    if "required" in schema and not _is_names(schema["required"]):
        raise Broken("schema-required", where)
    if "$schema" in schema:
        raise Broken("schema-keyword", f"{where}: $schema")
    for key in ("exclusiveMinimum", "exclusiveMaximum"):
        if _is_number(schema.get(key)):
            raise Broken("schema-number", f"{where}: {key}")
    for key in ("minimum", "maximum"):
        value = schema.get(key)
        if value is not None and _is_number(value) and not -INT32 <= value < INT32:
            raise Broken("schema-number", f"{where}: {key}")
    kinds = schema.get("type")
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if isinstance(kind, str) and kind not in TYPES and kind.lower() in TYPES:
            raise Broken("schema-type-case", f"{where}: {kind}")


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def subschemas(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas directly inside one; a property's name is never taken for a keyword."""
    inner: list[Any] = []
    for key in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"):
        if isinstance(schema.get(key), dict):
            inner += schema[key].values()
    for key in ("items", "prefixItems", "oneOf", "anyOf", "allOf"):
        value = schema.get(key)
        inner += value if isinstance(value, list) else [value]
    keys = ("additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
    inner += [schema.get(key) for key in keys]
    return [one for one in inner if isinstance(one, dict)]
