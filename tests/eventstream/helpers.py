"""Vectors, strategies and the one way in which these tests run a decoder."""

import base64
import itertools
import json
import struct
import uuid
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st

from kiroproxy.errors import EventStreamError
from kiroproxy.eventstream import (
    Byte,
    Checksum,
    Decoder,
    Frame,
    HeaderValue,
    Int,
    Long,
    Short,
    Timestamp,
)
from kiroproxy.eventstream.headers import Headers

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data/vectors/eventstream.json").read_text("utf-8")
)["vectors"]

thorough = settings(deadline=None, max_examples=200)


class Outcome(NamedTuple):
    frames: list[Frame]
    error: EventStreamError | None
    decoder: Decoder


def decode(
    chunks: Iterable[bytes], checksum: Checksum | None = None, resync: bool = False
) -> Outcome:
    """Feed all and close; an error that is not an EventStreamError fails the test."""
    decoder = Decoder(checksum, resync)
    frames: list[Frame] = []
    try:
        for chunk in chunks:
            frames += decoder.feed(chunk)
        decoder.close()
    except EventStreamError as error:
        return Outcome(frames, error, decoder)
    return Outcome(frames, None, decoder)


def typed(headers: Headers) -> dict[str, tuple[type, HeaderValue]]:
    """Headers with their types, which `==` overlooks."""
    return {name: (type(value), value) for name, value in headers.items()}


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def cuts_of(data: bytes) -> st.SearchStrategy[list[bytes]]:
    places = st.lists(st.integers(0, len(data)), max_size=12)
    return places.map(lambda chosen: cut(data, chosen))


def raw_frame(block: bytes, payload: bytes = b"", **lengths: int) -> bytes:
    """A frame whose checksums hold, whatever its header block or (`total`, `headers`) lengths."""
    total = lengths.get("total", len(block) + len(payload) + 16)
    prelude = struct.pack(">II", total, lengths.get("headers", len(block)))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + payload
    return message + struct.pack(">I", zlib.crc32(message))


def expected_frames(vector: dict[str, Any]) -> list[Frame]:
    return [
        Frame(
            {header["name"]: _expected_value(header) for header in message["headers"]},
            bytes.fromhex(message["payload_hex"]),
        )
        for message in vector["expect"].get("messages", [])
    ]


def _expected_value(header: dict[str, Any]) -> HeaderValue:
    match header["type"]:
        case 6:
            return base64.b64decode(header["value_base64"])
        case 9:
            return uuid.UUID(header["value_uuid"])
        case code:
            kinds = {2: Byte, 3: Short, 4: Int, 5: Long, 8: Timestamp}
            value: HeaderValue = header["value"]
            return kinds[code](value) if code in kinds else value


def _signed(kind: type[int], bits: int) -> st.SearchStrategy[Any]:
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1).map(kind)


header_names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(
    lambda name: len(name.encode()) <= 255
)
header_values: st.SearchStrategy[HeaderValue] = st.one_of(
    st.booleans(),
    _signed(Byte, 8),
    _signed(Short, 16),
    _signed(Int, 32),
    _signed(Long, 64),
    _signed(Timestamp, 64),
    st.binary(max_size=100),
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.uuids(),
)
header_maps = st.dictionaries(header_names, header_values, max_size=12)
frames_to_build = st.tuples(header_maps, st.binary(max_size=300))
