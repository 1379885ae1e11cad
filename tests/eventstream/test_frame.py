"""One frame, parsed and built; botocore is the second opinion on what we build."""

import uuid

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.errors import (
    BadChecksum,
    BadHeader,
    BadLength,
    EventStreamError,
    FrameTooLarge,
    TruncatedStream,
)
from kiroproxy.eventstream import (
    Checksum,
    Frame,
    HeaderValue,
    build_error,
    build_event,
    build_exception,
    build_frame,
    parse_frame,
)
from tests.eventstream.helpers import (
    VECTORS,
    expected_frames,
    frames_to_build,
    raw_frame,
    thorough,
    typed,
)

Built = tuple[dict[str, HeaderValue], bytes]


@thorough
@given(frames_to_build, st.sampled_from(Checksum))
def test_parse_inverts_build(built: Built, checksum: Checksum) -> None:
    frame = parse_frame(build_frame(*built, checksum), checksum)
    assert typed(frame.headers) == typed(built[0])
    assert frame.payload == built[1]


@thorough
@given(st.lists(frames_to_build, max_size=4))
def test_botocore_reads_what_we_build(built: list[Built]) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(b"".join(build_frame(*one) for one in built))
    read = [(message.headers, message.payload) for message in buffer]
    assert read == [(_as_botocore_has_it(headers), payload) for headers, payload in built]


def _as_botocore_has_it(headers: dict[str, HeaderValue]) -> dict[str, object]:
    return {
        name: value.bytes if isinstance(value, uuid.UUID) else value
        for name, value in headers.items()
    }


@pytest.mark.parametrize(
    ("vector_id", "build"),
    [
        ("assistant_text", lambda p: build_event("assistantResponseEvent", p)),
        ("exception_frame", lambda p: build_exception("ThrottlingException", p)),
        ("error_frame", lambda p: build_error("InternalError", "backend went away")),
        ("minimal_empty", lambda p: build_frame({}, p)),
    ],
)
def test_builders_write_the_vectors_bytes(vector_id: str, build) -> None:  # type: ignore[no-untyped-def]
    vector = next(v for v in VECTORS if v["id"] == vector_id)
    (expected,) = expected_frames(vector)
    assert build(expected.payload).hex() == vector["hex"]


def test_all_header_types_build_the_vectors_bytes() -> None:
    vector = next(v for v in VECTORS if v["id"] == "all_header_types")
    (expected,) = expected_frames(vector)
    assert build_frame(expected.headers, expected.payload).hex() == vector["hex"]


SOUND = build_event("assistantResponseEvent", b'{"content":"hi"}')
NOT_ONE_FRAME: dict[str, tuple[bytes, type[EventStreamError]]] = {
    "nothing": (b"", TruncatedStream),
    "half a prelude": (SOUND[:7], TruncatedStream),
    "half a frame": (SOUND[:40], TruncatedStream),
    "more than a frame": (SOUND + b"\0", BadLength),
    "prelude damaged": (b"\1" + SOUND[1:], BadChecksum),
    "body damaged": (SOUND[:-5] + b"!" + SOUND[-4:], BadChecksum),
    "headers past the end": (raw_frame(b"", total=16, headers=1), BadLength),
    "shorter than possible": (raw_frame(b"", total=15), BadLength),
    "too large": (raw_frame(b"", total=(16 << 20) + 1), FrameTooLarge),
    "headers too large": (raw_frame(b"", total=1 << 20, headers=(128 << 10) + 1), FrameTooLarge),
    "bad header": (raw_frame(b"\x01x\x0a"), BadHeader),
}


@pytest.mark.parametrize(("data", "error"), NOT_ONE_FRAME.values(), ids=NOT_ONE_FRAME)
def test_what_is_not_one_frame_has_its_error(data: bytes, error: type[EventStreamError]) -> None:
    with pytest.raises(EventStreamError) as caught:
        parse_frame(data)
    assert type(caught.value) is error


def test_errors_carry_facts() -> None:
    with pytest.raises(FrameTooLarge) as too_large:
        parse_frame(raw_frame(b"", total=(16 << 20) + 1))
    assert (too_large.value.size, too_large.value.limit) == ((16 << 20) + 1, 16 << 20)
    with pytest.raises(BadChecksum) as damaged:
        parse_frame(SOUND[:-1] + bytes([SOUND[-1] ^ 1]))
    assert damaged.value.part == "message"
    assert damaged.value.expected == damaged.value.computed ^ 1


def test_the_limits_themselves_are_allowed_and_one_byte_more_is_not() -> None:
    headers: dict[str, HeaderValue] = {"a": bytes(65531), "b": bytes(65531)}
    frame = parse_frame(build_frame(headers, b""))
    assert frame == Frame(headers)
    payload = bytes((16 << 20) - 16)
    assert parse_frame(build_frame({}, payload)).payload == payload
    with pytest.raises(ValueError, match="no frame"):
        build_frame({}, payload + b"\0")
    with pytest.raises(ValueError, match="no frame"):
        build_frame({"a": bytes(65531), "b": bytes(65532)}, b"")
