"""JSON in and out, by the rules of the genuine API (design, Q14)."""

from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from kiroproxy.conversation import Json
from kiroproxy.errors import InvalidRequest

MAX_DEPTH = 200
dump_text: Callable[[str], bytes] = msgspec.json.Encoder().encode
"""A JSON string, in the bytes that orjson would give. orjson fills a buffer of a kilobyte and has
it shrunk; where many are kept until they are joined that costs 1300 ns each, and this 70."""
_decode = msgspec.json.Decoder().decode


def parse_body(data: bytes) -> dict[str, Any]:
    """Decode a request body: an object, at most 200 levels deep, big integers kept.

    Raises:
        InvalidRequest: in orjson's words, which are the genuine API's.
    """
    try:
        body = _decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidRequest(
            f"The request body is not valid JSON: {_reason(data, error)}"
        ) from None
    if not isinstance(body, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    if _too_deep(body):
        raise InvalidRequest(f"The request body is nested deeper than {MAX_DEPTH} levels.")
    return body


def _reason(data: bytes, error: Exception) -> str:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError as theirs:
        return str(theirs)
    return str(error)


def _too_deep(body: Json) -> bool:
    level = [body]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for value in level
            for inner in (value.values() if type(value) is dict else value)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


def dumps(value: Json) -> bytes:
    """Encode; orjson is the faster one, msgspec knows integers beyond 64 bits."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return msgspec.json.encode(value)
