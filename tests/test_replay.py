"""Replays of recordings that no flow can make; those of real failures are in the flows."""

from typing import Any

import pytest

from kiroproxy import replay
from kiroproxy.errors import InvalidRequest
from kiroproxy.recording.document import Recording
from tests.recording.helpers import BODY, new_tape, played, recorded, text


def of(code: int, ending: str, *pieces: bytes, **facts: Any) -> Recording:
    """A recorded exchange of one attempt."""
    recording = recorded()
    recording.answer.status, recording.answer.ending = code, ending
    recording.answer.text = ""
    attempt = recording.attempts[0]
    attempt.pieces = [(n, data) for n, data in enumerate(pieces)]
    for name, value in facts.items():
        setattr(attempt, name, value)
    return recording


def test_a_gap_is_played_without_its_middle() -> None:
    end = [text("one"), text("two")[:9], text("three")[9:], text("four")]
    outcome = replay.run(of(200, "max_tokens", *end, lost=500, tail=2, end="complete"))
    assert outcome.same
    assert '"text":"one"' in outcome.now.text
    assert '"text":"four"' in outcome.now.text
    assert "three" not in outcome.now.text
    assert outcome.notes == [replay.GAP]


def test_words_about_a_network_that_cannot_be_played_do_not_count() -> None:
    recording = of(502, "Unreachable", status=0, framing="", end="", error="Unreachable")
    recording.answer.text = '{"error": {"message": "the name q.example cannot be resolved"}}'
    outcome = replay.run(recording)
    assert (outcome.now.status, outcome.now.ending) == (502, "Unreachable")
    assert outcome.same
    assert outcome.notes == [replay.UNANSWERED]


def test_what_never_reached_kiro() -> None:
    recording = recorded(new_tape())
    recording.request.body = BODY
    recording.answer.status, recording.answer.ending = 503, "NoCredential"
    recording.trace = {"error": "no Kiro credential is usable: #1 cooling", "group": "pro"}
    recording.request.path = "/pro/v1/messages"
    outcome = replay.run(recording)
    assert not outcome.same
    assert outcome.now.status == 200
    assert outcome.notes == [replay.NEVER_ASKED]


def test_an_unknown_model_is_what_it_was() -> None:
    """The live catalogue, which a replay does not have, may have known its name."""
    recording = of(200, "max_tokens", text("hello"), end="complete")
    assert recording.request.body is not None
    recording.request.body["model"] = "some-new-model"
    outcome = replay.run(recording)
    assert (outcome.now.status, outcome.now.ending) == (200, "max_tokens")


def test_as_kiro_cli() -> None:
    recording = of(200, "max_tokens", text("hello"), end="complete", endpoint="cli")
    assert replay.run(recording).now.ending == "max_tokens"


def test_nothing_of_this_machine_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIROPROXY_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("KIROPROXY_PROXY_URL", "http://127.0.0.1:9")
    recording = of(200, "max_tokens", text("hello"), end="complete")
    recording.settings = {"apiUrl": "http://127.0.0.1:9", "fetchImageUrls": True}
    assert replay.run(recording).same


def test_a_path_that_answers_without_a_body() -> None:
    recording = recorded()
    recording.request.path = "/nowhere"
    with pytest.raises(replay.ReplayFailed, match="404"):
        replay.run(recording)
    recording.request.body = None
    with pytest.raises(InvalidRequest):
        replay.run(recording)


def test_more_attempts_than_were_recorded_meet_the_last_one_again() -> None:
    tape = new_tape()
    tape.body = b"{}"
    played(tape, b"{}", status=500)
    recording = recorded(tape)
    recording.request.body = BODY
    recording.answer.status, recording.answer.ending = 502, "ServerFault"
    outcome = replay.run(recording)
    assert (outcome.now.ending, outcome.now.attempts) == ("ServerFault", [500] * 3)
