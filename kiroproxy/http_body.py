"""Where an HTTP/1.1 body ends, given its bytes (pure).

`requests` hides the socket behind a file object that cannot be read again after a timeout, and
its chunk iterator costs several microseconds a frame; so `transport` reads the socket and these
parsers find the body in the bytes. Each has `feed(data) -> bytes`, `complete` and `excess`.

Source: RFC 9112, sections 6 and 7.
"""

import re
from typing import Protocol

from kiroproxy.errors import EventStreamError

LINE_LIMIT_BYTES = 16 * 1024
"""A chunk-size line or a trailer field longer than this is no HTTP."""


class BadChunk(EventStreamError):
    """The chunked coding is broken."""


class Body(Protocol):
    """A body parser.

    `fault` is what will be raised next: what came before it in the same bytes is returned first.
    """

    complete: bool
    excess: bool
    fault: BadChunk | None

    def feed(self, data: bytes) -> bytes:
        """Take bytes off the wire and return those that belong to the body."""


class CountedBody:
    """A body of `length` bytes (Content-Length)."""

    fault: BadChunk | None = None

    def __init__(self, length: int) -> None:
        self.missing = length
        self.complete = length == 0
        self.excess = False

    def feed(self, data: bytes) -> bytes:
        """Return what belongs to the body."""
        if len(data) > self.missing:
            self.excess = True
            data = data[: self.missing]
        self.missing -= len(data)
        self.complete = self.missing == 0
        return data


class UnboundedBody:
    """A body that lasts until the connection is closed; it is never known to be complete."""

    complete = False
    excess = False
    fault: BadChunk | None = None

    def feed(self, data: bytes) -> bytes:
        """Return all of it."""
        return data


_SIZE_DIGITS = 8
_SIZE = re.compile(rb"[0-9a-fA-F]{1,%d}" % _SIZE_DIGITS)
_SIZES = 4096
_sizes: dict[bytes, int] = {}
"""Size lines read before: a stream's chunks have few sizes, and looking one up is half the cost."""


def _whole_chunks(data: bytes, at: int, parts: list[bytes]) -> int:
    """Append the contents of the chunks that lie in `data` as a whole; return where they end."""
    find, known, append = data.find, _sizes.get, parts.append
    while (line_end := find(b"\r\n", at, at + _SIZE_DIGITS + 2)) > 0:
        line = data[at:line_end]
        size = known(line) or _read_size(line)
        start = line_end + 2
        stop = start + size
        if not size or data[stop : stop + 2] != b"\r\n":
            break
        append(data[start:stop])
        at = stop + 2
    return at


def _read_size(line: bytes) -> int:
    """The size that a line of digits tells; 0 for the last chunk and for any other line."""
    if _SIZE.fullmatch(line) is None:
        return 0
    size = int(line, 16)
    if len(_sizes) >= _SIZES:
        _sizes.clear()
    _sizes[line] = size
    return size


class ChunkedBody:
    """A body in chunks (Transfer-Encoding: chunked)."""

    def __init__(self) -> None:
        self.complete = False
        self.excess = False
        self.fault: BadChunk | None = None
        self._line = b""
        """Bytes of an unfinished size line, chunk end or trailer."""
        self._missing = 0
        """Bytes of the open chunk that are still to come."""
        self._after_chunk = False
        self._trailer = False
        self._offset = 0
        """Of the first byte of what `feed` was given last."""

    def feed(self, data: bytes) -> bytes:
        """Return the chunks' contents.

        Raises:
            BadChunk: the coding is broken, and no content came before that.
        """
        if self.fault is not None:
            raise self.fault
        if len(data) < self._missing:  # the middle of a large chunk
            self._missing -= len(data)
            self._offset += len(data)
            return data
        parts: list[bytes] = []
        try:
            at = self._split(data, parts)
        except BadChunk as fault:
            self.fault = fault
            if not parts:
                raise
            at = len(data)
        self._offset += len(data)
        self.excess = self.complete and at < len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _split(self, data: bytes, parts: list[bytes]) -> int:
        """Append the contents in `data`; return where the body ends in it, or its end."""
        at, end = 0, len(data)
        while at < end and not self.complete:
            if not (self._missing or self._line or self._after_chunk or self._trailer):
                at = _whole_chunks(data, at, parts)
                if at == end:
                    break
            if self._missing:
                part = data[at : at + self._missing]
                parts.append(part)
                at += len(part)
                self._missing -= len(part)
                self._after_chunk = self._missing == 0
                continue
            newline = data.find(b"\n", at)
            if newline < 0:
                self._line += data[at:]
                at = end
            else:
                line = (self._line + data[at:newline]).removesuffix(b"\r")
                self._line = b""
                self._end_line(line, self._offset + at)
                at = newline + 1
            if len(self._line) > LINE_LIMIT_BYTES:
                raise BadChunk("endless chunk line", offset=self._offset + at)
        return at

    def _end_line(self, line: bytes, offset: int) -> None:
        if self._after_chunk:
            if line:
                raise BadChunk("bytes behind a chunk", offset=offset)
            self._after_chunk = False
        elif self._trailer:
            self.complete = not line
        else:
            size = line.split(b";", 1)[0].strip()
            if not size or size.translate(None, b"0123456789abcdefABCDEF"):
                raise BadChunk("chunk size is not hexadecimal", offset=offset)
            self._missing = int(size, 16)
            self._trailer = self._missing == 0
