"""`<thinking>` inside text (protocol notes 4.5, S47, S49)."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kiroproxy.conversation import ReplyEvent, TextDelta, ThinkingDelta
from kiroproxy.kiro.thinking import CLOSE_MARK, OPEN, ThinkingSplitter, held_suffix
from tests.kiro.helpers import ASCII_PIECES, merged, thorough


def split(pieces: list[str]) -> list[ReplyEvent]:
    splitter = ThinkingSplitter()
    out: list[ReplyEvent] = []
    for piece in pieces:
        splitter.feed(piece, out)
    splitter.close(out)
    return out


def shown(whole: str) -> list[tuple[str, str]]:
    """What comes of a text: `T` for text, `?` for thoughts."""
    names = {TextDelta: "T", ThinkingDelta: "?"}
    return [(names[kind], piece) for kind, piece in merged(split([whole]))]


CASES = {
    "block, then text": ("<thinking>hm</thinking>\n\nYes", [("?", "hm"), ("T", "Yes")]),
    "newline behind the tag goes": (
        "<thinking>\nhm\n</thinking>\n\nYes",
        [("?", "hm\n"), ("T", "Yes")],
    ),
    "white space in front goes": (
        "\n\n<thinking>hm</thinking>\n\nYes",
        [("?", "hm"), ("T", "Yes")],
    ),
    "text in front stays": (
        "So\n<thinking>hm</thinking>\n\nYes",
        [("T", "So\n"), ("?", "hm"), ("T", "Yes")],
    ),
    "only the first block": (
        "<thinking>a</thinking>\n\nb <thinking>c</thinking>\n\nd",
        [("?", "a"), ("T", "b <thinking>c</thinking>\n\nd")],
    ),
    "close without an empty line is thought": (
        "<thinking>a</thinking> b",
        [("?", "a</thinking> b")],
    ),
    "close at the end of the text": ("<thinking>a</thinking>", [("?", "a")]),
    "close and white space at the end": ("<thinking>a</thinking> \n ", [("?", "a")]),
    "never closed: all of it thought": ("<thinking>a b", [("?", "a b")]),
    "half a close at the end": ("<thinking>a</think", [("?", "a</think")]),
    "in backticks": ("Write `<thinking>` first", [("T", "Write `<thinking>` first")]),
    "in quotes": ('The "<thinking>" tag', [("T", 'The "<thinking>" tag')]),
    "in brackets": ("(<thinking> is a tag)", [("T", "(<thinking> is a tag)")]),
    "quoted at the start": ("<thinking>` opens it", [("T", "<thinking>` opens it")]),
    "thoughts may begin with a mark": (
        "<thinking>*hm*</thinking>\n\nY",
        [("?", "*hm*"), ("T", "Y")],
    ),
    "quoted close": (
        "<thinking>a `</thinking>\n\nb</thinking>\n\nc",
        [("?", "a `</thinking>\n\nb"), ("T", "c")],
    ),
    "sentence before the close": ("<thinking>Done.</thinking>\n\nc", [("?", "Done."), ("T", "c")]),
    "text ends in <": ("a <", [("T", "a <")]),
    "text ends in half a tag": ("if a <think", [("T", "if a <think")]),
    "other tags": ("<b>bold</b>", [("T", "<b>bold</b>")]),
    "nothing": ("", []),
    "nothing but white space": (" \n", []),
    "white space before text stays": ("\n\nHi", [("T", "\n\nHi")]),
    "empty thoughts": ("<thinking></thinking>\n\nHi", [("T", "Hi")]),
    "tag within a rejected tag": ("<thinking<thinking>x", [("T", "<thinking"), ("?", "x")]),
}


@pytest.mark.parametrize(("whole", "expected"), CASES.values(), ids=CASES)
def test_split(whole: str, expected: list[tuple[str, str]]) -> None:
    assert shown(whole) == expected


@pytest.mark.parametrize("whole", [case[0] for case in CASES.values()], ids=CASES)
def test_letter_by_letter(whole: str) -> None:
    assert merged(split(list(whole))) == merged(split([whole]))


@thorough
@example(["<thinking>", "a`", "</thinking>\n\n", "b"])
@given(st.lists(ASCII_PIECES, max_size=12))
def test_any_chunking_splits_alike(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert merged(split(pieces)) == merged(split([whole])) == merged(split(list(whole)))


@thorough
@given(st.text("<thinkg/>\n` x", max_size=60), st.data())
def test_any_cut_splits_alike(whole: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(whole)))
    assert merged(split([whole[:at], whole[at:]])) == merged(split([whole]))


@given(st.lists(ASCII_PIECES, max_size=12))
def test_nothing_is_lost_but_the_tags(pieces: list[str]) -> None:
    """What comes out is what went in, in order, without one pair of tags and its line breaks."""

    def bare(text: str) -> str:
        """Without tags and white space; the seams between pieces must not make new tags."""
        return "".join(re.sub("</?thinking>", "", text).replace("|", "").split())

    assert bare("|".join(piece for _, piece in merged(split(pieces)))) == bare("".join(pieces))


def test_a_tool_call_ends_the_block() -> None:
    """Edge exit: `</thinking>` and white space before a tool call, without the empty line."""
    splitter = ThinkingSplitter()
    out: list[ReplyEvent] = []
    splitter.feed("<thinking>hm</thinking>\n", out)
    splitter.flush(out)
    splitter.feed("<thinking>text now", out)
    assert merged(out) == [(ThinkingDelta, "hm"), (TextDelta, "<thinking>text now")]


def test_white_space_before_a_tool_call_may_still_precede_thoughts() -> None:
    """Trap 12: no empty text block in front of a thinking block."""
    splitter = ThinkingSplitter()
    out: list[ReplyEvent] = []
    splitter.feed("\n\n", out)
    splitter.flush(out)
    assert out == []
    splitter.feed("<thinking>x", out)
    assert out == [ThinkingDelta("x")]


@pytest.mark.parametrize(
    ("text", "held"), [("", 0), ("a", 0), ("a<", 1), ("a</", 0), ("<thinking", 9), ("<<t", 2)]
)
def test_held_suffix(text: str, held: int) -> None:
    assert held_suffix(text, OPEN) == held


@given(st.text("<thinkg/>\n", max_size=30), st.sampled_from([OPEN, CLOSE_MARK]))
def test_held_suffix_is_the_longest_beginning(text: str, mark: str) -> None:
    fits = [n for n in range(len(mark)) if n <= len(text) and text.endswith(mark[:n])]
    assert held_suffix(text, mark) == max(fits)
