"""The external counter (S65 to S67)."""

import json
from typing import Any

import pytest

from kiroproxy.transport import Route, Transport
from kiroproxy.upstream.count_api import CountApi

URL = "https://count.example/v1/messages/count_tokens"
BODY = {
    "model": "m",
    "messages": [{"role": "user", "content": "x"}],
    "system": "s",
    "tools": [],
    "thinking": {"type": "enabled"},
}


def api(auth_type: str = "x-api-key") -> CountApi:
    return CountApi(Transport(), Route(), url=URL, key="count-key", auth_type=auth_type)


class Sent:
    """What `responses` cannot give here, since bodies are read off the socket: a canned call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes) -> None:
        self.calls: list[dict[str, Any]] = []
        from kiroproxy import transport

        def call(_: Transport, method: str, url: str, **fields: Any) -> transport.Answer:
            self.calls.append({"method": method, "url": url} | fields)
            return transport.Answer(status, {}, body)

        monkeypatch.setattr(transport.Transport, "call", call)


@pytest.mark.parametrize(
    ("auth_type", "header"),
    [("x-api-key", ("x-api-key", "count-key")), ("bearer", ("authorization", "Bearer count-key"))],
)
def test_s65_s66(monkeypatch: pytest.MonkeyPatch, auth_type: str, header: tuple[str, str]) -> None:
    sent = Sent(monkeypatch, 200, b'{"input_tokens": 42}')
    assert api(auth_type).count(BODY) == 42
    [call] = sent.calls
    assert header in call["headers"].items()
    assert json.loads(call["body"]) == {
        "model": "m",
        "messages": BODY["messages"],
        "system": "s",
    }


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b'{"input_tokens": 42}'),
        (200, b"<html>"),
        (200, b'{"input_tokens": "many"}'),
        (200, b'{"input_tokens": true}'),
        (200, b"{}"),
    ],
)
def test_s67_failures_give_none(monkeypatch: pytest.MonkeyPatch, status: int, body: bytes) -> None:
    Sent(monkeypatch, status, body)
    assert api().count(BODY) is None


def test_s67_unreachable_service_gives_none() -> None:
    count_api = CountApi(
        Transport(), Route(), url="http://127.0.0.1:9/count", key="", auth_type="bearer"
    )
    assert count_api.count(BODY) is None
