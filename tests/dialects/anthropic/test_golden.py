"""Golden files: whole SSE conversations that a person can read (tests/golden.py writes them)."""

import re
from pathlib import Path

import pytest

from tests.golden import cases, render

DELTA = re.compile(r"event: content_block_delta\n")


@pytest.mark.parametrize("case", cases(), ids=lambda path: path.stem)
def test_answer_is_the_one_on_paper(case: Path) -> None:
    assert render(case) == case.with_suffix(".sse").read_text("utf-8")


@pytest.mark.parametrize("case", cases(), ids=lambda path: path.stem)
@pytest.mark.parametrize("step", [1, 7, 100])
def test_reads_of_any_size_say_the_same(case: Path, step: int) -> None:
    """However the bytes come: but for where deltas are cut, the answer is the same."""
    assert DELTA.sub("", render(case, step)) == DELTA.sub("", render(case))
