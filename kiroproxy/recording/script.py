"""A recording → what the simulator plays, and what its frames are (pure)."""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from kiroproxy.errors import EventStreamError
from kiroproxy.eventstream import Decoder, Frame
from kiroproxy.recording.document import Attempt, Recording
from kiroproxy.recording.redaction import frames

PAUSE_S: Final = 0.005
"""Between two pieces, so that they are read as two."""
PAUSES_S: Final = 3.0
"""All of them together."""
LATE_S: Final = 0.5
"""Before a first piece that came after the answer had begun without it."""
LAST_BYTES_S: Final = 0.1
"""Before a reset, which may overtake what was sent."""
PLAYED_HEADERS: Final = ("content-type", "content-encoding", "retry-after", "x-amzn-errortype")
SHOWN: Final = 300
"""Characters of a payload."""

Step = dict[str, Any]


def simulator_script(recording: Recording) -> list[dict[str, Any]]:
    """Entries for `kiroproxy simulate --script`: each attempt once, and the last one ever after."""
    late = began_without_kiro(recording)
    scripts = [_script(one, late=late) for one in recording.attempts]
    entries = [{"script": one, "always": True} for one in scripts[:-1]]
    if scripts:
        entries.append({"script": scripts[-1], "always": True, "times": None})
    return entries


def began_without_kiro(recording: Recording) -> bool:
    """Whether the client was told 200 before anything had come that it could be sent."""
    if not recording.stream or recording.answer.status != 200 or not recording.attempts:
        return False
    wait_s = recording.settings.get("firstFrameWaitSec", 5)
    pieces = recording.attempts[-1].pieces
    return not pieces or pieces[0][0] >= wait_s * 1000


def _script(attempt: Attempt, *, late: bool) -> dict[str, Any]:
    if not attempt.status:
        hung = attempt.error == "UpstreamTimeout"
        return {"before": [{"hang": None}] if hung else [{"close": True}], "steps": []}
    headers = {
        name: value for name, value in attempt.answer_headers.items() if name in PLAYED_HEADERS
    }
    data = [piece for _, piece in pieces_to_play(attempt)]
    steps: list[Step] = [{"delay": LATE_S}] if late else []
    for number, piece in enumerate(data):
        if number:
            steps.append({"delay": min(PAUSE_S, PAUSES_S / len(data))})
        steps.append({"raw_hex": piece.hex()})
    framing = attempt.framing or "chunked"
    if attempt.end == "broken" and attempt.error == "BadChunk":
        # a script writes no bad chunks, but bytes as they are
        headers["transfer-encoding"] = "chunked"
        raw = [_chunk(step) for step in steps]
        steps, framing = [*raw, {"raw_hex": b"no size\r\n".hex()}], "close"
    elif attempt.end == "broken":
        steps += [{"delay": LAST_BYTES_S}, {"reset": True}]
    elif attempt.end == "left":
        steps.append({"stay_open": True})
        framing = "chunked"
    elif attempt.end == "eof" and framing != "close":
        steps.append({"close": True})
    return {"status": attempt.status, "headers": headers, "framing": framing, "steps": steps}


def _chunk(step: Step) -> Step:
    if "raw_hex" not in step:
        return step
    data = bytes.fromhex(step["raw_hex"])
    return {"raw_hex": (b"%x\r\n%b\r\n" % (len(data), data)).hex()}


def pieces_to_play(attempt: Attempt) -> list[tuple[int, bytes]]:
    """What was read; where some is lost, whole frames before and behind the gap."""
    if not attempt.lost:
        return attempt.pieces
    head, tail = _parts(attempt)
    return _cut(head, 0, _end_of_frames(head)) + _cut(tail, _first_frame(tail), None)


def _parts(attempt: Attempt) -> tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]]:
    edge = len(attempt.pieces) - attempt.tail
    return attempt.pieces[:edge], attempt.pieces[edge:]


def _joined(pieces: list[tuple[int, bytes]]) -> bytes:
    return b"".join(data for _, data in pieces)


def _end_of_frames(pieces: list[tuple[int, bytes]]) -> int:
    found = list(frames(_joined(pieces)))
    return found[-1][0] + found[-1][1] if found else 0


def _first_frame(pieces: list[tuple[int, bytes]]) -> int:
    data = _joined(pieces)
    return next((at for at, _, _ in frames(data)), len(data))


def _cut(pieces: list[tuple[int, bytes]], start: int, end: int | None) -> list[tuple[int, bytes]]:
    """The pieces of `start` to `end` of the bytes that they are."""
    found, at = [], 0
    for when, data in pieces:
        stop = len(data) if end is None else max(min(end - at, len(data)), 0)
        part = data[max(start - at, 0) : stop]
        if part:
            found.append((when, part))
        at += len(data)
    return found


# ---- what the frames are -------------------------------------------------------------------


class Row(msgspec.Struct, rename="camel"):
    """A frame, or a fault between frames, in the read (from 1) that completed it."""

    read: int
    at_ms: int
    what: str
    payload: str
    fault: bool = False


def frame_rows(attempt: Attempt) -> Iterator[Row]:
    """The frames of an attempt's stream; after a fault the decoder looks for the next sound one."""
    if attempt.status != 200:
        return
    head, tail = _parts(attempt) if attempt.lost else (attempt.pieces, [])
    yield from _rows(head, 1, whole=not attempt.lost)
    if attempt.lost:
        when = tail[0][0] if tail else 0
        yield Row(len(head) + 1, when, "gap", f"{attempt.lost} bytes were not kept", fault=True)
        begun = False
        for row in _rows(tail, len(head) + 1, whole=True):
            begun = begun or not row.fault
            if begun:  # before its first frame stands the end of one that is lost
                yield row


def _rows(pieces: list[tuple[int, bytes]], first: int, *, whole: bool) -> Iterator[Row]:
    decoder = Decoder(resync=True)
    told = 0
    number, when = first, 0
    for number, (when, data) in enumerate(pieces, first):
        try:
            decoded = decoder.feed(data)
        except EventStreamError:
            decoded = []
        for fault in decoder.faults[told:]:
            yield Row(number, when, type(fault).__name__, str(fault), fault=True)
        told = len(decoder.faults)
        for frame in decoded:
            yield Row(number, when, _name(frame), _excerpt(frame))
        if decoder.fault is not None:
            return
    if whole:
        try:
            decoder.close()
        except EventStreamError as fault:
            yield Row(number, when, type(fault).__name__, str(fault), fault=True)


def _name(frame: Frame) -> str:
    headers = frame.headers
    for name in (":event-type", ":exception-type", ":error-code", ":message-type"):
        if name in headers:
            return str(headers[name])
    return "?"


_BLANKS = re.compile(r"[\x00-\x1f\x7f]+")


def _excerpt(frame: Frame) -> str:
    text = frame.payload.decode("utf-8", "replace") or str(frame.headers.get(":error-message", ""))
    text = _BLANKS.sub(" ", text)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
