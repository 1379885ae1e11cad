"""The request's body: read within its limit and its time, and decoded (design, Q1, Q2, Q4)."""

import contextlib
import zlib
from typing import Any

import gevent
from flask import Request
from gunicorn.http.body import Body
from gunicorn.http.errors import ParseException

from kiroproxy.dialects.jsontext import parse_body
from kiroproxy.errors import BodyTimeout, BodyTooLarge, InvalidRequest, UnsupportedEncoding

WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
BARE_DEFLATE = -15
"""What many programs send as `deflate`, without the zlib header that RFC 9110 wants."""
DISCARD_S = 2.0
"""How long to go on reading what is too large: an early close would cost the client our answer."""
CHUNK = 256 * 1024


def read_json(request: Request, *, limit_bytes: int, timeout_s: float) -> dict[str, Any]:
    """Read the body as a JSON object, whatever Content-Type says (S6).

    Raises:
        RequestError: too large, too slow, cut off, of an unknown encoding, or no JSON object.
    """
    return parse_body(read_body(request, limit_bytes=limit_bytes, timeout_s=timeout_s))


def read_body(request: Request, *, limit_bytes: int, timeout_s: float) -> bytes:
    """Read the raw body.

    Raises:
        RequestError: as `read_json`, but for the JSON.
    """
    too_large = BodyTooLarge(f"The request body exceeds the limit of {limit_bytes} bytes.")
    announced = request.content_length
    if announced is not None and announced > limit_bytes:
        _discard(request)
        raise too_large
    body = request.environ["wsgi.input"]
    try:
        with gevent.Timeout(timeout_s):
            data = body.read(limit_bytes + 1 if announced is None else announced)
    except gevent.Timeout:
        _abandon(body)
        raise BodyTimeout(f"The request body did not arrive within {timeout_s:g} s.") from None
    except (ParseException, OSError) as error:  # gunicorn's words for bad chunks, a vanished client
        raise InvalidRequest(f"The request body is broken: {type(error).__name__}") from None
    if announced is not None and len(data) < announced:
        raise InvalidRequest(f"The request body has {len(data)} bytes, {announced} were announced.")
    if len(data) > limit_bytes:
        _discard(request)
        raise too_large
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding and encoding != "identity":
        data = _decompress(data, encoding, limit_bytes, too_large)
    return bytes(data)


def _discard(request: Request) -> None:
    body = request.environ["wsgi.input"]
    with contextlib.suppress(ParseException, OSError), gevent.Timeout(DISCARD_S, False):
        while body.read(CHUNK):
            pass
        return
    _abandon(body)


def _abandon(body: Any) -> None:
    """Keep gunicorn from looking for the next request in what is left of this body.

    A read that gevent interrupts leaves its parser in the middle of a chunk; gunicorn notes only
    the exceptions that it knows.
    """
    if isinstance(body, Body):
        body.failed = True


def _decompress(data: bytes, encoding: str, limit: int, too_large: Exception) -> bytes:
    if encoding not in WINDOW_BITS:
        raise UnsupportedEncoding(f"Content-Encoding {encoding!r} is not supported.")
    bits = WINDOW_BITS[encoding]
    if encoding == "deflate" and not _has_zlib_header(data):
        bits = BARE_DEFLATE
    decoder = zlib.decompressobj(bits)
    try:
        plain = decoder.decompress(data, limit + 1)
    except zlib.error:
        raise InvalidRequest(f"The request body is not sound {encoding}.") from None
    if len(plain) > limit:
        raise too_large
    if not decoder.eof or decoder.unused_data:
        raise InvalidRequest(f"The request body is not one whole {encoding} stream.")
    return plain


def _has_zlib_header(data: bytes) -> bool:
    """Method 8, and a checksum of the first two bytes (RFC 1950)."""
    return len(data) >= 2 and data[0] & 15 == 8 and int.from_bytes(data[:2], "big") % 31 == 0
