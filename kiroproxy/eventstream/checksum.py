"""The two checksums that are said to guard event-stream frames, and which of them one carries.

Kiro, like all of AWS, sends CRC-32/ISO-HDLC (zlib's). CRC32C is known here because documents
claim it; its loop in Python costs some 60 ns a byte where zlib's costs less than one.
"""

import enum
import struct
import zlib
from collections.abc import Callable

ChecksumFunction = Callable[[bytes, int], int]
"""`(data, crc)` continues `crc`, the checksum of what came before (0 for nothing), over `data`."""

_CASTAGNOLI_REFLECTED = 0x82F63B78


class Checksum(enum.Enum):
    """The checksum of a stream: every frame of it carries the same one."""

    CRC32 = "crc32"
    CRC32C = "crc32c"

    @property
    def function(self) -> ChecksumFunction:
        """What computes it."""
        return _FUNCTIONS[self]


def _table_entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_CASTAGNOLI_REFLECTED if byte & 1 else 0)
    return byte


_TABLE = tuple(_table_entry(byte) for byte in range(256))


def crc32c(data: bytes, crc: int = 0) -> int:
    """Compute CRC-32/ISCSI (Castagnoli) as `zlib.crc32` does its own: continued from `crc`.

    Its check value, for `b"123456789"`, is `e3069283`.
    """
    table = _TABLE
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


_FUNCTIONS: dict[Checksum, ChecksumFunction] = {
    Checksum.CRC32: zlib.crc32,
    Checksum.CRC32C: crc32c,
}


def recognise(prelude: bytes) -> Checksum | None:
    """Tell which checksum the 12 bytes of a prelude carry; CRC-32 is asked first (ruling X2)."""
    (stored,) = struct.unpack_from(">I", prelude, 8)
    lengths = prelude[:8]
    for checksum, function in _FUNCTIONS.items():
        if function(lengths, 0) == stored:
            return checksum
    return None
