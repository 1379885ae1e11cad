"""Files of other programs: looked at, and taken in."""

import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.credentials.refresh import RefreshFailure, build_request
from kiroproxy.errors import InvalidRequest
from kiroproxy.web.admin import imports
from kiroproxy.web.admin.imports import read_upload
from tests.web.admin.conftest import TOKEN, Desk

PREVIEW = "/credentials/import/preview"
IMPORT = "/credentials/import"


def content(*entries: dict[str, Any]) -> str:
    return json.dumps(list(entries))


def token(n: int) -> str:
    return f"{TOKEN}-{n}"


def test_a_preview_changes_nothing(desk: Desk) -> None:
    there = desk.stored()[0]["refreshToken"]
    sent = content({"refreshToken": token(1)}, {"refreshToken": there}, {"refreshToken": "short"})
    told = desk.post(PREVIEW, {"content": sent, "group": "pro", "priority": 2})
    assert (told["new"], told["duplicate"], told["failed"], told["format"]) == (1, 1, 1, "json")
    first, second, third = told["rows"]
    assert (first["status"], first["group"], first["priority"]) == ("new", "pro", 2)
    assert "#1" in second["why"]
    assert third == {"number": 3, "status": "failed", "why": third["why"]}
    assert len(desk.stored()) == 2
    assert desk.auth.asked == []
    assert token(1) not in json.dumps(told)


def test_an_import_verifies(desk: Desk) -> None:
    desk.auth.refused.add(token(2))
    sent = content({"refreshToken": token(1)}, {"refreshToken": token(2)})
    told = desk.post(IMPORT, {"content": sent})
    assert (told["added"], told["failed"], told["total"]) == (1, 1, 2)
    rows = {one["number"]: one for one in told["results"]}
    assert rows[1]["status"] == "added"
    assert rows[2]["status"] == "failed"
    ids = [one["id"] for one in desk.stored()]
    assert ids == [1, 2, rows[1]["id"]]
    assert desk.actions() == ["credential.import"]


def test_only_some_rows_and_unverified(desk: Desk) -> None:
    sent = content(*({"refreshToken": token(n)} for n in range(3)))
    told = desk.post(IMPORT, {"content": sent, "rows": [2], "verify": False})
    assert [one["number"] for one in told["results"]] == [2]
    assert desk.auth.asked == []
    assert desk.stored()[2]["refreshToken"] == token(1)


def test_groups_come_along(desk: Desk) -> None:
    sent = {
        "groups": {"pro": {"display_name": "Pro", "settings": {"priority": 3}}},
        "tokens": [{"refreshToken": token(1), "group": "pro"}],
    }
    told = desk.post(PREVIEW, {"content": json.dumps(sent)})
    assert told["groups"] == ["pro"]
    desk.post(IMPORT, {"content": json.dumps(sent)})
    assert desk.get("/groups/pro")["settings"]["priority"] == 3


def test_uploads(desk: Desk, tmp_path: Path) -> None:
    database = tmp_path / "data.sqlite3"
    with sqlite3.connect(database) as db:
        db.execute("CREATE TABLE auth_kv (key TEXT, value TEXT)")
        value = {"access_token": "at", "refresh_token": token(5), "expires_at": "2027-01-01"}
        db.execute("INSERT INTO auth_kv VALUES ('kirocli:social:token', ?)", (json.dumps(value),))
    db.close()
    files = [
        (io.BytesIO(content({"refreshToken": token(4)}).encode()), "export.json"),
        (io.BytesIO(database.read_bytes()), "data.sqlite3"),
    ]
    told = desk.post(PREVIEW, data={"file": files, "group": "pro", "priority": "1"})
    assert (told["format"], told["new"]) == ("mixed", 2)
    assert {(one["group"], one["priority"]) for one in told["rows"]} == {("pro", 1)}
    assert told["notes"], "kiro-cli renews it, too"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "~/.aws/sso/cache/kiro-auth-token.json", "", " ", "C:\\x", "ref-token"]
)
def test_content_is_never_a_path(desk: Desk, path: str) -> None:
    error = desk.refused("POST", IMPORT, {"content": path})
    assert error["type"] == "invalid_request"


def test_content_links_to_no_file_and_sends_no_token_elsewhere(desk: Desk) -> None:
    sent = content(
        {"refreshToken": token(1), "linkedTo": "/etc/passwd"},
        {"refreshToken": token(2), "proxyUrl": "http://169.254.169.254"},
    )
    told = desk.post(IMPORT, {"content": sent, "verify": False})
    assert (told["added"], told["failed"]) == (1, 1)
    assert "linkedTo" not in desk.stored()[2]


def test_a_chosen_token_endpoint_gets_nothing(desk: Desk) -> None:
    """Only Microsoft's hosts renew such a token; `credentials/refresh` refuses all others."""
    entry = {
        "refreshToken": token(1),
        "authMethod": "external_idp",
        "tokenEndpoint": "https://evil.example/token",
    }
    [one] = read_upload("x", content(entry).encode()).credentials
    settings = desk.parts.sign_ins._settings
    assert isinstance(build_request(one, settings, "id"), RefreshFailure)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"source": "elsewhere"},
        {"content": 7},
        {"content": "[", "group": "x"},
        {"content": "{}", "group": "admin"},
        {"content": "[]", "priority": -1},
        {"content": "[]", "rows": ["x"]},
    ],
)
def test_what_cannot_be(desk: Desk, body: dict[str, Any]) -> None:
    desk.refused("POST", IMPORT, body)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"SQLite format 3\0rubbish", b"PK\x03\x04"])
def test_other_files(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_upload("x" * 500, data)


def test_uploads_have_a_limit(open_desk: Any) -> None:
    desk = open_desk(max_body_bytes=10_000)
    files = [(io.BytesIO(b"x" * 20_000), "big.json")]
    answer = desk.call("POST", PREVIEW, data={"file": files})
    assert answer.status_code == 413


def test_this_machine(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "kiro-auth-token.json"
    monkeypatch.setattr(imports.sources, "IDE_PLACE", str(place))
    monkeypatch.setattr(imports.sources, "CLI_PLACES", ())
    told = desk.post(PREVIEW, {"source": "machine"})
    assert (told["rows"], len(told["notes"])) == ([], 1)
    place.write_text(json.dumps({"refreshToken": token(1), "authMethod": "social"}))
    assert desk.post(PREVIEW, {"source": "machine"})["new"] == 1
    desk.post(IMPORT, {"source": "machine", "verify": False})
    assert desk.stored()[2]["linkedTo"] == str(place)


def test_line_by_line(desk: Desk) -> None:
    sent = content(*({"refreshToken": token(n)} for n in range(3)))
    answer = desk.call(
        "POST", IMPORT, {"content": sent}, headers={"accept": "application/x-ndjson"}
    )
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [one["type"] for one in lines] == [*["row"] * 3, "summary"]
    assert lines[-1]["added"] == 3


ASTRAY: list[dict[str, Any]] = [
    {"region": "evil.example/"},
    {"authRegion": "us-east-1.evil.example#"},
    {"apiRegion": "us-east-1@evil.example"},
    {"region": "us-east-1\n.evil.example"},
    {"region": f"us-{'a' * 300}-1"},
    {"endpoint": "evil.example"},
    {"proxyUrl": "http://169.254.169.254\\@proxy.example"},
    {"priority": 10**30},
    {"label": "\x1b[2J"},
]
ROADS = [
    (road, entry)
    for road in ("json", "nested", "kiro-cli")
    for entry in ASTRAY
    if road != "kiro-cli" or set(entry) == {"region"}  # of these its database has no other
]


@pytest.mark.parametrize(("road", "entry"), ROADS)
def test_no_entry_chooses_the_host_that_gets_its_token(
    desk: Desk, tmp_path: Path, entry: dict[str, Any], road: str
) -> None:
    """Hosts are templates such as `https://q.{region}.amazonaws.com`."""
    whole = {"refreshToken": token(1)} | entry
    if road == "kiro-cli":
        database = tmp_path / "data.sqlite3"
        with sqlite3.connect(database) as db:
            db.execute("CREATE TABLE auth_kv (key TEXT, value TEXT)")
            value = json.dumps({"refresh_token": token(1)} | entry)
            db.execute("INSERT INTO auth_kv VALUES ('kirocli:social:token', ?)", (value,))
        db.close()
        file = (io.BytesIO(database.read_bytes()), "data.sqlite3")
        answer = desk.call("POST", IMPORT, data={"file": [file], "verify": "false"}).get_json()
    else:
        sent = [whole] if road == "json" else {"accounts": [{"credentials": whole, "id": "x"}]}
        answer = desk.post(IMPORT, {"content": json.dumps(sent), "verify": False})
    assert (answer["added"], answer["failed"]) == (0, 1)
    assert len(desk.stored()) == 2
