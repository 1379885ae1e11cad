"""Exceptions → status and body of the OpenAI API (protocol notes 8, OpenAI's column)."""

from collections.abc import Iterator

import pytest

from kiroproxy import errors as e
from kiroproxy.dialects.openai_errors import TABLE, error_body, error_object, status_of

INVALID = "invalid_request_error"
ANSWERS: list[tuple[Exception, int, str, str | None]] = [
    (e.InvalidRequest("x"), 400, INVALID, None),
    (e.ContextTooLong(1, 2), 400, INVALID, "context_length_exceeded"),
    (e.NotAuthenticated("x"), 401, INVALID, "invalid_api_key"),
    (e.NotAllowed("x"), 403, INVALID, "permission_denied"),
    (e.LimitExceeded("x", retry_after_s=2), 429, "requests", "rate_limit_exceeded"),
    (e.NotFound("x"), 404, INVALID, "not_found"),
    (e.NotFound("x", code="model_not_found"), 404, INVALID, "model_not_found"),
    (e.MethodNotAllowed("x"), 405, INVALID, "method_not_supported"),
    (e.BodyTooLarge("x"), 413, INVALID, "request_too_large"),
    (e.Throttled("x"), 429, "requests", "rate_limit_exceeded"),
    (e.QuotaExhausted("x"), 429, "insufficient_quota", "insufficient_quota"),
    (e.Overloaded("x"), 503, "server_error", "server_is_overloaded"),
    (e.NoCredential("x"), 503, "server_error", "service_unavailable"),
    (e.BearerRejected("x"), 503, "server_error", "service_unavailable"),
    (e.Suspended("x"), 403, INVALID, "account_suspended"),
    (e.ModelUnavailable("x"), 404, INVALID, "model_not_found"),
    (e.UpstreamTimeout("x"), 504, "server_error", "upstream_timeout"),
    (e.Unreachable("x"), 502, "server_error", "upstream_unreachable"),
    (e.ServerFault("x"), 500, "server_error", "server_error"),
    (e.Refused("x", status=418), 502, "server_error", "upstream_refused"),
    (e.TruncatedStream(1, offset=2), 502, "server_error", "upstream_error"),
    (e.DatabaseError("x"), 503, "server_error", "service_unavailable"),
    (ZeroDivisionError("x"), 500, "server_error", "server_error"),
]


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"), ANSWERS, ids=[type(row[0]).__name__ for row in ANSWERS]
)
def test_answers(error: Exception, status: int, kind: str, code: str | None) -> None:
    assert status_of(error) == status
    shown = error_object(error)
    assert set(shown) == {"message", "type", "param", "code"}
    assert (shown["type"], shown["code"]) == (kind, code)


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


def test_param_and_code_of_a_bad_parameter() -> None:
    error = e.InvalidRequest("n: no", param="n", details={"code": "unsupported_parameter"})
    assert error_body(error) == {
        "error": {
            "message": "n: no",
            "type": INVALID,
            "param": "n",
            "code": "unsupported_parameter",
        }
    }


def test_details_that_are_no_code_stay_inside() -> None:
    assert error_object(e.InvalidRequest("x", details={"error_code": "y"}))["code"] is None
    assert error_object(e.InvalidRequest("x", details={"code": 7}))["code"] is None


def test_an_unknown_model_says_what_to_do() -> None:
    shown = error_object(e.NotFound("model: gpt-5-codex", code="model_not_found"))
    assert shown["param"] == "model"
    assert "gpt-5-codex" in shown["message"]
    assert "modelMapping" in shown["message"]


def test_context_names_its_param() -> None:
    shown = error_object(e.ContextTooLong(7, 5))
    assert shown["param"] == "messages"
    assert shown["message"] == "prompt is too long: 7 tokens > 5 maximum"


def test_codex_reads_the_wait_from_the_words() -> None:
    shown = error_object(e.Throttled("slow down.", retry_after_s=6.2))
    assert shown["message"] == "slow down. Please try again in 7s."


def test_words_of_bugs_and_of_damaged_streams_stay_inside() -> None:
    assert error_object(KeyError("secret"))["message"] == "Internal server error"
    assert "offset" not in error_object(e.BadLength("x", offset=7))["message"]
