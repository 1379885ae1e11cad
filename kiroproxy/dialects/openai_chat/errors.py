"""The error that ends a stream of chunks: nothing follows it, so that it is never a normal end."""

from kiroproxy.dialects.jsontext import dumps
from kiroproxy.dialects.openai_errors import error_body


def error_chunk(error: Exception) -> bytes:
    """An unnamed event with an `error`, which every client raises as its own exception."""
    return b"data: %s\n\n" % dumps(error_body(error))
