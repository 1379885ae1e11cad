"""Tools as Kiro takes them: names, descriptions and JSON Schemas within its limits, and back.

Each rule was a 400 for somebody (protocol notes 3.5, 3.7). What is cut off is not lost: long
descriptions go on in the system text.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from kiroproxy.conversation import Json, Tool, ToolChoice
from kiroproxy.errors import InvalidRequest

NAME_LIMIT_BYTES = 63
"""The service's limit is 64; most of the field cuts at 63."""
NAME_HEAD = 54
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
INT32 = 2**31
SCHEMA_MAPS = (
    "properties",
    "$defs",
    "definitions",
    "patternProperties",
    "dependentSchemas",
    "dependencies",
)
LITERALS = ("enum", "const", "default", "examples")
COMBINERS = ("oneOf", "anyOf", "allOf")
MAX_REFERENCES = 10
"""So many references in a row are followed; a circle of them ends."""
PLACEHOLDER_DESCRIPTION = "A tool of an earlier turn that is no longer offered. Do not call it."


def kiro_tool_id(client_id: str) -> str:
    """Map a tool call's id to Kiro's character set, always to the same one."""
    if _ID.fullmatch(client_id):
        return client_id
    digest = hashlib.sha256(client_id.encode("utf-8", "surrogatepass")).digest()
    return "tooluse_" + digest[:20].hex()


def kiro_tool_name(name: str) -> str:
    """Map a tool's name to Kiro's pattern and length: 54 characters, `_`, 8 hex of its hash."""
    if len(name) <= NAME_LIMIT_BYTES and _NAME.fullmatch(name):
        return name
    return _hashed_name(name)


def _hashed_name(name: str, salt: str = "") -> str:
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if not plain[:1].isalpha():
        plain = "t" + plain
    digest = hashlib.sha256((name + salt).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{plain[:NAME_HEAD]}_{digest[:8]}"


class ToolNames:
    """Both directions of the name mapping for one request.

    Kiro compares names without regard to case, so a second spelling gets a name of its own.
    """

    def __init__(self) -> None:
        self._kiro: dict[str, str] = {}
        self._taken: set[str] = set()
        self.client: dict[str, str] = {}
        """Kiro's name → the client's, where they differ."""

    def to_kiro(self, name: str) -> str:
        """Kiro's name of a tool, the same at each call."""
        known = self._kiro.get(name)
        if known is not None:
            return known
        mapped = kiro_tool_name(name)
        salt = ""
        while mapped.lower() in self._taken:
            mapped = _hashed_name(name, salt)
            salt += "'"
        self._taken.add(mapped.lower())
        self._kiro[name] = mapped
        if mapped != name:
            self.client[mapped] = name
        return mapped


class Toolbox(msgspec.Struct):
    """The tools of one request, ready to send."""

    specifications: list[Json] = msgspec.field(default_factory=list)
    overflow: list[str] = msgspec.field(default_factory=list)
    """Parts of descriptions that did not fit, for the system text."""
    needs_input: frozenset[str] = frozenset()


def build_tools(
    tools: Sequence[Tool],
    choice: ToolChoice,
    names: ToolNames,
    *,
    used: Iterable[str],
    description_limit: int,
) -> Toolbox:
    """Offer the client's tools; `used` are the names that the history calls, in order.

    Raises:
        InvalidRequest: `tool_choice` names a tool that is not there.
    """
    offered = _chosen(tools, choice)
    note = _choice_note(choice)
    box = Toolbox()
    needs_input = set()
    declared: set[str] = set()
    for tool in offered:
        if tool.name in declared:
            continue
        declared.add(tool.name)
        name = names.to_kiro(tool.name)
        description = tool.description.strip() or name
        room = max(description_limit - len(note), 1)
        if len(description) > room:
            box.overflow.append(f"## Tool: {name} (continued)\n{description[room:]}")
            description = description[:room]
        schema, required = clean_schema(tool.input_schema)
        if required:
            needs_input.add(tool.name)
        box.specifications.append(_specification(name, description + note, schema))
    for name in used:
        if name not in declared:
            declared.add(name)
            box.specifications.append(
                _specification(names.to_kiro(name), PLACEHOLDER_DESCRIPTION, EMPTY_SCHEMA)
            )
    box.needs_input = frozenset(needs_input)
    return box


def _chosen(tools: Sequence[Tool], choice: ToolChoice) -> Sequence[Tool]:
    if choice.kind == "none":
        return ()
    if choice.kind == "tool":
        named = [tool for tool in tools if tool.name == choice.name]
        if not named:
            raise InvalidRequest(
                f"tool_choice: tool '{choice.name}' not found in tools", param="tool_choice"
            )
        return named
    return tools


def _choice_note(choice: ToolChoice) -> str:
    notes = []
    if choice.kind == "tool":
        notes.append("You must call this tool now; do not answer with text alone.")
    if choice.kind == "any":
        notes.append("You must call one of the tools now; do not answer with text alone.")
    if not choice.parallel:
        notes.append("Call at most one tool in your answer.")
    return "".join(f"\n\n{note}" for note in notes)


def _specification(name: str, description: str, schema: msgspec.Raw) -> Json:
    return {
        "toolSpecification": {
            "name": name,
            "description": description,
            "inputSchema": {"json": schema},
        }
    }


EMPTY_SCHEMA = msgspec.Raw(b'{"type":"object","properties":{}}')


def clean_schema(schema: Json) -> tuple[msgspec.Raw, bool]:
    """Bring a JSON Schema into the shape that Kiro takes; the flag says it requires something.

    The same tools come with every turn of a session, so results are kept by their JSON text.
    """
    return _clean_schema(msgspec.json.encode(schema))


@lru_cache(maxsize=2048)
def _clean_schema(encoded: bytes) -> tuple[msgspec.Raw, bool]:
    schema = msgspec.json.decode(encoded)
    if not isinstance(schema, dict) or not schema:
        return EMPTY_SCHEMA, False
    top = _clean(_without_combiners(schema))
    top["type"] = "object"
    if not isinstance(top.get("properties"), dict):
        top["properties"] = {}
    return msgspec.Raw(msgspec.json.encode(top)), bool(top.get("required"))


def _without_combiners(schema: dict[str, Any]) -> dict[str, Any]:
    """Kiro refuses them at the top: their variants' properties are offered side by side."""
    top = {key: value for key, value in schema.items() if key not in COMBINERS}
    given = top.get("properties")
    properties: dict[str, Any] = dict(given) if isinstance(given, dict) else {}
    required: list[Any] = []
    for combiner in COMBINERS:
        variants = schema.get(combiner)
        for variant in variants if isinstance(variants, list) else ():
            whole = _resolved(variant, schema)
            inner = whole.get("properties")
            for name, value in inner.items() if isinstance(inner, dict) else ():
                properties.setdefault(name, value)
            if combiner == "allOf" and isinstance(whole.get("required"), list):
                required.extend(whole["required"])
    if properties:
        top["properties"] = properties
    if required and not top.get("required"):
        top["required"] = required
    return top


def _resolved(variant: Any, schema: dict[str, Any]) -> dict[str, Any]:
    """What a variant is, behind a reference to the schema's own definitions."""
    for _ in range(MAX_REFERENCES):
        if not isinstance(variant, dict):
            return {}
        reference = variant.get("$ref")
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return variant
        variant = schema
        for step in reference[2:].split("/"):
            variant = variant.get(step) if isinstance(variant, dict) else None
    return {}


def _clean(schema: dict[str, Any]) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("$schema", "additionalProperties"):
            continue
        if key in LITERALS:
            cleaned[key] = value
        elif key in SCHEMA_MAPS:
            if isinstance(value, dict):
                cleaned[key] = {name: _clean_part(part) for name, part in value.items()}
        elif key == "required":
            names = [name for name in value if isinstance(name, str)] if _is_list(value) else []
            if names:
                cleaned[key] = list(dict.fromkeys(names))
        elif key == "type":
            if value is not None:
                cleaned[key] = _lower_type(value)
        elif not _is_bad_bound(key, value):
            cleaned[key] = _clean_any(value)
    return cleaned


def _clean_part(part: Any) -> Any:
    """Clean a named schema; what is none (null, a type's name) says nothing."""
    return _clean_any(part) if isinstance(part, dict | list | bool) else {}


def _clean_any(value: Any) -> Any:
    if isinstance(value, dict):
        return _clean(value)
    if isinstance(value, list):
        return [_clean_any(item) for item in value]
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _lower_type(value: Any) -> Any:
    """Gemini's clients write types in capitals."""
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, list):
        return [item.lower() if isinstance(item, str) else item for item in value]
    return value


def _is_bad_bound(key: str, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if key in ("exclusiveMinimum", "exclusiveMaximum"):
        return True
    return key in ("minimum", "maximum") and not -INT32 <= value < INT32
