"""A client's side of the Responses API: read a stream, put its response together."""

import json
from typing import Any

from hypothesis import strategies as st

from tests.dialects.openai_chat.helpers import (
    ARGUMENTS,
    IDS,
    NAMES,
    PNG,
    WORDS,
    shape,
)

Event = dict[str, Any]
ENDINGS = ("response.completed", "response.incomplete", "response.failed")


def events_of(wire: bytes) -> list[Event]:
    """The events of a stream, pings left out; each has the type that its name line says."""
    assert wire.endswith(b"\n\n") or not wire
    events = []
    for part in wire.split(b"\n\n")[:-1]:
        if part == b": ping":
            continue
        name, data = part.split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        events.append(event)
    return events


class Assembly:
    """Puts a response together as an SDK does, checking the order of its events."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        """As far as they came."""
        self.done: list[dict[str, Any]] = []
        self.error: dict[str, Any] | None = None
        self.response: dict[str, Any] = {}
        self._open = False
        self._part = False

    def take(self, event: Event) -> None:
        kind = event["type"]
        assert not self.response, "nothing follows the end"
        assert self.error is None or kind == "response.failed"
        handle = getattr(self, "_" + kind.removeprefix("response.").replace(".", "_"))
        handle(event)

    def _check(self, event: Event, *kinds: str) -> dict[str, Any]:
        assert self._open
        assert event["output_index"] == len(self.items) - 1
        item = self.items[-1]
        assert event["item_id"] == item["id"]
        assert item["type"] in kinds
        return item

    def _output_item_added(self, event: Event) -> None:
        assert event["output_index"] == len(self.items)
        assert not self._part, "the item before has ended"
        cut = self._open and self.items[-1]["type"].endswith("_call")
        assert not self._open or cut, "only a cut call never ends"
        self.items.append(dict(event["item"]))
        self._open = True

    def _output_item_done(self, event: Event) -> None:
        assert self._open
        assert not self._part
        assert event["output_index"] == len(self.items) - 1
        item = event["item"]
        assert item["id"] == self.items[-1]["id"]
        for key, value in self.items[-1].items():
            if key not in ("status", "summary", "content", "action"):
                assert item[key] == value, key
        self.items[-1] = item
        self.done.append(item)
        self._open = False

    # text

    def _content_part_added(self, event: Event) -> None:
        item = self._check(event, "message")
        assert event["content_index"] == len(item["content"]) == 0
        self._part = True
        self._text = ""

    def _output_text_delta(self, event: Event) -> None:
        self._check(event, "message")
        assert self._part
        assert event["logprobs"] == []
        self._text += event["delta"]

    def _output_text_done(self, event: Event) -> None:
        self._check(event, "message")
        assert event["text"] == self._text

    def _content_part_done(self, event: Event) -> None:
        self._check(event, "message")
        assert event["part"]["text"] == self._text
        self._part = False

    # thoughts

    def _reasoning_summary_part_added(self, event: Event) -> None:
        self._check(event, "reasoning")
        self._part = True
        self._text = ""

    def _reasoning_summary_text_delta(self, event: Event) -> None:
        self._check(event, "reasoning")
        assert self._part
        self._text += event["delta"]

    def _reasoning_summary_text_done(self, event: Event) -> None:
        assert event["text"] == self._text

    def _reasoning_summary_part_done(self, event: Event) -> None:
        assert event["part"] == {"type": "summary_text", "text": self._text}
        self._part = False

    # tools

    def _function_call_arguments_delta(self, event: Event) -> None:
        self._check(event, "function_call")["arguments"] += event["delta"]

    def _function_call_arguments_done(self, event: Event) -> None:
        item = self._check(event, "function_call")
        assert (event["arguments"], event["name"]) == (item["arguments"], item["name"])

    def _custom_tool_call_input_delta(self, event: Event) -> None:
        self._check(event, "custom_tool_call")["input"] += event["delta"]

    def _custom_tool_call_input_done(self, event: Event) -> None:
        assert event["input"] == self._check(event, "custom_tool_call")["input"]

    def _web_search_call_in_progress(self, event: Event) -> None:
        self._check(event, "web_search_call")

    _web_search_call_searching = _web_search_call_completed = _web_search_call_in_progress

    # the end

    def _error(self, event: Event) -> None:
        self.error = event["error"]

    def _completed(self, event: Event) -> None:
        self.response = event["response"]
        assert self.response["status"] == event["type"].removeprefix("response.")
        assert self.response["output"] == self.done

    _incomplete = _failed = _completed


def assemble(events: list[Event]) -> Assembly:
    """Read a whole stream."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[0]["response"]["status"] == "in_progress"
    assert events[0]["response"]["output"] == []
    assert events[-1]["type"] in ENDINGS
    assembly = Assembly()
    for event in events[2:]:
        assembly.take(event)
    assert (assembly.error is None) == (events[-1]["type"] != "response.failed")
    return assembly


# ---- requests of any kind --------------------------------------------------------------------

PARTS = st.lists(
    st.one_of(
        shape(type=st.sampled_from(["input_text", "output_text"]), text=WORDS),
        shape(type="input_image", image_url=f"data:image/png;base64,{PNG}"),
        shape(type="refusal", refusal=WORDS),
        shape(type="something_new", a=[1]),
    ),
    max_size=3,
)
CONTENT = WORDS | PARTS
SUMMARY = st.lists(shape(type="summary_text", text=WORDS), max_size=2)
ITEM = st.one_of(
    shape(type="message", role=st.sampled_from(["user", "assistant"]), content=CONTENT),
    shape(role=st.sampled_from(["user", "assistant", "system", "developer"]), content=CONTENT),
    shape(type="function_call", call_id=IDS, name=NAMES, arguments=ARGUMENTS, id="fc_1"),
    shape(type="function_call", call_id=IDS, name=NAMES, arguments="{}", namespace="agents"),
    shape(type="function_call_output", call_id=IDS, output=CONTENT),
    shape(type="custom_tool_call", call_id=IDS, name=NAMES, input=WORDS),
    shape(type="custom_tool_call_output", call_id=IDS, output=CONTENT),
    shape(type="reasoning", id="rs_1", summary=SUMMARY, encrypted_content=st.none() | WORDS),
    shape(type="web_search_call", id="ws_1", action={"type": "search", "query": "q"}),
    shape(type="additional_tools", role="developer", tools=[{"type": "function", "name": "z"}]),
    shape(type="something_new", x=[1]),
    shape(type="shell_call", call_id=IDS, action=st.sampled_from([None, {"commands": ["ls"]}])),
    shape(
        type="shell_call_output", call_id=IDS, output=st.sampled_from([None, [], [{"stdout": "a"}]])
    ),
    shape(type="local_shell_call_output", id=IDS, output=WORDS),
    shape(type="apply_patch_call", call_id=IDS, operation={"type": "delete_file", "path": "a"}),
)
TOOL = st.one_of(
    shape(type="function", name=NAMES, parameters=st.sampled_from([None, {}]), strict=True),
    shape(type="custom", name=NAMES, description=WORDS),
    shape(type="namespace", name="agents", tools=[{"type": "function", "name": "read"}]),
    shape(type=st.sampled_from(["web_search", "image_generation", "tool_search"])),
    shape(type=st.sampled_from(["shell", "local_shell", "apply_patch"])),
)
REQUESTS = st.fixed_dictionaries(
    {
        "model": st.just("claude-sonnet-4-5"),
        "input": WORDS | st.lists(ITEM, min_size=1, max_size=8),
    },
    optional={
        "instructions": WORDS | st.none(),
        "tools": st.lists(TOOL, max_size=4),
        "tool_choice": st.sampled_from(["auto", "none"]),
        "parallel_tool_calls": st.booleans(),
        "reasoning": st.sampled_from([None, {}, {"effort": "low"}, {"summary": "auto"}]),
        "text": st.sampled_from([{"format": {"type": "json_object"}}, {"verbosity": "low"}]),
        "max_output_tokens": st.integers(1, 64_000),
        "include": st.just(["reasoning.encrypted_content"]),
        "truncation": st.just("auto"),
    },
)
