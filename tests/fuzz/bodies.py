"""Request bodies that are nearly right: mutations of recorded and written ones."""

import json
import random
from pathlib import Path
from typing import Any

CAPTURES = Path(__file__).parents[1] / "data" / "captures"
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    2**70,
    1e308,
    "",
    " ",
    "\u0000",
    "text",
    "你好🧪",
    [],
    {},
    [[]],
    [None],
    {"type": "text"},
    {"type": "text", "text": "x"},
    {"type": "unknown_block", "data": {"a": [1]}},
    {"type": "tool_use", "id": "a\nb", "name": "x" * 100, "input": {}},
    {"type": "tool_use", "id": "t1", "name": "f", "input": {"__unparsedToolInput": "{"}},
    {"type": "tool_result", "tool_use_id": "t1", "content": None},
    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "image"}]},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "!"}},
    {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1/"}},
    {"type": "document", "source": {"type": "base64", "data": "AAAA"}},
    {"type": "thinking", "thinking": "x"},
    {"type": "redacted_thinking", "data": "x"},
    {"role": "system", "content": "x"},
    {"role": "assistant", "content": []},
    {"role": "user", "content": [{"type": "text", "text": ""}]},
    {"type": ["text"]},
    {"type": {"type": "text"}},
    {"type": "function_call", "call_id": "t1", "name": "f", "arguments": "{"},
    {"type": "function_call_output", "call_id": "t1", "output": {"a": 1}},
    {"type": "reasoning", "summary": 5},
    {"type": "input_image", "image_url": 5},
    {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]},
    {"role": "tool", "tool_call_id": "t1", "content": []},
    {"id": "x"},
]
KEYS = [
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "max_tokens",
    "stream",
    "stop_sequences",
    "metadata",
    "output_config",
    "content",
    "role",
    "type",
    "input_schema",
    "name",
    "source",
]


def seeds(name: str = "") -> list[Any]:
    """Bodies of recorded requests to `/v1/messages`, their long texts cut to keep mutation quick.

    `name` is how the files begin where others are wanted.
    """

    def shorten(value: Any) -> Any:
        if isinstance(value, str):
            return value[:80]
        if isinstance(value, list):
            return [shorten(item) for item in value[:4]]
        if isinstance(value, dict):
            return {key: shorten(item) for key, item in list(value.items())[:12]}
        return value

    bodies = [
        json.loads(path.read_text("utf-8"))["body"]
        for path in sorted(CAPTURES.glob(f"{name}*.json"))
    ]
    return [shorten(body) for body in bodies if name or "messages" in body]


def mutate(value: Any, chance: random.Random, rate: float) -> Any:
    """A copy with about `rate` of its parts replaced, doubled, dropped or moved."""
    if chance.random() < rate:
        return chance.choice(ODD)
    if isinstance(value, list):
        items = [mutate(item, chance, rate) for item in value if chance.random() > rate]
        if items and chance.random() < 3 * rate:
            items.insert(chance.randrange(len(items) + 1), chance.choice([*items, *ODD]))
        if chance.random() < rate:
            chance.shuffle(items)
        return items
    if isinstance(value, dict):
        kept = {k: mutate(v, chance, rate) for k, v in value.items() if chance.random() > rate / 2}
        if chance.random() < rate:
            kept[chance.choice(KEYS)] = chance.choice(ODD)
        return kept
    if isinstance(value, str) and chance.random() < rate:
        return chance.choice([value * 3, value[:3], value + "<thinking>", "\n" + value])
    return value


def body_bytes(chance: random.Random, known: list[Any]) -> bytes:
    """One body; now and then its bytes are damaged as well."""
    rate = chance.choice([0.002, 0.01, 0.06])
    data = json.dumps(mutate(chance.choice(known), chance, rate), ensure_ascii=False).encode()
    if chance.random() < 0.1 and data:
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        data = bytes(damaged)
    return data
