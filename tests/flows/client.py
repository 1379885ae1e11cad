"""A plain client for flow tests: requests, and the SSE events of an answer."""

import contextlib
import http.client
import json
import selectors
import socket
from collections.abc import Iterator
from typing import Any

import requests

from tests.servers import Proxy

PROMPT = "Hello, Claude!"
Answer = tuple[int, dict[str, str], bytes]
"""Status, headers by small names, body."""


def body(prompt: str = PROMPT, **fields: Any) -> dict[str, Any]:
    """A small Messages request."""
    return {
        "model": "claude-sonnet-4-5",
        "max_tokens": 1024,
        "messages": [{"role": "user", "content": prompt}],
    } | fields


def post(
    proxy: Proxy,
    value: Any,
    path: str = "/v1/messages",
    headers: dict[str, str] | None = None,
) -> requests.Response:
    """Send a request with the client key; a connection left idle would hold a stop up."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return requests.post(
        proxy.url + path,
        data=data,
        headers={
            "x-api-key": proxy.key,
            "content-type": "application/json",
            "connection": "close",
        }
        | (headers or {}),
        timeout=30,
    )


class Stream:
    """An open streamed answer, read event by event."""

    def __init__(self, proxy: Proxy, value: dict[str, Any], path: str = "/v1/messages") -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
        headers = {"x-api-key": proxy.key, "content-type": "application/json"}
        self.connection.request("POST", path, json.dumps(value | {"stream": True}), headers)
        self.response = self.connection.getresponse()
        self.status = self.response.status

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Each event's data; the `event:` line must say the same type."""
        while True:
            name = self.response.readline()
            if not name:
                return
            assert name.startswith(b"event: "), name
            data = self.response.readline()
            assert data.startswith(b"data: "), data
            assert self.response.readline() == b"\n"
            event = json.loads(data[6:])
            assert event["type"] == name[7:].strip().decode()
            yield event

    def next(self, kind: str) -> dict[str, Any]:
        """The next event of a type."""
        return next(event for event in self if event["type"] == kind)

    def close(self) -> None:
        self.response.close()
        self.connection.close()


def flood(proxy: Proxy, value: dict[str, Any], count: int, connections: int) -> list[Answer]:
    """Send a request `count` times on so many kept connections, each as soon as it can."""
    data = json.dumps(value).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Api-Key: {proxy.key}\r\n"
    request = f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data
    answers: list[Answer] = []
    left = iter(range(count))
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as ready:

        def ask(client: socket.socket) -> None:
            if next(left, None) is not None:
                client.sendall(request)
                ready.register(client, selectors.EVENT_READ, bytearray())

        for _ in range(min(connections, count)):
            address = ("127.0.0.1", proxy.port)
            ask(stack.enter_context(socket.create_connection(address, timeout=60)))
        while ready.get_map():
            for key, _ in ready.select(60):
                client = key.fileobj
                assert isinstance(client, socket.socket)
                key.data.extend(received := client.recv(65536))
                assert received, "closed amid an answer"
                if (answer := whole_answer(bytes(key.data))) is not None:
                    answers.append(answer)
                    ready.unregister(client)
                    ask(client)
    return answers


def whole_answer(data: bytes) -> Answer | None:
    """Of a body with a length; None if more is to come."""
    head, _, text = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines[1:])}
    if "content-length" not in headers or len(text) < int(headers["content-length"]):
        return None
    return int(lines[0].split()[1]), headers, text


def events_of(proxy: Proxy, value: dict[str, Any], path: str = "/v1/messages") -> list[Any]:
    """All events of a streamed answer, pings left out."""
    stream = Stream(proxy, value, path)
    assert stream.status == 200, stream.response.read()
    events = [event for event in stream if event["type"] != "ping"]
    stream.close()
    return events


def assemble(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Put a message together from its events, as a client does.

    `stop_reason` is `error:<type>` where the stream broke off; a cut tool call keeps its text
    under `cut`.
    """
    content: list[dict[str, Any]] = []
    stop: str | None = None
    usage: dict[str, Any] = {}
    inputs: dict[int, str] = {}
    assert events[0]["type"] == "message_start"
    for event in events[1:]:
        kind = event["type"]
        if kind == "content_block_start":
            assert event["index"] == len(content)
            content.append(dict(event["content_block"]))
        elif kind == "content_block_delta":
            delta = event["delta"]
            block = content[event["index"]]
            if delta["type"] == "input_json_delta":
                inputs[event["index"]] = inputs.get(event["index"], "") + delta["partial_json"]
            elif delta["type"] == "signature_delta":
                block["signature"] = delta["signature"]
            else:
                key = delta["type"].removesuffix("_delta")
                block[key] += delta[key]
        elif kind == "message_delta":
            stop, usage = event["delta"]["stop_reason"], event["usage"]
        elif kind == "error":
            stop = f"error:{event['error']['type']}"
    for index, text in inputs.items():
        try:
            content[index]["input"] = json.loads(text)
        except ValueError:
            content[index]["cut"] = text
    return {"content": content, "stop_reason": stop, "usage": usage}


def text_of(message: dict[str, Any]) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")
