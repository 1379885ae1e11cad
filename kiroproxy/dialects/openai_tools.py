"""Tools of the OpenAI APIs ⇄ neutral ones: functions, custom tools, namespaces (pure).

Kiro knows functions only. A tool that OpenAI's models know and the client runs is one of
`openai_client_tools`. A custom tool, whose input is free text, becomes a function with one
string; a tool of a namespace gets a name of its own. `Offered` leads back.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from kiroproxy.conversation import Tool, ToolChoice
from kiroproxy.dialects.openai_client_tools import CLIENT_TOOLS, runs_at_the_client
from kiroproxy.dialects.openai_common import invalid, text_field

CUSTOM_KEY = "input"
CUSTOM_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {CUSTOM_KEY: {"type": "string", "description": "The input, as plain text"}},
    "required": [CUSTOM_KEY],
    "additionalProperties": False,
}
SEARCH = "web_search"


class Offered(msgspec.Struct, frozen=True):
    """A tool as the client knows it."""

    name: str
    kind: Literal["function", "custom", "local_shell", "shell", "apply_patch"] = "function"
    namespace: str = ""


class Toolset(msgspec.Struct):
    """The tools of one request, and the way back from their neutral names."""

    tools: list[Tool] = msgspec.field(default_factory=list)
    offered: dict[str, Offered] = msgspec.field(default_factory=dict)
    """Neutral name → the client's tool."""
    web_search: bool = False
    left_out: set[str] = msgspec.field(default_factory=set)
    """Types of the tools that run on OpenAI's servers, and here nowhere."""
    _names: dict[tuple[str, str], str] = msgspec.field(default_factory=dict)

    def add(self, specification: Mapping[str, Any], where: str, namespace: str = "") -> None:
        """Take a tool; those that run on OpenAI's servers have no counterpart and are left out.

        Raises:
            InvalidRequest: it has no name.
        """
        kind: Any = specification.get("type") or "function"
        if kind == "custom" and "input_schema" in specification:
            kind = "function"  # as Anthropic's API calls it
        if kind == "namespace":
            self._add_namespace(specification, where)
        elif kind in ("function", "custom"):
            inner = specification.get(kind, specification)  # nested in chat completions
            if not isinstance(inner, dict):
                raise invalid(f"{where}.{kind}", "expected an object", "invalid_type")
            self._add_one(inner, kind, where, namespace)
        elif isinstance(kind, str) and kind.startswith(SEARCH):
            self.web_search = True
        elif runs_at_the_client(specification):
            tool = CLIENT_TOOLS[kind]
            inner = {"name": kind, "description": tool.description, "parameters": tool.schema}
            self._add_one(inner, kind, where, "")
        else:
            self.left_out.add(str(kind))

    def _add_namespace(self, specification: Mapping[str, Any], where: str) -> None:
        name = text_field(specification, "name", where)
        inner = specification.get("tools")
        before = len(self.tools)
        for index, tool in enumerate(inner if isinstance(inner, list) else ()):
            if not isinstance(tool, dict):
                raise invalid(f"{where}.tools[{index}]", "expected an object", "invalid_type")
            self.add(tool, f"{where}.tools[{index}]", name)
        about = specification.get("description")
        if isinstance(about, str) and about.strip() and len(self.tools) > before:
            first = self.tools[before]
            first.description = f"{first.description}\n\nOf all tools of {name}: {about}".strip()

    def _add_one(
        self,
        inner: Mapping[str, Any],
        kind: Literal["function", "custom", "local_shell", "shell", "apply_patch"],
        where: str,
        namespace: str,
    ) -> None:
        name = text_field(inner, "name", where)
        if not name:
            raise invalid(f"{where}.name", "expected a name")
        neutral = self.neutral(name, namespace)
        while neutral in self.offered:
            if self.offered[neutral] == Offered(name, kind, namespace):
                return  # the same tool once more
            neutral += "_"
        self._names[namespace, name] = neutral
        self.offered[neutral] = Offered(name, kind, namespace)
        description = inner.get("description")
        words = description if isinstance(description, str) else ""
        if kind == "custom":
            self.tools.append(Tool(neutral, words + _grammar(inner.get("format")), CUSTOM_SCHEMA))
        else:
            schema = inner.get("parameters", inner.get("input_schema"))
            self.tools.append(Tool(neutral, words, schema))

    def neutral(self, name: str, namespace: str = "") -> str:
        """The neutral name of a client's tool, whether it is offered or not."""
        plain = f"{namespace}__{name}" if namespace else name
        return self._names.get((namespace, name), plain)

    def keep(self, wanted: Sequence[Any]) -> None:
        """Leave out all but those that a client allows."""
        names = set()
        search = False
        for one in wanted:
            tool = one if isinstance(one, dict) else {}
            kind = tool.get("type")
            inner = tool.get(str(kind), tool)
            names.add(str((inner if isinstance(inner, dict) else tool).get("name") or kind))
            search = search or str(kind).startswith(SEARCH)
        self.web_search = self.web_search and search

        def allowed(tool: Tool) -> bool:
            offered = self.offered[tool.name]
            return offered.name in names or bool(offered.namespace and offered.namespace in names)

        self.tools = [tool for tool in self.tools if allowed(tool)]


def toolset_of(specifications: Sequence[Mapping[str, Any]] | None, where: str = "tools") -> Toolset:
    """All tools of a request.

    Raises:
        InvalidRequest: names the tool that has no name.
    """
    tools = Toolset()
    for index, specification in enumerate(specifications or ()):
        tools.add(specification, f"{where}[{index}]")
    return tools


def _grammar(wanted: Any) -> str:
    if not isinstance(wanted, dict) or wanted.get("type") != "grammar":
        return ""
    inner = wanted.get("grammar", wanted)
    inner = inner if isinstance(inner, dict) else wanted
    return (
        f"\n\nThe input must match this {inner.get('syntax', '')} grammar:\n"
        f"{inner.get('definition', '')}"
    )


MODES: Mapping[str, Literal["auto", "any", "none"]] = {
    "auto": "auto",
    "required": "any",
    "any": "any",
    "none": "none",
}
"""`any` is Anthropic's word, which some clients say to every API."""


def tool_choice_of(choice: Any, tools: Toolset, *, parallel: bool) -> ToolChoice:
    """`tool_choice` in all its forms; a choice among some takes the others away from `tools`.

    Raises:
        InvalidRequest: it cannot be understood, or names what is not there.
    """
    if choice is None:
        choice = "auto"
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        inner = choice.get("allowed_tools", choice)
        inner = inner if isinstance(inner, dict) else {}
        wanted = inner.get("tools")
        if not isinstance(wanted, list):
            raise invalid("tool_choice.tools", "expected a list of tools", "invalid_type")
        tools.keep(wanted)
        choice = inner.get("mode", "auto")
    if isinstance(choice, dict) and (str(choice.get("type")) in MODES or _left_out(choice, tools)):
        choice = MODES.get(str(choice["type"]), "auto")  # what nobody here can run is not forced
    if isinstance(choice, dict):
        return ToolChoice("tool", _chosen(choice, tools), parallel)
    kind = MODES.get(choice) if isinstance(choice, str) else None
    if kind is None:
        raise invalid("tool_choice", "expected 'auto', 'none', 'required' or a tool")
    if kind == "none":
        tools.web_search = False
    return ToolChoice(kind, parallel=parallel)


def _left_out(choice: Mapping[str, Any], tools: Toolset) -> bool:
    """Whether it is a tool of OpenAI's servers; later versions of one have its name in front."""
    kind = choice.get("type")
    return bool(kind) and any(one.startswith(str(kind)) for one in tools.left_out)


def _chosen(choice: Mapping[str, Any], tools: Toolset) -> str:
    """The neutral name of the one tool that is to be called."""
    kind = choice.get("type", "function")
    if isinstance(kind, str) and kind.startswith(SEARCH) and tools.web_search:
        return SEARCH
    inner = choice.get(str(kind), choice)
    name = inner.get("name") if isinstance(inner, dict) else None
    if str(kind) in CLIENT_TOOLS:
        name = kind
    namespace = choice.get("namespace")
    if isinstance(name, str):
        neutral = tools.neutral(name, namespace if isinstance(namespace, str) else "")
        if neutral in tools.offered:
            return neutral
    raise invalid("tool_choice", f"there is no such tool: {name or kind}")


class CustomText:
    """Takes the text of a custom tool out of its JSON input, as far as that has come.

    `feed` and `close` return what is new. Escapes that are cut in two wait for their other half.
    """

    _HEAD = re.compile(r'\s*\{\s*"input"\s*:\s*"')
    _PLAIN = re.compile(
        r'(?:[^"\\]+|\\["\\/bfnrt]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
        r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})+"
    )

    def __init__(self) -> None:
        self._json: list[str] = []
        self._rest = ""
        self._inside = False
        self._given: list[str] = []

    def feed(self, fragment: str) -> str:
        """More of the JSON text."""
        self._json.append(fragment)
        self._rest += fragment
        if not self._inside:
            head = self._HEAD.match(self._rest)
            if head is None:
                return ""
            self._inside = True
            self._rest = self._rest[head.end() :]
        piece = self._PLAIN.match(self._rest)
        if piece is None:
            return ""
        self._rest = self._rest[piece.end() :]
        return self._give(json.loads(f'"{piece[0]}"', strict=False))

    def close(self) -> str:
        """The JSON is whole: what has not been given yet."""
        given = "".join(self._given)
        whole = custom_text("".join(self._json))
        return self._give(whole[len(given) :]) if whole.startswith(given) else ""

    def _give(self, text: str) -> str:
        self._given.append(text)
        return text

    @property
    def text(self) -> str:
        """All that was given."""
        return "".join(self._given)


def custom_text(source: str) -> str:
    """The text of a whole JSON input; JSON of another form stays as it is."""
    try:
        value = json.loads(source, strict=False)
    except (ValueError, RecursionError):
        return source
    text = value.get(CUSTOM_KEY) if isinstance(value, dict) else None
    if not isinstance(text, str):
        return source
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
