"""Recordings as files: whole there and back, and what is none of ours."""

import json
from typing import Any

import msgspec
import pytest

from kiroproxy import __version__
from kiroproxy.recording.document import (
    FORMAT,
    VERSION,
    BadRecording,
    decode,
    decode_headline,
    encode,
)
from tests.recording.helpers import BODY, new_tape, played, recorded, text


def test_there_and_back() -> None:
    recording = recorded(idleTimeoutSec=120)
    data = encode(recording)
    assert decode(data) == recording
    stored = json.loads(data)
    assert msgspec.json.decode(msgspec.json.encode(recording)) == stored
    assert list(stored)[:3] == ["format", "formatVersion", "kiroproxy"]
    assert (stored["format"], stored["kiroproxy"]) == (FORMAT, __version__)
    assert stored["request"]["body"] == BODY
    assert stored["settings"] == {"idleTimeoutSec": 120}
    assert stored["why"] == "error"


def test_nobody_is_named() -> None:
    data = encode(recorded()).decode()
    for name in ("anna@example.com", "f00", "sk-of-a-client", "an-access-token"):
        assert name not in data
    assert '"user-agent":"a-tool/1"' in data
    assert '"authorization":"***"' in data
    assert '"reason":"cooling 12 s"' in data


def test_attempts_with_the_same_body_hold_it_once() -> None:
    tape = new_tape()
    for _ in range(3):
        played(tape, text("x"))
    recording = recorded(tape)
    assert [one.same_body_as for one in recording.attempts] == [0, 1, 1]
    assert [one.body is None for one in recording.attempts] == [False, True, True]


def test_words_of_kiros_errors_are_cleared_of_accounts() -> None:
    tape = new_tape()
    played(tape, b'{"message":"account 123456', b'789012 is locked"}', status=403)
    pieces = [data for _, data in recorded(tape).attempts[0].pieces]
    assert pieces == [b'{"message":"account 111111', b'111111 is locked"}']


def test_a_gap_is_told() -> None:
    tape = new_tape()
    played(tape, text("a"))
    pieces = tape.calls[0].pieces
    pieces.tail.extend([(5, b"end"), (6, text("z"))])
    pieces.lost = 1000
    tape.sent.add(b"head")
    tape.sent.tail.append((9, b"tail"))
    tape.sent.lost = 7
    recording = recorded(tape)
    attempt = recording.attempts[0]
    assert (len(attempt.pieces), attempt.lost, attempt.tail) == (3, 1000, 2)
    answer = recording.answer
    assert (answer.text, answer.lost, answer.tail, answer.size) == ("head", 7, "tail", 15)
    assert decode(encode(recording)) == recording


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "something-else"}, "no recording of kiroproxy"),
        ({"formatVersion": VERSION + 1, "kiroproxy": "9.9"}, "kiroproxy 9.9 wrote it in format 2"),
        ({"attempts": 3}, "damaged"),
        ({"request": None}, "damaged"),
        ({"answer": {"status": "x"}}, "damaged"),
    ],
)
def test_what_cannot_be_read(change: dict[str, Any], said: str) -> None:
    stored = json.loads(encode(recorded())) | change
    with pytest.raises(BadRecording, match=said):
        decode(json.dumps(stored).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"3", b"\xff", b'{"format": 3}', b"[" * 5000])
def test_what_is_no_recording_at_all(data: bytes) -> None:
    with pytest.raises(BadRecording):
        decode(data)


def test_half_a_file() -> None:
    data = encode(recorded())
    with pytest.raises(BadRecording, match="only part of it"):
        decode(data[: len(data) // 2])


def test_fields_of_a_later_version_are_passed_over() -> None:
    recording = recorded()
    stored = json.loads(encode(recording)) | {"more": [1]}
    assert decode(json.dumps(stored).encode()) == recording


def test_the_headline_stands_at_the_beginning() -> None:
    """A list does not read megabytes."""
    recording = recorded()
    recording.model = 'odd","settings":{"x'
    data = encode(recording)
    edge = data.index(b',"settings":') + 20
    found = decode_headline(data[:edge])
    assert (found.id, found.model, found.why) == ("req_1", recording.model, "error")
    assert (found.outline.path, found.outline.attempts) == ("/v1/messages", 1)
    assert decode_headline(data) == found
    with pytest.raises(BadRecording):
        decode_headline(data[: edge - 40])
