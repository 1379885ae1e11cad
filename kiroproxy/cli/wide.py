"""Help pages with characters that take two columns of a terminal.

click counts characters and breaks lines at spaces; Chinese has none. What holds no wide character
is left to click.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

import click

_OPENING: Final = "（「『《〈【"
_CLOSING: Final = "，。、；：！？）」』》〉】…"
_WIDE: Final = "⺀-鿿豈-﫿＀-￯"
_PIECE: Final = re.compile(
    rf"\s+|[{_OPENING}]*(?:[{_WIDE}]|[^\s{_WIDE}]+)[{_CLOSING}]*|[{_OPENING}]+"
)
"""What a line is not broken in: a word, or a character with the punctuation that clings to it."""


def is_wide(text: str) -> bool:
    """Whether it holds a character of two columns."""
    return not text.isascii() and cells(text) > len(text)


def cells(text: str) -> int:
    """How many columns it takes."""
    return len(text) + sum(unicodedata.east_asian_width(one) in "WF" for one in text)


def padded(text: str, width: int) -> str:
    """Filled with spaces to so many columns."""
    return text + " " * (width - cells(text))


def wrapped(text: str, width: int) -> Iterator[str]:
    """The lines of a paragraph, none longer than `width` columns if its words are not."""
    line = ""
    for piece in _PIECE.findall(text):
        if cells((line + piece).rstrip()) > width and line.strip():
            yield line.rstrip()
            line = ""
        line += piece if line else piece.lstrip()
    if line.strip():
        yield line.rstrip()


class Pages(click.HelpFormatter):
    """Writes help."""

    def write_text(self, text: str) -> None:
        """Paragraphs."""
        if not is_wide(text):
            super().write_text(text)
            return
        indent = " " * self.current_indent
        paragraphs = [
            "\n".join(indent + line for line in wrapped(one, self.width - self.current_indent))
            for one in text.split("\n\n")
        ]
        self.write("\n\n".join(paragraphs) + "\n")

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Options and commands."""
        rows = list(rows)
        if not any(is_wide(text) for _term, text in rows):
            super().write_dl(rows, col_max, col_spacing)
            return
        widest = min(max(cells(term) for term, _text in rows), col_max)
        left = self.current_indent + widest + col_spacing
        for term, text in rows:
            head = f"{'':{self.current_indent}}{term}"
            lines = list(wrapped(text, max(self.width - left, 10)))
            if lines and cells(term) <= widest:
                head = padded(head, left) + lines.pop(0)
            self.write("\n".join([head, *(" " * left + line for line in lines)]) + "\n")


class Context(click.Context):
    """A context whose help is written that way."""

    formatter_class = Pages
