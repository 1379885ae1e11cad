"""The estimate of token counts (design 7; S64, S68)."""

import base64
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.conversation import (
    Block,
    Conversation,
    Image,
    Message,
    RedactedThinking,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
)
from kiroproxy.token_count import (
    IMAGE_UNKNOWN,
    Calibration,
    TokenTally,
    estimate_conversation,
    estimate_image,
    estimate_json,
    estimate_text,
    image_size,
    model_factor,
)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("", 0, 0),
        ("The quick brown fox jumps over the lazy dog. " * 10, 80, 130),
        ("def f(x):\n    return {'a': [x, 1]}\n" * 10, 110, 240),
        ("你好，世界。" * 10, 50, 80),
        ("Съешь ещё этих мягких французских булок" * 5, 60, 120),
        ("1234567890" * 10, 30, 60),
        ("🧪" * 10, 9, 40),
    ],
)
def test_texts_of_each_script(text: str, low: float, high: float) -> None:
    assert low <= estimate_text(text) <= high


@given(st.text(), st.text())
def test_more_text_is_never_less(head: str, tail: str) -> None:
    assert estimate_text(head + tail) >= estimate_text(head) >= 0


@given(st.text(st.characters(categories=("Cs", "Ll"))))
def test_lone_halves_are_counted(text: str) -> None:
    assert estimate_text(text) >= 0


@given(st.lists(st.text()))
def test_tally(pieces: list[str]) -> None:
    """S64: at least 1, and about what the whole counts, however it is cut."""
    tally = TokenTally()
    for piece in pieces:
        tally.add(piece)
    assert tally.tokens() >= 1
    if all(piece.isascii() for piece in pieces):
        whole = TokenTally()
        whole.add("".join(pieces))
        assert tally.tokens() == whole.tokens()


@pytest.mark.parametrize(
    ("value", "low"), [(None, 1), ({}, 1), ({"a": "word " * 40}, 40), (2**70, 9)]
)
def test_json(value: Any, low: float) -> None:
    assert estimate_json(value) >= low


def of(*blocks: Block, tools: tuple[Tool, ...] = (), system: tuple[str, ...] = ()) -> int:
    message = Message("user", list(blocks))
    return estimate_conversation(Conversation("m", [message], list(system), list(tools)))


WORDS = "some words and more of them " * 20


@pytest.mark.parametrize(
    "block",
    [
        Text(WORDS),
        Thinking(WORDS),
        RedactedThinking("x" * 800),
        ToolUse("t", "n", {"text": WORDS}),
        ToolResult("t", [Text(WORDS)]),
        ToolResult("t", [Image("")]),
        Image(""),
    ],
)
def test_s68_every_block_counts(block: Block) -> None:
    """A proxy that skips some of them breaks Claude Code's own compacting."""
    assert of(block) > of() + 80


def test_s68_system_and_tools_count() -> None:
    assert of(system=(WORDS,)) > of() + 80
    assert of(tools=(Tool("n", WORDS, None),)) > of() + 80
    assert of(tools=(Tool("n", "", {"properties": {"a": {"description": WORDS}}}),)) > of() + 80


def test_s7_at_least_one() -> None:
    assert estimate_conversation(Conversation("m", [])) >= 1


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height)


def jpeg(width: int, height: int) -> bytes:
    comment = b"\xff\xfe" + struct.pack(">H", 6) + b"abcd"
    tables = b"\xff\xc4" + struct.pack(">H", 4) + b"ab"
    frame = b"\xff\xc2" + struct.pack(">HBHH", 11, 8, height, width)
    return b"\xff\xd8" + comment + tables + frame


def webp(width: int, height: int) -> bytes:
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + sizes


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("make", [png, jpeg, webp, gif])
def test_size_of_images(make: Any) -> None:
    data = encoded(make(640, 480))
    assert image_size(data) == (640, 480)
    assert estimate_image(data) == pytest.approx(640 * 480 / 750)


def test_large_images_count_as_they_are_shrunk() -> None:
    """Protocol notes 3.6: the long side is capped at 1568."""
    assert estimate_image(encoded(png(3136, 1568))) == pytest.approx(1568 * 784 / 750)


@pytest.mark.parametrize("make", [png, jpeg, webp, gif])
def test_images_cut_short(make: Any) -> None:
    whole = make(640, 480)
    for size in range(len(whole)):
        assert image_size(encoded(whole[:size])) is None
        assert estimate_image(encoded(whole[:size])) == IMAGE_UNKNOWN


@given(st.text() | st.binary().map(encoded))
def test_any_image_has_an_estimate(data: str) -> None:
    assert estimate_image(data) >= 1


@given(st.sampled_from([png(0, 0), b"\xff\xd8", b"RIFF\0\0\0\0WEBPVP8X", b"GIF89a"]), st.binary())
def test_any_image_with_a_good_beginning(head: bytes, rest: bytes) -> None:
    assert estimate_image(encoded(head + rest)) >= 1


def test_models_with_the_newer_tokenizer_count_more() -> None:
    assert model_factor("claude-opus-4.8") == model_factor("claude-sonnet-5") > 1
    assert model_factor("claude-sonnet-4.5") == 1
    asked = Conversation("m", [Message("user", [Text("word " * 1000)])])
    assert estimate_conversation(asked, 1.2) == round(estimate_conversation(asked) * 1.2)


def test_calibration_learns_from_large_exchanges_only() -> None:
    calibration = Calibration()
    for _ in range(40):
        calibration.learn("claude-sonnet-4.5", 10_000, 12_000)
    assert calibration.factor("claude-sonnet-4.5") == pytest.approx(1.2, abs=0.01)
    assert calibration.factor("claude-haiku-4.5") == 1
    calibration.learn("claude-haiku-4.5", 10, 7000)
    calibration.learn("claude-haiku-4.5", 10_000, 100_000)
    assert calibration.factor("claude-haiku-4.5") == 1, "that is no tokenizer's difference"
