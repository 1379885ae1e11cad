"""Every exception becomes an answer in the caller's dialect."""

import math
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WrongMethod
from werkzeug.exceptions import NotFound as NoRoute

from kiroproxy import errors as e
from kiroproxy import tracing
from kiroproxy.dialects import openai_errors
from kiroproxy.dialects.anthropic import errors as anthropic
from kiroproxy.observability import log
from kiroproxy.web.account import tell_other
from kiroproxy.web.openai import is_openai
from kiroproxy.web.services import services
from kiroproxy.web.v1 import account_of_refusal, json_response

UPSTREAM = (e.UpstreamError, e.EventStreamError, e.RefreshFailed, e.RefreshTokenInvalid)
"""To an operator these are all the same: somebody upstream has said no, or nothing."""
ADMIN_TYPES: Mapping[int, str] = {
    400: "invalid_request",
    404: "not_found",
    405: "invalid_request",
    415: "invalid_request",
    500: "internal_error",
    503: "unavailable",
    529: "unavailable",
}

Render = Callable[[Exception, str], tuple[int, Any]]


def _anthropic(error: Exception, request_id: str) -> tuple[int, Any]:
    return anthropic.status_and_type(error)[0], anthropic.error_body(error, request_id)


def _openai(error: Exception, request_id: str) -> tuple[int, Any]:
    return openai_errors.status_of(error), openai_errors.error_body(error)


def _admin(error: Exception, request_id: str) -> tuple[int, Any]:
    """S127, S136: the admin API's own shape."""
    status, kind = anthropic.status_and_type(error)
    if isinstance(error, UPSTREAM):
        status, kind = 502, "api_error"
    told = {"type": ADMIN_TYPES.get(status, kind), "message": anthropic.message_of(error)}
    if isinstance(error, e.InvalidRequest) and error.param:
        told["param"] = error.param
    return status, {"error": told}


def _render() -> Render:
    if request.path.startswith("/api/"):
        return _admin
    return _openai if is_openai(request) else _anthropic


def install(app: Flask) -> None:
    """Register the handlers and give every request an id."""

    @app.before_request
    def begin() -> None:
        fresh = uuid.uuid4().hex
        environ = request.environ
        g.began = time.monotonic()
        g.request_id = f"req_{fresh[:24]}"
        g.context = context = tracing.begin(
            environ.get("HTTP_TRACEPARENT"), environ.get("HTTP_TRACESTATE"), fresh
        )
        parts = services()
        if parts.spans is not None:
            parts.spans.join(context)
        passed_on = context.parent_id and parts.config.pass_traceparent
        tracing.CURRENT.set(context if passed_on else None)

    app.register_error_handler(Exception, answer)

    @app.after_request
    def identify(response: Response) -> Response:
        response.headers["request-id"] = g.request_id
        response.headers["x-request-id"] = g.request_id  # the name that OpenAI's clients know
        context: tracing.Context = g.context
        if context.parent_id or context.flags:
            response.headers["traceparent"] = context.traceparent
        if "measured" not in g:
            tell_other(response)
        return response


def answer(error: Exception) -> Response:
    """What the caller is told of an error."""
    if isinstance(error, HTTPException):
        error = _of_werkzeug(error)
    if not isinstance(error, e.KiroProxyError):
        log.exception("unhandled", request_id=g.request_id, path=request.path)
    status, body = _render()(error, g.request_id)
    response = json_response(body, status)
    account = g.pop("account", None) or account_of_refusal()
    tape = g.pop("tape", None)
    if tape is not None:
        tape.sent.add(response.get_data())
        tape.end(status, type(error).__name__, error)
    if account is not None:
        account.end(status, type(error).__name__, error=error)
        account.settle()
    elif tape is not None:
        tape.settle()
    if isinstance(error, e.MethodNotAllowed) and error.allowed:
        response.headers["allow"] = ", ".join(sorted(error.allowed))
    wait = _retry_after(error)
    if wait is not None:
        response.headers["retry-after"] = str(max(1, math.ceil(wait)))
    return response


def _of_werkzeug(error: HTTPException) -> Exception:
    if isinstance(error, NoRoute):
        return e.NotFound(f"No such path: {request.path}")
    if isinstance(error, WrongMethod):
        words = f"{request.method} is not allowed for {request.path}"
        return e.MethodNotAllowed(words, allowed=error.valid_methods or ())
    if error.code is not None and error.code < 500:
        return e.InvalidRequest(error.description or error.name)
    return error


def _retry_after(error: Exception) -> float | None:
    if isinstance(error, e.Throttled):
        return error.retry_after_s or 5.0
    if isinstance(error, e.QuotaExhausted):
        return 3600.0  # until the month ends: whoever waits at all shall not wait busily
    if isinstance(error, e.NoCredential | e.LimitExceeded):
        return error.retry_after_s
    return None
