"""The incremental decoder: S38 (any cut), S39 (corrupt frames), ruling X2 (checksums)."""

import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest
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
from kiroproxy.eventstream import Checksum, Decoder, Frame, HeaderValue, build_event, build_frame
from kiroproxy.eventstream.decoder import FAULT_LIMIT
from tests.eventstream.helpers import (
    VECTORS,
    Outcome,
    bytewise,
    cuts_of,
    decode,
    expected_frames,
    frames_to_build,
    raw_frame,
    thorough,
    typed,
)

Vector = dict[str, Any]
Built = tuple[dict[str, HeaderValue], bytes]

FAILURES: dict[str, tuple[type[EventStreamError], str | None]] = {
    "prelude_crc_mismatch": (BadChecksum, "prelude"),
    "message_crc_mismatch": (BadChecksum, "message"),
    "invalid_length": (BadLength, None),
    "invalid_header": (BadHeader, None),
    "incomplete": (TruncatedStream, None),
}

every_vector = pytest.mark.parametrize("vector", VECTORS, ids=[v["id"] for v in VECTORS])


# ---- the vectors ---------------------------------------------------------------------------


def check_vector(vector: Vector, chunks: Iterable[bytes], trailing: bytes = b"") -> None:
    """Decide `vector` from its bytes in `chunks`, which end in `trailing` bytes not its own."""
    expect = vector["expect"]
    recovers = expect["ok"] == "after_recovery"
    outcome = decode(chunks, Checksum.CRC32, resync=recovers)
    frames, error, decoder = outcome
    wanted = expected_frames(vector)
    assert [typed(f.headers) for f in frames] == [typed(f.headers) for f in wanted]
    assert [f.payload for f in frames] == [f.payload for f in wanted]
    if recovers:
        (first,) = expect["failures_first"]
        assert isinstance(decoder.faults[0], BadChecksum)
        assert decoder.faults[0].part == first.partition("_")[0]
        assert len(decoder.faults) == (2 if trailing else 1)
    if expect["ok"]:
        assert isinstance(error, TruncatedStream) if trailing else error is None
    else:
        check_failure(vector, outcome)


def check_failure(vector: Vector, outcome: Outcome) -> None:
    kind, part = FAILURES[vector["expect"]["failure_class"]]
    assert isinstance(outcome.error, kind)
    assert getattr(outcome.error, "part", None) == part
    assert outcome.decoder.fault is outcome.error
    assert outcome.decoder.faults == [outcome.error]


@every_vector
def test_vector_whole(vector: Vector) -> None:
    check_vector(vector, [bytes.fromhex(vector["hex"])])


@every_vector
def test_vector_one_byte_at_a_time(vector: Vector) -> None:
    check_vector(vector, bytewise(bytes.fromhex(vector["hex"])))


@every_vector
@thorough
@given(st.data())
def test_vector_in_any_cut(vector: Vector, data: st.DataObject) -> None:
    check_vector(vector, data.draw(cuts_of(bytes.fromhex(vector["hex"]))))


@every_vector
def test_vector_with_trailing_bytes(vector: Vector) -> None:
    trailing = b"\0\0\0\x9d\0"
    stream = bytes.fromhex(vector["hex"]) + trailing
    check_vector(vector, [stream], trailing)
    check_vector(vector, bytewise(stream), trailing)


@pytest.mark.parametrize("vector", [v for v in VECTORS if "feed_chunk_sizes" in v])
def test_vector_in_its_own_chunk_sizes(vector: Vector) -> None:
    data = bytes.fromhex(vector["hex"])
    chunks: list[bytes] = []
    while data:
        size = vector["feed_chunk_sizes"][len(chunks) % len(vector["feed_chunk_sizes"])]
        chunks.append(data[:size])
        data = data[size:]
    check_vector(vector, chunks)


@pytest.mark.parametrize("vector", [v for v in VECTORS if v["expect"]["ok"] == "after_recovery"])
def test_a_damaged_stream_ends_at_once_without_resync(vector: Vector) -> None:
    frames, error, _ = decode([bytes.fromhex(vector["hex"])])
    assert frames == []
    assert isinstance(error, BadChecksum)


# ---- properties ----------------------------------------------------------------------------


@thorough
@given(st.data(), st.lists(frames_to_build, max_size=5), st.sampled_from(Checksum), st.booleans())
def test_any_cut_gives_the_frames_that_were_built(
    data: st.DataObject, built: list[Built], checksum: Checksum, resync: bool
) -> None:
    stream = b"".join(build_frame(*one, checksum) for one in built)
    frames, error, decoder = decode(data.draw(cuts_of(stream)), None, resync)
    assert [(typed(f.headers), f.payload) for f in frames] == [(typed(h), p) for h, p in built]
    assert error is None
    assert decoder.faults == []
    assert decoder.checksum is (checksum if built else None)


@thorough
@given(st.data(), st.lists(frames_to_build, min_size=1, max_size=4), st.integers(1, 255))
def test_a_damaged_byte_costs_its_frame_and_nothing_else(
    data: st.DataObject, built: list[Built], flip: int
) -> None:
    parts = [build_frame(*one) for one in built]
    stream = bytearray(b"".join(parts))
    place = data.draw(st.integers(0, len(stream) - 1))
    stream[place] ^= flip
    hit = next(i for i in range(len(parts)) if place < sum(map(len, parts[: i + 1])))
    originals = [Frame(*one) for one in built]
    chunks = data.draw(cuts_of(bytes(stream)))

    frames, error, decoder = decode(chunks)
    assert frames == originals[:hit]
    assert isinstance(error, BadChecksum)
    assert error.offset == sum(map(len, parts[:hit]))

    frames, error, decoder = decode(chunks, resync=True)
    assert frames == originals[:hit] + originals[hit + 1 :]
    assert error is None
    assert len(decoder.faults) == 1


@thorough
@given(st.data(), st.booleans(), st.sampled_from([None, *Checksum]))
def test_no_bytes_raise_anything_else(
    data: st.DataObject, resync: bool, checksum: Checksum | None
) -> None:
    """Random bytes, sound frames, sound frames around random header blocks, wrong lengths."""
    piece = st.one_of(
        st.binary(max_size=60),
        frames_to_build.map(lambda one: build_frame(*one)),
        st.binary(max_size=60).map(raw_frame),
        st.integers(0, 40).map(lambda total: raw_frame(b"", total=total)),
        frames_to_build.map(lambda one: build_frame(*one)[:-5]),
    )
    stream = b"".join(data.draw(st.lists(piece, max_size=12)))
    whole = decode([stream], checksum, resync)
    pieces = decode(data.draw(cuts_of(stream)), checksum, resync)
    assert pieces.frames == whole.frames
    assert list(map(repr, pieces.decoder.faults)) == list(map(repr, whole.decoder.faults))
    assert repr(pieces.error) == repr(whole.error)


# ---- the end of a stream -------------------------------------------------------------------

EVENTS = [build_event("assistantResponseEvent", b'{"content":"%d"}' % n) for n in range(4)]
FRAMES = [decode([event]).frames[0] for event in EVENTS]
CORRUPT = EVENTS[0][:-6] + b"!!" + EVENTS[0][-4:]


def test_frames_before_a_fault_are_returned_first() -> None:
    decoder = Decoder()
    assert decoder.feed(EVENTS[0] + EVENTS[1] + CORRUPT + EVENTS[2]) == FRAMES[:2]
    assert isinstance(decoder.fault, BadChecksum)
    assert decoder.fault.offset == len(EVENTS[0] + EVENTS[1])
    for say in (lambda: decoder.feed(EVENTS[2]), lambda: decoder.feed(b""), decoder.close):
        with pytest.raises(BadChecksum) as caught:
            say()
        assert caught.value is decoder.fault


def test_a_fault_without_frames_is_raised_at_once() -> None:
    decoder = Decoder()
    assert decoder.feed(EVENTS[0]) == FRAMES[:1]
    with pytest.raises(BadChecksum):
        decoder.feed(CORRUPT)


def test_an_empty_stream_is_sound() -> None:
    for count in range(3):
        frames, error, _ = decode([b""] * count)
        assert (frames, error) == ([], None)


@pytest.mark.parametrize(
    ("length", "missing"), [(1, 15), (11, 5), (12, len(EVENTS[1]) - 12), (len(EVENTS[1]) - 1, 1)]
)
def test_a_cut_frame_is_told_by_close(length: int, missing: int) -> None:
    decoder = Decoder()
    assert decoder.feed(EVENTS[0] + EVENTS[1][:length]) == FRAMES[:1]
    for _ in range(2):
        with pytest.raises(TruncatedStream) as caught:
            decoder.close()
        assert caught.value.missing == missing
        assert caught.value.offset == len(EVENTS[0])


def test_a_prelude_is_refused_before_its_body_arrives() -> None:
    for prelude, size, limit in [
        (raw_frame(b"", total=(16 << 20) + 1)[:12], (16 << 20) + 1, 16 << 20),
        (raw_frame(b"", total=1 << 20, headers=(128 << 10) + 1)[:12], (128 << 10) + 1, 128 << 10),
    ]:
        decoder = Decoder()
        with pytest.raises(FrameTooLarge) as caught:
            decoder.feed(prelude)
        assert (caught.value.size, caught.value.limit) == (size, limit)


def test_an_error_page_is_refused_after_twelve_bytes() -> None:
    decoder = Decoder()
    assert decoder.feed(b"<html><body") == []
    with pytest.raises(BadChecksum):
        decoder.feed(b">")


# ---- which checksum (ruling X2) ------------------------------------------------------------


def test_the_crc32c_impostor_is_refused_when_forced_and_decoded_when_recognised() -> None:
    (vector,) = (v for v in VECTORS if v["id"] == "crc32c_impostor")
    data = bytes.fromhex(vector["hex"])
    frames, error, decoder = decode([data])
    assert [frame.payload for frame in frames] == [b'{"content":"Hello"}']
    assert error is None
    assert decoder.checksum is Checksum.CRC32C
    assert isinstance(decode([data], Checksum.CRC32).error, BadChecksum)
    assert decode([data], Checksum.CRC32C).frames == frames
    assert isinstance(decode([EVENTS[0]], Checksum.CRC32C).error, BadChecksum)


@pytest.mark.parametrize("first", Checksum)
def test_the_first_prelude_settles_the_checksum(first: Checksum) -> None:
    other = Checksum.CRC32C if first is Checksum.CRC32 else Checksum.CRC32
    stream = build_frame({}, b"a", first) + build_frame({}, b"b", other)
    frames, error, decoder = decode([stream])
    assert [frame.payload for frame in frames] == [b"a"]
    assert isinstance(error, BadChecksum)
    assert decoder.checksum is first


def test_one_checksum_holds_within_a_frame() -> None:
    frame = build_frame({}, b"a", Checksum.CRC32)
    mixed = frame[:-4] + struct.pack(">I", Checksum.CRC32C.function(frame[:-4], 0))
    error = decode([mixed]).error
    assert isinstance(error, BadChecksum)
    assert error.part == "message"


# ---- resynchronisation ---------------------------------------------------------------------

cut_ways = pytest.mark.parametrize(
    "cut_way", [lambda data: [data], bytewise], ids=["whole", "bytes"]
)
CutWay = Callable[[bytes], list[bytes]]


@cut_ways
@pytest.mark.parametrize(
    "junk",
    [
        b"\xde\xad\xbe\xef\0",
        bytes(5000),
        b"\1" * 100,
        b"\0\0\0\x20" * 300,
        b"\0\0\0\x90\0\0\0\x10" * 99,
        EVENTS[3][1:],
    ],
    ids=[
        "bytes",
        "zeros",
        "ones",
        "lengths that disagree",
        "lengths that agree",
        "a frame without its first byte",
    ],
)
def test_one_scan_over_junk_is_one_fault(cut_way: CutWay, junk: bytes) -> None:
    stream = EVENTS[0] + junk + EVENTS[1] + EVENTS[2]
    frames, error, decoder = decode(cut_way(stream), resync=True)
    assert frames == FRAMES[:3]
    assert error is None
    assert [fault.offset for fault in decoder.faults] == [len(EVENTS[0])]


@cut_ways
@pytest.mark.parametrize("checksum", Checksum)
def test_junk_before_the_first_prelude_does_not_settle_the_checksum(
    cut_way: CutWay, checksum: Checksum
) -> None:
    stream = b"junk, more junk" + build_frame({}, b"a", checksum)
    frames, error, decoder = decode(cut_way(stream), resync=True)
    assert [frame.payload for frame in frames] == [b"a"]
    assert decoder.checksum is checksum
    assert error is None


@cut_ways
def test_a_scan_takes_no_prelude_of_the_other_checksum(cut_way: CutWay) -> None:
    stream = EVENTS[0] + b"junk" + build_frame({}, b"a", Checksum.CRC32C) + EVENTS[1]
    frames, error, decoder = decode(cut_way(stream), resync=True)
    assert frames == FRAMES[:2]
    assert error is None
    assert [fault.offset for fault in decoder.faults] == [len(EVENTS[0])]


@cut_ways
def test_a_broken_body_costs_its_frame_alone(cut_way: CutWay) -> None:
    """The dropped frame is not searched: its payload holds a sound frame that must not appear."""
    inner = raw_frame(b"\x01x\x0a", payload=EVENTS[3])
    frames, error, decoder = decode(
        cut_way(EVENTS[0] + inner + EVENTS[1] + CORRUPT + EVENTS[2]), resync=True
    )
    assert frames == FRAMES[:3]
    assert error is None
    assert [type(fault) for fault in decoder.faults] == [BadHeader, BadChecksum]


@cut_ways
def test_impossible_lengths_are_scanned_over(cut_way: CutWay) -> None:
    for prelude in (raw_frame(b"", total=15), raw_frame(b"", total=1 << 30)):
        frames, error, decoder = decode(cut_way(prelude + EVENTS[0]), resync=True)
        assert frames == FRAMES[:1]
        assert error is None
        assert len(decoder.faults) == 1
        assert isinstance(decoder.faults[0], BadLength)


@cut_ways
def test_faults_in_a_row_end_the_stream(cut_way: CutWay) -> None:
    frames, error, decoder = decode(
        cut_way(EVENTS[0] + CORRUPT * FAULT_LIMIT + EVENTS[1]), resync=True
    )
    assert frames == FRAMES[:1]
    assert error is not None
    assert decoder.fault is error
    assert len(decoder.faults) == FAULT_LIMIT


@cut_ways
def test_a_good_frame_forgives_the_faults_before_it(cut_way: CutWay) -> None:
    stream = (CORRUPT * (FAULT_LIMIT - 1) + EVENTS[0]) * 3
    frames, error, decoder = decode(cut_way(stream), resync=True)
    assert frames == FRAMES[:1] * 3
    assert error is None
    assert len(decoder.faults) == (FAULT_LIMIT - 1) * 3


def test_the_largest_frame_is_found_by_a_scan() -> None:
    """Its total length is the one whose first byte is not zero."""
    largest = build_frame({}, bytes((16 << 20) - 16))
    frames, error, _ = decode([b"junk", largest], resync=True)
    assert [len(frame.payload) for frame in frames] == [(16 << 20) - 16]
    assert error is None


def test_trailing_junk_is_a_fault_but_no_truncation() -> None:
    frames, error, decoder = decode([EVENTS[0] + b"junk that never ends"], resync=True)
    assert frames == FRAMES[:1]
    assert error is None
    assert len(decoder.faults) == 1


# ---- linear work, by counting and not by a clock ------------------------------------------------


def calls_during(work: Callable[[], object]) -> dict[object, int]:
    """How often each function, Python's or C's, is called by `work`."""
    counts: dict[object, int] = {}

    def count(frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            key = frame.f_code.co_name if event == "call" else argument
            counts[key] = counts.get(key, 0) + 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return counts


def test_a_large_frame_in_small_pieces_is_looked_at_twice() -> None:
    """Once for its prelude and once when it is complete; in between, pieces are only kept."""
    frame = build_frame({}, bytes(4 << 20))
    pieces = [frame[i : i + 1024] for i in range(0, len(frame), 1024)]
    decoder = Decoder(Checksum.CRC32)
    counts = calls_during(lambda: [decoder.feed(piece) for piece in pieces])
    assert counts["feed"] == len(pieces)
    assert counts["_decode"] == 2
    assert counts[zlib.crc32] == 3


def test_a_large_frame_is_held_in_a_few_copies() -> None:
    size = 4 << 20
    frame = build_frame({}, bytes(size))
    decoder = Decoder()
    tracemalloc.start()
    try:
        for start in range(0, len(frame), 1024):
            decoder.feed(frame[start : start + 1024])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4.5 * size


def test_work_per_frame_does_not_grow_with_the_batch() -> None:
    def calls(count: int) -> int:
        decoder = Decoder()
        return sum(calls_during(lambda: decoder.feed(EVENTS[0] * count)).values())

    assert calls(2000) - calls(1000) == calls(3000) - calls(2000)
