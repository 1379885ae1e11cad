"""Whether two answers say the same (pure): ids, times and the cuts between deltas left aside."""

import difflib
import json
from typing import Any, Final

import msgspec

VOLATILE: Final = frozenset(
    {
        "id",
        "item_id",
        "response_id",
        "request_id",
        "created",
        "created_at",
        "completed_at",
        "sequence_number",
        "obfuscation",
        "usage",
    }
)
"""Different in every answer; token counts are estimates that learn."""
DELTAS: Final = frozenset(
    {"text", "thinking", "partial_json", "content", "arguments", "delta", "reasoning_content"}
)
"""Texts under these names go on in the next event."""
PLACE: Final = "…"


def normal_lines(text: str) -> list[str]:
    """An answer, SSE or JSON, as lines that can be compared."""
    lines: list[str] = []
    texts: list[str] = []
    shape = ""
    for value in _values(text):
        found: list[str] = []
        one = json.dumps(_shape(value, found), ensure_ascii=False, sort_keys=True)
        if one == shape and found and len(found) == len(texts):
            texts = [before + more for before, more in zip(texts, found, strict=True)]
            continue
        lines += _written(shape, texts)
        shape, texts = one, found
    return lines + _written(shape, texts)


def _written(shape: str, texts: list[str]) -> list[str]:
    if not shape:
        return []
    return [shape, *(f"  {json.dumps(one, ensure_ascii=False)}" for one in texts)]


def _values(text: str) -> list[Any]:
    """The objects of a stream without its pings, or the one of a body."""
    lines = [line for line in text.splitlines() if line.startswith("data:")]
    if not lines:
        return [_parsed(text)] if text.strip() else []
    found = [_parsed(line[5:].strip()) for line in lines]
    return [one for one in found if not (isinstance(one, dict) and one.get("type") == "ping")]


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text


def _shape(value: Any, texts: list[str]) -> Any:
    """What stays of a value when its texts are taken out, to be put together."""
    if isinstance(value, dict):
        shape = {}
        for name, one in value.items():
            if name in VOLATILE:
                continue
            if name in DELTAS and isinstance(one, str):
                texts.append(one)
                shape[name] = PLACE
            else:
                shape[name] = _shape(one, texts)
        return shape
    if isinstance(value, list):
        return [_shape(one, texts) for one in value]
    return value


def differences(then: str, now: str) -> list[str]:
    """A unified diff of two answers; empty if they say the same."""
    return _diff(normal_lines(then), normal_lines(now))


OF_EACH_CALL: Final = frozenset(
    {"profileArn", "conversationId", "agentContinuationId", "currentWorkingDirectory"}
)


def body_differences(then: Any, now: Any) -> list[str]:
    """A unified diff of two bodies for Kiro, but for what differs in each call."""
    return _diff(_lines_of(then), _lines_of(now))


def _lines_of(body: Any) -> list[str]:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(one) for name, one in value.items() if name not in OF_EACH_CALL}
        return [plain(one) for one in value] if isinstance(value, list) else value

    return json.dumps(plain(body), ensure_ascii=False, indent=1, sort_keys=True).splitlines()


def _diff(then: list[str], now: list[str]) -> list[str]:
    found = difflib.unified_diff(then, now, "then", "now", lineterm="", n=1)
    return list(found)
