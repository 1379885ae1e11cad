"""Reading a request's body (design Q1, Q2, Q4; S6, S12)."""

import gzip
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from flask import Request
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.unreader import IterUnreader
from werkzeug.test import EnvironBuilder

from kiroproxy.errors import BodyTooLarge, InvalidRequest, UnsupportedEncoding
from kiroproxy.web.body import read_body, read_json
from tests.servers import REPOSITORY, clean_environment
from tests.web.conftest import AUTH, Place

LIMIT = 1000


def plain(data: bytes, **headers: str) -> Request:
    """A body with Content-Length."""
    builder = EnvironBuilder(method="POST", data=data, headers=headers)
    return Request(builder.get_environ())


def gunicorns(reader: Any, **environ: Any) -> Request:
    """A body as gunicorn hands it over."""
    return Request(
        EnvironBuilder(method="POST").get_environ() | {"wsgi.input": Body(reader)} | environ
    )


def chunked(*pieces: bytes) -> Request:
    """A chunked body as it comes off the wire."""
    reader = ChunkedReader(object(), IterUnreader(pieces))
    request = gunicorns(reader, HTTP_TRANSFER_ENCODING="chunked")
    request.environ.pop("CONTENT_LENGTH", None)
    return request


def read(request: Request, limit: int = LIMIT) -> bytes:
    return read_body(request, limit_bytes=limit, timeout_s=5)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


# ---- limits --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT])
def test_within_the_limit(size: int) -> None:
    data = b"x" * size
    assert read(plain(data)) == data
    pieces = [chunk(part) for part in (data[:1], data[1:]) if part]
    assert read(chunked(*pieces, b"0\r\n\r\n")) == data


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT + 2, 100 * LIMIT])
def test_q1_over_the_limit(size: int) -> None:
    with pytest.raises(BodyTooLarge, match="exceeds the limit of 1000 bytes"):
        read(plain(b"x" * size))
    with pytest.raises(BodyTooLarge):
        read(chunked(chunk(b"x" * size), b"0\r\n\r\n"))
    with pytest.raises(BodyTooLarge):
        read(chunked(*[chunk(b"x")] * size, b"0\r\n\r\n"))


def test_what_is_too_large_is_read_away() -> None:
    """An early close would cost the client our answer."""
    for request in (plain(b"x" * 5000), chunked(chunk(b"x" * 5000), b"0\r\n\r\n")):
        with pytest.raises(BodyTooLarge):
            read(request)
        assert request.environ["wsgi.input"].read(1) == b""


def test_what_is_too_large_and_broken_is_too_large() -> None:
    request = chunked(chunk(b"x" * 5000), b"zz\r\n")
    with pytest.raises(BodyTooLarge):
        read(request)
    assert request.environ["wsgi.input"].failed


# ---- cut and broken ------------------------------------------------------------------------


def test_fewer_bytes_than_announced() -> None:
    request = gunicorns(LengthReader(IterUnreader([b"abc"]), 9), CONTENT_LENGTH="9")
    with pytest.raises(InvalidRequest, match="has 3 bytes, 9 were announced"):
        read(request)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"zz\r\nabc\r\n"],
        [chunk(b"abc"), b"-1\r\n"],
        [b"3\r\nabcde\r\n"],
        [b"3\r\nab"],
        [b"3\r\nabc\r\n"],
        [b"3\r\nabc\r\n0\r\n"],
        [b"3;\x00\r\nabc\r\n0\r\n\r\n"],
        [],
    ],
    ids=repr,
)
def test_q2_broken_chunks(pieces: list[bytes]) -> None:
    request = chunked(*pieces)
    with pytest.raises(InvalidRequest, match="The request body is broken"):
        read(request)
    assert request.environ["wsgi.input"].failed, "gunicorn must not look for another request"


# ---- encodings -----------------------------------------------------------------------------

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    " gzip ": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
}


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("size", [0, 10, LIMIT])
def test_encodings(encoding: str, size: int) -> None:
    data = b"x" * size
    assert read(plain(ENCODERS[encoding](data), content_encoding=encoding)) == data


@pytest.mark.parametrize("level", range(10))
def test_deflate_without_its_header(level: int) -> None:
    """Many programs take the name at its word."""
    data = b'{"model": "claude-sonnet-4-5"}'
    assert read(plain(zlib.compress(data, level, -15), content_encoding="deflate")) == data
    assert read(plain(zlib.compress(data, level), content_encoding="deflate")) == data


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("size", [LIMIT + 1, 10_000_000])
def test_q1_the_limit_holds_for_what_is_decoded(encoding: str, size: int) -> None:
    bomb = ENCODERS[encoding](b"x" * size)
    with pytest.raises(BodyTooLarge):
        read(plain(bomb, content_encoding=encoding), limit=max(LIMIT, len(bomb)))


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "aws-chunked"])
def test_q1_unknown_encodings(encoding: str) -> None:
    with pytest.raises(UnsupportedEncoding, match=encoding):
        read(plain(b"{}", content_encoding=encoding))


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        gzip.compress(b"{}", mtime=0)[:-1],
        gzip.compress(b"{}", mtime=0) + b"rest",
        gzip.compress(b"{}", mtime=0) * 2,
        gzip.compress(b"{}", mtime=0)[:-8] + b"\0" * 8,
    ],
)
def test_unsound_encodings(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="gzip"):
        read(plain(data, content_encoding="gzip"))


# ---- JSON and the whole way ----------------------------------------------------------------


def test_s6_content_type_does_not_matter() -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", "", "application/json"):
        assert read_json(plain(b'{"a": 1}', content_type=kind), limit_bytes=99, timeout_s=1) == {
            "a": 1
        }


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{", b'{"a":1}{'])
def test_no_json_object(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_json(plain(data), limit_bytes=99, timeout_s=1)


STATUSES: list[tuple[dict[str, Any], int, str]] = [
    ({"data": b"x" * 3000}, 413, "request_too_large"),
    ({"data": b"{}", "content_encoding": "br"}, 415, "invalid_request_error"),
    ({"data": b"{", "content_encoding": ""}, 400, "invalid_request_error"),
    ({"data": b"{}", "content_encoding": "gzip"}, 400, "invalid_request_error"),
]


@pytest.mark.parametrize(("sent", "status", "kind"), STATUSES)
def test_statuses(make: Callable[..., Place], sent: dict[str, Any], status: int, kind: str) -> None:
    place = make(max_body_bytes=2000)
    headers = AUTH | {"content-encoding": sent.get("content_encoding", "")}
    answer = place.client.post("/v1/messages", data=sent["data"], headers=headers)
    assert answer.status_code == status
    assert answer.get_json()["error"]["type"] == kind


def test_s6_form_type_is_answered(place: Place) -> None:
    body = json.dumps(
        {"model": "auto", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    )
    kind = "application/x-www-form-urlencoded"
    answer = place.client.post("/v1/messages", data=body, headers=AUTH, content_type=kind)
    assert answer.status_code == 200


# ---- time ----------------------------------------------------------------------------------

SLOW = """
from gevent import monkey; monkey.patch_all()
import sys, time, gevent
from gevent import socket
from flask import Request
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.unreader import SocketUnreader
from kiroproxy.errors import BodyTimeout, BodyTooLarge
from kiroproxy.web.body import read_body
from werkzeug.test import EnvironBuilder

ours, theirs = socket.socketpair()
def trickle():
    if sys.argv[1] != "length":
        theirs.sendall(b"100000\\r\\n")
    while True:
        theirs.sendall(b"x")
        gevent.sleep(0.02)
sender = gevent.spawn(trickle)
unreader = SocketUnreader(ours)
environ = EnvironBuilder(method="POST").get_environ()
if sys.argv[1] == "length":
    body = Body(LengthReader(unreader, 100000))
    environ["CONTENT_LENGTH"] = "100000"
else:
    body = Body(ChunkedReader(object(), unreader))
    environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    environ.pop("CONTENT_LENGTH", None)
environ["wsgi.input"] = body
began = time.monotonic()
try:
    read_body(Request(environ), limit_bytes=int(sys.argv[2]), timeout_s=0.2)
except (BodyTimeout, BodyTooLarge) as error:
    print(type(error).__name__, time.monotonic() - began < 4, body.failed)
"""


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(("limit", "wanted"), [(200_000, "BodyTimeout"), (5000, "BodyTooLarge")])
def test_q4_a_slow_body(framing: str, limit: int, wanted: str) -> None:
    """And the connection is not used again: nobody knows where the next request begins."""
    if framing == "chunked":
        wanted = "BodyTimeout"  # its size is not known before
    result = subprocess.run(
        [sys.executable, "-c", SLOW, framing, str(limit)],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.stdout.split() == [wanted, "True", "True"], result.stderr
