"""`kiroproxy demo`: what `make demo` and `make run` do."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from kiroproxy.cli import main
from kiroproxy.cli.demo import PROMPT, is_free, stream_lines, write_demo_files
from kiroproxy.config import load_config, require_client_key
from tests.servers import clean_environment, free_port


def test_files_of_the_demo(tmp_path: Path) -> None:
    key = write_demo_files(tmp_path, "http://127.0.0.1:9100", 1234)
    config = load_config(environ={}, cwd=tmp_path)
    require_client_key(config)
    assert (config.api_key, config.port, config.workers) == (key, 1234, 2)
    assert {config.api_url, config.social_auth_url, config.oidc_url} == {"http://127.0.0.1:9100"}
    assert config.warnings == ()
    (credential,) = json.loads((tmp_path / "credentials.json").read_text("utf-8"))
    assert len(credential["refreshToken"]) >= 100  # S104
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600


def test_lines_are_shown_as_they_arrive() -> None:
    """The second line is only sent after the first was seen."""
    seen = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert (body["stream"], body["messages"][0]["content"]) == (True, PROMPT)
            assert self.headers["x-api-key"] == "key"
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"c\r\nevent: one\n\n\r\n")
            assert seen.wait(10)
            self.wfile.write(b"c\r\nevent: two\n\n\r\n0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as port:
        lines = stream_lines("127.0.0.1", port, "key", PROMPT)
        assert [next(lines), next(lines)] == ["HTTP 200 text/event-stream", "event: one"]
        seen.set()
        assert list(lines) == ["", "event: two", ""]


def test_a_refused_connection_is_told() -> None:
    assert "failed" in next(stream_lines("127.0.0.1", free_port(), "key", PROMPT))


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_own_files_and_a_taken_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make run` needs a configuration, and says so when its port is taken."""
    monkeypatch.chdir(tmp_path)
    silenced = dict.fromkeys(set(os.environ) - set(clean_environment()))
    result = CliRunner(env=silenced).invoke(main, ["demo", "--own"])
    assert result.exit_code == 1
    assert "kiroproxy init" in result.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        (tmp_path / "config.json").write_text(json.dumps({"apiKey": "k", "port": port}), "utf-8")
        result = CliRunner(env=silenced).invoke(main, ["demo", "--own"])
    assert result.exit_code == 1
    assert f"port {port} is taken" in result.stderr


@pytest.mark.flow
def test_the_whole_demo(tmp_path: Path) -> None:
    """Issue item 2: a taken port is replaced, the stream is shown, a signal ends all of it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "kiroproxy", "demo", "--port", str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
            env=clean_environment(TMPDIR=str(tmp_path)),
        )
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
    output = "".join(lines) + rest
    assert process.returncode == 0, output
    for part in (
        f"port {port} is taken",
        "HTTP 200 text/event-stream",
        "event: message_start\n",
        "event: content_block_delta\n",
        "event: message_stop\n",
        "curl -N http://127.0.0.1:",
        "export ANTHROPIC_AUTH_TOKEN=sk-kiroproxy-demo-",
    ):
        assert part in output
    assert not list(tmp_path.iterdir())


@pytest.mark.flow
def test_the_demo_for_scripts(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "kiroproxy", "demo", "--json", "--port", str(free_port())],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=tmp_path,
        env=clean_environment(TMPDIR=str(tmp_path)),
    )
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=30)
    assert (process.returncode, rest) == (0, "")
    assert told["url"].startswith("http://127.0.0.1:")
    assert "event: message_stop" in told["answer"]
