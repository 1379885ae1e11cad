"""A recording as it is stored: one JSON object, its bytes in base64."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec

from kiroproxy import __version__
from kiroproxy.errors import InvalidRequest
from kiroproxy.recording.redaction import (
    KEPT_OF_ANSWER,
    KEPT_OF_CALL,
    KEPT_OF_REQUEST,
    Redactor,
)
from kiroproxy.recording.tape import Call, Pieces, Tape, Verdict

FORMAT: Final = "kiroproxy-recording"
VERSION: Final = 1
FILE_BYTES: Final = 64 * 1024 * 1024
"""A larger file is none of ours."""


OUTLINE_CHARS: Final = 300
HEAD_BYTES: Final = 16 * 1024
"""The headline lies within these: a list need not read megabytes."""


class BadRecording(InvalidRequest):
    """A file is no recording that this version can read."""


class _Part(msgspec.Struct, rename="camel"):
    """Unknown fields are skipped: a later version may add some without breaking this one."""


class Request(_Part, kw_only=True):
    """What the client sent: `body` if it was a JSON object, else `raw`; neither if too large."""

    method: str
    path: str
    query: str = ""
    headers: dict[str, str]
    size: int = 0
    body: dict[str, Any] | None = None
    raw: bytes | None = None


class Answer(_Part, kw_only=True):
    """What the client got: `text`, and where that is not all, `lost` bytes and then `tail`."""

    status: int
    ending: str
    message: str = ""
    size: int = 0
    text: str = ""
    lost: int = 0
    tail: str = ""


class Attempt(_Part, kw_only=True):
    """One call of Kiro.

    `same_body_as` is the number, from 1, of the attempt that has the body. `pieces` are what each
    read gave, and milliseconds since the call began; `lost` bytes are missing before the last
    `tail` of them.
    """

    credential_id: int
    endpoint: str = "ide"
    began_sec: float
    url: str
    headers: dict[str, str]
    size: int = 0
    body: dict[str, Any] | None = None
    raw: bytes | None = None
    same_body_as: int = 0
    status: int = 0
    answer_headers: dict[str, str] = {}
    framing: str = ""
    pieces: list[tuple[int, bytes]] = []
    lost: int = 0
    tail: int = 0
    end: str = ""
    error: str = ""
    message: str = ""


class Outline(_Part, kw_only=True):
    """What a list says of how it went; `message` is shortened, `attempts` are counted."""

    method: str
    path: str
    status: int
    ending: str
    message: str = ""
    attempts: int = 0


class Headline(_Part, kw_only=True):
    """The beginning of a recording. `why`: `error`, `truncated` or `hidden` (by fail-over)."""

    format: str
    format_version: int
    kiroproxy: str = ""
    id: str
    time: datetime
    why: str
    dialect: str = ""
    model: str = ""
    stream: bool = False
    duration_sec: float = 0.0
    outline: Outline


class Recording(Headline, kw_only=True):
    """A failed exchange."""

    settings: dict[str, Any] = {}
    answer: Answer
    trace: dict[str, Any] | None = None
    attempts: list[Attempt] = []
    request: Request


class _Head(msgspec.Struct, rename="camel"):
    """What tells a file apart."""

    format: str = ""
    format_version: int = 0
    kiroproxy: str = ""


# ---- from a tape ---------------------------------------------------------------------------


def recording_of(
    tape: Tape,
    headers: list[tuple[str, str]],
    verdict: Verdict,
    trace: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
    redactor: Redactor,
) -> Recording:
    """A tape, cleared of secrets."""
    body, raw = redactor.body(tape.body) if tape.body is not None else (None, None)
    lost = tape.sent.lost
    path = redactor.text(tape.path)
    message = redactor.text(str(verdict.error)) if verdict.error is not None else ""
    return Recording(
        format=FORMAT,
        format_version=VERSION,
        kiroproxy=__version__,
        id=tape.id,
        time=datetime.fromtimestamp(tape.at, UTC),
        why=verdict.why,
        dialect=tape.dialect,
        model=redactor.text(tape.model),
        stream=tape.stream,
        duration_sec=round(verdict.duration_s, 3),
        outline=Outline(
            method=tape.method,
            path=path,
            status=verdict.status,
            ending=verdict.ending,
            message=message[:OUTLINE_CHARS],
            attempts=len(tape.calls),
        ),
        settings=redactor.json(dict(settings)),
        answer=Answer(
            status=verdict.status,
            ending=verdict.ending,
            message=message,
            size=tape.sent.size,
            text=_text(tape.sent.head if lost else tape.sent, redactor),
            lost=lost,
            tail=_text(tape.sent.tail, redactor) if lost else "",
        ),
        trace=_trace(trace, redactor),
        attempts=_attempts(tape.calls, redactor),
        request=Request(
            method=tape.method,
            path=path,
            query=redactor.query(tape.query),
            headers=redactor.headers(headers, KEPT_OF_REQUEST),
            size=tape.body_size,
            body=body,
            raw=raw,
        ),
    )


def _trace(trace: Mapping[str, Any] | None, redactor: Redactor) -> dict[str, Any] | None:
    """Without the names of accounts, which are often e-mail addresses, and without the session."""
    if trace is None:
        return None
    kept: dict[str, Any] = redactor.json(
        {name: value for name, value in trace.items() if name != "session"}
    )
    for attempt in kept.get("attempts", ()):
        attempt.pop("name", None)
    return kept


def _attempts(calls: list[Call], redactor: Redactor) -> list[Attempt]:
    found: list[Attempt] = []
    bodies: dict[int, int] = {}
    for number, call in enumerate(calls, 1):
        lost, tail = call.pieces.lost, len(call.pieces.tail)
        one = Attempt(
            credential_id=call.credential_id,
            endpoint=call.endpoint,
            began_sec=round(call.began_s, 3),
            url=redactor.text(call.url),
            headers=redactor.headers(call.headers.items(), KEPT_OF_CALL),
            size=call.body_size,
            status=call.status,
            answer_headers=redactor.headers(call.answer_headers.items(), KEPT_OF_ANSWER),
            framing=call.framing,
            pieces=_plain(call.pieces, redactor) if call.status != 200 else _stream(call, redactor),
            lost=lost,
            tail=tail if lost else 0,
            end=call.end,
        )
        if call.error is not None:
            one.error = type(call.error).__name__
            one.message = redactor.text(str(call.error))
        if call.body is not None:
            one.same_body_as = bodies.get(id(call.body), 0)
            bodies.setdefault(id(call.body), number)
            if not one.same_body_as:
                one.body, one.raw = redactor.body(call.body)
        found.append(one)
    return found


def _stream(call: Call, redactor: Redactor) -> list[tuple[int, bytes]]:
    """Beginning and end each by itself: between them there is a gap."""
    pieces = call.pieces
    parts = (pieces.head, list(pieces.tail)) if pieces.lost else (list(pieces),)
    return [
        (at, data)
        for part in parts
        for (at, _), data in zip(part, redactor.stream(data for _, data in part), strict=True)
    ]


def _text(pieces: Iterable[tuple[int, bytes]], redactor: Redactor) -> str:
    return redactor.text(b"".join(data for _, data in pieces).decode("utf-8", "replace"))


def _plain(pieces: Pieces, redactor: Redactor) -> list[tuple[int, bytes]]:
    """Bytes that are no frames; the words of an error of Kiro's may hold account ids."""
    whole = b"".join(data for _, data in pieces)
    after = redactor.wire(whole, accounts=True)
    found, start = [], 0
    for at, data in pieces:
        found.append((at, after[start : start + len(data)]))
        start += len(data)
    return found


# ---- to and from bytes ---------------------------------------------------------------------


def encode(recording: Recording) -> bytes:
    """As it is stored, with the bulk at the end."""
    return b"".join(_encoded(recording)) + b"\n"


def _encoded(part: _Part) -> Iterator[bytes]:
    """Field by field: as one call it would keep the event loop waiting for its megabytes."""
    start = b"{"
    for name, key in zip(part.__struct_fields__, part.__struct_encode_fields__, strict=True):
        value = getattr(part, name)
        yield b'%b"%b":' % (start, key.encode())
        start = b","
        if isinstance(value, _Part):
            yield from _encoded(value)
        elif isinstance(value, list) and value and isinstance(value[0], _Part):
            yield b"["
            for number, one in enumerate(value):
                yield b"," if number else b""
                yield from _encoded(one)
            yield b"]"
        else:
            yield msgspec.json.encode(value)
    yield b"}"


def decode_headline(data: bytes) -> Headline:
    """Read the headline from the first bytes of a file, or from all of them.

    Raises:
        BadRecording: as `decode`.
    """
    head, mark, _ = data.partition(b',"settings":')  # in a text, a quote would be escaped
    return _decode(head + b"}" if mark else data, Headline)


def decode(data: bytes) -> Recording:
    """Read a stored recording.

    Raises:
        BadRecording: it is none, is damaged, or comes from a later version.
    """
    return _decode(data, Recording)


_Kind = TypeVar("_Kind", bound=Headline)


def _decode(data: bytes, kind: type[_Kind]) -> _Kind:
    try:
        head = msgspec.json.decode(data, type=_Head)
    except msgspec.ValidationError:
        head = _Head()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRecording(f"it is not JSON, or only part of it ({error})") from None
    if head.format != FORMAT:
        raise BadRecording("it is no recording of kiroproxy")
    if head.format_version > VERSION:
        raise BadRecording(
            f"kiroproxy {head.kiroproxy or 'of a later version'} wrote it in format "
            f"{head.format_version}; this version reads up to {VERSION}"
        )
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRecording(f"it is damaged: {error}") from None
