"""Response heads; playing is tested over real sockets in test_server.py and test_app.py."""

import pytest

from kiroproxy.simulator.player import response_head
from kiroproxy.simulator.script import compile_script


@pytest.mark.parametrize(
    ("framing", "header"),
    [("chunked", b"transfer-encoding: chunked"), ("length", b"content-length: "), ("close", b"")],
)
def test_the_head_announces_the_framing(framing: str, header: bytes) -> None:
    program = compile_script({"steps": [{"text": "a"}], "framing": framing}, str)
    head = response_head(program, "id", keep=framing != "close")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nx-amzn-requestid: id\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert header in head
    assert (b"connection: close" in head) == (framing == "close")


def test_a_script_sets_status_and_headers() -> None:
    script = {"status": 503, "headers": {"Retry-After": 7}, "body": {}}
    head = response_head(compile_script(script, str), "id", keep=True)
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nretry-after: 7\r\n" in head
