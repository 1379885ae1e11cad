"""Exception → status, type and body of the Anthropic API; and the in-stream `error` event."""

from collections.abc import Mapping
from typing import Any

from kiroproxy import errors as e
from kiroproxy.dialects.sse import named_event

TABLE: Mapping[type[Exception], tuple[int, str]] = {
    e.InvalidRequest: (400, "invalid_request_error"),
    e.ContextTooLong: (400, "invalid_request_error"),
    e.NotAuthenticated: (401, "authentication_error"),
    e.NotAllowed: (403, "permission_error"),
    e.LimitExceeded: (429, "rate_limit_error"),
    e.NotFound: (404, "not_found_error"),
    e.MethodNotAllowed: (405, "invalid_request_error"),
    e.BodyTimeout: (408, "timeout_error"),
    e.BodyTooLarge: (413, "request_too_large"),
    e.UnsupportedEncoding: (415, "invalid_request_error"),
    e.LoginFailed: (400, "invalid_request_error"),
    e.RequestError: (400, "invalid_request_error"),
    e.NoCredential: (503, "overloaded_error"),
    e.Exhausted: (429, "rate_limit_error"),
    e.NoCapacity: (529, "overloaded_error"),
    e.CredentialError: (503, "overloaded_error"),
    e.Unreachable: (502, "api_error"),
    e.UpstreamTimeout: (504, "timeout_error"),
    e.Throttled: (429, "rate_limit_error"),
    e.Overloaded: (529, "overloaded_error"),
    e.QuotaExhausted: (429, "rate_limit_error"),
    e.BearerRejected: (503, "overloaded_error"),
    e.Suspended: (403, "permission_error"),
    e.AccessDenied: (403, "permission_error"),
    e.ModelUnavailable: (404, "not_found_error"),
    e.ProfileArnRequired: (503, "overloaded_error"),
    e.EffortUnsupported: (502, "api_error"),
    e.EmptyReply: (502, "api_error"),
    e.Refused: (502, "api_error"),
    e.ServerFault: (502, "api_error"),
    e.UpstreamError: (502, "api_error"),
    e.EventStreamError: (502, "api_error"),
    e.DatabaseError: (503, "api_error"),
    e.ConfigError: (500, "api_error"),
    e.KiroProxyError: (500, "api_error"),
}
"""A class that is not listed is answered as the nearest one above it."""


def status_and_type(error: Exception) -> tuple[int, str]:
    """Look an exception up; a bug of ours is a 500."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return 500, "api_error"


def message_of(error: Exception) -> str:
    """What the client may read: never the words of an exception that is not ours."""
    if isinstance(error, e.EventStreamError):
        return "Kiro's answer broke off: its event stream is damaged."
    if isinstance(error, e.KiroProxyError):
        return str(error)
    return "Internal server error"


def error_body(error: Exception, request_id: str) -> dict[str, Any]:
    """The error object of the Anthropic API."""
    kind = status_and_type(error)[1]
    body: dict[str, Any] = {"type": kind, "message": message_of(error)}
    if isinstance(error, e.InvalidRequest) and error.details:
        body["details"] = error.details
    return {"type": "error", "error": body, "request_id": request_id}


def error_event(error: Exception, request_id: str) -> bytes:
    """The error as the last event of a stream."""
    return named_event("error", error_body(error, request_id))
