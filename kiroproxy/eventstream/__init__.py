"""Amazon's binary event stream: bytes to frames and back.

This package does no IO and knows nothing of Kiro: what a frame means is `kiro.events`' business.

Source: Amazon Event Stream specification (Smithy), `application/vnd.amazon.eventstream`.
"""

from kiroproxy.eventstream.checksum import Checksum, crc32c
from kiroproxy.eventstream.decoder import Decoder
from kiroproxy.eventstream.frame import (
    Frame,
    build_error,
    build_event,
    build_exception,
    build_frame,
    parse_frame,
)
from kiroproxy.eventstream.headers import Byte, HeaderValue, Int, Long, Short, Timestamp

__all__ = [
    "Byte",
    "Checksum",
    "Decoder",
    "Frame",
    "HeaderValue",
    "Int",
    "Long",
    "Short",
    "Timestamp",
    "build_error",
    "build_event",
    "build_exception",
    "build_frame",
    "crc32c",
    "parse_frame",
]
