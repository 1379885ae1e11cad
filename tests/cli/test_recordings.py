"""`kiroproxy recordings …`."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kiroproxy.recording.document import encode
from kiroproxy.recording.folder import Folder
from tests.cli.home import Home
from tests.recording.helpers import BODY, new_tape, recorded


def fill(home: Home, *ids: str) -> Folder:
    folder = Folder(home.place / "recordings", 10)
    for n, id_ in enumerate(ids):
        recording = recorded()
        recording.id = id_
        recording.time = datetime(2026, 11, 28, 21, tzinfo=UTC) + timedelta(minutes=n)
        folder.add(id_, recording.time, encode(recording))
    return folder


def test_nothing_there(home: Home) -> None:
    assert "Nothing is recorded in" in home.run("recordings", "list").stdout
    assert home.json("recordings", "list") == []
    assert "no recording req_1" in home.refused("recordings", "show", "req_1", code=1)
    assert not (home.place / "recordings").exists()


def test_list(home: Home) -> None:
    folder = fill(home, "req_1", "req_2")
    broken = folder.path / "20261128T235959.000000Z-req_3.json"
    broken.write_text("{")
    shown = home.run("recordings", "list").stdout.splitlines()
    assert [line.split()[1] for line in shown[1:]] == ["req_3", "req_2", "req_1"]
    assert "it is not JSON" in shown[1]
    for part in ("2026-11-28T21:01:00Z", "/v1/messages", "claude-sonnet-4-5", "200", "BadChecksum"):
        assert part in shown[2]
    told = home.json("recordings", "list")
    assert told[1]["id"] == "req_2"
    assert (told[1]["why"], told[1]["attempts"]) == ("error", 1)
    assert Path(told[1]["file"]).is_file()
    assert "problem" in told[0]


def test_show(home: Home) -> None:
    folder = fill(home, "req_abc")
    shown = home.run("recordings", "show", "abc").stdout
    for part in (
        str(folder.entries()[0].path),
        "POST /v1/messages",
        "200 BadChecksum (error)",
        "cooling 12 s",
        "#1, #2",
        "#3",
        "whole",
        "assistantResponseEvent",
        '{"content": "hello"}',
        "! BadChecksum",
    ):
        assert part in shown
    told = home.json("recordings", "show", "req_abc")
    assert told["request"]["body"] == BODY
    assert told["attempts"][0]["pieces"][0][0] >= 0
    by_file = home.json("recordings", "show", folder.entries()[0].path)
    assert by_file == told


def test_show_what_never_reached_kiro(home: Home) -> None:
    folder = Folder(home.place / "recordings", 10)
    folder.add("req_1", datetime.now(UTC), encode(recorded(new_tape())))
    assert "Kiro was not asked." in home.run("recordings", "show", "req_1").stdout


def test_remove(home: Home) -> None:
    folder = fill(home, "req_1", "req_2", "req_3")
    assert "Name recordings" in home.refused("recordings", "remove")
    home.refused("recordings", "remove", "req_1", "--all")
    home.refused("recordings", "remove", "req_9", "--yes", code=1)
    assert "--yes" in home.refused("recordings", "remove", "req_1"), "there is nobody to ask"
    assert len(folder.entries()) == 3
    assert "1 recording deleted." in home.run("recordings", "remove", "req_1", "--yes").stdout
    assert home.json("recordings", "remove", "--all", "--yes") == {"removed": ["req_3", "req_2"]}
    assert folder.entries() == []
    assert home.json("recordings", "remove", "--all", "--yes") == {"removed": []}


@pytest.mark.parametrize("content", ["", "{}", json.dumps({"format": "kiroproxy-recording"})])
def test_files_that_are_none(home: Home, content: str) -> None:
    (home.place / "x.json").write_text(content)
    assert "x.json cannot be read" in home.refused("recordings", "show", "x.json", code=1)


def test_a_file_from_elsewhere_cannot_steer_the_terminal(home: Home) -> None:
    recording = recorded()
    recording.model = recording.answer.message = recording.request.path = "a\x1b[2Jb\x9bc\nd"
    recording.outline.path = recording.outline.ending = recording.answer.ending = "a\x1b[2Jb"
    recording.attempts[0].error = "\x1b[1m"
    folder = Folder(home.place / "recordings", 10)
    folder.add(recording.id, recording.time, encode(recording))
    for command in (["list"], ["show", "req_1"]):
        shown = home.run("recordings", *command).stdout
        assert "\x1b" not in shown
        assert "\x9b" not in shown
        assert "a\N{REPLACEMENT CHARACTER}[2Jb" in shown
