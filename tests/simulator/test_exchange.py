"""Requests and answers as values."""

import io
from typing import Any

import pytest

from kiroproxy.simulator.exchange import (
    CHAT_TARGET,
    Answer,
    error_answer,
    read_request,
    status_line,
)
from kiroproxy.simulator.kiro_errors import KIRO_ERRORS


def environ(body: bytes = b"", **more: Any) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/",
        "QUERY_STRING": "a=1&b=",
        "HTTP_AUTHORIZATION": "Bearer  tok ",
        "HTTP_X_AMZ_TARGET": "AmazonCodeWhispererService.ListAvailableProfiles",
        "CONTENT_TYPE": "application/json",
        "wsgi.input": io.BytesIO(body),
        **more,
    }


def test_a_request_is_read() -> None:
    request = read_request(environ(b'{"x": 1}'))
    assert request.bearer == "tok"
    assert request.target == "ListAvailableProfiles"
    assert request.query == {"a": "1", "b": ""}
    assert request.headers["content-type"] == "application/json"
    assert request.fields() == {"x": 1}
    assert request.recorded()["body"] == {"x": 1}


@pytest.mark.parametrize(
    ("path", "method", "target", "flavour"),
    [
        ("/generateAssistantResponse", "POST", "", "ide"),
        ("/generateAssistantResponse", "POST", CHAT_TARGET, "ide"),
        ("/generateAssistantResponse", "GET", "", None),
        ("/", "POST", CHAT_TARGET, "cli"),
        ("/", "POST", "AmazonCodeWhispererService.GenerateAssistantResponse", None),
        ("/", "POST", "", None),
        ("/mcp", "POST", CHAT_TARGET, None),
    ],
)
def test_the_flavour_of_a_chat(path: str, method: str, target: str, flavour: str | None) -> None:
    """protocol.md 2.4."""
    given = environ(PATH_INFO=path, REQUEST_METHOD=method, HTTP_X_AMZ_TARGET=target)
    request = read_request(given)
    assert request.flavour == flavour
    assert request.recorded()["flavour"] == flavour


@pytest.mark.parametrize("body", [b"", b"[1]", b"{"])
def test_what_is_no_object_has_no_fields(body: bytes) -> None:
    assert read_request(environ(body)).fields() == {}


def test_bodies_that_are_no_json_are_recorded_as_text() -> None:
    assert read_request(environ(b"{\xff")).recorded()["body"] == "{�"
    assert read_request(environ()).recorded()["body"] is None


def test_other_schemes_are_no_bearer() -> None:
    assert read_request(environ(HTTP_AUTHORIZATION="Basic x")).bearer == ""


def test_aws_json_names_the_type_in_the_body() -> None:
    request = read_request(environ())
    body = error_answer(KIRO_ERRORS["throttled"], request).body
    assert body["__type"].endswith("#ThrottlingException")
    request = read_request(environ(HTTP_X_AMZ_TARGET=""))
    answer = error_answer(KIRO_ERRORS["throttled-retry-after"], request)
    assert "__type" not in answer.body
    assert answer.headers == {"x-amzn-errortype": "ThrottlingException", "retry-after": "2"}


def test_contents_and_status_lines() -> None:
    assert Answer({"a": 1}).content() == b'{"a":1}'
    assert Answer("ä").content() == "ä".encode()
    assert Answer(b"x").content() == b"x"
    assert status_line(429) == "429 Too Many Requests"
    assert status_line(524) == "524 Unknown"
