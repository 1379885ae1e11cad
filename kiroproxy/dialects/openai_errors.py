"""Exception → status, type, code and body of the OpenAI API, the same for both of its dialects."""

import math
from collections.abc import Mapping
from typing import Any

from kiroproxy import errors as e
from kiroproxy.dialects.anthropic.errors import message_of as plain_message_of

INVALID = "invalid_request_error"
SERVER = "server_error"
TABLE: Mapping[type[Exception], tuple[int, str, str | None]] = {
    e.InvalidRequest: (400, INVALID, None),
    e.ContextTooLong: (400, INVALID, "context_length_exceeded"),
    e.NotAuthenticated: (401, INVALID, "invalid_api_key"),
    e.NotAllowed: (403, INVALID, "permission_denied"),
    e.LimitExceeded: (429, "requests", "rate_limit_exceeded"),
    e.NotFound: (404, INVALID, "not_found"),
    e.MethodNotAllowed: (405, INVALID, "method_not_supported"),
    e.BodyTimeout: (408, "timeout", "request_timeout"),
    e.BodyTooLarge: (413, INVALID, "request_too_large"),
    e.UnsupportedEncoding: (415, INVALID, "unsupported_encoding"),
    e.LoginFailed: (400, INVALID, None),
    e.RequestError: (400, INVALID, None),
    e.NoCredential: (503, SERVER, "service_unavailable"),
    e.Exhausted: (429, "requests", "rate_limit_exceeded"),
    e.NoCapacity: (503, SERVER, "server_is_overloaded"),
    e.CredentialError: (503, SERVER, "service_unavailable"),
    e.Unreachable: (502, SERVER, "upstream_unreachable"),
    e.UpstreamTimeout: (504, SERVER, "upstream_timeout"),
    e.Throttled: (429, "requests", "rate_limit_exceeded"),
    e.Overloaded: (503, SERVER, "server_is_overloaded"),
    e.QuotaExhausted: (429, "insufficient_quota", "insufficient_quota"),
    e.BearerRejected: (503, SERVER, "service_unavailable"),
    e.Suspended: (403, INVALID, "account_suspended"),
    e.AccessDenied: (403, INVALID, "permission_denied"),
    e.ModelUnavailable: (404, INVALID, "model_not_found"),
    e.ProfileArnRequired: (503, SERVER, "service_unavailable"),
    e.EffortUnsupported: (502, SERVER, "upstream_refused"),
    e.EmptyReply: (502, SERVER, "empty_reply"),
    e.Refused: (502, SERVER, "upstream_refused"),
    e.ServerFault: (500, SERVER, SERVER),
    e.UpstreamError: (502, SERVER, "upstream_error"),
    e.EventStreamError: (502, SERVER, "upstream_error"),
    e.DatabaseError: (503, SERVER, "service_unavailable"),
    e.ConfigError: (500, SERVER, SERVER),
    e.KiroProxyError: (500, SERVER, SERVER),
}
"""A class that is not listed is answered as the nearest one above it (protocol notes 8).

Codex acts on `context_length_exceeded`, `insufficient_quota`, `rate_limit_exceeded` and
`server_is_overloaded`.
"""
MODEL_NOT_FOUND = "model_not_found"


def status_of(error: Exception) -> int:
    """The HTTP status."""
    return _row(error)[0]


def error_object(error: Exception) -> dict[str, Any]:
    """Message, type, param and code."""
    _, kind, code = _row(error)
    return {
        "message": message_of(error),
        "type": kind,
        "param": _param(error),
        "code": _own_code(error) or code,
    }


def error_body(error: Exception) -> dict[str, Any]:
    """The body of an answer with an error status."""
    return {"error": error_object(error)}


def _row(error: Exception) -> tuple[int, str, str | None]:
    """A bug of ours is a 500."""
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    return 500, SERVER, SERVER


def message_of(error: Exception) -> str:
    """What the client may read, with what it can do about it."""
    message = plain_message_of(error)
    if isinstance(error, e.NotFound) and error.code == MODEL_NOT_FOUND:
        return (
            f"{message} does not exist here. GET /v1/models lists those that do; the operator can "
            "add names with modelMapping or unknownModel."
        )
    if isinstance(error, e.Throttled) and error.retry_after_s:
        # Codex reads the wait from these words: a stream has no headers left to say it in
        return f"{message} Please try again in {math.ceil(error.retry_after_s)}s."
    return message


def _own_code(error: Exception) -> str | None:
    if isinstance(error, e.NotFound):
        return error.code
    if isinstance(error, e.InvalidRequest) and error.details:
        code = error.details.get("code")
        return code if isinstance(code, str) else None
    return None


def _param(error: Exception) -> str | None:
    if isinstance(error, e.InvalidRequest):
        return error.param
    if isinstance(error, e.ContextTooLong):
        return "messages"
    if isinstance(error, e.NotFound) and error.code == MODEL_NOT_FOUND:
        return "model"
    return None
