"""What the simulator plays, and what the frames are."""

from typing import Any

import pytest

from kiroproxy.eventstream import build_error, build_exception
from kiroproxy.recording.document import Attempt
from kiroproxy.recording.script import (
    PAUSES_S,
    began_without_kiro,
    frame_rows,
    pieces_to_play,
    simulator_script,
)
from kiroproxy.simulator.script import compile_script
from tests.recording.helpers import new_tape, played, recorded, text


def attempt(*pieces: bytes, **more: Any) -> Attempt:
    return Attempt(
        credential_id=1,
        began_sec=0.0,
        url="http://x",
        headers={},
        pieces=[(n * 10, data) for n, data in enumerate(pieces)],
        **{"status": 200, "framing": "chunked", "end": "complete"} | more,
    )


def script(one: Attempt, **more: Any) -> dict[str, Any]:
    recording = recorded()
    recording.attempts = [one]
    for name, value in more.items():
        setattr(recording, name, value)
    (entry,) = simulator_script(recording)
    compile_script(entry["script"], lambda: "id")  # the simulator takes it
    played: dict[str, Any] = entry["script"]
    return played


def test_every_attempt_once_and_the_last_one_for_ever() -> None:
    tape = new_tape()
    played(tape, b"no", status=429)
    played(tape, text("x"))
    entries = simulator_script(recorded(tape))
    assert [one["script"]["status"] for one in entries] == [429, 200]
    assert [one.get("times", 1) for one in entries] == [1, None]
    assert all(one["always"] for one in entries)
    assert simulator_script(recorded(new_tape())) == []


def test_pieces_are_cut_as_they_were_read() -> None:
    played_ = script(attempt(b"one", b"two", b"three"))
    data = [bytes.fromhex(one["raw_hex"]) for one in played_["steps"] if "raw_hex" in one]
    assert data == [b"one", b"two", b"three"]
    assert [list(one) for one in played_["steps"]][1] == ["delay"]
    many = script(attempt(*[b"x"] * 10_000))
    assert sum(one.get("delay", 0) for one in many["steps"]) <= PAUSES_S


@pytest.mark.parametrize(
    ("facts", "last", "framing"),
    [
        ({"end": "complete"}, None, "chunked"),
        ({"end": "complete", "framing": "length"}, None, "length"),
        ({"end": "eof"}, {"close": True}, "chunked"),
        ({"end": "eof", "framing": "length"}, {"close": True}, "length"),
        ({"end": "eof", "framing": "close"}, None, "close"),
        ({"end": "broken", "error": "Unreachable"}, {"reset": True}, "chunked"),
        ({"end": "left", "framing": "length"}, {"stay_open": True}, "chunked"),
    ],
)
def test_ends(facts: dict[str, Any], last: Any, framing: str) -> None:
    played_ = script(attempt(b"one", **facts))
    assert played_["framing"] == framing
    if last is not None:
        assert played_["steps"][-1] == last
    else:
        assert "raw_hex" in played_["steps"][-1]


def test_broken_chunks_are_written_by_hand() -> None:
    played_ = script(attempt(b"one", end="broken", error="BadChunk"))
    data = [bytes.fromhex(one["raw_hex"]) for one in played_["steps"]]
    assert data == [b"3\r\none\r\n", b"no size\r\n"]
    assert (played_["framing"], played_["headers"]["transfer-encoding"]) == ("close", "chunked")


def test_no_answer_at_all() -> None:
    hung = script(attempt(status=0, error="UpstreamTimeout", end=""))
    assert hung["before"] == [{"hang": None}]
    closed = script(attempt(status=0, error="Unreachable", end=""))
    assert closed["before"] == [{"close": True}]


def test_only_headers_that_count_are_played() -> None:
    headers = {"content-type": "application/json", "date": "now", "content-length": "2"}
    assert script(attempt(b"{}", answer_headers=headers))["headers"] == {
        "content-type": "application/json"
    }


def test_an_answer_that_began_without_kiro() -> None:
    late = recorded(firstFrameWaitSec=5)
    assert not began_without_kiro(late)
    late.attempts[0].pieces = [(5100, b"late")]
    assert began_without_kiro(late)
    assert simulator_script(late)[0]["script"]["steps"][0] == {"delay": 0.5}
    late.attempts[0].pieces = []
    assert began_without_kiro(late)
    late.stream = False
    assert not began_without_kiro(late)


def lossy() -> Attempt:
    """Two whole frames and half a one, a gap, the end of a frame, and one that is whole."""
    one, two, three = text("one"), text("two"), text("three")
    return attempt(one, two + three[:20], three[40:], text("last"), lost=999, tail=2)


def test_frames_round_a_gap_are_played_whole() -> None:
    data = b"".join(data for _, data in pieces_to_play(lossy()))
    assert data == text("one") + text("two") + text("last")


def test_frames_round_a_gap_are_shown() -> None:
    rows = list(frame_rows(lossy()))
    assert [(one.read, one.what, one.fault) for one in rows] == [
        (1, "assistantResponseEvent", False),
        (2, "assistantResponseEvent", False),
        (3, "gap", True),
        (4, "assistantResponseEvent", False),
    ]


def test_frames_are_shown_beyond_a_fault() -> None:
    damaged = bytearray(text("two"))
    damaged[-1] ^= 1
    more = build_exception("ThrottlingException", b'{"message":"slow\\ndown"}')
    rows = list(
        frame_rows(
            attempt(text("one"), bytes(damaged) + text("three"), more + build_error("E", "m"))
        )
    )
    assert [(one.read, one.at_ms, one.what) for one in rows] == [
        (1, 0, "assistantResponseEvent"),
        (2, 10, "BadChecksum"),
        (2, 10, "assistantResponseEvent"),
        (3, 20, "ThrottlingException"),
        (3, 20, "E"),
    ]
    assert rows[0].payload == '{"content": "one"}'
    assert rows[4].payload == "m"


def test_a_frame_that_is_cut_is_shown() -> None:
    rows = list(frame_rows(attempt(text("one"), text("two")[:30])))
    assert [one.what for one in rows] == ["assistantResponseEvent", "TruncatedStream"]
    assert list(frame_rows(attempt(b"no frames", status=400))) == []
    assert [one.fault for one in frame_rows(attempt(b"<html>" * 100))] == [True]
