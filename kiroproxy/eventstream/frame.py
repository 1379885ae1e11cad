"""One frame: prelude, headers, payload and the checksum that closes it; parsed and built.

```text
total length u32 | headers length u32 | prelude checksum u32 | headers | payload | checksum u32
```
All integers are big-endian, lengths are in bytes, and the total counts the whole frame.

Source: Amazon Event Stream specification (Smithy); protocol.md 1.2 to 1.4.
"""

import struct

import msgspec

from kiroproxy.errors import BadChecksum, BadLength, FrameTooLarge, TruncatedStream
from kiroproxy.eventstream.checksum import Checksum, ChecksumFunction
from kiroproxy.eventstream.headers import Headers, build_headers, familiar, parse_headers

PRELUDE_BYTES = 12
OVERHEAD_BYTES = PRELUDE_BYTES + 4
"""Prelude and closing checksum: the smallest frame."""

HEADERS_LIMIT_BYTES = 128 * 1024
FRAME_LIMIT_BYTES = 16 * 1024 * 1024
"""Both as in aws-c-event-stream; Kiro's frames have tens to hundreds of bytes."""

_RUN_LIMIT = 64 * 1024
"""Larger frames are not worth a short cut."""
_PRELUDE = struct.Struct(">III")
_U32 = struct.Struct(">I")


class Frame(msgspec.Struct, gc=False, frozen=True):
    """A message of the stream.

    `headers` is a plain dict of name to value (see `headers` for the types); frames with the same
    header bytes share it, so it must not be changed.
    """

    headers: Headers
    payload: bytes = b""


Prelude = tuple[int, int, int]
"""Total length, headers length, checksum of these two (a named tuple costs 250 ns a frame)."""


# ---- parse ---------------------------------------------------------------------------------


def lengths_agree(total_length: int, headers_length: int) -> bool:
    """Whether a frame can have these lengths and we are willing to buffer it."""
    return (
        headers_length + OVERHEAD_BYTES <= total_length <= FRAME_LIMIT_BYTES
        and headers_length <= HEADERS_LIMIT_BYTES
    )


def parse_prelude(data: bytes, at: int, checksum: ChecksumFunction, offset: int) -> Prelude:
    """Read the 12 bytes at `at`; they are enough to refuse a frame before its body is here.

    Args:
        data: Any bytes that hold the whole prelude.
        at: Where it begins in `data`.
        checksum: What the third word is computed with, over the first two.
        offset: The prelude's place in the stream, for errors.

    Raises:
        BadChecksum: the third word is not the checksum of the first eight bytes.
        FrameTooLarge: the whole or its headers exceed the limit.
        BadLength: the headers do not fit into the frame.
    """
    prelude: Prelude = _PRELUDE.unpack_from(data, at)
    total_length, headers_length, stored = prelude
    computed = checksum(data[at : at + 8], 0)
    if computed != stored:
        raise BadChecksum("prelude", expected=stored, computed=computed, offset=offset)
    if not lengths_agree(total_length, headers_length):
        raise _length_fault(total_length, headers_length, offset)
    return prelude


def _length_fault(total_length: int, headers_length: int, offset: int) -> BadLength:
    if total_length > FRAME_LIMIT_BYTES:
        return FrameTooLarge(total_length, FRAME_LIMIT_BYTES, offset=offset)
    if headers_length > HEADERS_LIMIT_BYTES:
        return FrameTooLarge(headers_length, HEADERS_LIMIT_BYTES, offset=offset)
    return BadLength(
        f"{headers_length} bytes of headers in a frame of {total_length}", offset=offset
    )


def parse_body(
    data: bytes, at: int, prelude: Prelude, checksum: ChecksumFunction, offset: int
) -> Frame:
    """Read the rest of the frame at `at`, all of which is in `data`.

    The closing checksum covers everything before it. A CRC is continued from what went before, so
    the prelude's own serves for its first eight bytes.

    Raises:
        BadChecksum: the last word is not the checksum of the frame.
        BadHeader: the header block cannot be parsed.
    """
    total_length, headers_length, running = prelude
    end = at + total_length - 4
    body = data[at + 8 : end]
    computed = checksum(body, running)
    (stored,) = _U32.unpack_from(data, end)
    if computed != stored:
        raise BadChecksum("message", expected=stored, computed=computed, offset=offset)
    headers_end = 4 + headers_length
    headers = parse_headers(body[4:headers_end], offset + PRELUDE_BYTES)
    return Frame(headers, body[headers_end:])


def parse_run(data: bytes, at: int, checksum: ChecksumFunction, frames: list[Frame]) -> int:
    """Append the frames at `at` and after; return where the first one is that needs a closer look.

    Such a one is cut, faulty, or has headers that no frame had before: `parse_prelude` and
    `parse_body` say the same of all others, at twice the cost.
    """
    end = len(data)
    prelude, word, append = _PRELUDE.unpack_from, _U32.unpack_from, frames.append
    while end - at >= OVERHEAD_BYTES:
        total_length, headers_length, running = prelude(data, at)
        stop = at + total_length - 4
        if stop + 4 > end or not headers_length + OVERHEAD_BYTES <= total_length <= _RUN_LIMIT:
            break
        body = data[at + 8 : stop]
        if (
            checksum(data[at : at + 8], 0) != running
            or checksum(body, running) != word(data, stop)[0]
        ):
            break
        headers = familiar(body[4 : 4 + headers_length])
        if headers is None:
            break
        append(Frame(headers, body[4 + headers_length :]))
        at = stop + 4
    return at


def parse_frame(data: bytes, checksum: Checksum = Checksum.CRC32) -> Frame:
    """Read bytes that are exactly one frame.

    Raises:
        EventStreamError: they are not.
    """
    if len(data) < OVERHEAD_BYTES:
        raise TruncatedStream(OVERHEAD_BYTES - len(data), offset=0)
    prelude = parse_prelude(data, 0, checksum.function, 0)
    total_length = prelude[0]
    if len(data) < total_length:
        raise TruncatedStream(total_length - len(data), offset=0)
    if len(data) > total_length:
        raise BadLength("bytes after the frame", offset=total_length)
    return parse_body(data, 0, prelude, checksum.function, 0)


# ---- build ---------------------------------------------------------------------------------


def build_frame(headers: Headers, payload: bytes, checksum: Checksum = Checksum.CRC32) -> bytes:
    """Write a frame.

    Raises:
        ValueError: headers or payload exceed what a frame can carry.
        TypeError: a header's value has none of the ten types.
    """
    block = build_headers(headers)
    total_length = len(block) + len(payload) + OVERHEAD_BYTES
    if not lengths_agree(total_length, len(block)):
        raise ValueError(f"no frame has {len(block)} bytes of headers and {total_length} in all")
    compute = checksum.function
    lengths = struct.pack(">II", total_length, len(block))
    head = lengths + _U32.pack(compute(lengths, 0)) + block
    return b"".join((head, payload, _U32.pack(compute(payload, compute(head, 0)))))


def build_event(event_type: str, payload: bytes) -> bytes:
    """Write an event with a JSON payload, its headers in the order in which Kiro sends them."""
    return build_frame(
        {
            ":event-type": event_type,
            ":content-type": "application/json",
            ":message-type": "event",
        },
        payload,
    )


def build_exception(exception_type: str, payload: bytes) -> bytes:
    """Write a modelled failure; it arrives inside an HTTP 200."""
    return build_frame(
        {
            ":exception-type": exception_type,
            ":content-type": "application/json",
            ":message-type": "exception",
        },
        payload,
    )


def build_error(code: str, message: str) -> bytes:
    """Write an unmodelled failure: all of it is in the headers."""
    return build_frame(
        {":error-code": code, ":error-message": message, ":message-type": "error"}, b""
    )
