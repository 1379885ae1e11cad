"""Anthropic's own tools, which come without a schema.

Those that the client runs (bash, text editor, memory, computer) are offered to the model as
ordinary tools; those that Anthropic's servers run have no counterpart, but for the web search.

Source: the tools' documented parameters in Anthropic's API reference.
"""

from collections.abc import Mapping
from typing import Any

from kiroproxy.conversation import Json, Tool


def _object(required: list[str], **properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": required}


def _string(description: str, *enum: str) -> Json:
    return {"type": "string", "description": description} | ({"enum": list(enum)} if enum else {})


def _integer(description: str) -> Json:
    return {"type": "integer", "description": description}


def _pair(description: str) -> Json:
    return {"type": "array", "items": {"type": "integer"}, "description": description}


_PATH = _string("Absolute path of the file or directory")
_EDIT = {
    "path": _PATH,
    "file_text": _string("Content of the file to create"),
    "old_str": _string("Text to replace; it must occur exactly once"),
    "new_str": _string("Text to put in its place"),
    "insert_line": _integer("Line after which to insert; 0 is the beginning"),
    "insert_text": _string("Text to insert"),
    "view_range": _pair("First and last line to show; -1 is the end"),
}

CLIENT_SIDE: Mapping[str, tuple[str, str, Json]] = {
    "bash": (
        "bash",
        "Run a command in a persistent bash session.",
        _object(
            [],
            command=_string("The command to run"),
            restart={"type": "boolean", "description": "Restart the session instead"},
        ),
    ),
    "text_editor": (
        "str_replace_based_edit_tool",
        "View, create and edit text files.",
        _object(
            ["command", "path"],
            command=_string("What to do", "view", "create", "str_replace", "insert", "undo_edit"),
            **_EDIT,
        ),
    ),
    "memory": (
        "memory",
        "Keep notes in files under /memories between conversations.",
        _object(
            ["command"],
            command=_string(
                "What to do", "view", "create", "str_replace", "insert", "delete", "rename"
            ),
            **_EDIT,
            old_path=_string("Path to rename"),
            new_path=_string("Its new path"),
        ),
    ),
    "computer": (
        "computer",
        "Use the screen, mouse and keyboard of a computer.",
        _object(
            ["action"],
            action=_string(
                "What to do: key, type, mouse_move, left_click, left_click_drag, right_click, "
                "middle_click, double_click, triple_click, screenshot, cursor_position, "
                "left_mouse_down, left_mouse_up, scroll, hold_key, wait or zoom"
            ),
            coordinate=_pair("x and y in pixels"),
            start_coordinate=_pair("Where a drag starts"),
            text=_string("Text to type, or keys to press"),
            scroll_direction=_string("Where to scroll", "up", "down", "left", "right"),
            scroll_amount=_integer("Clicks to scroll"),
            duration={"type": "number", "description": "Seconds to hold or wait"},
            region=_pair("x0, y0, x1, y1 of the part to zoom into"),
        ),
    ),
}


def _family(tool: Mapping[str, Any]) -> str:
    """`text_editor_20250728` → `text_editor`."""
    kind = str(tool.get("type", ""))
    head, _, date = kind.rpartition("_")
    return head if date.isdigit() else kind


def is_web_search(tool: Mapping[str, Any]) -> bool:
    """Whether this is the search that Anthropic's servers would run."""
    return _family(tool) == "web_search"


def is_server_side(tool: Mapping[str, Any]) -> bool:
    """Whether it runs on Anthropic's servers, and here nowhere."""
    kind = tool.get("type")
    if not isinstance(kind, str) or kind == "custom" or is_web_search(tool):
        return False
    return client_side_tool(tool) is None


def client_side_tool(tool: Mapping[str, Any]) -> Tool | None:
    """An ordinary tool in place of one that the client runs; None for the servers' own."""
    known = CLIENT_SIDE.get(_family(tool))
    if known is None:
        schema = tool.get("input_schema")
        name = tool.get("name")
        if isinstance(schema, dict) and isinstance(name, str) and name:
            return Tool(name, str(tool.get("description") or ""), schema)
        return None
    default_name, description, schema = known
    name = tool.get("name")
    if width := tool.get("display_width_px"):
        description += f" The screen is {width} × {tool.get('display_height_px')} pixels."
    return Tool(name if isinstance(name, str) and name else default_name, description, schema)
