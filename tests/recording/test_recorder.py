"""Writing beside the event loop: bounded, never in the way, and without a secret."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kiroproxy.config import load_config
from kiroproxy.credentials.model import Credential
from kiroproxy.errors import EmptyReply
from kiroproxy.recording import recorder as module
from kiroproxy.recording.folder import load
from kiroproxy.recording.recorder import Recorder, config_secrets, credential_secrets
from tests.recording.helpers import BODY, played, text
from tests.servers import REPOSITORY, clean_environment

SECRET = "a-secret-of-the-store"


def make(place: Path, count: int = 5, **settings: object) -> Recorder:
    given = {"api_key": "sk-of-the-config", "record_failures": count, "state_dir": str(place)}
    config = load_config(given | settings, environ={}, cwd=place)
    return Recorder(config, lambda: lambda: [SECRET])


def fail(recorder: Recorder, id_: str = "req_1", said: str = "hello") -> None:
    headers = {"authorization": "Bearer sk-of-a-client", "x-session-id": "s"}
    tape = recorder.tape(id_, "POST", "/v1/messages", "", headers)
    tape.request_body(json.dumps(BODY | {"messages": [{"content": said}]}).encode())
    played(tape, text(said))
    tape.end(502, "EmptyReply", EmptyReply(said))
    tape.settle()


def test_no_secret_is_written(tmp_path: Path) -> None:
    recorder = make(tmp_path)
    secrets = [SECRET, "sk-of-the-config", "sk-of-a-client", "an-access-token"]
    fail(recorder, said=" ".join(secrets))
    assert recorder.close()
    (entry,) = recorder.folder.entries()
    stored = entry.path.read_text("utf-8")
    recording = load(entry.path)
    frames = b"".join(data for one in recording.attempts for _, data in one.pieces)
    for secret in secrets:
        assert secret not in stored
        assert secret.encode() not in frames
    assert (recording.id, recorder.written) == ("req_1", 1)
    assert recording.settings["idleTimeoutSec"] == 120


def test_a_storm_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PENDING", 3)
    recorder = make(tmp_path, 4)
    began = time.monotonic()
    for n in range(50):
        fail(recorder, f"req_{n}")
    assert time.monotonic() - began < 1
    assert recorder.close()
    assert recorder.written + recorder.dropped == 50
    assert len(recorder.folder.entries()) == min(4, recorder.written)
    assert recorder._live.held_bytes == 0


def test_a_directory_that_cannot_be_written_is_nobodys_trouble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recordings").write_text("mine")
    recorder = make(tmp_path)
    fail(recorder)
    fail(recorder)
    assert recorder.close()
    assert (recorder.written, recorder.failed) == (0, 2)


def test_a_trace_or_a_body_that_cannot_be_written_is_nobodys_trouble(tmp_path: Path) -> None:
    recorder = make(tmp_path)
    tape = recorder.tape("req_1", "POST", "/v1/messages", "", {})
    tape.request_body(b"\xff{")
    tape.end(400, "InvalidRequest", EmptyReply("\udc80"))
    tape.settle()
    assert recorder.close()
    assert recorder.written + recorder.failed == 1
    fail(recorder, "req_2")
    assert recorder.close()
    assert "req_2" in [one.id for one in recorder.folder.entries()]


def test_what_a_configuration_keeps_secret(tmp_path: Path) -> None:
    settings = {
        "api_key": "sk-client",
        "admin_api_key": "sk-admin",
        "proxy_url": "http://me:pass%20word@proxy:1",
        "auth_token": '[{"refreshToken": "of-the-environment"}]',
    }
    config = load_config(settings, environ={}, cwd=tmp_path)
    found = set(config_secrets(config))
    assert {"sk-client", "sk-admin", "pass%20word", "pass word", "of-the-environment"} <= found
    assert "me" not in found


def test_what_a_credential_keeps_secret() -> None:
    credential = Credential(
        id=1,
        access_token="at",
        refresh_token="rt",
        client_secret="cs",
        profile_arn="arn:aws:codewhisperer:us-east-1:123456789012:profile/ABC",
        email="anna@example.com",
        proxy_url="http://me:pw@proxy:1",
        extra={"someToken": "more"},
    )
    found = set(credential_secrets([credential]))
    expected = {"at", "rt", "cs", "123456789012", "ABC", "anna@example.com", "pw", "more"}
    assert expected <= found


HUB = """
from gevent import monkey; monkey.patch_all()
import json, sys, time
from pathlib import Path
import gevent
from tests.recording.helpers import text
from tests.recording.test_recorder import make
from kiroproxy.errors import EmptyReply

recorder = make(Path(sys.argv[1]))
words = "The quick brown fox, see https://example.com/a; \\n"
body = json.dumps({"messages": [{"content": words * (4_000_000 // len(words) - 100)}]}).encode()
frames = text("hello world") * 8
tape = recorder.tape("req_1", "POST", "/v1/messages", "", {})
tape.request_body(body)
call = tape.call(1, "ide", "http://x", {}, body[:-1] + b" }")
call.status = 200
for _ in range(4_000_000 // len(frames)):
    call.pieces.add(frames)
tape.end(502, "EmptyReply", EmptyReply("x"))
gaps, last = [], time.process_time()

def tick():
    global last
    while True:
        gevent.sleep(0.001)
        gaps.append(time.process_time() - last)
        last = time.process_time()

gevent.spawn(tick)
gevent.sleep(0.05)
gaps.clear()
began = last = time.process_time()
tape.settle()
kept = time.process_time() - began
assert recorder.close(60) and recorder.written == 1
print(json.dumps({"kept": kept, "gap": max(gaps), "size": recorder.folder.entries()[0].size}))
"""


def test_the_event_loop_never_waits_long(tmp_path: Path) -> None:
    """The largest recording that there can be; in processor time, for the machine may be busy."""
    done = subprocess.run(
        [sys.executable, "-c", HUB, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=clean_environment(),
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["size"] > 12_000_000
    assert told["kept"] < 0.02
    assert told["gap"] < 0.05
