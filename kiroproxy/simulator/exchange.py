"""One HTTP exchange as values: what came in, and a whole answer to it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import orjson

from kiroproxy.simulator.kiro_errors import KiroError

CHAT_TARGET = "AmazonCodeWhispererStreamingService.GenerateAssistantResponse"


@dataclass(slots=True)
class Request:
    """A request as it was received; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    time: float
    peer: str = ""
    """The caller's address and port: one connection, one peer."""
    refused: str | None = None
    """Why the simulator refused it, for whoever asserts on the recording."""

    @property
    def bearer(self) -> str:
        """The access token or key, or an empty string."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    @property
    def target(self) -> str:
        """The operation named by `x-amz-target`, without its service."""
        return self.headers.get("x-amz-target", "").rpartition(".")[2]

    @property
    def flavour(self) -> str | None:
        """Which program's way of asking for a chat this is, if it is one (`protocol.md` 2.4)."""
        if self.method != "POST":
            return None
        if self.path == "/generateAssistantResponse":
            return "ide"
        named = self.headers.get("x-amz-target") == CHAT_TARGET
        return "cli" if self.path == "/" and named else None

    def fields(self) -> dict[str, Any]:
        """The body as a JSON object; anything else counts as an empty one."""
        try:
            parsed = orjson.loads(self.body or b"{}")
        except orjson.JSONDecodeError:
            return {}
        return parsed if isinstance(parsed, dict) else {}

    def recorded(self) -> dict[str, Any]:
        """What `GET /_sim/requests` shows."""
        try:
            body: Any = orjson.loads(self.body) if self.body else None
        except orjson.JSONDecodeError:
            body = self.body.decode("utf-8", "replace")
        return {
            "method": self.method,
            "path": self.path,
            "headers": dict(self.headers),
            "query": dict(self.query),
            "body": body,
            "bearer": self.bearer,
            "time": self.time,
            "peer": self.peer,
            "flavour": self.flavour,
            "refused": self.refused,
        }


@dataclass(slots=True)
class Answer:
    """A whole answer; a `body` that is not bytes is sent as JSON."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        """The body's bytes."""
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else orjson.dumps(self.body)

    def status_line(self) -> str:
        """Status and phrase."""
        return status_line(self.status)


def status_line(status: int) -> str:
    """Status and phrase, also of a status that the standard does not know."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Unknown"


def error_answer(error: KiroError, request: Request) -> Answer:
    """Say an error as Kiro says it; the AWS-JSON protocol adds the type to the body."""
    body = error.body()
    if request.target and isinstance(body, dict):
        body = {"__type": f"com.amazon.aws.codewhisperer#{error.type}", **body}
    return Answer(body, error.status, {"x-amzn-errortype": error.type, **dict(error.headers)})


def read_request(environ: Mapping[str, Any]) -> Request:
    """Take a request out of its WSGI environment, body included."""
    headers = {
        key[5:].replace("_", "-").lower(): value
        for key, value in environ.items()
        if key.startswith("HTTP_")
    }
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(key):
            headers[key.replace("_", "-").lower()] = environ[key]
    return Request(
        method=environ["REQUEST_METHOD"],
        path=environ["PATH_INFO"] or "/",
        headers=headers,
        query=dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)),
        body=environ["wsgi.input"].read(),
        time=time.time(),
        peer=f"{environ.get('REMOTE_ADDR', '')}:{environ.get('REMOTE_PORT', '')}",
    )
