"""A recording, once more: its request through this version, against a simulator that plays Kiro.

The application runs in this process and speaks to the simulator over a real connection; nothing
else is called, whatever the recording says.
"""

import contextlib
import logging
import re
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from kiroproxy.config import BY_ATTRIBUTE, Config, load_config
from kiroproxy.errors import InvalidRequest, KiroProxyError
from kiroproxy.recording.document import Attempt, Recording
from kiroproxy.recording.likeness import body_differences, differences
from kiroproxy.recording.recorder import REPLAYED
from kiroproxy.recording.redaction import Redactor
from kiroproxy.recording.script import began_without_kiro, simulator_script
from kiroproxy.recording.tape import Live, Tape, Verdict

IDLE_S: Final = 1.5
"""So soon a silence counts as the idle limit; the recorded limit may be minutes."""
PATIENT_S: Final = 30.0
"""The same where nothing was silent: a busy machine is no fault."""
SOON_S: Final = 0.2
"""`firstFrameWaitSec` where the answer is to begin without Kiro."""
START_LIMIT_S: Final = 30.0


NEVER_ASKED: Final = "neverAsked"
UNANSWERED: Final = "unanswered"
GAP: Final = "gap"
NOT_WHOLE: Final = "notWhole"
"""What to know about a replay: no call of Kiro was recorded; the last one had no answer, so that a
silence or a closed connection was played; the middle of an answer of Kiro's was not kept; the
client's answer was not, and only the ends were compared."""


class ReplayFailed(KiroProxyError):
    """The recording could not be replayed."""


class End(msgspec.Struct, rename="camel"):
    """How an exchange ended; `text` is what its client got."""

    status: int
    ending: str
    message: str
    attempts: list[int]
    """Status of each of Kiro's answers; 0 where there was none."""
    text: str = ""


class Outcome(msgspec.Struct, rename="camel"):
    """What came of a replay: `differences` and `kiro_request` are unified diffs, `notes` words."""

    then: End
    now: End
    same: bool
    differences: list[str]
    kiro_request: list[str]
    notes: list[str]


def run(recording: Recording) -> Outcome:
    """Replay a recording.

    Raises:
        InvalidRequest: it does not hold what is needed for it.
        ReplayFailed: the simulator does not start.
        ConfigError: a setting in it cannot be used.
    """
    body = _request_body(recording)
    with tempfile.TemporaryDirectory(prefix="kiroproxy-replay-") as name:
        place = Path(name)
        script = place / "script.json"
        script.write_bytes(msgspec.json.encode(simulator_script(recording)))
        with _simulator(script) as upstream:
            tape = _play(recording, body, _config(recording, place, upstream))
    return _outcome(recording, tape)


def _request_body(recording: Recording) -> bytes:
    request = recording.request
    if request.body is not None:
        return msgspec.json.encode(request.body)
    if request.raw is not None:
        return request.raw
    raise InvalidRequest(
        f"the recording does not hold its request, which had {request.size} bytes; "
        "--frames shows what Kiro sent"
    )


# ---- the other side ------------------------------------------------------------------------


@contextlib.contextmanager
def _simulator(script: Path) -> Iterator[str]:
    """A simulator that plays a script, as a process of its own; yields its address."""
    command = [sys.executable, "-m", "kiroproxy.simulator", "--port", "0", "--quiet"]
    process = subprocess.Popen(  # noqa: S603 - our own interpreter
        [*command, "--script", str(script)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    watchdog = threading.Timer(START_LIMIT_S, process.kill)
    watchdog.daemon = True
    watchdog.start()
    try:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        line = process.stdout.readline()
        watchdog.cancel()
        if "listening on http" not in line:
            raise ReplayFailed("the simulator did not start")
        yield line.split()[-1]
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _config(recording: Recording, place: Path, upstream: str) -> Config:
    """The recorded settings as far as an answer depends on them; no other origin counts."""
    keys = {BY_ATTRIBUTE[name].key for name in REPLAYED}
    document = {name: value for name, value in recording.settings.items() if name in keys}
    silent = any(one.end == "left" or not one.status for one in recording.attempts)
    late = began_without_kiro(recording)
    document |= {
        "apiKey": secrets.token_urlsafe(24),
        "apiUrl": upstream,
        "socialAuthUrl": upstream,
        "oidcUrl": upstream,
        "fetchImageUrls": False,  # nothing outside this machine is called
        "idleTimeoutSec": IDLE_S if silent or late else PATIENT_S,
        "firstFrameWaitSec": SOON_S if late else PATIENT_S,
        "pingIntervalSec": PATIENT_S,
        "cooldownSec": 0,
        "logLevel": "error",
    }
    model = (recording.trace or {}).get("model")
    if model and recording.attempts:  # the live catalogue may have known the name
        document["unknownModel"] = model
    credentials = place / "credentials.json"
    credentials.touch(mode=0o600)
    credentials.write_bytes(msgspec.json.encode(_credentials(recording)))
    paths = {"credentials_path": credentials, "config_path": place / "config.json"}
    return load_config(paths, environ={}, cwd=place, document=document)


def _credentials(recording: Recording) -> list[dict[str, Any]]:
    """One for each that was asked, in that order; their ids are those of the recording."""
    endpoints = {one.credential_id: one.endpoint for one in recording.attempts} or {1: "ide"}
    group = (recording.trace or {}).get("group") or "default"
    return [
        {
            "id": id_,
            "authMethod": "social",
            "refreshToken": f"replay-{id_}-" + secrets.token_hex(64),
            "accessToken": f"replay-{id_}-" + secrets.token_hex(32),
            "expiresAt": "2099-01-01T00:00:00Z",
            "priority": order,
            "endpoint": endpoint,
            "group": group,
        }
        for order, (id_, endpoint) in enumerate(endpoints.items())
    ]


# ---- this side -----------------------------------------------------------------------------


class _Witness:
    """Stands in for the recorder: hands out one tape and keeps it."""

    def __init__(self) -> None:
        self.seen: Tape | None = None

    def tape(self, request_id: str, method: str, path: str, query: str, headers: Any) -> Tape:
        self.seen = Tape(self, Live(), request_id, method, path, query, headers)
        return self.seen

    def keep(self, tape: Tape, verdict: Verdict, trace: Any) -> None:
        """It is kept already."""


def _play(recording: Recording, body: bytes, config: Config) -> Tape:
    """Send the request; returns what passed."""
    from kiroproxy.app import create_app
    from kiroproxy.web.services import EXTENSION

    app = create_app(config)
    parts = app.extensions[EXTENSION]
    parts.recorder = witness = _Witness()
    request = recording.request
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # that its credentials fail is what is wanted
    try:
        answer = app.test_client().open(
            request.path,
            method=request.method,
            query_string=request.query,
            data=body,
            headers=_headers(recording) | {"x-api-key": config.api_key},
            buffered=True,
        )
        answer.close()
    finally:
        logging.disable(before)
        parts.ledger.close()
        parts.pool.drain(1.0)
    if witness.seen is None or witness.seen.ended is None:
        raise ReplayFailed(
            f"{request.method} {request.path} was answered with {answer.status_code} "
            "before its body was read"
        )
    return witness.seen


def _headers(recording: Recording) -> dict[str, str]:
    """Those that are not about the connection; the body has no Content-Encoding any more."""
    wanted = ("user-agent", "anthropic-version", "anthropic-beta", "openai-beta", "content-type")
    return {name: value for name, value in recording.request.headers.items() if name in wanted}


# ---- then and now --------------------------------------------------------------------------


def _outcome(recording: Recording, tape: Tape) -> Outcome:
    answer = recording.answer
    statuses = [one.status for one in recording.attempts]
    then = End(answer.status, answer.ending, answer.message, statuses, answer.text)
    status, ending, error = tape.ended or (0, "", None)
    text = b"".join(data for _, data in tape.sent).decode("utf-8", "replace")
    now = End(
        status,
        ending,
        _as_then(str(error or ""), recording),
        [one.status for one in tape.calls],
        _as_then(text, recording),
    )
    then.text += answer.tail
    unanswered = bool(recording.attempts) and not recording.attempts[-1].status
    facts = {
        NEVER_ASKED: not recording.attempts,
        UNANSWERED: unanswered,
        GAP: any(one.lost for one in recording.attempts),
        NOT_WHOLE: bool(answer.lost or tape.sent.lost),
    }
    notes = [note for note, applies in facts.items() if applies]
    partial = answer.lost or tape.sent.lost or not answer.text or unanswered
    told = [] if partial else differences(_plain(then.text), _plain(now.text))
    alike = (then.status, then.ending) == (now.status, now.ending)
    return Outcome(then, now, alike and not told, told, _kiro_request(recording, tape), notes)


def _as_then(text: str, recording: Recording) -> str:
    """Cleared of secrets as the recording is; and a replay's own limit is put as it was."""
    idle_s = recording.settings.get("idleTimeoutSec", IDLE_S)
    text = text.replace(f"nothing for {IDLE_S:g} s", f"nothing for {idle_s:g} s")
    return Redactor(()).text(text)


_SYSTEMS_WORDS: Final = re.compile(r'(the connection to Kiro broke): [^"]*')


def _plain(text: str) -> str:
    return _SYSTEMS_WORDS.sub(r"\1", text)


def _kiro_request(recording: Recording, tape: Tape) -> list[str]:
    """How the first request to Kiro would differ now."""
    then: Attempt | None = next(iter(recording.attempts), None)
    if then is None or then.body is None or not tape.calls or tape.calls[0].body is None:
        return []
    now, _ = Redactor(()).body(tape.calls[0].body)
    if now is None:
        return []
    return body_differences(then.body, now)
