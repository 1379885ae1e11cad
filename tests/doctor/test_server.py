"""Whether the server runs and is ready; the real one is looked at in tests/flows/test_doctor.py."""

import json
from pathlib import Path

import pytest

from kiroproxy.doctor import server
from tests.doctor.helpers import make, only
from tests.servers import free_port
from tests.wire import Wire, answer


def ready(**body: object) -> bytes:
    status = "200 OK" if body["ready"] else "503 Service Unavailable"
    return answer(json.dumps(body).encode(), status=status)


@pytest.mark.parametrize(
    ("said", "state", "words"),
    [
        (ready(ready=True, usable=1, reasons=[]), "ok", "serves"),
        (ready(ready=True, usable=1, reasons=["#2 is off"]), "warning", "#2 is off"),
        (ready(ready=False, usable=0, reasons=["no usable"]), "failure", "no usable"),
        (answer(b"<html>"), "failure", "another program"),
        (answer(b"{}"), "failure", "another program"),
        (answer(b"[1]", status="404 Not Found"), "failure", "another program"),
        (b"SSH-2.0-OpenSSH\r\n", "warning", "no server"),
    ],
)
def test_what_answers(tmp_path: Path, said: bytes, state: str, words: str) -> None:
    with Wire([[said, "close"]]) as wire:
        found = only(server.check_server(make(tmp_path, {"port": wire.port})), state)
    assert words in found["message"]


def test_nobody(tmp_path: Path) -> None:
    found = only(server.check_server(make(tmp_path, {"port": free_port()})), "warning")
    assert "kiroproxy serve" in found["remedy"]


def test_somebody_who_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STEP_S", 0.3)
    with Wire([[30.0]]) as wire:
        found = only(server.check_server(make(tmp_path, {"port": wire.port})), "failure")
    assert "in time" in found["message"]


@pytest.mark.parametrize(
    ("host", "words"),
    [("0.0.0.0", "127.0.0.1:"), ("::", "[::1]:"), ("::1", "[::1]:"), ("localhost", "localhost:")],
)
def test_where_it_knocks(tmp_path: Path, host: str, words: str) -> None:
    patient = make(tmp_path, {"host": host, "port": free_port()})
    assert words in only(server.check_server(patient), "warning")["message"]


def test_a_unix_socket(tmp_path: Path) -> None:
    assert only(server.check_server(make(tmp_path, {"host": "unix:/run/x.sock"})), "ok")
