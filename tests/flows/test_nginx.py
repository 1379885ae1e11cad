"""deploy/nginx.conf, as it stands but for its port and its patience, with Debian's nginx."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flows.client import PROMPT, body
from tests.flows.conftest import credential
from tests.flows.test_reload import Load
from tests.servers import REPOSITORY, Proxy, free_port, require_tool
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

ADMIN = "sk-of-the-operator"
DEPLOY = REPOSITORY / "deploy"
MAIN = """
{user}
daemon off;
pid {place}/nginx.pid;
error_log {place}/error.log info;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {place}/bodies;
    proxy_temp_path {place}/temp;
    fastcgi_temp_path {place}/temp;
    uwsgi_temp_path {place}/temp;
    scgi_temp_path {place}/temp;
    include {place}/kiroproxy.conf;
}}
"""


def replaced(text: str, old: str, new: str) -> str:
    assert old in text, f"the tests know {old!r}"
    return text.replace(old, new)


@dataclass
class Nginx:
    """A running one; `port` is where clients connect."""

    port: int
    proxy: Proxy | None = None

    @property
    def key(self) -> str:
        return "" if self.proxy is None else self.proxy.key

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """`source`: a client of its own, all of 127/8 is this machine's."""
        here = ("127.0.0.1", self.port)
        client = socket.create_connection(here, timeout=20, source_address=(source, 0))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def head(self, length: int, *lines: str, path: str = "/v1/messages") -> bytes:
        rows = [f"POST {path} HTTP/1.1", "Host: x", f"X-Api-Key: {self.key}", *lines]
        return "\r\n".join([*rows, f"Content-Length: {length}", "", ""]).encode()

    def send(
        self, client: socket.socket, *lines: str, stream: bool = True, prompt: str = PROMPT
    ) -> None:
        data = json.dumps(body(prompt, stream=stream)).encode()
        client.sendall(self.head(len(data), *lines) + data)


@contextlib.contextmanager
def nginx(place: Path, upstream: str, **other: str) -> Iterator[Nginx]:
    """nginx with the shipped configuration on a free port, in front of `upstream`."""
    binary = require_tool("nginx")
    port = free_port()
    main = replaced((DEPLOY / "nginx.conf").read_text(), "listen 80;", f"listen 127.0.0.1:{port};")
    main = replaced(main, "    listen [::]:80;\n", "")
    main = replaced(main, "client_header_timeout 15s", "client_header_timeout 1s")
    main = replaced(main, "client_body_timeout 30s", "client_body_timeout 1s")
    for old, new in other.items():
        main = replaced(main, old, new)
    (place / "kiroproxy.conf").write_text(main)
    (place / "kiroproxy-upstream.conf").write_text(upstream)
    user = "user root;" if os.geteuid() == 0 else ""
    (place / "nginx.conf").write_text(MAIN.format(place=place, user=user))
    command = [binary, "-p", str(place), "-e", str(place / "error.log"), "-c", "nginx.conf"]
    subprocess.run([*command, "-t"], check=True, capture_output=True, timeout=20)
    process = subprocess.Popen(command)
    running = Nginx(port)
    try:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), running.connect():
                break
            assert time.monotonic() < deadline, (place / "error.log").read_text()
            time.sleep(0.05)
        yield running
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module", params=["tcp", "unix"])
def front(
    request: pytest.FixtureRequest,
    running_simulator: Simulator,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Nginx]:
    """nginx before a proxy of two workers."""
    require_tool("nginx")
    place = tmp_path_factory.mktemp("nginx")
    config: dict[str, object] = {
        "trustedProxies": ["127.0.0.1"],
        "maxBodyBytes": 64 * 1024 * 1024,
        "adminApiKey": ADMIN,
    }
    upstream = (DEPLOY / f"nginx/upstream-{request.param}.conf").read_text()
    path = f"unix:{place}/kiroproxy.sock"
    if request.param == "unix":
        config |= {"host": path, "trustedProxies": ["unix"]}
        upstream = replaced(upstream, "unix:/run/kiroproxy/kiroproxy.sock", path)
    proxy = Proxy(place, config, [credential()], upstream=running_simulator.url)
    proxy.unix_socket = path.removeprefix("unix:") if request.param == "unix" else None
    if request.param == "tcp":
        upstream = replaced(upstream, "127.0.0.1:8990", f"127.0.0.1:{proxy.port}")
    with proxy, nginx(place, upstream) as running:
        running.proxy = proxy
        yield running


def read_until(client: socket.socket, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        data = client.recv(65536)
        assert data, seen
        seen += data
    return seen


def test_streams_arrive_frame_by_frame(sim: Simulator, front: Nginx) -> None:
    words = [f"word{n}" for n in range(8)]
    steps = [{"each_gated": "go"}, *({"text": word} for word in words), {"context": 1}]
    sim.script({"steps": steps})
    sim.gate("go")
    with front.connect() as client:
        front.send(client)
        for word in words:
            read_until(client, word.encode())
            sim.gate("go")
        sim.gate("go", None)
        read_until(client, b"message_stop")


@pytest.mark.parametrize("silent", [True, False])
def test_a_client_that_leaves_closes_upstream(sim: Simulator, front: Nginx, silent: bool) -> None:
    steps = [{"hang": None}] if silent else [{"text": "hello"}, {"hang": None}]
    sim.script({"steps": steps})
    with front.connect() as client:
        front.send(client)
        sim.wait_for(streamsOpen=1)
        if not silent:
            read_until(client, b"hello")
        left = time.monotonic()
    sim.wait_for(streamsOpen=0, timeout_s=3)
    assert time.monotonic() - left < 1


def test_slow_heads_and_bodies_are_cut(sim: Simulator, front: Nginx) -> None:
    """No worker hears of them."""
    with front.connect() as slow_head, front.connect() as slow_body:
        slow_head.sendall(b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n")
        slow_body.sendall(front.head(1000) + b"{")
        began = time.monotonic()
        for client in (slow_head, slow_body):
            answer = client.recv(65536)
            assert answer == b"" or b" 408 " in answer.splitlines()[0]
        assert time.monotonic() - began < 4
    assert not sim.requests()


SHAPES = [
    ("/v1/messages", False),
    ("/cc/v1/messages", False),
    ("/pro/v1/messages/count_tokens", False),
    ("/v1/chat/completions", True),
    ("/v1/responses", True),
    ("/pro/v1/v1/chat/completions", True),
]


def json_answer(client: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an answer with a length."""
    answer = http.client.HTTPResponse(client)
    answer.begin()
    assert answer.headers["content-type"].startswith("application/json")
    return answer.status, json.loads(answer.read())


@pytest.mark.parametrize(("path", "openai"), SHAPES)
def test_bodies_over_the_limit_are_refused(front: Nginx, path: str, openai: bool) -> None:
    """In the shape of the API that was called."""
    with front.connect() as client:
        client.sendall(front.head(33 * 1024 * 1024, path=path))
        status, told = json_answer(client)
    assert status == 413
    if openai:
        assert (told["error"]["code"], told["error"]["param"]) == ("request_too_large", None)
    else:
        assert (told["type"], told["error"]["type"]) == ("error", "request_too_large")
        assert told["request_id"].startswith("req_")
    assert told["error"]["message"]


def test_chunked_bodies_over_the_limit_are_refused(front: Nginx) -> None:
    with front.connect() as client:
        head = front.head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        client.sendall(head)
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        with contextlib.suppress(OSError):
            for _ in range(33):
                client.sendall(chunk)
        assert b" 413 " in client.recv(65536).splitlines()[0]


def test_large_headers_pass_and_larger_ones_are_told(sim: Simulator, front: Nginx) -> None:
    """What nginx lets through, gunicorn takes."""
    for size, expected in ((12_000, 200), (20_000, 400)):
        with front.connect() as client:
            front.send(client, f"X-Large: {'a' * size}", stream=False)
            assert json_answer(client)[0] == expected


def test_answers_carry_their_id_to_the_client(sim: Simulator, front: Nginx) -> None:
    with front.connect() as client:
        front.send(client, stream=False)
        head = read_until(client, b"\r\n\r\n").lower()
    assert b"\r\nrequest-id: req_" in head
    assert b"\r\nx-kiroproxy-trace: " in head


@pytest.mark.parametrize("forged", [None, "198.51.100.7", "127.0.0.1", "unix"])
def test_q15_the_log_has_the_real_client(sim: Simulator, front: Nginx, forged: str | None) -> None:
    assert front.proxy is not None
    before = len(clients_in(front.proxy.log()))
    with front.connect() as client:
        lines = [] if forged is None else [f"X-Forwarded-For: {forged}"]
        front.send(client, *lines, stream=False)
        assert b" 200 " in client.recv(65536)
    deadline = time.monotonic() + 5
    while len(clients_in(front.proxy.log())) == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # 127.0.0.1 is where this test connects to nginx from; over a unix socket nobody is nearer
    assert clients_in(front.proxy.log())[before:] == ["127.0.0.1"]


def test_q15_throttle_audit_and_log_know_the_same_client(front: Nginx) -> None:
    """Each attempt claims another address; only the guesser's own is throttled."""
    assert front.proxy is not None

    def ask(source: str, key: str, claimed: str) -> tuple[int, dict[str, Any]]:
        data = json.dumps({"name": f"of {source}"}).encode()
        rows = [
            "POST /api/admin/keys HTTP/1.1",
            "Host: x",
            f"X-Api-Key: {key}",
            f"X-Forwarded-For: {claimed}",
            f"X-Forwarded-For: unix, {claimed}",
            f"X-Real-IP: {claimed}",
            f"Forwarded: for={claimed}",
            "Content-Type: application/json",
            f"Content-Length: {len(data)}",
        ]
        with front.connect(source) as client:
            client.sendall("\r\n".join([*rows, "", ""]).encode() + data)
            return json_answer(client)

    guesser, owner = f"127.0.1.{1 + (front.port % 2)}", "127.0.2.1"
    statuses = [ask(guesser, f"wrong-{n}", f"198.51.100.{n}")[0] for n in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    assert ask(guesser, ADMIN, owner)[0] == 429, "not even with the right one"
    assert ask(owner, ADMIN, guesser)[0] == 201
    with front.connect(owner) as client:
        head = f"GET /api/admin/audit HTTP/1.1\r\nHost: x\r\nX-Api-Key: {ADMIN}\r\n\r\n"
        client.sendall(head.encode())
        _, told = json_answer(client)
    assert owner in json.dumps(told["entries"][0])
    assert guesser not in json.dumps(told["entries"])
    assert "198.51.100." not in json.dumps(told["entries"])


def test_q15_without_trusted_proxies_nobody_is_believed(
    sim: Simulator, proxy: Proxy, tmp_path: Path
) -> None:
    direct = Nginx(proxy.port, proxy)
    before = len(clients_in(proxy.log()))
    with direct.connect() as client:
        direct.send(client, "X-Forwarded-For: 198.51.100.7", stream=False)
        assert b" 200 " in client.recv(65536)
    deadline = time.monotonic() + 5
    while len(clients_in(proxy.log())) == before:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert clients_in(proxy.log())[before:] == ["127.0.0.1"]


def operate(
    front: Nginx,
    method: str,
    path: str,
    body: object = None,
    source: str = "127.0.0.1",
    **more: str,
) -> tuple[int, dict[str, str], bytes]:
    """A call of the operator's, from an address of this machine."""
    client = http.client.HTTPConnection(
        "127.0.0.1", front.port, timeout=20, source_address=(source, 0)
    )
    with contextlib.closing(client):
        headers = {"x-api-key": ADMIN} | {name.replace("_", "-"): one for name, one in more.items()}
        data = None if body is None else json.dumps(body).encode()
        client.request(method, path, data, headers)
        answer = client.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, told, answer.read()


def test_the_operator_works_behind_it(sim: Simulator, front: Nginx) -> None:
    status, headers, page = operate(front, "GET", "/admin/credentials")
    assert (status, b"<html" in page) == (200, True)
    assert "default-src 'none'" in headers["content-security-policy"]
    status, _, told = operate(front, "GET", "/api/admin/credentials")
    assert (status, json.loads(told)["total"]) == (200, 1)
    status, _, _ = operate(front, "GET", "/api/admin/openapi.json")
    assert status == 200
    body = {"label": "named"}
    assert operate(front, "PATCH", "/api/admin/credentials/1", body, "127.0.0.4")[0] == 200
    newest = json.loads(operate(front, "GET", "/api/admin/audit")[2])["entries"][0]
    assert (newest["action"], newest["client"]) == ("credential.edit", "127.0.0.4")
    status, headers, archive = operate(front, "POST", "/api/admin/backup", {"secrets": True})
    assert (status, archive[:2]) == (200, b"\x1f\x8b")
    with front.connect() as client:
        client.sendall(
            b"GET /api/admin/requests/stream HTTP/1.1\r\nHost: x\r\n"
            + f"X-Api-Key: {ADMIN}\r\n\r\n".encode()
        )
        began = time.monotonic()
        read_until(client, b'{"type":"ping"}')
        assert time.monotonic() - began < 5, "it comes at once"


def test_s127_guesses_count_for_the_real_address(sim: Simulator, front: Nginx) -> None:
    def guess(n: int, source: str) -> int:
        key, forged = f"guess {n}", f"198.51.100.{n}"
        path = "/api/admin/status"
        return operate(front, "GET", path, None, source, x_api_key=key, x_forwarded_for=forged)[0]

    assert [guess(n, "127.0.0.2") for n in range(8)] == [401] * 5 + [429] * 3
    status, headers, _ = operate(front, "GET", "/api/admin/status", source="127.0.0.2")
    assert status == 429
    assert 1 <= int(headers["retry-after"]) <= 61
    for source in ("127.0.0.1", "127.0.0.3"):
        assert operate(front, "GET", "/api/admin/status", source=source)[0] == 200


def clients_in(log: str) -> list[str]:
    lines = [json.loads(line) for line in log.splitlines() if '"event":"request"' in line]
    return [line["client"] for line in lines]


def test_a_request_that_was_sent_is_never_sent_again(tmp_path: Path) -> None:
    """It would be paid twice. One that could not be sent goes to the next server."""
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(10)
        here = f"127.0.0.1:{upstream.getsockname()[1]}"
        shipped = (DEPLOY / "nginx/upstream-tcp.conf").read_text()
        fails = "max_fails=3 fail_timeout=5s;"
        servers = f"server 127.0.0.1:{free_port()} {fails} server {here} {fails} server {here};"
        shipped = replaced(shipped, f"\n    server 127.0.0.1:8990 {fails}", f"\n    {servers}")
        with nginx(tmp_path, shipped) as front:
            seen = []
            for _ in range(3):
                with front.connect() as client:
                    front.send(client)
                    connection, _ = upstream.accept()
                    seen.append(read_until(connection, b"Hello, Claude!"))
                    connection.close()  # it died with the request in its hands
                    status, told = json_answer(client)
                    assert (status, told["error"]["type"]) == (502, "api_error")
            upstream.settimeout(0.3)
            with pytest.raises(TimeoutError):
                upstream.accept()
    assert len(seen) == 3


def test_a_host_stops_and_no_request_is_lost(sim: Simulator, tmp_path: Path) -> None:
    """Its streams go on, new requests find the other one. `make soak` restarts them in turn."""
    hosts = []
    fails = "max_fails=3 fail_timeout=5s;"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        config = {"gracefulTimeoutSec": 20, "trustedProxies": ["127.0.0.1"]}
        pool = [credential(maxConcurrent=100)]
        hosts.append(Proxy(tmp_path / name, config, pool, upstream=sim.url, workers=1))
    servers = "\n".join(f"server 127.0.0.1:{host.port} {fails}" for host in hosts)
    shipped = (DEPLOY / "nginx/upstream-tcp.conf").read_text()
    shipped = replaced(shipped, f"server 127.0.0.1:8990 {fails}", servers)
    with hosts[0], hosts[1], nginx(tmp_path, shipped) as front, contextlib.ExitStack() as stack:
        front.proxy = hosts[0]
        steps = [{"text": "one"}, {"gate": "go"}, {"text": "two"}, {"context": 1}]
        sim.script({"steps": steps}, match="held", times=2)
        held = []
        for _ in hosts:  # the second goes where there are fewer connections
            held.append(stack.enter_context(front.connect()))
            front.send(held[-1], prompt="held")
            read_until(held[-1], b'"one"')
        with Load(f"http://127.0.0.1:{front.port}", front.key, clients=8) as load:
            hosts[0].process.send_signal(signal.SIGTERM)
            before = load.answered
            while load.answered < before + 30:
                time.sleep(0.05)
            sim.gate("go", None)
            for client in held:
                assert b"end_turn" in read_until(client, b"message_stop")
            assert hosts[0].process.wait(20) == 0
    assert not load.failures, load.failures[:5]
