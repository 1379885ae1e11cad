"""JSON in and out (Q14): bad JSON is a 400, whatever is bad about it."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.dialects.jsontext import MAX_DEPTH, dumps, parse_body
from kiroproxy.errors import InvalidRequest

BAD: dict[str, bytes] = {
    "empty": b"",
    "cut": b'{"a": ',
    "not JSON": b"hello",
    "list": b"[]",
    "string": b'"a"',
    "null": b"null",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "number out of range": b'{"a": 1e999}',
    "5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "bad UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "lone surrogate": rb'{"a": "\ud800"}',
    "surrogates the wrong way round": rb'{"a": "\udc00\ud800"}',
    "encoded surrogate": b'{"a": "\xed\xa0\x80"}',
    "byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "two values": b"{}{}",
    "deep": b'{"a":' * 300 + b"1" + b"}" * 300,
    "deeper": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "never closed": b"[" * 100_000,
    "control character": b'{"a": "\x01"}',
    "trailing comma": b'{"a": 1,}',
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_bad_bodies(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_body(data)


def test_the_words_are_the_genuine_apis() -> None:
    """orjson's, with line and column."""
    with pytest.raises(InvalidRequest, match="line 1 column"):
        parse_body(b'{"a": ')


def nested(levels: int) -> bytes:
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


def test_depth() -> None:
    assert parse_body(nested(MAX_DEPTH))
    with pytest.raises(InvalidRequest, match="200 levels"):
        parse_body(nested(MAX_DEPTH + 1))
    wide = json.dumps({"a": [{} for _ in range(1000)]}).encode()
    assert len(parse_body(wide)["a"]) == 1000


@pytest.mark.parametrize(
    "value",
    [
        {"n": 2**70},
        {"n": -(2**64)},
        {"t": "🧪\u0000\u2028"},
        {"f": 1.5},
        {"a": {"b": [None, True]}},
    ],
)
def test_values_survive(value: dict[str, Any]) -> None:
    assert parse_body(json.dumps(value).encode()) == value
    assert json.loads(dumps(value)) == value


def test_output_deeper_than_orjson_goes() -> None:
    assert json.loads(dumps(json.loads(nested(300)))) == json.loads(nested(300))


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        assert isinstance(parse_body(data), dict)
