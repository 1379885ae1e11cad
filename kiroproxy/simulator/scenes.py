"""Scripts by name: every frame kind of `protocol.md` 4.1 and every fault (pure).

`GET /_sim/scripts` lists them; `[[sim: NAME]]` in a prompt plays one. Some take arguments:
`burst N`, `paced N SECONDS`, `tools N`, `text WORDS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kiroproxy.simulator.kiro_errors import KIRO_ERRORS, find_error

Script = dict[str, Any]
TRAILER: list[Script] = [{"context": 3.5}, {"metering": 0.0125}]
SIGNATURE = "c2ltdWxhdGVkLXNpZ25hdHVyZQ=="
HELLO: list[Script] = [{"text": "This is "}, {"text": "a simulated "}, {"text": "answer."}]
CUT_TOOL_INPUT = '{"path": "/tmp/simulated.txt", "content": "line 1\\nline 2'


@dataclass(frozen=True, slots=True)
class Scene:
    """A named script."""

    about: str
    script: Script
    damaged: bool = False
    """Whether its bytes are no sound event stream, on purpose."""


def _scene(about: str, *steps: Script, damaged: bool = False, **more: Any) -> Scene:
    return Scene(about, {"steps": [*steps], **more}, damaged)


def _weather(key: str, **more: Any) -> Script:
    return {"tool": {"name": "get_weather", "input": {"city": key}, **more}}


def _start(tool_id: str, name: str) -> Script:
    return {"tool_start": {"id": tool_id, "name": name}}


def _input(tool_id: str, text: str) -> Script:
    return {"tool_input": {"id": tool_id, "input": text}}


def _stop(tool_id: str) -> Script:
    return {"tool_stop": {"id": tool_id}}


def _event(kind: str, payload: Any) -> Script:
    return {"event": kind, "payload": payload}


ONE, TWO = "tooluse_simulated_one", "tooluse_simulated_two"

TEXTS = {
    "text": _scene("a short text and both trailers", *HELLO, *TRAILER),
    "unicode": _scene(
        "several scripts, one HTTP chunk a byte",
        {"text": "simulated: café, 你好, "},
        {"text": "🧪 рус عربى 👩‍👩‍👧‍👦"},
        *TRAILER,
        chunks=[1],
    ),
    "awkward-chunks": _scene("chunks of 1, 7 and 3 bytes", *HELLO, *TRAILER, chunks=[1, 7, 3]),
    "surrogate-pair": _scene(
        "a surrogate pair cut into two frames",
        {"text": "simulated \ud83e"},
        {"text": "\uddea done"},
        *TRAILER,
    ),
    "surrogate-half": _scene("a lone half", {"text": "simulated \ud83e alone"}, *TRAILER),
    "repeated-text": _scene(
        "equal frames in a row, which must not be dropped",
        {"repeat": 5, "steps": [{"text": "66"}]},
        *TRAILER,
    ),
    "empty": _scene("trailers and nothing else", *TRAILER),
    "empty-text": _scene("frames with an empty text", {"text": ""}, {"text": ""}, *TRAILER),
    "nothing": _scene("not one frame"),
    "untrailed": _scene("text without any trailer", *HELLO),
    "metering-only": _scene("text and metering", *HELLO, {"metering": 0.01}),
    "context-only": _scene("text and context usage", *HELLO, {"context": 3.5}),
    "context-full": _scene("the context is full", *HELLO, {"context": 100.0}, {"metering": 0.01}),
    "context-full-empty": _scene("the context is full, no text", {"context": 104.0}),
    "usage": _scene(
        "token usage by upstream",
        *HELLO,
        {
            "metadata": {
                "tokenUsage": {
                    "uncachedInputTokens": 120,
                    "outputTokens": 7,
                    "totalTokens": 1127,
                    "cacheReadInputTokens": 1000,
                    "cacheWriteInputTokens": 0,
                }
            }
        },
        *TRAILER,
    ),
    "filtered": _scene(
        "stopped by the content filter at once",
        {"metadata": {"stopReason": "CONTENT_FILTERED"}},
        *TRAILER,
    ),
    "filtered-late": _scene(
        "stopped by the content filter after text",
        *HELLO,
        {"metadata": {"stop_reason": "CONTENT_FILTERED"}},
        *TRAILER,
    ),
    "stays-open": _scene(
        "all trailers, and the connection stays open", *HELLO, *TRAILER, {"stay_open": True}
    ),
    "metering-stays-open": _scene(
        "metering, and the connection stays open",
        *HELLO,
        {"metering": 0.01},
        {"stay_open": True},
    ),
}

THINKING = {
    "thinking": _scene(
        "thinking in tags",
        {"text": "\n\n<thinking>\nA simulated "},
        {"text": "thought."},
        {"text": "</thinking>\n\nThe simulated answer."},
        *TRAILER,
    ),
    "thinking-cut": _scene(
        "tags cut into single characters",
        *[{"text": c} for c in "<thinking>\nsimulated</thinking>\n\nanswer"],
        *TRAILER,
    ),
    "thinking-unclosed": _scene("never closed", {"text": "<thinking>\nsimulated"}, *TRAILER),
    "thinking-tool": _scene(
        "closed by a tool call",
        {"text": "<thinking>\nsimulated</thinking>"},
        _weather("Turin", id=ONE),
        *TRAILER,
    ),
    "reasoning": _scene(
        "native reasoning with a signature",
        {"reasoning": "A simulated "},
        {"reasoning": "thought."},
        _event("reasoningContentEvent", {"signature": SIGNATURE}),
        *HELLO,
        *TRAILER,
    ),
    "reasoning-unsigned": _scene(
        "native reasoning without one", {"reasoning": "simulated"}, *HELLO, *TRAILER
    ),
    "reasoning-and-tags": _scene(
        "the same thought twice",
        {"reasoning": "simulated", "signature": SIGNATURE},
        {"text": "<thinking>\nsimulated</thinking>\n\nanswer"},
        *TRAILER,
    ),
    "reasoning-only": _scene("reasoning, no text", {"reasoning": "simulated"}, *TRAILER),
    "redacted": _scene("redacted reasoning", {"redacted": SIGNATURE}, *HELLO, *TRAILER),
}

TOOLS = {
    "tool": _scene(
        "text and one call of get_weather in three fragments",
        {"text": "Let me look (simulated)."},
        _weather("Turin", fragments=3),
        *TRAILER,
    ),
    "tool-only": _scene("one call, no text", _weather("Turin"), *TRAILER),
    "tool-escapes": _scene(
        "fragments of single characters, cut inside escapes",
        {
            "tool": {
                "name": "get_weather",
                "input": '{"city":"T\\u00fcrin\\n\\"x\\""}',
                "fragments": 99,
            }
        },
        *TRAILER,
    ),
    "tools-parallel": _scene("two calls in a row", _weather("Turin"), _weather("Oslo"), *TRAILER),
    "tools-interleaved": _scene(
        "two calls whose fragments alternate",
        _start(ONE, "get_weather"),
        _start(TWO, "get_weather"),
        _input(ONE, '{"city":'),
        _input(TWO, '{"city":'),
        _input(ONE, '"Turin"}'),
        _input(TWO, '"Oslo"}'),
        _stop(TWO),
        _stop(ONE),
        *TRAILER,
    ),
    "tool-no-input": _scene("a call without arguments", _start(ONE, "now"), _stop(ONE), *TRAILER),
    "tool-object": _scene(
        "the whole input as an object",
        _event(
            "toolUseEvent",
            {"name": "get_weather", "toolUseId": ONE, "input": {"city": "Turin"}},
        ),
        _stop(ONE),
        *TRAILER,
    ),
    "tool-empty-object": _scene(
        "an empty object first, then fragments",
        _event("toolUseEvent", {"name": "get_weather", "toolUseId": ONE, "input": {}}),
        _event("toolUseEvent", {"toolUseId": ONE, "input": '{"city":"Turin"}'}),
        _stop(ONE),
        *TRAILER,
    ),
    "tool-then-text": _scene("text behind a call", _weather("Turin"), *HELLO, *TRAILER),
    "tool-cut": _scene(
        "a call that is never stopped, no trailer",
        _start(ONE, "Write"),
        _input(ONE, CUT_TOOL_INPUT),
    ),
    "tool-cut-trailed": _scene(
        "a call that is never stopped, with trailers",
        _start(ONE, "Write"),
        _input(ONE, CUT_TOOL_INPUT),
        *TRAILER,
    ),
    "tool-bad-json": _scene(
        "a stopped call whose input is no JSON",
        {"tool": {"name": "Write", "input": CUT_TOOL_INPUT, "fragments": 2}},
        *TRAILER,
    ),
    "tool-good-and-cut": _scene(
        "a whole call, then a cut one",
        _weather("Turin"),
        _start(ONE, "Write"),
        _input(ONE, CUT_TOOL_INPUT),
    ),
    "leaked-tool": _scene(
        "tool syntax as text",
        {"text": '<invoke name="get_weather">'},
        {"text": '<parameter name="city">simulated</parameter></invoke>'},
        *TRAILER,
    ),
}

SPAN = {"start": 0, "end": 10}
REFERENCE = {
    "licenseName": "MIT",
    "repository": "simulated/repo",
    "url": "https://example.com/simulated",
    "recommendationContentSpan": SPAN,
}
LINK = {"url": "https://example.com", "title": "Simulated", "snippet": "A simulated link"}
RARE_EVENTS: dict[str, Any] = {
    "messageMetadataEvent": {"conversationId": "simulated", "utteranceId": "simulated"},
    "invalidStateEvent": {"reason": "INVALID_TASK_ASSIST_PLAN", "message": "simulated"},
    "codeReferenceEvent": {"references": [REFERENCE]},
    "supplementaryWebLinksEvent": {"supplementaryWebLinks": [LINK]},
    "citationEvent": {"target": {"location": 4}, "citationText": "x", "citationLink": LINK["url"]},
    "followupPromptEvent": {
        "followupPrompt": {"content": "simulated?", "userIntent": "SHOW_EXAMPLES"}
    },
    "codeEvent": {"content": "print('simulated')"},
    "intentsEvent": {"intents": {}},
    "interactionComponentsEvent": {"interactionComponentEntries": []},
    "toolResultEvent": {"toolResult": {"toolUseId": ONE, "content": [], "status": "success"}},
    "dryRunSucceedEvent": {},
    "simulatedUnknownEvent": {"anything": [1, 2, 3]},
}
RARE = {
    kind: _scene(
        f"{kind} between texts",
        {"text": "before "},
        _event(kind, payload),
        {"text": "after (simulated)"},
        *TRAILER,
    )
    for kind, payload in RARE_EVENTS.items()
} | {
    "every-event": _scene(
        "one of each",
        _event("messageMetadataEvent", RARE_EVENTS["messageMetadataEvent"]),
        {"reasoning": "A simulated thought.", "signature": SIGNATURE},
        *HELLO,
        *[_event(kind, payload) for kind, payload in RARE_EVENTS.items()],
        _weather("Turin", fragments=2),
        {
            "metadata": {
                "tokenUsage": {"uncachedInputTokens": 10, "outputTokens": 5, "totalTokens": 15}
            }
        },
        *TRAILER,
    ),
    "extra-keys": _scene(
        "keys that nobody asked for",
        _event(
            "assistantResponseEvent",
            {"messageStatus": "COMPLETED", "content": "simulated", "followupPrompt": None},
        ),
        *TRAILER,
    ),
    "no-message-type": _scene(
        "a frame without :message-type",
        {"frame": {":event-type": "assistantResponseEvent"}, "payload": {"content": "simulated"}},
        *TRAILER,
    ),
}

EXCEPTIONS = {
    "throttling": ("ThrottlingException", {"message": "Too many requests (simulated)"}),
    "validation": ("ValidationException", {"message": "Improperly formed request."}),
    "access-denied": ("AccessDeniedException", {"message": "Simulated denial"}),
    "internal": ("InternalServerException", {"message": "Simulated fault"}),
    "length": ("ContentLengthExceededException", {"message": "Simulated length limit"}),
    "modelled": ("error", {"message": "Simulated fault", "reason": None}),
    "capacity": (
        "ThrottlingException",
        {"message": "High traffic (simulated)", "reason": "INSUFFICIENT_MODEL_CAPACITY"},
    ),
}


def _exception_scenes() -> dict[str, Scene]:
    scenes = {}
    for name, (kind, payload) in EXCEPTIONS.items():
        step = {"exception": kind, "payload": payload}
        scenes[f"exception-{name}"] = _scene(f"{kind} as first frame", step)
        scenes[f"exception-{name}-late"] = _scene(f"{kind} after text", *HELLO, step)
        scenes[f"exception-{name}-tool"] = _scene(
            f"{kind} inside a call", _start(ONE, "Write"), _input(ONE, CUT_TOOL_INPUT), step
        )
    frame = {":message-type": "exception"}
    payload = {"__type": "x#ThrottlingException", "message": "simulated"}
    scenes["exception-untyped"] = _scene(
        "its type is in the payload only", {"frame": frame, "payload": payload}
    )
    error = {"error": "InternalError", "message": "Simulated error"}
    scenes["error-frame"] = _scene("an error frame", error)
    scenes["error-frame-late"] = _scene("an error frame after text", *HELLO, error)
    return scenes


OPENINGS: dict[str, tuple[str, list[Script]]] = {
    "": ("at once", []),
    "-late": ("after text", HELLO),
    "-tool": ("inside a call", [_start(ONE, "Write"), _input(ONE, CUT_TOOL_INPUT)]),
}
DAMAGES: dict[str, tuple[str, list[Script]]] = {
    "cut-frame": ("half a frame, then a proper end", [{"cut": 20}, *HELLO]),
    "cut-chunk": ("the connection ends inside an HTTP chunk", [{"cut_chunk": 20}, *HELLO]),
    "corrupt-prelude": ("a damaged prelude", [{"corrupt": "prelude"}, *HELLO, *TRAILER]),
    "corrupt-payload": ("a damaged payload", [{"corrupt": "payload"}, *HELLO, *TRAILER]),
    "corrupt-crc": ("a damaged checksum", [{"corrupt": "crc"}, *HELLO, *TRAILER]),
    "junk": ("a page of HTML", [{"raw_hex": b"<html>simulated</html>".hex()}]),
    "huge": ("a frame that announces 2 GiB", [{"raw_hex": "7fffffff000000000000000000000000"}]),
}
SOUND_FAULTS: dict[str, tuple[str, list[Script]]] = {
    "close": ("closed without an end", [{"close": True}]),
    "reset": ("connection reset", [{"reset": True}]),
    "hang": ("silence for ever", [{"hang": None}]),
    "bad-payload": (
        "a payload that is no JSON",
        [_event("assistantResponseEvent", '{"content":'), *TRAILER],
    ),
    "bad-utf8": (
        "a payload that is no UTF-8",
        [_event("assistantResponseEvent", '{"content":"\udcff"}'), *TRAILER],
    ),
    "wrong-shape": (
        "a payload of another shape",
        [_event("assistantResponseEvent", [1]), *TRAILER],
    ),
}


def _fault_scenes() -> dict[str, Scene]:
    return {
        f"{name}{suffix}": _scene(f"{about}, {when}", *opening, *steps, damaged=damaged)
        for table, damaged in ((DAMAGES, True), (SOUND_FAULTS, False))
        for name, (about, steps) in table.items()
        for suffix, (when, opening) in OPENINGS.items()
    }


TRANSPORT = {
    "slow": _scene("200 ms before every frame", {"each_delayed": 0.2}, *HELLO, *TRAILER),
    "slow-start": _scene("6 s before the first frame", {"delay": 6}, *HELLO, *TRAILER),
    "slow-head": Scene(
        "2 s before the head", {"before": [{"delay": 2}], "steps": [*HELLO, *TRAILER]}
    ),
    "hang-head": Scene("no head, ever", {"before": [{"hang": None}]}),
    "reset-head": Scene("reset before the head", {"before": [{"reset": True}]}),
    "close-head": Scene("closed before the head", {"before": [{"close": True}]}),
    "gated": _scene("gate `gated` before every frame", {"each_gated": "gated"}, *HELLO, *TRAILER),
    "length": _scene("with Content-Length", *HELLO, *TRAILER, framing="length"),
    "length-cut": _scene("less than Content-Length", *HELLO, {"close": True}, framing="length"),
    "until-close": _scene("the body ends with the connection", *HELLO, *TRAILER, framing="close"),
    "no-content": Scene("200 with an empty JSON object", {"status": 200, "body": {}}),
}

SCENES: dict[str, Scene] = {
    **TEXTS,
    **THINKING,
    **TOOLS,
    **RARE,
    **_exception_scenes(),
    **_fault_scenes(),
    **TRANSPORT,
}


def error_script(name: str) -> Script:
    """A script that answers with one of Kiro's errors.

    Raises:
        ValueError: no such error.
    """
    error = find_error(name)
    headers = {"x-amzn-errortype": error.type, **dict(error.headers)}
    return {"status": error.status, "headers": headers, "body": error.body()}


SCENES |= {
    f"error-{name}": Scene(f"HTTP {error.status}: {error.message}", error_script(name))
    for name, error in KIRO_ERRORS.items()
}


# ---- scenes with arguments -------------------------------------------------------------------


def _burst(count: str = "200") -> Script:
    return {"steps": [{"repeat": int(count), "steps": [{"text": "simulated "}]}, *TRAILER]}


def _paced(count: str = "20", seconds: str = "0.05") -> Script:
    step = [{"text": "simulated "}, {"delay": float(seconds)}]
    return {"steps": [{"repeat": int(count), "steps": step}, *TRAILER]}


def _tools(count: str = "2") -> Script:
    return {"steps": [*[_weather(f"City {i}") for i in range(int(count))], *TRAILER]}


def _fragments(count: str = "120") -> Script:
    text = '{"path": "a", "content": "' + "simulated " * int(count) + '"}'
    tool = {"name": "Write", "input": text, "fragments": int(count)}
    return {"steps": [{"tool": tool}, *TRAILER]}


def _error(*name: str) -> Script:
    return error_script(" ".join(name))


MAKERS: dict[str, Callable[..., Script]] = {
    "burst": _burst,
    "paced": _paced,
    "tools": _tools,
    "fragments": _fragments,
    "error": _error,
}


def find_scene(words: str) -> Script:
    """Find a script by its name and arguments, as a directive gives them.

    Raises:
        ValueError: no such scene, or its arguments do not fit.
    """
    name, *arguments = words.split()
    if name in MAKERS:
        try:
            return MAKERS[name](*arguments)
        except TypeError as error:
            raise ValueError(f"{name}: {error}") from error
    if name not in SCENES or arguments:
        raise ValueError(f"no such script: {words}; GET /_sim/scripts lists them")
    return SCENES[name].script
