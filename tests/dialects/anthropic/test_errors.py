"""Exceptions → status and body of the Anthropic API (clients.md, protocol notes 8)."""

import json
from collections.abc import Iterator

import pytest

from kiroproxy import errors as e
from kiroproxy.dialects.anthropic.errors import (
    TABLE,
    error_body,
    error_event,
    message_of,
    status_and_type,
)

ANSWERS: list[tuple[Exception, int, str]] = [
    (e.InvalidRequest("x"), 400, "invalid_request_error"),
    (e.ContextTooLong(1, 2), 400, "invalid_request_error"),
    (e.NotAuthenticated("x"), 401, "authentication_error"),
    (e.NotAllowed("x"), 403, "permission_error"),
    (e.NotFound("x"), 404, "not_found_error"),
    (e.MethodNotAllowed("x"), 405, "invalid_request_error"),
    (e.BodyTooLarge("x"), 413, "request_too_large"),
    (e.Throttled("x"), 429, "rate_limit_error"),
    (e.QuotaExhausted("x"), 429, "rate_limit_error"),
    (e.Overloaded("x"), 529, "overloaded_error"),
    (e.NoCredential("x"), 503, "overloaded_error"),
    (e.BearerRejected("x"), 503, "overloaded_error"),
    (e.Suspended("x"), 403, "permission_error"),
    (e.ModelUnavailable("x"), 404, "not_found_error"),
    (e.UpstreamTimeout("x"), 504, "timeout_error"),
    (e.Unreachable("x"), 502, "api_error"),
    (e.EmptyReply("x"), 502, "api_error"),
    (e.Refused("x", status=418), 502, "api_error"),
    (e.TruncatedStream(1, offset=2), 502, "api_error"),
    (ZeroDivisionError("x"), 500, "api_error"),
]


@pytest.mark.parametrize(("error", "status", "kind"), ANSWERS)
def test_answers(error: Exception, status: int, kind: str) -> None:
    assert status_and_type(error) == (status, kind)


def classes(root: type[Exception]) -> Iterator[type[Exception]]:
    yield root
    for child in root.__subclasses__():
        yield from classes(child)


@pytest.mark.parametrize(
    "kind", [k for k in classes(e.KiroProxyError) if k.__module__ == e.__name__]
)
def test_every_class_has_an_answer(kind: type[Exception]) -> None:
    row = next(base for base in kind.__mro__ if base in TABLE)
    assert row is not e.KiroProxyError or kind is e.KiroProxyError, "a branch at least"
    if issubclass(kind, e.RequestError | e.UpstreamError):
        assert row is kind, f"{kind.__name__} is answered as {row.__name__} by accident"


def test_body() -> None:
    """clients.md: every error has this shape."""
    assert error_body(e.NotFound("model: x"), "req_1") == {
        "type": "error",
        "error": {"type": "not_found_error", "message": "model: x"},
        "request_id": "req_1",
    }


def test_details() -> None:
    error = e.InvalidRequest("x", details={"error_code": "y"})
    assert error_body(error, "r")["error"]["details"] == {"error_code": "y"}


def test_event() -> None:
    name, data, *rest = error_event(e.Overloaded("busy"), "req_1").split(b"\n")
    assert (name, rest) == (b"event: error", [b"", b""])
    assert json.loads(data.removeprefix(b"data: "))["error"]["type"] == "overloaded_error"


def test_wording_on_which_claude_code_compacts() -> None:
    assert message_of(e.ContextTooLong(5, 9)) == "prompt is too long: 10 tokens > 9 maximum"


def test_foreign_words_stay_inside() -> None:
    assert message_of(ValueError("secret")) == "Internal server error"
    shown = message_of(e.BadChecksum("prelude", expected=1, computed=2, offset=3))
    assert "00000001" not in shown
