"""Errors in Anthropic's shape for everything, and bodies that are none."""

import contextlib
import gzip
import http.client
import json
import socket
from typing import Any

import pytest
import requests

from tests.flows.client import body, post
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

HUGE = b"1" * 5000
BAD_BODIES = [
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"{",
    b'{"a": NaN}',
    b'{"a": "\\ud800"}',
    b'{"a": "\xff"}',
    b'{"a": ' + HUGE + b"}",
    b"[" * 100_000,
    b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}",
    b'{"model": "claude-sonnet-4-5", "max_tokens": 1, "messages": '
    b'[{"role": "user", "content": "x"}], "x": ' + b"[" * 210 + b"]" * 210 + b"}",
]


def check(answer: requests.Response, status: int, kind: str) -> dict[str, Any]:
    """The error object, after a look at its shape."""
    assert answer.status_code == status, answer.text
    value: dict[str, Any] = answer.json()
    assert value["type"] == "error"
    assert value["error"]["type"] == kind
    assert isinstance(value["error"]["message"], str)
    assert value["request_id"] == answer.headers["request-id"]
    return value


@pytest.mark.parametrize("data", BAD_BODIES, ids=lambda data: repr(data[:24]))
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_bad_json(proxy: Proxy, data: bytes, path: str) -> None:
    check(post(proxy, data, path), 400, "invalid_request_error")


BAD_REQUESTS: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": [{}]}]}, "messages.0.content.0.type"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
    ({"model": None}, "model"),
    ({"model": 5}, "model"),
    ({"max_tokens": "many"}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"system": 5}, "system"),
    ({"tools": [{"description": "nameless"}]}, "tools.0.name"),
    ({"tool_choice": {"type": "tool", "name": "absent"}}, "tool_choice"),
    ({"thinking": {"type": "often"}}, "thinking.type"),
    ({"stream": "yes"}, "stream"),
]


@pytest.mark.parametrize(("fields", "where"), BAD_REQUESTS)
def test_s11_bad_requests_name_the_field(proxy: Proxy, fields: dict[str, Any], where: str) -> None:
    value = check(post(proxy, body(**fields)), 400, "invalid_request_error")
    assert value["error"]["message"].startswith(where)


def test_unknown_model(proxy: Proxy) -> None:
    check(post(proxy, body(model="gpt-5-codex")), 404, "not_found_error")


@pytest.mark.parametrize(
    "path", ["/v1/nope", "/nope", "/v1", "/v1/messages/batches", "/v1/files", "/admin"]
)
def test_unknown_paths(proxy: Proxy, path: str) -> None:
    check(post(proxy, {}, path), 404, "not_found_error")


def test_wrong_method(proxy: Proxy) -> None:
    answer = requests.delete(proxy.url + "/v1/messages", timeout=10)
    check(answer, 405, "invalid_request_error")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": "wrong"},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic eDp5"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/v1/messages"])
def test_s74_missing_or_wrong_key(proxy: Proxy, headers: dict[str, str], path: str) -> None:
    answer = requests.post(proxy.url + path, json=body(), headers=headers, timeout=10)
    value = check(answer, 401, "authentication_error")
    assert value["error"]["message"] == "Invalid API key"


@pytest.mark.parametrize("name", ["x-api-key", "authorization"])
def test_x9_q17_either_header_admits_any_part_of_it(
    sim: Simulator, proxy: Proxy, name: str
) -> None:
    value = f"Bearer wrong,Bearer {proxy.key}" if name == "authorization" else f"no, {proxy.key}"
    other = "authorization" if name == "x-api-key" else "x-api-key"
    headers = {name: value, other: "Bearer wrong"}
    answer = requests.post(proxy.url + "/v1/messages", json=body(), headers=headers, timeout=10)
    assert answer.status_code == 200


def test_s6_content_type_does_not_matter(sim: Simulator, proxy: Proxy) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert post(proxy, body(), headers=form).status_code == 200


@pytest.mark.parametrize("fields", [{}, {"metadata": {}, "service_tier": "auto", "unknown": [1]}])
@pytest.mark.parametrize("query", ["", "?beta=true"])
def test_tolerated(sim: Simulator, proxy: Proxy, fields: dict[str, Any], query: str) -> None:
    headers = {"anthropic-version": "2099-01-01", "anthropic-beta": "nothing-known-2099"}
    answer = post(proxy, body(**fields), "/v1/messages" + query, headers)
    assert answer.status_code == 200


def exchange(proxy: Proxy, raw: bytes) -> bytes:
    """Send raw bytes and read until the end."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        with contextlib.suppress(OSError):
            client.sendall(raw)
        answer = b""
        while data := client.recv(65536):
            answer += data
    return answer


def head(proxy: Proxy, *lines: str) -> bytes:
    fixed = (
        "POST /v1/messages HTTP/1.1",
        "Host: x",
        f"X-Api-Key: {proxy.key}",
        "Connection: close",
    )
    return "\r\n".join((*fixed, *lines, "", "")).encode()


def test_s12_announced_body_over_the_limit(hasty_proxy: Proxy) -> None:
    answer = post(hasty_proxy, body("x" * 300_000))
    check(answer, 413, "request_too_large")


def test_q1_chunked_body_over_the_limit(hasty_proxy: Proxy) -> None:
    """gunicorn would cut it silently and take it for a whole one."""
    chunk = b"%x\r\n%s\r\n" % (50_000, b" " * 50_000)
    raw = head(hasty_proxy, "Transfer-Encoding: chunked") + chunk * 6 + b"0\r\n\r\n"
    assert exchange(hasty_proxy, raw).startswith(b"HTTP/1.1 413")


def test_q2_bad_chunk_size(hasty_proxy: Proxy) -> None:
    raw = head(hasty_proxy, "Transfer-Encoding: chunked") + b"zz\r\n{}\r\n0\r\n\r\n"
    assert exchange(hasty_proxy, raw).startswith(b"HTTP/1.1 400")


def test_q4_body_that_never_comes(hasty_proxy: Proxy) -> None:
    assert exchange(hasty_proxy, head(hasty_proxy, "Content-Length: 100")).startswith(
        b"HTTP/1.1 408"
    )


def test_compressed_bodies(sim: Simulator, hasty_proxy: Proxy) -> None:
    packed = gzip.compress(json.dumps(body()).encode())
    assert post(hasty_proxy, packed, headers={"content-encoding": "gzip"}).status_code == 200
    bomb = gzip.compress(b" " * 10_000_000)
    check(post(hasty_proxy, bomb, headers={"content-encoding": "gzip"}), 413, "request_too_large")
    check(
        post(hasty_proxy, packed, headers={"content-encoding": "br"}), 415, "invalid_request_error"
    )


def test_s13_cors(proxy: Proxy) -> None:
    asked = {"origin": "https://x.example", "access-control-request-headers": "x-api-key"}
    answer = requests.options(proxy.url + "/v1/messages", headers=asked, timeout=10)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == "x-api-key"


def test_head_and_health(proxy: Proxy, hasty_proxy: Proxy) -> None:
    assert requests.head(proxy.url + "/", timeout=10).status_code == 200
    assert requests.get(proxy.url + "/health", timeout=10).json()["status"] == "healthy"
    text = requests.get(proxy.url + "/health", headers={"accept": "text/plain"}, timeout=10)
    assert text.text == "OK", "X16"
    assert requests.get(proxy.url + "/readyz", timeout=10).json()["ready"] is True
    assert requests.get(proxy.url + "/healthz", timeout=10).text == "OK\n"


def test_s126_s127_admin_needs_its_own_key(proxy: Proxy, hasty_proxy: Proxy) -> None:
    for path in ("/api/admin/status", "/metrics"):
        assert requests.get(proxy.url + path, timeout=10).status_code == 404, "off without a key"
        for key, status in ((hasty_proxy.key, 401), ("", 401), ("sk-admin", 200)):
            headers = {"x-api-key": key}
            answer = requests.get(hasty_proxy.url + path, headers=headers, timeout=10)
            assert answer.status_code == status
    wrong = requests.get(hasty_proxy.url + "/api/admin/status", timeout=10).json()
    assert wrong == {
        "error": {
            "type": "authentication_error",
            "message": "Invalid or missing admin API key",
        }
    }


def test_upstream_words_never_reach_the_client(sim: Simulator, proxy: Proxy) -> None:
    secret = "arn:aws:codewhisperer:us-east-1:111122223333:profile/SECRET"
    for status in (400, 401, 402, 403, 404, 418, 429, 500, 503):
        sim.script({"status": status, "body": {"message": secret}}, times=1)
    sim.script({"steps": [{"exception": "OddException", "payload": {"message": secret}}]}, times=3)
    for stream in (False, True):
        for _ in range(3):
            assert "SECRET" not in post(proxy, body(stream=stream)).text


def test_throttling_passes_its_wait_on(sim: Simulator, proxy: Proxy) -> None:
    refusal = {"status": 429, "headers": {"retry-after": "7"}, "body": {"message": "slow down"}}
    sim.script(refusal, times=None)
    answer = post(proxy, body())
    check(answer, 429, "rate_limit_error")
    assert answer.headers["retry-after"] == "7"


def test_s97_no_credentials(sim: Simulator, tmp_path: Any) -> None:
    with Proxy(tmp_path, {}, [], upstream=sim.url, workers=1) as proxy:
        check(post(proxy, body()), 503, "overloaded_error")
        ready = requests.get(proxy.url + "/readyz", timeout=10)
        assert (ready.status_code, ready.json()["ready"]) == (503, False)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /v1/models HTTP/1.1\r\nHost x\r\n\r\n", 400),
        (b"GET /v1/models HTTP/1.1\r\nX-A: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"nonsense\r\n\r\n", 400),
        ("GET /v1/ü你 HTTP/1.1\r\nX-ü: 1\r\n\r\n".encode(), 400),
    ],
    ids=["header", "large header", "long line", "nonsense", "letters"],
)
def test_what_gunicorn_refuses_has_the_apis_shape(proxy: Proxy, sent: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        client.sendall(sent)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        told = json.loads(answer.read())
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert told["type"] == "error"
    assert told["error"]["type"] == "invalid_request_error"
    assert told["error"]["message"]


def test_long_headers_and_addresses_are_heard(proxy: Proxy) -> None:
    """As long as nginx lets through."""
    headers = {"x-api-key": proxy.key, "x-large": "a" * 15_000, "connection": "close"}
    url = f"{proxy.url}/v1/models?x={'a' * 7_000}"
    assert requests.get(url, headers=headers, timeout=10).status_code == 200
