"""The ten header types, parsed and built (protocol.md 1.2)."""

import contextlib
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.errors import BadHeader
from kiroproxy.eventstream import Byte, HeaderValue, Int, Long, Short, Timestamp
from kiroproxy.eventstream.headers import build_headers, parse_headers
from tests.eventstream.helpers import header_maps, thorough, typed

UUID = uuid.UUID("12345678-9abc-4def-8123-456789abcdef")


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (True, "00"),
        (False, "01"),
        (Byte(-5), "02fb"),
        (Short(-1234), "03fb2e"),
        (Int(2147483647), "047fffffff"),
        (Long(-(1 << 63)), "058000000000000000"),
        (b"\x00\xff", "06000200ff"),
        (b"", "060000"),
        ("中", "070003e4b8ad"),
        (Timestamp(1700000000123), "080000018bcfe5687b"),
        (Timestamp(-1), "08ffffffffffffffff"),
        (UUID, "09123456789abc4def8123456789abcdef"),
    ],
)
def test_each_type_on_the_wire(value: HeaderValue, wire: str) -> None:
    block = b"\x01n" + bytes.fromhex(wire)
    assert build_headers({"n": value}) == block
    assert typed(parse_headers(block)) == {"n": (type(value), value)}


@thorough
@given(header_maps)
def test_parse_inverts_build_types_and_order_included(headers: dict[str, HeaderValue]) -> None:
    parsed = parse_headers(build_headers(headers))
    assert typed(parsed) == typed(headers)
    assert list(parsed) == list(headers)


def test_the_last_of_equal_names_counts() -> None:
    assert parse_headers(b"\x01a\x07\x00\x011\x01a\x07\x00\x012") == {"a": "2"}


BROKEN = {
    "unknown type": "01780a",
    "type 255": "0178ff",
    "empty name": "0007000131",
    "name runs out": "0561",
    "no type": "0161",
    "no value": "016102",
    "integer runs out": "016105000000",
    "string runs out": "0178070032616263",
    "string length runs out": "01780700",
    "bytes run out": "01780600ff00",
    "uuid runs out": "01780900112233",
    "name is not UTF-8": "01ff00",
    "value is not UTF-8": "0161070002fffe",
    "value is a lone surrogate": "0161070003eda080",
}


@pytest.mark.parametrize("block", BROKEN.values(), ids=BROKEN)
def test_a_broken_entry_is_a_bad_header_at_its_place(block: str) -> None:
    sound = b"\x01s\x00"
    broken = sound + bytes.fromhex(block)
    for _ in range(2):  # nothing broken is remembered
        with pytest.raises(BadHeader) as caught:
            parse_headers(broken, offset=100)
        assert caught.value.offset == 103


@thorough
@given(st.binary(max_size=200))
def test_any_block_parses_to_what_can_be_built_or_is_a_bad_header(block: bytes) -> None:
    with contextlib.suppress(BadHeader):
        build_headers(parse_headers(block))


def test_equal_blocks_share_one_dict_and_the_memory_is_bounded() -> None:
    block = build_headers({":event-type": "assistantResponseEvent"})
    assert parse_headers(block) is parse_headers(bytes(bytearray(block)))
    large = build_headers({"big": "x" * 600})
    assert parse_headers(large) is not parse_headers(large)
    for number in range(1000):
        assert parse_headers(build_headers({"n": Int(number)})) == {"n": number}
    assert parse_headers(block) == {":event-type": "assistantResponseEvent"}


UNBUILDABLE: dict[str, tuple[str, Any, type[Exception]]] = {
    "empty name": ("", True, ValueError),
    "name too long": ("x" * 256, True, ValueError),
    "byte too large": ("n", Byte(128), ValueError),
    "long too large": ("n", Long(1 << 63), ValueError),
    "string too long": ("n", "x" * 65536, ValueError),
    "bytes too long": ("n", bytes(65536), ValueError),
    "lone surrogate": ("n", "\ud800", ValueError),
    "bare int": ("n", 5, TypeError),
    "float": ("n", 1.5, TypeError),
}


@pytest.mark.parametrize(("name", "value", "error"), UNBUILDABLE.values(), ids=UNBUILDABLE)
def test_what_no_block_can_carry_is_refused(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        build_headers({name: value})


def test_a_wire_integer_shows_its_type() -> None:
    assert repr(Byte(-5)) == "Byte(-5)"
