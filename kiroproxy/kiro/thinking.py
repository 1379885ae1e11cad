"""Split `<thinking>` from text, wherever upstream cuts it.

The rules are those of the field's most used parser (protocol notes 4.5): only the first block
counts; a tag next to a quoting or punctuation character is one that is being discussed; the
closing tag must be followed by an empty line, or by nothing but white space where the text ends.
One of our own: at the very start of an answer only a quote behind the tag speaks against it, since
thoughts may well begin with a bracket or a star.
"""

from kiroproxy.conversation import ReplyEvent, TextDelta, ThinkingDelta

OPEN = "<thinking>"
CLOSE = "</thinking>"
CLOSE_MARK = CLOSE + "\n\n"
DISCUSSED = frozenset("`'\"/\\#!@$%^&*()-_=+[]{};:<>,.?")
QUOTES = frozenset("`'\"")


def held_suffix(text: str, mark: str) -> int:
    """How many characters at the end of `text` may be the beginning of `mark`."""
    longest = min(len(text), len(mark) - 1)
    if not longest:
        return 0
    if mark[0] not in text[-longest:]:
        return 0
    for size in range(longest, 0, -1):
        if mark.startswith(text[-size:]):
            return size
    return 0


class ThinkingSplitter:
    """Text in pieces → TextDelta and ThinkingDelta.

    `thinking` tells whether the block is open, `done` whether it is over.
    """

    def __init__(self) -> None:
        self.thinking = False
        self.done = False
        self._buffer = ""
        self._before = ""
        """The last character in front of the buffer; empty at the start of text and thoughts."""
        self._strip_newline = False

    def feed(self, text: str, out: list[ReplyEvent]) -> None:
        """Append the deltas that are certain by now."""
        if self.done:
            if text:
                out.append(TextDelta(text))
            return
        self._buffer += text
        if not self.thinking:
            self._seek(out)
        if self.thinking:
            self._think(out)

    def flush(self, out: list[ReplyEvent]) -> None:
        """The text ends here for now (a tool call, the end): hold nothing back."""
        buffer, self._buffer = self._buffer, ""
        if not self.thinking:
            if self.done or buffer.strip() or self._before:
                self._text(buffer, out)
            else:
                self._buffer = buffer  # leading white space may still precede a thinking block
            return
        at = buffer.rfind(CLOSE)
        if at >= 0 and not buffer[at + len(CLOSE) :].strip():
            self._thought(buffer[:at], out)
        else:
            self._thought(buffer, out)
        self.thinking = False
        self.done = True

    def close(self, out: list[ReplyEvent]) -> None:
        """The stream ends."""
        self.flush(out)
        self._buffer = ""

    def _seek(self, out: list[ReplyEvent]) -> None:
        buffer = self._buffer
        start = 0
        while (at := buffer.find(OPEN, start)) >= 0:
            after = at + len(OPEN)
            if after == len(buffer):  # the next character decides
                self._emit_text(at, out)
                return
            if self._is_tag(buffer, at, buffer[after]):
                self._text(buffer[:at], out)
                self.thinking = True
                self._strip_newline = True
                self._before = ""
                self._buffer = buffer[after:]
                return
            start = after
        self._emit_text(len(buffer) - held_suffix(buffer, OPEN), out)

    def _is_tag(self, buffer: str, at: int, follows: str) -> bool:
        precedes = buffer[at - 1] if at else self._before
        if not precedes or not (self._before or buffer[:at].strip()):
            return follows not in QUOTES
        return precedes not in DISCUSSED and follows not in DISCUSSED

    def _emit_text(self, end: int, out: list[ReplyEvent]) -> None:
        """Pass on the buffer up to `end`; leading white space waits for text or a tag."""
        text = self._buffer[:end]
        if self._before or text.strip():
            self._text(text, out)
            self._buffer = self._buffer[end:]

    def _text(self, text: str, out: list[ReplyEvent]) -> None:
        if text and (self._before or text.strip()):
            out.append(TextDelta(text))
            self._before = text[-1]

    def _think(self, out: list[ReplyEvent]) -> None:
        if self._strip_newline and self._buffer:
            self._buffer = self._buffer.removeprefix("\n")
            self._strip_newline = False
        buffer = self._buffer
        at = buffer.find(CLOSE_MARK)
        while at >= 0 and (buffer[at - 1] if at else self._before) in QUOTES:  # "" is not
            at = buffer.find(CLOSE_MARK, at + 1)  # discussed, even at a line's end
        if at >= 0:
            self._thought(buffer[:at], out)
            self.thinking = False
            self.done = True
            self._buffer = ""
            rest = buffer[at + len(CLOSE_MARK) :]
            if rest:
                out.append(TextDelta(rest))
            return
        end = len(buffer) - self._held(buffer)
        self._thought(buffer[:end], out)
        self._buffer = buffer[end:]

    @staticmethod
    def _held(buffer: str) -> int:
        """The end of the buffer that may turn out to be the close."""
        at = buffer.rfind(CLOSE)
        if at >= 0 and not buffer[at + len(CLOSE) :].strip():
            return len(buffer) - at  # the text may end behind it
        return held_suffix(buffer, CLOSE_MARK)

    def _thought(self, text: str, out: list[ReplyEvent]) -> None:
        if text:
            out.append(ThinkingDelta(text))
            self._before = text[-1]
