"""Estimate token counts (pure).

No public tokenizer exists for current Claude models, so this is an estimate by script: characters
of Latin text, digits, punctuation, CJK and other scripts each have a weight. All counting is done
by C-level string methods: 1 MB takes about 5 ms.
"""

import base64
import struct
from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from kiroproxy.conversation import (
    Conversation,
    Image,
    Json,
    Message,
    RedactedThinking,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)

PER_LOWER = 0.166
PER_UPPER = 0.25
PER_WORD = 0.63
PER_LINE = 0.22
PER_DIGIT = 0.49
PER_MARK = 0.74
"""Punctuation: code and JSON are full of it."""
PER_TWO_BYTES = 0.43
"""Cyrillic, Greek, Arabic, accents."""
PER_WIDE = 0.97
"""CJK: about one token a character."""
"""The weights are a least-squares fit; docs/token-counting.md says against what."""

MODEL_FACTORS = (
    ("claude-opus-4.7", 1.2),
    ("claude-opus-4.8", 1.2),
    ("claude-*-5", 1.2),
    ("claude-*-5.*", 1.2),
)
"""Globs of Kiro ids; these have a newer tokenizer, which makes more of the same text."""
JSON_FACTOR = 1.15
"""Schemas come out low in that fit."""

PER_MESSAGE = 4
PER_TOOL = 12
PER_TOOL_BLOCK = 10
IMAGE_LONG_SIDE = 1568
IMAGE_UNKNOWN = 1600
"""Protocol notes 3.6: width · height / 750, the long side capped at 1568."""

_LOWER, _UPPER, _DIGIT, _MARK, _LINE, _CONTINUES, _TWO, _WIDE, _REST = range(9)


def _class_of(byte: int) -> int:
    """The class of one byte of UTF-8."""
    if byte >= 0x80:
        return _CONTINUES if byte < 0xC0 else _TWO if byte < 0xE0 else _WIDE
    char = chr(byte)
    if char.isalpha():
        return _LOWER if char.islower() else _UPPER
    if char.isdigit():
        return _DIGIT
    return _LINE if char == "\n" else _MARK if 32 < byte < 127 else _REST


_TABLE = bytes(_class_of(byte) for byte in range(256))
"""Translating a text by it once and counting classes is the cheapest census in Python."""
_WEIGHTS = (
    (bytes([_LOWER]), PER_LOWER),
    (bytes([_UPPER]), PER_UPPER),
    (bytes([_DIGIT]), PER_DIGIT),
    (bytes([_MARK]), PER_MARK),
    (bytes([_LINE]), PER_LINE),
)
_WIDE_WEIGHTS = ((bytes([_TWO]), PER_TWO_BYTES), (bytes([_WIDE]), PER_WIDE))


class TokenTally:
    """Adds up texts that come in pieces."""

    __slots__ = ("_ascii", "_other")

    def __init__(self) -> None:
        self._ascii = 0
        self._other = 0.0

    def add(self, text: str) -> None:
        """Count one piece; cheap, since it is called for every delta."""
        if text.isascii():
            self._ascii += len(text)
        else:
            self._other += estimate_text(text)

    def tokens(self) -> int:
        """The estimate so far, at least 1."""
        return max(1, round(self._ascii / 3.9 + self._other))


_known: dict[int, float] = {}
KNOWN_LIMIT = 8192
LONG_CHARACTERS = 400
"""Long texts come again with every turn of a session: their estimates are kept, by hash alone."""


def estimate_text(text: str) -> float:
    """Tokens of one text, unrounded."""
    if len(text) < LONG_CHARACTERS:
        return _census(text)
    key = hash(text)
    tokens = _known.get(key)
    if tokens is None:
        if len(_known) >= KNOWN_LIMIT:
            _known.clear()
        tokens = _known[key] = _census(text)
    return tokens


def _census(text: str) -> float:
    if not text:
        return 0.0
    data = text.encode("utf-8", "replace")
    classes = data.translate(_TABLE)
    total = len(data.split()) * PER_WORD
    for which, weight in _WEIGHTS if len(data) == len(text) else _WEIGHTS + _WIDE_WEIGHTS:
        total += classes.count(which) * weight
    return total


def estimate_json(value: Json) -> float:
    """Tokens of a JSON value as the model sees it."""
    if value is None or value == {}:
        return 1.0
    return estimate_text(msgspec.json.encode(value).decode()) * JSON_FACTOR


def estimate_conversation(conversation: Conversation, factor: float = 1.0) -> int:
    """Tokens of a whole request: system, messages, tools, results, thinking and images.

    `factor` is the model's (`Calibration.factor`).
    """
    total = 3.0 + sum(estimate_text(text) + PER_MESSAGE for text in conversation.system)
    for tool in conversation.tools:
        total += PER_TOOL + estimate_text(tool.name) + estimate_text(tool.description)
        total += estimate_json(tool.input_schema)
    total += sum(_message(message) for message in conversation.messages)
    return max(1, round(total * factor))


def model_factor(kiro_id: str) -> float:
    """How much more tokens a model makes of a text than the weights above say."""
    return next((factor for glob, factor in MODEL_FACTORS if fnmatchcase(kiro_id, glob)), 1.0)


class Calibration:
    """Corrects the estimate per model by what upstream counted (`contextUsagePercentage`).

    Upstream's figure also holds a prompt of its own and is rounded, so only large requests teach
    anything, and nothing that is far from the estimate is believed.
    """

    MIN_TOKENS = 2000
    RANGE = (0.6, 1.7)
    WEIGHT = 0.2

    def __init__(self) -> None:
        self._factors: dict[str, float] = {}

    def factor(self, kiro_id: str) -> float:
        """The factor for a model's estimates."""
        return self._factors.get(kiro_id) or model_factor(kiro_id)

    def learn(self, kiro_id: str, plain_estimate: int, counted: int) -> None:
        """Take one exchange into account; `plain_estimate` is without any factor."""
        if plain_estimate < self.MIN_TOKENS:
            return
        seen = counted / plain_estimate
        if self.RANGE[0] <= seen <= self.RANGE[1]:
            old = self.factor(kiro_id)
            self._factors[kiro_id] = old + self.WEIGHT * (seen - old)


def _message(message: Message) -> float:
    return PER_MESSAGE + _blocks(message.content)


def _blocks(blocks: Iterable[object]) -> float:
    total = 0.0
    for block in blocks:
        if isinstance(block, Text | Thinking):
            total += estimate_text(block.text)
        elif isinstance(block, ToolUse):
            total += PER_TOOL_BLOCK + estimate_text(block.name) + estimate_json(block.input)
        elif isinstance(block, ToolResult):
            total += PER_TOOL_BLOCK + _blocks(block.content)
        elif isinstance(block, Image):
            total += estimate_image(block.data)
        elif isinstance(block, RedactedThinking):
            total += len(block.data) / 6
    return total


def estimate_image(data: str) -> float:
    """Tokens of a base64 image, by its dimensions where its header tells them."""
    size = image_size(data)
    if size is None:
        return IMAGE_UNKNOWN
    width, height = size
    scale = min(1.0, IMAGE_LONG_SIDE / max(width, height, 1))
    return max(1.0, width * scale * height * scale / 750)


def image_size(data: str) -> tuple[int, int] | None:
    """Width and height in pixels from the head of a base64 PNG, GIF, JPEG or WebP."""
    try:
        head = base64.b64decode(data[:65536])
    except ValueError:
        return None
    if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    if head[:4] == b"GIF8" and len(head) >= 10:
        width, height = struct.unpack("<HH", head[6:10])
        return width, height
    if head[:2] == b"\xff\xd8":
        return _jpeg_size(head)
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) >= 30:
        return (
            int.from_bytes(head[24:27], "little") + 1,
            int.from_bytes(head[27:30], "little") + 1,
        )
    return None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """Walk the segments to the frame header (SOF0 to SOF15, but not DHT, JPG, DAC)."""
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return width, height
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None
