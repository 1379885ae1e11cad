"""Scripts: JSON that says what to answer, turned into writes, pauses and an end (pure).

A script is an object: `status`, `headers`, `body` (a whole answer without frames), `before` (steps
that come before the response head), `steps`, `chunks` (sizes into which the bytes are cut, over and
over) and `framing` (`chunked`, `length` or `close`). Each step is an object with one leading key;
`STEPS` and `MODIFIERS` list them.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from kiroproxy.eventstream import build_error, build_event, build_exception, build_frame

EVENT_STREAM = "application/vnd.amazon.eventstream"
MODEL_ID = "claude-sonnet-4.5"
SHORT_BY_BYTES = 16
"""How much more Content-Length promises than a connection that is cut early delivers."""


LAST_CHUNK = b"0\r\n\r\n"


class ScriptError(ValueError):
    """A script cannot be understood."""


@dataclass(frozen=True, slots=True)
class Write:
    """Send these bytes."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait; `None` is until the client leaves."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class Pass:
    """Wait at a gate until the control API lets one through."""

    gate: str


@dataclass(frozen=True, slots=True)
class End:
    """Stop here: `finish` as HTTP wants it, `close` silently or `reset` the connection."""

    how: str


@dataclass(frozen=True, slots=True)
class Modifier:
    """Something that happens to the next frame, or to every one."""

    kind: str
    value: Any


Op = Write | Pause | Pass | End
Action = Op | Modifier


@dataclass(slots=True)
class Program:
    """A script ready to be played; `ops` hold bytes as they go on the wire, framing included."""

    status: int
    headers: dict[str, str]
    before: list[Op]
    ops: list[Op]
    framing: str
    length: int | None
    body: bytes = b""
    """The frames alone."""
    last_frame: int = -1
    """Index of the operation behind which no frame follows."""
    credits: float = 0.0
    reusable: bool = True
    """Whether playing it again may send the same bytes."""


@dataclass(slots=True)
class _Context:
    new_id: Callable[[], str]
    used_ids: bool = False
    credits: float = 0.0
    names: dict[str, str] = field(default_factory=dict)


def dump_payload(value: Any) -> bytes:
    """Serialise a payload as Kiro does; lone surrogates stay as escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    try:
        return orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        return json.dumps(value, separators=(",", ":")).encode("ascii")


def event(event_type: str, payload: Any) -> Write:
    """One event frame."""
    return Write(build_event(event_type, dump_payload(payload)))


# ---- steps -----------------------------------------------------------------------------------


def _text(step: dict[str, Any], _: _Context) -> list[Action]:
    model = step.get("model", MODEL_ID)
    return [event("assistantResponseEvent", {"content": step["text"], "modelId": model})]


def _reasoning(step: dict[str, Any], _: _Context) -> list[Action]:
    payload = {"text": step["reasoning"], "signature": step.get("signature")}
    return [event("reasoningContentEvent", {k: v for k, v in payload.items() if v is not None})]


def _redacted(step: dict[str, Any], _: _Context) -> list[Action]:
    return [event("reasoningContentEvent", {"redactedContent": step["redacted"]})]


def _tool_start(step: dict[str, Any], context: _Context) -> list[Action]:
    tool = step["tool_start"]
    context.names[tool["id"]] = tool["name"]
    return [event("toolUseEvent", {"name": tool["name"], "toolUseId": tool["id"]})]


def _tool_input(step: dict[str, Any], context: _Context) -> list[Action]:
    tool = step["tool_input"]
    return [_tool_event(tool, context, {"input": tool["input"]})]


def _tool_stop(step: dict[str, Any], context: _Context) -> list[Action]:
    return [_tool_event(step["tool_stop"], context, {"stop": True})]


def _tool_event(tool: dict[str, Any], context: _Context, more: dict[str, Any]) -> Write:
    name = tool.get("name", context.names.get(tool["id"]))
    payload = {"name": name, "toolUseId": tool["id"], **more}
    return event("toolUseEvent", {k: v for k, v in payload.items() if v is not None})


def _tool(step: dict[str, Any], context: _Context) -> list[Action]:
    tool = step["tool"]
    if "id" not in tool:
        context.used_ids = True
    one = {"id": tool.get("id") or context.new_id(), "name": tool["name"]}
    given = tool.get("input", {})
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    actions = _tool_start({"tool_start": one}, context)
    for part in cut_text(text, tool.get("fragments", 1)):
        actions += _tool_input({"tool_input": {**one, "input": part}}, context)
    if tool.get("stop", True):
        actions += _tool_stop({"tool_stop": one}, context)
    return actions


def cut_text(text: str, count: int) -> list[str]:
    """Cut a text into at most `count` parts of about the same length; none of them is empty."""
    edges = [len(text) * i // max(count, 1) for i in range(max(count, 1) + 1)]
    return [text[a:b] for a, b in itertools.pairwise(edges) if a < b]


def _event(step: dict[str, Any], _: _Context) -> list[Action]:
    return [event(step["event"], step.get("payload", {}))]


def _exception(step: dict[str, Any], _: _Context) -> list[Action]:
    payload = dump_payload(step.get("payload", {"message": "Simulated exception"}))
    return [Write(build_exception(step["exception"], payload))]


def _error(step: dict[str, Any], _: _Context) -> list[Action]:
    return [Write(build_error(step["error"], step.get("message", "Simulated error")))]


def _frame(step: dict[str, Any], _: _Context) -> list[Action]:
    return [Write(build_frame(step["frame"], dump_payload(step.get("payload", {}))))]


def _context(step: dict[str, Any], _: _Context) -> list[Action]:
    return [event("contextUsageEvent", {"contextUsagePercentage": step["context"]})]


def _metering(step: dict[str, Any], context: _Context) -> list[Action]:
    context.credits += step["metering"]
    payload = {"unit": "credit", "unitPlural": "credits", "usage": step["metering"]}
    return [event("meteringEvent", payload)]


def _metadata(step: dict[str, Any], _: _Context) -> list[Action]:
    return [event("metadataEvent", step["metadata"])]


def _raw(step: dict[str, Any], _: _Context) -> list[Action]:
    return [Write(bytes.fromhex(step["raw_hex"]))]


def _delay(step: dict[str, Any], _: _Context) -> list[Action]:
    return [Pause(float(step["delay"]))]


def _hang(step: dict[str, Any], _: _Context) -> list[Action]:
    return [Pause(step["hang"])]


def _gate(step: dict[str, Any], _: _Context) -> list[Action]:
    return [Pass(str(step["gate"]))]


def _repeat(step: dict[str, Any], context: _Context) -> list[Action]:
    had_ids = context.used_ids
    context.used_ids = False
    before = context.credits
    once = expand(step["steps"], context)
    fresh_ids = context.used_ids
    context.used_ids = had_ids or fresh_ids
    count = int(step["repeat"])
    if fresh_ids:
        rest = (expand(step["steps"], context) for _ in range(count - 1))
        return [*once, *itertools.chain.from_iterable(rest)]
    context.credits = before + (context.credits - before) * count
    return once * count


STEPS: dict[str, Callable[[dict[str, Any], _Context], list[Action]]] = {
    "text": _text,
    "reasoning": _reasoning,
    "redacted": _redacted,
    "tool": _tool,
    "tool_start": _tool_start,
    "tool_input": _tool_input,
    "tool_stop": _tool_stop,
    "event": _event,
    "exception": _exception,
    "error": _error,
    "frame": _frame,
    "context": _context,
    "metering": _metering,
    "metadata": _metadata,
    "raw_hex": _raw,
    "delay": _delay,
    "hang": _hang,
    "gate": _gate,
    "repeat": _repeat,
    "reset": lambda _, __: [End("reset")],
    "close": lambda _, __: [End("close")],
    "stay_open": lambda _, __: [Pause(None)],
}
MODIFIERS = ("each_gated", "each_delayed", "cut", "cut_chunk", "corrupt")
"""each_gated: a gate before every following frame; each_delayed: seconds before every following
frame; cut: the first n bytes of the next frame, then a proper end; cut_chunk: the next frame's HTTP
chunk ends after n bytes with the connection; corrupt: damage the next frame."""


def expand(steps: list[dict[str, Any]], context: _Context) -> list[Action]:
    """Turn steps into actions; frames are built, modifiers not yet applied."""
    actions: list[Action] = []
    for step in steps:
        kind = next((key for key in step if key in STEPS or key in MODIFIERS), None)
        if kind is None:
            raise ScriptError(f"unknown step {step}; known: {', '.join([*STEPS, *MODIFIERS])}")
        try:
            modifier = Modifier(kind, step[kind]) if kind in MODIFIERS else None
            actions += [modifier] if modifier else STEPS[kind](step, context)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ScriptError(f"step {kind}: {error!r}") from error
    return actions


# ---- modifiers -------------------------------------------------------------------------------


def corrupt(frame: bytes, part: str) -> bytes:
    """Flip the bits of one byte: in the prelude's checksum, the payload, or the last checksum."""
    after_headers = 12 + int.from_bytes(frame[4:8], "big")
    at = {"prelude": 8, "payload": min(after_headers, len(frame) - 5), "crc": len(frame) - 1}
    if part not in at:
        raise ScriptError(f"corrupt takes {', '.join(at)}, not {part!r}")
    damaged = bytearray(frame)
    damaged[at[part]] ^= 0xFF
    return bytes(damaged)


def apply_modifiers(actions: list[Action]) -> tuple[list[Op], int]:
    """Resolve modifiers; the second value is how many bytes a cut chunk still owes."""
    ops: list[Op] = []
    active: dict[str, Any] = {}
    for action in actions:
        if isinstance(action, Modifier):
            active[action.kind] = action.value
        elif not isinstance(action, Write):
            ops.append(action)
        else:
            if active.get("each_gated"):
                ops.append(Pass(active["each_gated"]))
            if active.get("each_delayed"):
                ops.append(Pause(active["each_delayed"]))
            data = action.data
            if "corrupt" in active:
                data = corrupt(data, active.pop("corrupt"))
            if "cut" in active:
                return [*ops, Write(data[: active["cut"]]), End("finish")], 0
            if "cut_chunk" in active:
                sent = data[: active["cut_chunk"]]
                return [*ops, Write(sent), End("close")], len(data) - len(sent)
            ops.append(Write(data))
    return ops, 0


# ---- onto the wire ---------------------------------------------------------------------------


def until_end(ops: list[Op]) -> list[Op]:
    """The operations up to the first end; without one, a proper end is appended."""
    for index, op in enumerate(ops):
        if isinstance(op, End):
            return ops[: index + 1]
    return [*ops, End("finish")]


def recut(ops: list[Op], sizes: list[int]) -> list[Op]:
    """Cut the bytes between two waits into pieces of these sizes, over and over."""
    if not sizes or min(sizes) < 1:
        raise ScriptError("chunks takes sizes above zero")
    wanted = itertools.cycle(sizes)
    return list(itertools.chain.from_iterable(_recut_run(run, wanted) for run in _runs(ops)))


def _runs(ops: list[Op]) -> Iterator[Op]:
    for is_write, group in itertools.groupby(ops, lambda op: isinstance(op, Write)):
        members = list(group)
        if is_write:
            yield Write(b"".join(op.data for op in members if isinstance(op, Write)))
        else:
            yield from members


def _recut_run(op: Op, wanted: Iterator[int]) -> Iterator[Op]:
    if not isinstance(op, Write):
        yield op
        return
    rest = op.data
    while rest:
        size = next(wanted)
        yield Write(rest[:size])
        rest = rest[size:]


def chunked(ops: list[Op], owed: int = 0) -> list[Op]:
    """Give every write its chunk head; the last one announces `owed` bytes that never come."""
    last = max((i for i, op in enumerate(ops) if isinstance(op, Write)), default=-1)
    wired: list[Op] = []
    for index, op in enumerate(ops):
        if isinstance(op, Write) and op.data:
            short = owed if index == last else 0
            tail = b"" if short else b"\r\n"
            wired.append(Write(b"%x\r\n%b%b" % (len(op.data) + short, op.data, tail)))
        elif isinstance(op, End) and op.how == "finish":
            wired += [Write(LAST_CHUNK), op]
        elif not isinstance(op, Write):
            wired.append(op)
    return wired


def announced_length(ops: list[Op]) -> int:
    """What Content-Length says: all of the script's bytes, and more than a cut one delivers."""
    played = until_end(ops)
    sent = _size(played)
    if isinstance(played[-1], End) and played[-1].how == "finish":
        return sent
    return max(_size(ops), sent + SHORT_BY_BYTES)


def _size(ops: list[Op]) -> int:
    return sum(len(op.data) for op in ops if isinstance(op, Write))


def compile_script(script: dict[str, Any], new_id: Callable[[], str]) -> Program:
    """Turn a script into the operations that play it.

    Raises:
        ScriptError: it cannot be understood.
    """
    if not isinstance(script, dict):
        raise ScriptError("a script is a JSON object")
    context = _Context(new_id)
    before = _waits(expand(script.get("before", []), context))
    headers = {str(k).lower(): str(v) for k, v in script.get("headers", {}).items()}
    framing = script.get("framing", "chunked")
    if framing not in ("chunked", "length", "close"):
        raise ScriptError(f"framing is chunked, length or close, not {framing!r}")
    if script.get("body") is not None:
        headers.setdefault("content-type", _content_type(script["body"]))
        actions: list[Action] = [Write(dump_payload(script["body"]))]
        framing = script.get("framing", "length")
    else:
        headers.setdefault("content-type", EVENT_STREAM)
        actions = expand(script.get("steps", []), context)
    ops, owed = apply_modifiers(actions)
    length = announced_length(ops) if framing == "length" else None
    ops = until_end(ops)
    body = b"".join(op.data for op in ops if isinstance(op, Write))
    sizes = script.get("chunks")
    if sizes:
        ops = recut(ops, sizes)
    if framing == "chunked":
        ops = chunked(ops, owed)
    ops = ops if sizes else list(_runs(ops))
    frames = [i for i, op in enumerate(ops) if isinstance(op, Write) and op.data != LAST_CHUNK]
    return Program(
        status=int(script.get("status", 200)),
        headers=headers,
        before=before,
        ops=ops,
        framing=framing,
        length=length,
        body=body,
        last_frame=frames[-1] if frames else -1,
        credits=context.credits,
        reusable=not context.used_ids,
    )


def _waits(actions: list[Action]) -> list[Op]:
    waits = [op for op in actions if isinstance(op, Pause | Pass | End)]
    if len(waits) < len(actions):
        raise ScriptError("before the head come only delay, hang, gate, close and reset")
    return [*waits]


def _content_type(body: Any) -> str:
    return "text/html" if isinstance(body, str) else "application/json"
