"""The header block of a frame: ten value types, parsed and built.

An entry is: name length (u8, 1 to 255), UTF-8 name, type (u8), value; all integers big-endian.
Where Python has no type of its own for a value, a subclass of int keeps the wire's type, so that
a parsed block builds the same bytes again.

Source: Amazon Event Stream specification (Smithy); protocol.md 1.2.
"""

import struct
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from kiroproxy.errors import BadHeader

_MEMO_BLOCKS = 256
_MEMO_BLOCK_BYTES = 512
"""What is remembered: Kiro sends about ten different blocks, none over 120 bytes."""


class _WireInt(int):
    """An integer with a width of its own."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self)})"


class Byte(_WireInt):
    """Type 2: signed, 1 byte."""

    __slots__ = ()


class Short(_WireInt):
    """Type 3: signed, 2 bytes."""

    __slots__ = ()


class Int(_WireInt):
    """Type 4: signed, 4 bytes."""

    __slots__ = ()


class Long(_WireInt):
    """Type 5: signed, 8 bytes."""

    __slots__ = ()


class Timestamp(_WireInt):
    """Type 8: milliseconds since the epoch, signed, 8 bytes (more than `datetime` can hold)."""

    __slots__ = ()


HeaderValue = bool | Byte | Short | Int | Long | bytes | str | Timestamp | uuid.UUID
Headers = Mapping[str, HeaderValue]

_Reader = Callable[[bytes, int], tuple[HeaderValue, int]]
"""`(block, at)` gives the value at `at` and where it ends, or a ValueError that says why not."""


# ---- parse ---------------------------------------------------------------------------------


def parse_headers(block: bytes, offset: int = 0) -> Headers:
    """Read a whole header block; of entries with the same name the last one counts.

    The result may be shared with every other frame that carries the same bytes: do not change it.

    Args:
        block: The bytes between prelude and payload.
        offset: The block's place in the stream, for errors.

    Raises:
        BadHeader: unknown type, empty name, invalid UTF-8, or an entry that ends past the block;
            its `offset` is that of the entry.
    """
    headers = _memo.get(block)
    if headers is None:
        headers = _parse_block(block, offset)
        if len(block) <= _MEMO_BLOCK_BYTES:
            if len(_memo) >= _MEMO_BLOCKS:
                _memo.clear()
            _memo[block] = headers
    return headers


_memo: dict[bytes, Headers] = {}
familiar: Callable[[bytes], Headers | None] = _memo.get
"""The parsed form of a block that was read before, if it is remembered."""


def _parse_block(block: bytes, offset: int) -> Headers:
    headers: dict[str, HeaderValue] = {}
    at = 0
    while at < len(block):
        try:
            name, value, end = _read_entry(block, at)
        except ValueError as error:
            raise BadHeader(f"unreadable header: {error}", offset=offset + at) from error
        headers[name] = value
        at = end
    return headers


def _read_entry(block: bytes, at: int) -> tuple[str, HeaderValue, int]:
    raw_name, at = _read_sized(block, at, length_bytes=1)
    if not raw_name:
        raise ValueError("its name is empty")
    kind, at = _take(block, at, 1)
    read = _READERS.get(kind[0])
    if read is None:
        raise ValueError(f"type {kind[0]} does not exist")
    value, at = read(block, at)
    return raw_name.decode(), value, at


def _take(block: bytes, at: int, size: int) -> tuple[bytes, int]:
    end = at + size
    if end > len(block):
        raise ValueError(f"it ends {end - len(block)} bytes past the block")
    return block[at:end], end


def _read_sized(block: bytes, at: int, length_bytes: int = 2) -> tuple[bytes, int]:
    length, at = _take(block, at, length_bytes)
    return _take(block, at, int.from_bytes(length, "big"))


def _read_text(block: bytes, at: int) -> tuple[str, int]:
    raw, end = _read_sized(block, at)
    return raw.decode(), end


def _read_uuid(block: bytes, at: int) -> tuple[uuid.UUID, int]:
    raw, end = _take(block, at, 16)
    return uuid.UUID(bytes=raw), end


def _integer_reader(kind: type[_WireInt], size: int) -> _Reader:
    def read(block: bytes, at: int) -> tuple[Any, int]:
        raw, end = _take(block, at, size)
        return kind.from_bytes(raw, "big", signed=True), end

    return read


_READERS: dict[int, _Reader] = {
    0: lambda block, at: (True, at),
    1: lambda block, at: (False, at),
    2: _integer_reader(Byte, 1),
    3: _integer_reader(Short, 2),
    4: _integer_reader(Int, 4),
    5: _integer_reader(Long, 8),
    6: _read_sized,
    7: _read_text,
    8: _integer_reader(Timestamp, 8),
    9: _read_uuid,
}


# ---- build ---------------------------------------------------------------------------------


def build_headers(headers: Headers) -> bytes:
    """Write a header block, in the mapping's order.

    Raises:
        ValueError: a name or a value is too long, too large, or not encodable.
        TypeError: a value has none of the ten types; a bare int has no width, say `Int(5)`.
    """
    return b"".join(_build_entry(name, value) for name, value in headers.items())


def _build_entry(name: str, value: HeaderValue) -> bytes:
    raw_name = name.encode()
    if not 1 <= len(raw_name) <= 255:
        raise ValueError(f"header name {name!r} has {len(raw_name)} bytes, not 1 to 255")
    write = _WRITERS.get(type(value))
    if write is None:
        raise TypeError(f"header {name!r}: {type(value).__name__} is none of the ten types")
    try:
        return bytes((len(raw_name),)) + raw_name + write(value)
    except struct.error as error:
        raise ValueError(f"header {name!r}: {error}") from error


def _write_sized(code: int, raw: bytes) -> bytes:
    return struct.pack(">BH", code, len(raw)) + raw


_WRITERS: dict[type, Callable[[Any], bytes]] = {
    bool: lambda value: b"\x00" if value else b"\x01",
    Byte: lambda value: struct.pack(">Bb", 2, value),
    Short: lambda value: struct.pack(">Bh", 3, value),
    Int: lambda value: struct.pack(">Bi", 4, value),
    Long: lambda value: struct.pack(">Bq", 5, value),
    bytes: lambda value: _write_sized(6, value),
    str: lambda value: _write_sized(7, value.encode()),
    Timestamp: lambda value: struct.pack(">Bq", 8, value),
    uuid.UUID: lambda value: b"\x09" + value.bytes,
}
