"""`kiroproxy simulate` starts and says where."""

import json
import signal
import socket
import subprocess
import sys

import pytest

from tests.servers import clean_environment


@pytest.mark.flow
@pytest.mark.parametrize("flags", [[], ["--json"], ["--quiet", "--strict", "--revoke-on-reuse"]])
def test_says_where_it_listens_and_stops_on_request(flags: list[str]) -> None:
    command = [sys.executable, "-m", "kiroproxy", "simulate", "--port", "0", *flags]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment()
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    if "--json" in flags:
        assert json.loads(line)["url"].startswith("http://127.0.0.1:"), errors
    else:
        assert line.startswith("simulator listening on http://127.0.0.1:"), errors
    assert "Traceback" not in errors
    assert "KeyboardInterrupt" not in errors
    assert process.returncode == 0


def test_a_taken_port_is_said_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "kiroproxy", "simulate", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    assert done.returncode == 1
    assert f"127.0.0.1:{port} (Address already in use); name another --port" in done.stderr


def test_a_script_must_exist() -> None:
    command = [sys.executable, "-m", "kiroproxy", "simulate", "--script", "no/such/file"]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment())
    assert done.returncode == 2
    assert "no/such/file" in done.stderr
