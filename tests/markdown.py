"""What tests need of a Markdown page: its headings, code blocks, tables and links."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.servers import REPOSITORY

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])
"""Every page of the documentation."""


def read(path: Path) -> str:
    return path.read_text("utf-8")


def code_blocks(text: str, language: str | None = None) -> list[str]:
    """The fenced blocks, or those of one language."""
    return [code for found, code in FENCE.findall(text) if language in (None, found)]


def languages(text: str) -> list[str]:
    """The language of each fenced block."""
    return [found for found, _ in FENCE.findall(text)]


def without_code(text: str) -> str:
    return FENCE.sub("", text)


def headings(text: str) -> list[tuple[int, str]]:
    """Level and words of each heading."""
    found = re.findall(r"^(#+) (.+)$", without_code(text), re.MULTILINE)
    return [(len(marks), words) for marks, words in found]


def table_rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of each table, without the heads."""
    lines = without_code(text).splitlines()
    in_table = False
    for line in lines:
        if re.fullmatch(r"\|( ?-+ ?\|)+", line.replace("---", "-")):
            in_table = True
        elif not line.startswith("|"):
            in_table = False
        elif in_table:
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))]


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", without_code(text))


def links(text: str) -> list[str]:
    """The targets of all links."""
    return re.findall(r"\]\(([^)\s]+)\)", without_code(text))


def anchor(words: str) -> str:
    """The name that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
