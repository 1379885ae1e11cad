"""`kiroproxy replay`: what it prints, and its exit codes."""

import json
import stat
from pathlib import Path

import pytest

from kiroproxy.recording.document import Recording, encode
from kiroproxy.recording.folder import Folder
from tests.cli.home import Home
from tests.recording.helpers import new_tape, played, recorded, text

ANSWER = """event: error
data: {"type": "error", "error": {"type": "api_error", "message": "x"}}
"""


def write(home: Home, recording: Recording | None = None) -> Path:
    """In the directory, and as a file of any name."""
    recording = recording or recorded()
    Folder(home.place / "recordings", 10).add(recording.id, recording.time, encode(recording))
    path = home.place / "bug.json"
    path.write_bytes(encode(recording))
    return path


def test_the_same_again_and_then_not(home: Home) -> None:
    recording = recorded()
    recording.answer.text = ""  # nothing to compare but the end
    write(home, recording)
    result = home.run("replay", "req_1")
    assert result.exit_code == 0, result.output
    for part in (
        "event: message_start",
        "event: error",
        "Then: 200 BadChecksum",
        "Now:  200 BadChecksum",
        "The answer is the same.",
        "The request to Kiro is not the same:",  # the recorded one was made up
    ):
        assert part in result.stdout
    recording.answer.text = ANSWER
    path = write(home, recording)
    result = home.run("replay", path)
    assert result.exit_code == 1
    assert "The answer is not the same." in result.stdout
    assert '+  "hello"' in result.stdout


def test_json(home: Home) -> None:
    write(home)
    told = home.json("replay", "req_1", code=1)
    assert (told["id"], told["same"], told["then"]["status"]) == ("req_1", False, 200)
    assert told["now"]["ending"] == "BadChecksum"
    assert told["now"]["attempts"] == [200]
    assert "event: error" in told["now"]["text"]
    assert told["differences"]


def test_frames_alone(home: Home) -> None:
    path = write(home)
    shown = home.run("replay", path, "--frames")
    assert shown.exit_code == 0
    assert "assistantResponseEvent" in shown.stdout
    assert "! BadChecksum" in shown.stdout
    ((one, other),) = home.json("replay", path, "--frames")
    assert (one["what"], one["fault"], other["fault"]) == ("assistantResponseEvent", False, True)


def test_frames_of_an_answer_that_is_no_stream(home: Home) -> None:
    tape = new_tape()
    played(tape, b'{"message":\n "no"}', status=400)
    path = write(home, recorded(tape))
    assert '{"message": "no"}' in home.run("replay", path, "--frames").stdout


def test_a_script_for_the_simulator(home: Home) -> None:
    write(home)
    target = home.place / "kiro.json"
    assert "simulate --script" in home.run("replay", "req_1", "--script", target).stdout
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    (entry,) = json.loads(target.read_text())
    assert bytes.fromhex(entry["script"]["steps"][0]["raw_hex"]) == text("hello")
    assert home.json("replay", "req_1", "--script", target)["answers"] == 1
    home.refused("replay", "req_1", "--script", target, "--frames")
    never = write(home, recorded(new_tape()))
    assert "nothing to play" in home.refused("replay", never, "--script", target, code=1)


def test_without_a_request_nothing_can_be_replayed(home: Home) -> None:
    recording = recorded()
    recording.request.body = None
    recording.request.size = 9_000_000
    path = write(home, recording)
    error = home.refused("replay", path, code=1)
    assert "9000000 bytes" in error
    assert "--frames" in error


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "x"}, "it is no recording of kiroproxy"),
        ({"formatVersion": 7, "kiroproxy": "8.0"}, "kiroproxy 8.0 wrote it in format 7"),
        ({"attempts": None}, "it is damaged"),
        ({"settings": {"idleTimeoutSec": -1}}, ""),
        ({"settings": {"modelTable": "x"}}, "modelTable"),
    ],
)
def test_files_that_cannot_be_replayed(home: Home, change: dict[str, object], said: str) -> None:
    path = write(home)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    result = home.run("replay", path)
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output


def test_no_such_recording(home: Home) -> None:
    assert "no recording nope" in home.refused("replay", "nope", code=1)
    home.refused("replay")
