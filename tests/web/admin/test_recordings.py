"""Recordings over the admin API."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from kiroproxy.recording.document import encode
from kiroproxy.recording.folder import Folder
from tests.recording.helpers import recorded
from tests.web.admin.conftest import Desk

START = datetime(2026, 11, 28, tzinfo=UTC)


def fill(desk: Desk, count: int) -> Folder:
    folder = Folder(desk.files / "recordings", 100)
    for n in range(count):
        recording = recorded()
        recording.id = f"req_{n}"
        folder.add(recording.id, START + timedelta(seconds=n), encode(recording))
    return folder


def test_nothing_is_recorded_by_default(desk: Desk) -> None:
    assert desk.get("/recordings") == {"recordings": [], "total": 0, "kept": 0}
    assert desk.refused("GET", "/recordings/req_1", status=404)["type"] == "not_found"
    assert not (desk.files / "recordings").exists()


def test_list(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(record_failures=7)
    folder = fill(desk, 3)
    (folder.path / "20991231T235959.000000Z-req_9.json").write_text("{")
    told = desk.get("/recordings")
    assert (told["total"], told["kept"]) == (4, 7)
    assert [one["id"] for one in told["recordings"]] == ["req_9", "req_2", "req_1", "req_0"]
    assert "it is not JSON" in told["recordings"][0]["problem"]
    one = told["recordings"][1]
    assert (one["why"], one["status"], one["ending"]) == ("error", 200, "BadChecksum")
    assert (one["path"], one["attempts"]) == ("/v1/messages", 1)
    assert len(desk.get("/recordings?limit=2")["recordings"]) == 2
    for limit in ("x", "0", "1001"):
        desk.refused("GET", f"/recordings?limit={limit}")


def test_download(desk: Desk) -> None:
    folder = fill(desk, 2)
    answer = desk.call("GET", "/recordings/req_1")
    assert answer.status_code == 200
    assert answer.get_data() == folder.find("req_1").path.read_bytes()
    assert json.loads(answer.get_data())["id"] == "req_1"
    assert "req_1.json" in answer.headers["content-disposition"]
    assert answer.headers["cache-control"] == "no-store"
    assert desk.actions() == ["recording.download"]


def test_delete(desk: Desk) -> None:
    folder = fill(desk, 3)
    assert "req_1" in desk.send("DELETE", "/recordings/req_1")["message"]
    desk.refused("DELETE", "/recordings/req_1", status=404)
    assert len(folder.entries()) == 2
    assert desk.send("DELETE", "/recordings")["success"]
    assert folder.entries() == []
    assert desk.actions() == ["recording.delete"] * 2
