"""Stop sequences, emulated (protocol notes 3.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.kiro.stop import StopScanner
from tests.kiro.helpers import thorough


def scan(pieces: list[str], sequences: list[str]) -> tuple[str, str | None]:
    scanner = StopScanner(sequences)
    said = "".join(map(scanner.feed, pieces))
    return said + scanner.flush(), scanner.matched


@pytest.mark.parametrize(
    ("pieces", "sequences", "said", "matched"),
    [
        (["one two"], ["two"], "one ", "two"),
        (["one t", "w", "o three"], ["two"], "one ", "two"),
        (["one t", "wice"], ["two"], "one twice", None),
        (["ends in tw"], ["two"], "ends in tw", None),
        (["aab"], ["ab"], "a", "ab"),
        (["x END y STOP"], ["STOP", "END"], "x ", "END"),
        (["abc"], ["bc", "abc"], "", "abc"),
        (["abc"], ["abc", "b"], "a", "b"),
        (["anything"], ["", "thing"], "any", "thing"),
        (["after", "two", "more"], ["two"], "after", "two"),
    ],
)
def test_cut(pieces: list[str], sequences: list[str], said: str, matched: str | None) -> None:
    assert scan(pieces, sequences) == (said, matched)


def test_nothing_is_held_back_without_need() -> None:
    scanner = StopScanner(["STOP"])
    assert scanner.feed("hello S") == "hello "
    assert scanner.feed("ure") == "Sure"


LETTERS = st.text("abc", max_size=12)


@thorough
@given(LETTERS, st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=3), st.data())
def test_any_cut_stops_alike(text: str, sequences: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    assert scan([text[:at], text[at:]], sequences) == scan(list(text), sequences)


@given(LETTERS, st.lists(st.text("abc", min_size=1, max_size=3)))
def test_what_is_said_is_a_head_of_the_text(text: str, sequences: list[str]) -> None:
    said, matched = scan([text], sequences)
    assert text.startswith(said + (matched or ""))
    assert not any(s in said for s in sequences)
    assert matched or said == text
