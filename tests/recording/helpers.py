"""Tapes without a server around them."""

import json
from typing import Any

from kiroproxy.errors import BadChecksum
from kiroproxy.eventstream import build_event
from kiroproxy.recording.document import Recording, recording_of
from kiroproxy.recording.redaction import Redactor
from kiroproxy.recording.tape import Live, Tape, Verdict

BODY: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 100,
    "stream": True,
    "messages": [{"role": "user", "content": "hello"}],
}


def text(content: str) -> bytes:
    return build_event("assistantResponseEvent", json.dumps({"content": content}).encode())


class Shelf:
    """Takes tapes as a recorder does."""

    def __init__(self) -> None:
        self.kept: list[tuple[Tape, Verdict, Any]] = []

    def keep(self, tape: Tape, verdict: Verdict, trace: Any) -> None:
        self.kept.append((tape, verdict, trace))


def new_tape(shelf: Shelf | None = None, live: Live | None = None, id_: str = "req_1") -> Tape:
    headers = {"x-api-key": "sk-of-a-client", "user-agent": "a-tool/1"}
    return Tape(shelf or Shelf(), live or Live(), id_, "POST", "/v1/messages", "beta=true", headers)


def played(tape: Tape, *pieces: bytes, status: int = 200, end: str = "complete") -> None:
    """A call of Kiro that has had its answer."""
    call = tape.call(
        3,
        "ide",
        "https://q.us-east-1.amazonaws.com/generateAssistantResponse",
        {"authorization": "Bearer an-access-token", "content-type": "application/json"},
        b'{"conversationState": {"conversationId": "c"}}',
    )
    call.status, call.framing, call.end = status, "chunked", end
    call.answer_headers = {"content-type": "application/vnd.amazon.eventstream"}
    for piece in pieces:
        call.pieces.add(piece)


def recorded(
    tape: Tape | None = None, *secrets: str, why: str = "error", **settings: Any
) -> Recording:
    """A tape as a recording; without one, that of a corrupt frame."""
    error = BadChecksum("message", expected=1, computed=2, offset=100)
    if tape is None:
        tape = new_tape()
        tape.request_body(json.dumps(BODY).encode())
        tape.dialect, tape.model, tape.stream = "anthropic", BODY["model"], True
        damaged = bytearray(text("there"))
        damaged[-1] ^= 0xFF
        played(tape, text("hello"), bytes(damaged))
        tape.sent.add(b'event: error\ndata: {"type": "error"}\n\n')
    verdict = Verdict(why, 200, type(error).__name__, error, 1.5)
    headers = list(tape.headers.items())
    trace = {
        "id": tape.id,
        "model": "claude-sonnet-4.5",
        "group": "default",
        "session": "f00",
        "attempts": [{"credential_id": 3, "name": "anna@example.com", "outcome": "BadChecksum"}],
        "skipped": [{"attempt": 1, "reason": "cooling 12 s", "credentials": [1, 2]}],
        "error": "",
    }
    return recording_of(tape, headers, verdict, trace, settings, Redactor(secrets))
