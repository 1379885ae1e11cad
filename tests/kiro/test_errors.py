"""The table of protocol notes 8: reason before text before type before status."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy import errors as e
from kiroproxy.kiro.errors import (
    REASONS,
    error_from_exception,
    error_from_response,
    is_length_exception,
)
from kiroproxy.kiro.events import UpstreamException


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


RESPONSES: dict[str, tuple[int, bytes, type[Exception]]] = {
    "improper": (400, body(message="Improperly formed request.", reason=None), e.InvalidRequest),
    "too long": (400, body(reason="CONTENT_LENGTH_EXCEEDS_THRESHOLD"), e.ContextTooLong),
    "too long, in words": (400, body(message="Input is too long."), e.ContextTooLong),
    "model": (400, body(reason="INVALID_MODEL_ID"), e.ModelUnavailable),
    "tool config": (400, body(reason="TOOL_CONFIG_MISSING"), e.InvalidRequest),
    "trap 7: shape under a 5xx": (500, body(reason="TOOL_USE_RESULT_MISMATCH"), e.InvalidRequest),
    "trap 7: in words": (503, body(message="Expected toolResult blocks at …"), e.InvalidRequest),
    "tool format": (400, body(message="Invalid tool use format."), e.InvalidRequest),
    "effort": (
        400,
        body(message="additionalModelRequestFields is not supported for this model"),
        e.EffortUnsupported,
    ),
    "arn": (400, body(message="profileArn is required for this request."), e.ProfileArnRequired),
    "401": (401, b"", e.BearerRejected),
    "402": (402, body(reason="MONTHLY_REQUEST_COUNT"), e.QuotaExhausted),
    "same reason, other status": (429, body(reason="MONTHLY_REQUEST_COUNT"), e.QuotaExhausted),
    "and another": (400, body(reason="MONTHLY_REQUEST_COUNT"), e.QuotaExhausted),
    "overage": (429, body(reason="OVERAGE_REQUEST_LIMIT_EXCEEDED"), e.QuotaExhausted),
    "402 of any kind": (402, b"{}", e.QuotaExhausted),
    "stale": (
        403,
        body(message="The bearer token included in the request is invalid."),
        e.BearerRejected,
    ),
    "expired": (403, body(__type="x#ExpiredTokenException"), e.BearerRejected),
    "suspended": (403, body(reason="TEMPORARILY_SUSPENDED"), e.Suspended),
    "suspended, in words": (
        403,
        body(message="Your User ID (d-1) temporarily is suspended"),
        e.Suspended,
    ),
    "locked": (403, body(message="We locked your account as a security precaution."), e.Suspended),
    "unauthorized": (
        403,
        body(message="User is not authorized to make this call."),
        e.AccessDenied,
    ),
    "feature": (403, body(reason="FEATURE_NOT_SUPPORTED"), e.AccessDenied),
    "404": (404, b"", e.Refused),
    "408": (408, b"", e.UpstreamTimeout),
    "413": (413, b"<html>too large</html>", e.BodyTooLarge),
    "423": (423, b"", e.AccessDenied),
    "capacity": (429, body(reason="INSUFFICIENT_MODEL_CAPACITY"), e.Overloaded),
    "daily": (429, body(reason="DAILY_REQUEST_COUNT"), e.Throttled),
    "429": (429, b"", e.Throttled),
    "high load": (500, body(message="Encountered unexpectedly high load"), e.Overloaded),
    "unavailable": (500, body(__type="ServiceUnavailableException"), e.Overloaded),
    "model down": (500, body(reason="MODEL_TEMPORARILY_UNAVAILABLE"), e.Overloaded),
    "500": (500, b"", e.ServerFault),
    "502": (502, b"<html>", e.ServerFault),
    "503": (503, b"", e.Overloaded),
    "504": (504, b"", e.UpstreamTimeout),
    "524": (524, b"", e.UpstreamTimeout),
    "nested reason": (400, body(error={"reason": "INVALID_MODEL_ID"}), e.ModelUnavailable),
    "reason in no JSON": (400, b"oops: TEMPORARILY_SUSPENDED", e.Suspended),
    "SDK's name": (400, body(__type="com.amazon.aws#ThrottlingError"), e.Throttled),
    "service's name": (400, body(__type="ThrottlingException"), e.Throttled),
    "camel": (400, body(code="throttlingException"), e.Throttled),
    "teapot": (418, b"", e.Refused),
}


@pytest.mark.parametrize(("status", "data", "kind"), RESPONSES.values(), ids=RESPONSES)
def test_responses(status: int, data: bytes, kind: type[Exception]) -> None:
    assert type(error_from_response(status, {}, data)) is kind


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("", None),
        ("Fri, 20 Nov 2026 10:00:00 GMT", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    error = error_from_response(429, {"retry-after": header}, b"")
    assert isinstance(error, e.Throttled)
    assert error.retry_after_s == seconds


def test_refused_keeps_status_and_reason() -> None:
    error = error_from_response(418, {}, body(reason="BREWING"))
    assert isinstance(error, e.Refused)
    assert (error.status, error.reason) == (418, "BREWING")


SECRET = "arn:aws:codewhisperer:us-east-1:111122223333:profile/EXAMPLE"


@pytest.mark.parametrize("status", [400, 401, 403, 418, 429, 500])
def test_upstreams_words_never_reach_a_client(status: int) -> None:
    """They hold user and account ids."""
    for data in (body(message=SECRET), body(reason=SECRET), SECRET.encode(), body(__type=SECRET)):
        assert SECRET not in str(error_from_response(status, {}, data))
    assert SECRET not in str(error_from_exception(UpstreamException(SECRET, SECRET, SECRET)))


EXCEPTIONS: list[tuple[UpstreamException, type[Exception]]] = [
    (UpstreamException("ThrottlingException"), e.Throttled),
    (UpstreamException("throttlingException"), e.Throttled),
    (UpstreamException("ThrottlingError", reason="INSUFFICIENT_MODEL_CAPACITY"), e.Overloaded),
    (UpstreamException("AccessDeniedException"), e.AccessDenied),
    (UpstreamException("UnauthorizedException"), e.BearerRejected),
    (UpstreamException("ValidationException"), e.InvalidRequest),
    (UpstreamException("ValidationException", "Input is too long."), e.ContextTooLong),
    (UpstreamException("ContentLengthExceededException"), e.ContextTooLong),
    (UpstreamException("ServiceQuotaExceededException"), e.QuotaExhausted),
    (UpstreamException("InternalServerException"), e.ServerFault),
    (UpstreamException("error", "internal"), e.ServerFault),
    (UpstreamException(""), e.ServerFault),
]


@pytest.mark.parametrize(("event", "kind"), EXCEPTIONS)
def test_exception_frames(event: UpstreamException, kind: type[Exception]) -> None:
    assert type(error_from_exception(event)) is kind


def test_length_exception() -> None:
    assert is_length_exception(UpstreamException("ContentLengthExceededException"))
    assert is_length_exception(UpstreamException("contentLengthExceededError"))
    assert not is_length_exception(UpstreamException("ThrottlingException"))


@given(st.integers(400, 599), st.binary() | st.sampled_from(sorted(REASONS)).map(str.encode))
def test_any_body_is_an_error_of_ours(status: int, data: bytes) -> None:
    assert isinstance(error_from_response(status, {}, data), e.KiroProxyError)


@pytest.mark.parametrize("status", [401, 403, 407])
def test_a_gateways_page_is_no_credentials_fault(status: int) -> None:
    """A firewall of the company would else disable one account after the other."""
    page = {"content-type": "text/html; charset=utf-8"}
    body_ = b"<html><h1>Blocked by policy</h1></html>"
    assert isinstance(error_from_response(status, page, body_), e.Unreachable)
    assert not isinstance(error_from_response(status, page, b"no page"), e.Unreachable)
    kiros = {"content-type": "application/json"}
    assert not isinstance(error_from_response(status, kiros, b"{}"), e.Unreachable)
    marked = b"<html>The bearer token included in the request is invalid</html>"
    assert isinstance(error_from_response(status, page, marked), e.BearerRejected)


def test_the_type_may_stand_in_a_header() -> None:
    """As AWS's REST services write it; the body's own goes first."""
    headers = {"x-amzn-errortype": "ThrottlingException:http://internal.amazon.com/coral/"}
    assert isinstance(
        error_from_response(400, headers, b'{"message": "Rate exceeded"}'), e.Throttled
    )
    told = error_from_response(400, headers, b'{"__type": "AccessDeniedException"}')
    assert isinstance(told, e.AccessDenied)


def test_what_else_is_known_of_a_refusal() -> None:
    """Protocol notes 8: how long an account rests depends on it."""
    daily = error_from_response(429, {}, b'{"message": "x", "reason": "DAILY_REQUEST_COUNT"}')
    assert isinstance(daily, e.Throttled)
    assert daily.scope == "day"
    said = b'{"message": "We detected suspicious activity and applied temporary limits."}'
    limited = error_from_response(429, {}, said)
    assert isinstance(limited, e.Throttled)
    assert (limited.scope, limited.retry_after_s) == ("account", 600)
    told = error_from_response(429, {"retry-after": "900"}, said)
    assert isinstance(told, e.Throttled)
    assert told.retry_after_s == 900
    payment = error_from_response(402, {}, b'{"message": "Payment required."}')
    assert isinstance(payment, e.QuotaExhausted)
    assert payment.payment
    spent = error_from_response(402, {}, b'{"message": "x", "reason": "MONTHLY_REQUEST_COUNT"}')
    assert isinstance(spent, e.QuotaExhausted)
    assert not spent.payment
    denied = error_from_response(
        403, {}, b'{"message": "User is not authorized to make this call."}'
    )
    assert isinstance(denied, e.AccessDenied)
    assert denied.profile_suspect
