"""Characters that upstream cuts in half (design 4, S41, trap 30)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.kiro.surrogates import Rejoiner, sanitize
from tests.kiro.helpers import thorough

CHARACTERS = st.text(
    st.one_of(st.characters(), st.characters(categories=("Cs",)), st.sampled_from("a🧪"))
)


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        (["abc"], "abc"),
        (["a🧪"], "a🧪"),
        (["a\ud83e", "\uddea b"], "a🧪 b"),
        (["\ud83e", "", "\uddea"], "🧪"),
        (["\ud83e", "x"], "\ufffdx"),
        (["\uddea"], "\ufffd"),
        (["\ud83e", "\ud83e\uddea"], "\ufffd🧪"),
        (["x\ud83e"], "x\ufffd"),
        (["\ud83e\uddea"], "🧪"),
    ],
)
def test_halves(pieces: list[str], whole: str) -> None:
    rejoiner = Rejoiner()
    assert "".join(map(rejoiner.feed, pieces)) + rejoiner.close() == whole
    assert rejoiner.close() == ""


@thorough
@given(CHARACTERS, st.data())
def test_any_cut_gives_the_same_text(whole: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(whole)))
    rejoiner = Rejoiner()
    joined = rejoiner.feed(whole[:at]) + rejoiner.feed(whole[at:]) + rejoiner.close()
    assert joined == sanitize(whole)
    joined.encode()


@given(st.text())
def test_sound_text_is_untouched(whole: str) -> None:
    assert sanitize(whole) == whole
