"""OpenAI's own tools that the client runs: shells and patches (pure).

Its models know them; Kiro's are offered functions in their place, and the calls go back as the
items that clients wait for.

Source: the items' documented fields in OpenAI's API reference.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}


def _schema(*required: str, **properties: Any) -> Mapping[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _strings(description: str) -> Mapping[str, Any]:
    return {"type": "array", "items": _TEXT, "description": description}


class ClientTool(msgspec.Struct, frozen=True):
    """How it is offered; `key` is where its calls hold their input, `prefix` begins their ids."""

    description: str
    schema: Mapping[str, Any]
    key: str
    prefix: str
    fixed: Mapping[str, Any] = {}
    """What each call's input holds beside what the model writes."""
    listed: str = ""
    """A list of strings in the input; a model that writes one string means a list of it."""


CLIENT_TOOLS: Mapping[str, ClientTool] = {
    "local_shell": ClientTool(
        "Run a command on the user's computer and read its output.",
        _schema(
            "command",
            command=_strings('The program and its arguments, such as ["bash", "-lc", "ls"]'),
            working_directory=_TEXT,
            timeout_ms=_NUMBER,
        ),
        key="action",
        prefix="lsh",
        fixed={"type": "exec", "env": {}},
        listed="command",
    ),
    "shell": ClientTool(
        "Run shell commands on the user's computer and read their output.",
        _schema(
            "commands",
            commands=_strings("The command lines, run one by one"),
            timeout_ms=_NUMBER,
            max_output_length=_NUMBER,
        ),
        key="action",
        prefix="sh",
        listed="commands",
    ),
    "apply_patch": ClientTool(
        "Create, change or delete a file of the user.",
        _schema(
            "type",
            "path",
            type={"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
            path=_TEXT,
            diff={
                "type": "string",
                "description": "What changes, but for delete_file: a V4A diff. Each line begins "
                "with a space (context), - (removed) or + (added); places are set apart by lines "
                "that begin with @@. All lines of a new file begin with +.",
            },
        ),
        key="operation",
        prefix="apc",
    ),
}
"""Type of the tool → what is offered in its place."""


def runs_at_the_client(specification: Mapping[str, Any]) -> bool:
    """Whether it is one of them; a shell may also run in OpenAI's containers."""
    place = specification.get("environment")
    elsewhere = isinstance(place, dict) and place.get("type") != "local"
    return str(specification.get("type")) in CLIENT_TOOLS and not elsewhere


def call_input(kind: str, written: Mapping[str, Any]) -> dict[str, Any]:
    """The input of a call as the client knows it."""
    tool = CLIENT_TOOLS[kind]
    given = {**tool.fixed, **written}
    if tool.listed and not isinstance(given.get(tool.listed), list):
        line = given.get(tool.listed)
        shell = ["bash", "-lc"] if kind == "local_shell" else []
        given[tool.listed] = [*shell, line] if isinstance(line, str) else []
    return given


def written_input(kind: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """What the model wrote in a call that the client sends back."""
    tool = CLIENT_TOOLS[kind]
    given = item.get(tool.key)
    inner = given if isinstance(given, dict) else {}
    return {key: value for key, value in inner.items() if value != tool.fixed.get(key, ...)}
