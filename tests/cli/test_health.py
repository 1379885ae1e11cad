"""`kiroproxy health`; tests/test_container.py runs it as the image does."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kiroproxy.cli import main


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answering(server: socket.socket, answer: bytes) -> Iterator[None]:
    def serve() -> None:
        client, _ = server.accept()
        with client:
            client.recv(65536)
            client.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join()
    server.close()


def ask(home: Path, answer: bytes, *options: str, unix: bool = False, host: str = "") -> Result:
    if unix:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(home / "s"))
        server.listen()
        settings: dict[str, object] = {"host": f"unix:{home / 's'}"}
    else:
        server = socket.create_server(("127.0.0.1", 0))
        settings = {"host": host or "127.0.0.1", "port": server.getsockname()[1]}
    (home / "config.json").write_text(json.dumps(settings))
    serving = answering(server, answer)
    next(serving)
    result = CliRunner().invoke(main, ["health", *options])
    next(serving, None)
    return result


def body(text: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode()


@pytest.mark.parametrize("unix", [False, True])
def test_alive(home: Path, unix: bool) -> None:
    result = ask(home, body('{"version": "1.2.3"}'), unix=unix)
    assert result.exit_code == 0
    assert result.stdout.startswith("kiroproxy 1.2.3 answers at ")


def test_listening_everywhere_is_asked_here(home: Path) -> None:
    result = ask(home, body('{"version": "1.2.3"}'), "--json", host="0.0.0.0")
    assert json.loads(result.stdout) == {"version": "1.2.3"}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (body("{}", "500 Oops"), "status 500"),
        (body("[]"), "another server"),
        (body("hello"), "Expecting value"),
        (b"SSH-2.0\r\n", "SSH"),
    ],
)
def test_something_else_answers(home: Path, answer: bytes, why: str) -> None:
    result = ask(home, answer)
    assert (result.exit_code, result.stdout) == (1, "")
    assert why in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "unix:nowhere"])
def test_nobody_answers(home: Path, host: str) -> None:
    (home / "config.json").write_text(json.dumps({"host": host, "port": 1}))
    result = CliRunner().invoke(main, ["health"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Is the server running?" in result.stderr
