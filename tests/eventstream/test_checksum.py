"""Ruling X2: zlib's CRC-32 is what Kiro sends, CRC32C is recognised too."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.eventstream import Checksum, build_frame, crc32c
from kiroproxy.eventstream.checksum import recognise


@pytest.mark.parametrize(
    ("checksum", "data", "value"),
    [
        (Checksum.CRC32, b"123456789", 0xCBF43926),
        (Checksum.CRC32C, b"123456789", 0xE3069283),
        (Checksum.CRC32, b"", 0),
        (Checksum.CRC32C, b"", 0),
        (Checksum.CRC32C, bytes(32), 0x8A9136AA),  # RFC 3720, B.4
        (Checksum.CRC32C, b"\xff" * 32, 0x62A8AB43),
        (Checksum.CRC32C, bytes(range(32)), 0x46DD794E),
    ],
)
def test_check_values(checksum: Checksum, data: bytes, value: int) -> None:
    assert checksum.function(data, 0) == value


@given(st.binary(), st.binary())
def test_both_can_be_continued(head: bytes, tail: bytes) -> None:
    assert crc32c(tail, crc32c(head)) == crc32c(head + tail)
    assert zlib.crc32(tail, zlib.crc32(head)) == zlib.crc32(head + tail)


@pytest.mark.parametrize("checksum", Checksum)
def test_a_prelude_shows_its_checksum(checksum: Checksum) -> None:
    assert recognise(build_frame({"a": "b"}, b"payload", checksum)[:12]) is checksum


def test_a_prelude_with_neither_shows_none() -> None:
    assert recognise(b"<!doctype ht") is None
