"""One simulator for all tests here; each test finds it empty."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.simulation import Simulator, chat_body


class Caller:
    """Calls a simulator over raw HTTP: `requests` would hide how a body ends."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._open: list[http.client.HTTPConnection] = []

    def connect(self) -> http.client.HTTPConnection:
        """A connection that the fixture closes."""
        parts = urlsplit(self.simulator.url)
        assert parts.hostname
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
        self._open.append(connection)
        return connection

    def start(
        self, prompt: str | dict[str, Any] = "hello", bearer: str = "me", **headers: str
    ) -> http.client.HTTPResponse:
        """Send a chat request; return the response with its body unread."""
        body = chat_body(prompt) if isinstance(prompt, str) else prompt
        connection = self.connect()
        given = {"authorization": f"Bearer {bearer}", **headers}
        connection.request("POST", "/generateAssistantResponse", json.dumps(body), given)
        return connection.getresponse()

    def chat(self, prompt: str | dict[str, Any] = "hello", **more: str) -> tuple[int, bytes]:
        """A whole chat call."""
        response = self.start(prompt, **more)
        return response.status, response.read()

    def call(
        self, method: str, path: str, body: Any = None, bearer: str = "", **headers: str
    ) -> tuple[int, Any]:
        """Any other call; the answer is parsed where it is JSON."""
        if bearer:
            headers["authorization"] = f"Bearer {bearer}"
        connection = self.connect()
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        content = response.read()
        if response.getheader("location"):
            return response.status, response.getheader("location")
        is_json = response.getheader("content-type") == "application/json"
        return response.status, json.loads(content) if is_json else content

    def close(self) -> None:
        """Close every connection."""
        for connection in self._open:
            connection.close()


@pytest.fixture(scope="session")
def shared_simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def sim(shared_simulator: Simulator) -> Simulator:
    shared_simulator.reset()
    return shared_simulator


@pytest.fixture
def caller(sim: Simulator) -> Iterator[Caller]:
    caller = Caller(sim)
    yield caller
    caller.close()
