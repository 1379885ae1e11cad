"""Where an HTTP body ends, whatever the cut (RFC 9112, 6 and 7)."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.http_body import (
    LINE_LIMIT_BYTES,
    BadChunk,
    Body,
    ChunkedBody,
    CountedBody,
    UnboundedBody,
)


def feed(body: Body, *pieces: bytes) -> bytes:
    return b"".join(body.feed(piece) for piece in pieces)


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


# ---- Content-Length ------------------------------------------------------------------------


def test_counted_body() -> None:
    body = CountedBody(5)
    assert not body.complete
    assert feed(body, b"ab", b"", b"c") == b"abc"
    assert not body.complete
    assert body.feed(b"de") == b"de"
    assert body.complete
    assert not body.excess


def test_counted_body_leaves_what_follows() -> None:
    body = CountedBody(3)
    assert body.feed(b"abcHTTP/1.1 200") == b"abc"
    assert body.complete
    assert body.excess


def test_empty_body_is_complete_at_once() -> None:
    assert CountedBody(0).complete


def test_body_until_close_never_ends_by_itself() -> None:
    body = UnboundedBody()
    assert feed(body, b"ab", b"cd") == b"abcd"
    assert not body.complete
    assert not body.excess


# ---- chunked -------------------------------------------------------------------------------


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6), st.data())
def test_any_cut_gives_the_same_body(parts: list[bytes], data: st.DataObject) -> None:
    wire = chunked(*parts)
    places = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=10)))
    body = ChunkedBody()
    pieces = [wire[a:b] for a, b in itertools.pairwise([0, *places, len(wire)])]
    assert feed(body, *pieces) == b"".join(parts)
    assert body.complete
    assert not body.excess


def test_byte_by_byte() -> None:
    wire = chunked(b"hello", b"x" * 300, b"\r\n0\r\n\r\n")
    body = ChunkedBody()
    assert feed(body, *(bytes([one]) for one in wire)) == b"hello" + b"x" * 300 + b"\r\n0\r\n\r\n"
    assert body.complete


@pytest.mark.parametrize(
    "wire",
    [
        b"5;name=value\r\nhello\r\n0\r\n\r\n",
        b'5 ;quoted="a"\r\nhello\r\n0;last\r\n\r\n',
        b"005\r\nhello\r\n000\r\n\r\n",
        b"5\r\nhello\r\n0\r\nTrailer: one\r\nAnother: two\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ],
)
def test_extensions_trailers_and_bare_newlines(wire: bytes) -> None:
    for pieces in ([wire], [bytes([one]) for one in wire]):
        body = ChunkedBody()
        assert feed(body, *pieces) == b"hello"
        assert body.complete
        assert not body.excess


def test_capital_digits() -> None:
    body = ChunkedBody()
    assert body.feed(b"A\r\n0123456789\r\n1f\r\n") == b"0123456789"
    assert body.feed(b"y" * 31 + b"\r\n0\r\n\r\n") == b"y" * 31
    assert body.complete


def test_bytes_behind_the_last_chunk_are_excess() -> None:
    body = ChunkedBody()
    assert body.feed(b"2\r\nhi\r\n0\r\n\r\nHTTP/1.1") == b"hi"
    assert body.complete
    assert body.excess


@pytest.mark.parametrize("wire", [b"2\r\nhi\r\n", b"2\r\nhi\r\n0\r\n", b"2\r\nhi", b"2\r\nh", b"2"])
def test_a_cut_body_is_not_complete(wire: bytes) -> None:
    body = ChunkedBody()
    body.feed(wire)
    assert not body.complete


@pytest.mark.parametrize(
    "line",
    [b"", b"xyz", b"-1", b"+5", b"0x5", b"5 5", b";ext", b"\xff", b"5_0", b"HTTP/1.1 200 OK"],
)
def test_garbage_for_a_size(line: bytes) -> None:
    body = ChunkedBody()
    with pytest.raises(BadChunk, match="not hexadecimal") as caught:
        body.feed(line + b"\r\n")
    assert caught.value.offset == 0


def test_bytes_behind_a_chunk() -> None:
    body = ChunkedBody()
    with pytest.raises(BadChunk, match="behind a chunk"):
        feed(body, b"2\r\nhi", b"!\r\n")


def test_s39_content_before_a_fault_comes_first() -> None:
    body = ChunkedBody()
    assert body.feed(b"2\r\nhi\r\nzz\r\n") == b"hi"
    assert body.fault is not None
    assert body.fault.offset == 7
    for _ in range(2):
        with pytest.raises(BadChunk):
            body.feed(b"2\r\nhi\r\n")


def test_lines_have_a_limit() -> None:
    for wire in ([b"1" * (LINE_LIMIT_BYTES + 1)], [b"1" * 1000] * 20):
        with pytest.raises(BadChunk, match="endless"):
            feed(ChunkedBody(), *wire)


def test_offset_counts_all_bytes() -> None:
    body = ChunkedBody()
    feed(body, b"3\r\nab", b"c\r\n4\r\n", b"d")
    with pytest.raises(BadChunk) as caught:
        feed(body, b"efg", b"\r\n", b"?\r\n")
    assert caught.value.offset == len(b"3\r\nabc\r\n4\r\ndefg\r\n")
