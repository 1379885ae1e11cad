"""The error that ends a stream: an `error` event, then `response.failed`, as the genuine API does.

Some clients look for the one, some for the other.
"""

from typing import Any

from kiroproxy.dialects.openai_errors import error_object


def error_fields(error: Exception) -> dict[str, Any]:
    """Of the `error` event: nested as it comes on the wire, and flat as its reference says."""
    inner = error_object(error)
    flat = {key: inner[key] for key in ("code", "message", "param")}
    return {"error": inner, **flat}


def response_error(error: Exception) -> dict[str, Any]:
    """The `error` of a failed response."""
    inner = error_object(error)
    return {"code": inner["code"] or "server_error", "message": inner["message"]}
