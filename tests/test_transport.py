"""HTTP to the outside, on real sockets: what the server does, it does byte by byte."""

import gzip
import http.client
import io
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3.exceptions
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.errors import EventStreamError, Unreachable, UpstreamTimeout
from kiroproxy.http_body import BadChunk
from kiroproxy.transport import (
    Answer,
    Exchange,
    Route,
    Transport,
    _reason,
    _Response,
    _Sender,
    bypasses,
    ca_bundle,
    proxy_with_credentials,
)
from tests.servers import REPOSITORY, clean_environment, free_port
from tests.wire import CERTIFICATE, HttpProxy, Script, SocksProxy, Wire, answer

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNBOUNDED = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
OK = answer(b"ok")
SECRET = "s3cr3t-token"


@pytest.fixture
def transport() -> Iterator[Transport]:
    one = Transport(connect_timeout_s=2)
    yield one
    for session in one._sessions.values():
        session.close()


def send(
    transport: Transport, url: str, route: Route | None = None, timeout_s: float = 5, **more: Any
) -> Exchange:
    headers = more.pop("headers", {"authorization": f"Bearer {SECRET}"})
    return transport.open(
        "POST", url, headers=headers, route=route or Route(), timeout_s=timeout_s, **more
    )


def rest(exchange: Exchange) -> bytes:
    """All that follows, read with patience."""
    data = b""
    while (more := exchange.read(3)) != b"":
        data += more or b""
    return data


def closed(exchange: Exchange) -> bytes:
    """All that follows; the exchange is closed."""
    try:
        return rest(exchange)
    finally:
        exchange.close()


# ---- bodies --------------------------------------------------------------------------------

FRAMINGS = {
    "length": [b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", b"hello ", b"world"],
    "chunked": [CHUNKED, b"6\r\nhello \r\n", b"5\r\nwo", b"rld\r\n0\r\n\r\n"],
    "until close": [UNBOUNDED, b"hello ", b"world", "close"],
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("together", [True, False])
def test_framings(transport: Transport, framing: str, together: bool) -> None:
    """Together: bytes of the body came along with the headers."""
    steps: list[Any] = list(FRAMINGS[framing])
    if together:
        said = b"".join(one for one in steps if isinstance(one, bytes))
        steps = [said, *(one for one in steps if not isinstance(one, bytes))]
    else:
        steps = [one for step in steps for one in (0.01, step)]
    with Wire([steps]) as wire:
        exchange = send(transport, wire.url)
        assert exchange.status == 200
        assert rest(exchange) == b"hello world"
        assert exchange.announced_end is (framing != "until close")
        assert exchange.complete is exchange.announced_end
        assert exchange.read(1) == b"", "the end stays the end"
        exchange.close()


def test_connection_close_answers_are_readable(transport: Transport) -> None:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n"
    with Wire([[head, 0.05, b"he", 0.05, b"llo", "close"]], [[OK]]) as wire:
        exchange = send(transport, wire.url)
        assert closed(exchange) == b"hello"
        assert exchange.complete
        assert closed(send(transport, wire.url)) == b"ok"
        assert wire.connections == [0, 1]


def test_a_silent_read_gives_none_and_nothing_is_lost(transport: Transport) -> None:
    go = [threading.Event() for _ in range(3)]
    steps = [CHUNKED, go[0], b"3\r\nab", go[1], b"c\r\n", go[2], b"1\r\nd\r\n0\r\n\r\n"]
    with Wire([steps]) as wire:
        exchange = send(transport, wire.url)
        assert exchange.read(0.02) is None
        assert exchange.read(0.02) is None
        go[0].set()
        assert exchange.read(3) == b"ab"
        assert exchange.read(0.02) is None
        go[1].set()
        assert exchange.read(3) == b"c"
        assert exchange.read(0.02) is None
        go[2].set()
        assert exchange.read(3) == b"d"
        assert exchange.read(3) == b""
        exchange.close()


def test_bytes_without_content_do_not_prolong_a_read(transport: Transport) -> None:
    """A trickle of chunk headers must not keep the caller from its pings."""
    with Wire([[CHUNKED, *[0.1, b"0"] * 6, b"1\r\nx\r\n0\r\n\r\n"]]) as wire:
        exchange = send(transport, wire.url)
        began = time.monotonic()
        assert exchange.read(0.15) is None
        assert exchange.read(0.15) is None
        assert time.monotonic() - began < 0.5
        assert closed(exchange) == b"x"


@pytest.mark.parametrize("cut", [b"", b"5", b"5\r\n", b"5\r\nhel", b"5\r\nhello\r\n", b"0\r\n"])
def test_eof_inside_a_chunked_body(transport: Transport, cut: bytes) -> None:
    with Wire([[CHUNKED + cut, "close"]]) as wire:
        exchange = send(transport, wire.url)
        content = closed(exchange)
        assert content == cut.partition(b"\r\n")[2].removesuffix(b"\r\n")
        assert exchange.announced_end
        assert not exchange.complete


def test_eof_before_the_announced_length(transport: Transport) -> None:
    with Wire([[b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel", "close"]]) as wire:
        exchange = send(transport, wire.url)
        assert closed(exchange) == b"hel"
        assert not exchange.complete


def test_garbage_for_a_chunk_size(transport: Transport) -> None:
    with Wire([[CHUNKED + b"2\r\nhi\r\nzz\r\n"]]) as wire:
        exchange = send(transport, wire.url)
        assert exchange.read(3) == b"hi", "S39: what came before it comes first"
        for _ in range(2):
            with pytest.raises(BadChunk):
                exchange.read(3)
        exchange.close()
        assert wire.wait_until_ended(0)


@pytest.mark.parametrize("end", [b"\r*", b"-\n", b"*"])
def test_a_head_that_swallows_the_body(transport: Transport, end: bytes) -> None:
    """One wrong byte in its last line break: http.client would read on into the body."""
    head = CHUNKED.removesuffix(b"\r\n") + end
    with Wire([[head + b"2\r\nhi\r\n\r\n5\r\nworld\r\n0\r\n\r\n"]]) as wire:
        with pytest.raises(Unreachable, match="answer is damaged"):
            send(transport, wire.url)
        assert wire.wait_until_ended(0)


class Bytes:
    """What http.client takes for a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BufferedReader:
        """All of it."""
        return io.BufferedReader(io.BytesIO(self._data))  # type: ignore[arg-type]


NAMES = ["Content-Length", "Transfer-Encoding", "Connection", "X-One", "x-one", "Content-Type"]
VALUES = [
    "",
    "0",
    "17",
    "chunked",
    "Chunked",
    "gzip",
    "close",
    "keep-alive",
    "text/plain; a=b",
    "é",
]
FIELD = st.builds(
    lambda name, gap, value, end: f"{name}:{gap}{value}{end}\r\n".encode("iso-8859-1"),
    st.sampled_from(NAMES),
    st.sampled_from(["", " ", "\t "]),
    st.sampled_from(VALUES),
    st.sampled_from(["", " "]),
)


@given(
    st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 ", b"HTTP/1.1 502 No"]),
    st.lists(FIELD | st.sampled_from([b"X-Folded: a\r\n b\r\n", b"X-Bare: a\n"]), max_size=6),
    st.sampled_from(["POST", "HEAD"]),
)
def test_heads_are_read_as_http_client_does(line: bytes, fields: list[bytes], method: str) -> None:
    data = line + b"\r\n" + b"".join(fields) + b"\r\nbody"

    def read(kind: type[http.client.HTTPResponse], data: bytes) -> list[Any]:
        response = kind(Bytes(data), method=method)  # type: ignore[arg-type]
        response.begin()
        facts = [response.status, response.reason, response.version, response.length]
        facts += [response.will_close, bool(response.chunked), response.headers.get_payload()]
        if b"Folded" not in data:
            return [*facts, [(one, text.strip()) for one, text in response.headers.items()]]
        return facts

    # which takes blanks behind a value for a part of it: `chunked ` is no coding to it
    assert read(_Response, data) == read(http.client.HTTPResponse, data.replace(b" \r\n", b"\r\n"))


@pytest.mark.parametrize("early", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_an_answer_may_be_announced(transport: Transport, early: str) -> None:
    with Wire([[f"HTTP/1.1 {early}\r\nX-A: b\r\n\r\n".encode() + OK]]) as wire:
        exchange = send(transport, wire.url)
        assert exchange.status == 200
        assert closed(exchange) == b"ok"


@pytest.mark.parametrize("cut", [1, 3, 20])
def test_a_head_that_breaks_off_is_no_answer(transport: Transport, cut: int) -> None:
    with (
        Wire([[CHUNKED[:-cut], "close"]]) as wire,
        pytest.raises(Unreachable, match="did not answer in HTTP"),
    ):
        send(transport, wire.url)


@pytest.mark.parametrize("head", [b"X-A: " + b"a" * 70_000, b"X-A: b\r\n" * 101])
def test_endless_heads_are_no_answer(transport: Transport, head: bytes) -> None:
    with (
        Wire([[b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n"]]) as wire,
        pytest.raises(Unreachable, match="did not answer in HTTP"),
    ):
        send(transport, wire.url)


def test_reset_inside_the_body(transport: Transport) -> None:
    go = threading.Event()
    with Wire([[CHUNKED + b"2\r\nhi\r\n", go, "reset"]]) as wire:
        exchange = send(transport, wire.url)
        assert exchange.read(3) == b"hi"
        go.set()
        with pytest.raises(Unreachable, match="connection to Kiro broke"):
            exchange.read(3)
        exchange.close()


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_answers_without_a_body(transport: Transport, status: str) -> None:
    with Wire([[f"HTTP/1.1 {status}\r\n\r\n".encode()], [OK]], [[OK]]) as wire:
        exchange = send(transport, wire.url)
        assert closed(exchange) == b""
        assert exchange.complete
        assert closed(send(transport, wire.url)) == b"ok"


def test_large_body_in_large_reads(transport: Transport) -> None:
    data = bytes(range(256)) * 8192
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(part), part)
        for part in (data[at : at + 70_000] for at in range(0, len(data), 70_000))
    )
    with Wire([[CHUNKED + chunks + b"0\r\n\r\n"]]) as wire:
        assert closed(send(transport, wire.url)) == data


# ---- keeping connections -------------------------------------------------------------------


def test_connection_is_kept_after_exact_consumption(transport: Transport) -> None:
    script: Script = [[OK], [CHUNKED, b"2\r\nok\r\n0\r\n\r\n"], [answer(b"")], [OK]]
    with Wire(script) as wire:
        for wanted in (b"ok", b"ok", b"", b"ok"):
            assert closed(send(transport, wire.url)) == wanted
        assert wire.connections == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([CHUNKED + b"2\r\nhi\r\n"], id="last chunk not read"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"], id="length not reached"),
        pytest.param([UNBOUNDED + b"hi"], id="until close"),
        pytest.param([CHUNKED + b"2\r\nhi\r\n0\r\n\r\nHTTP/1.1 200"], id="excess behind a chunk"),
        pytest.param([answer(b"hi") + b"HTTP/1.1 200"], id="excess behind a length"),
    ],
)
def test_connection_is_closed_otherwise(transport: Transport, steps: list[Any]) -> None:
    with Wire([steps], [[OK]]) as wire:
        exchange = send(transport, wire.url)
        assert exchange.read(3) == b"hi"
        exchange.close()
        exchange.close()
        assert exchange.read(3) == b""
        assert wire.wait_until_ended(0)
        assert closed(send(transport, wire.url)) == b"ok"
        assert wire.connections == [0, 1]


def test_connection_is_closed_when_nothing_was_read(transport: Transport) -> None:
    with Wire([[OK]], [[OK]]) as wire:
        send(transport, wire.url).close()
        assert wire.wait_until_ended(0)


def test_closing_twice_leaves_the_next_user_alone(transport: Transport) -> None:
    go = threading.Event()
    with Wire([[OK], [CHUNKED, b"1\r\na\r\n", go, b"1\r\nb\r\n0\r\n\r\n"]]) as wire:
        first = send(transport, wire.url)
        assert closed(first) == b"ok"
        second = send(transport, wire.url)
        assert second.read(3) == b"a"
        first.close()
        go.set()
        assert closed(second) == b"b"
        assert wire.connections == [0, 0]


def test_concurrent_exchanges_have_their_own_connections(transport: Transport) -> None:
    with Wire([[OK]], [[OK]]) as wire:
        one, two = send(transport, wire.url), send(transport, wire.url)
        assert closed(two) == closed(one) == b"ok"
        assert sorted(wire.connections) == [0, 1]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_kept_connection_that_dies_is_tried_once_more(transport: Transport, how: str) -> None:
    """Q13: the peer may just have timed it out."""
    with Wire([[OK], [how]], [[OK]]) as wire:
        assert closed(send(transport, wire.url)) == b"ok"
        assert closed(send(transport, wire.url, body=b"again")) == b"ok"
        assert wire.connections == [0, 0, 1]
        assert wire.requests[2][1].endswith(b"again")


def test_and_once_only(transport: Transport) -> None:
    with Wire([[OK], ["close"]], [["close"]], [[OK]]) as wire:
        assert closed(send(transport, wire.url)) == b"ok"
        with pytest.raises(Unreachable):
            send(transport, wire.url)
        assert wire.connections == [0, 0, 1]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_death_of_a_fresh_connection_is_not_retried(transport: Transport, how: str) -> None:
    with Wire([[how]], [[OK]]) as wire:
        with pytest.raises(Unreachable, match="closed the connection without an answer"):
            send(transport, wire.url)
        assert wire.connections == [0]


def test_a_reopened_connection_is_a_fresh_one(transport: Transport) -> None:
    """urllib3 gives the same object a new socket; its death is nobody's timeout."""
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    with Wire([[head, "close"]], [["close"]], [[OK]]) as wire:
        assert closed(send(transport, wire.url)) == b"ok"
        with pytest.raises(Unreachable):
            send(transport, wire.url)
        assert wire.connections == [0, 1]


def test_silence_on_a_kept_connection_is_no_death(transport: Transport) -> None:
    with Wire([[OK], [0.4]], [[OK]]) as wire:
        assert closed(send(transport, wire.url)) == b"ok"
        with pytest.raises(UpstreamTimeout, match="did not answer in time"):
            send(transport, wire.url, timeout_s=0.1)
        assert wire.connections == [0, 0]


# ---- what is sent --------------------------------------------------------------------------


def head_of(wire: Wire, number: int = 0) -> list[str]:
    return wire.requests[number][1].partition(b"\r\n\r\n")[0].decode().split("\r\n")


def test_the_request_is_what_was_asked_for(transport: Transport) -> None:
    with Wire([[OK]]) as wire:
        closed(send(transport, wire.url + "/path?q=1", body=b"{}", headers={"x-one": "1"}))
        first, *headers = head_of(wire)
    assert first == "POST /path?q=1 HTTP/1.1"
    named = dict(line.lower().split(": ", 1) for line in headers)
    assert named == {
        "host": wire.url.removeprefix("http://"),
        "content-length": "2",
        "user-agent": "kiroproxy",
        "x-one": "1",
    }, "no Accept-Encoding on event streams (Q13), and nothing else of the library's own"


def test_cookies_are_not_kept(transport: Transport) -> None:
    with Wire([[answer(b"", "Set-Cookie: a=b")], [OK]]) as wire:
        closed(send(transport, wire.url))
        closed(send(transport, wire.url))
        assert not any("cookie" in line.lower() for line in head_of(wire, 1))


def test_redirects_are_not_followed(transport: Transport) -> None:
    with Wire([[answer(b"", "Location: /other", status="302 Found")], [OK]], [[OK]]) as wire:
        with pytest.raises(Unreachable, match="redirect"):
            send(transport, wire.url)
        assert len(wire.requests) == 1


def test_nothing_of_the_environment(
    transport: Transport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Q13: neither proxies nor .netrc nor a CA bundle."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n", "utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with Wire([[OK], [OK]], [[OK]]) as wire:
        closed(send(transport, wire.url, headers={}))
        transport.call_once("POST", wire.url, headers={}, route=Route(), timeout_s=5)
        for number in (0, 1):
            assert not any("authorization" in line.lower() for line in head_of(wire, number))


def test_a_large_body_may_take_longer_than_a_connect() -> None:
    """The connect timeout must not become the deadline of sending."""
    hasty = Transport(connect_timeout_s=0.3)
    body = b"x" * 20_000_000
    with Wire([[OK], [OK]], pause_s=0.6) as wire:
        for _ in range(2):
            assert closed(send(hasty, wire.url, body=body)) == b"ok"
        assert wire.connections == [0, 0]
    for session in hasty._sessions.values():
        session.close()


# ---- proxies -------------------------------------------------------------------------------


def test_s85_http_proxy_is_used_with_credentials(transport: Transport) -> None:
    with HttpProxy() as proxy, Wire([[OK], [OK]]) as wire:
        url = proxy_with_credentials(f"http://127.0.0.1:{proxy.port}", "me", "p@ss:/word")
        route = Route(proxy_url=url)
        assert closed(send(transport, wire.url + "/x", route)) == b"ok"
        head = proxy.heads[0].decode()
    assert head.startswith(f"POST {wire.url}/x HTTP/1.1")
    assert "proxy-authorization: basic bwu6cebzczovd29yza==" in head.lower()


def test_s85_tunnel_through_an_http_proxy(transport: Transport) -> None:
    with HttpProxy() as proxy, Wire([[OK], [OK]], tls=True) as wire:
        url = f"http://me:pw@127.0.0.1:{proxy.port}"
        route = Route(proxy_url=url, verify=str(CERTIFICATE))
        assert closed(send(transport, wire.url, route)) == b"ok"
        assert closed(send(transport, wire.url, route)) == b"ok"
        assert wire.connections == [0, 0], "kept through the proxy, too"
        head = proxy.heads[0].decode()
    assert head.startswith(f"CONNECT 127.0.0.1:{wire.port} HTTP/1.")
    assert "proxy-authorization: basic bwu6chc=" in head.lower()
    assert SECRET not in head


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_s85_socks_proxy_is_used_with_credentials(transport: Transport, scheme: str) -> None:
    with SocksProxy() as proxy, Wire([[OK], [OK]]) as wire:
        url = proxy_with_credentials(f"{scheme}://127.0.0.1:{proxy.port}", "me", "p@ss")
        assert closed(send(transport, wire.url, Route(proxy_url=url))) == b"ok"
        assert closed(send(transport, wire.url, Route(proxy_url=url))) == b"ok"
        assert proxy.logins == [(b"me", b"p@ss")]
        assert proxy.targets == [("127.0.0.1", wire.port)]


@pytest.mark.parametrize("kind", ["socks5", "http"])
def test_kept_connections_die_behind_proxies_too(transport: Transport, kind: str) -> None:
    with (
        HttpProxy() as http,
        SocksProxy() as socks,
        Wire([[OK], ["close"]], [[OK]], tls=True) as wire,
    ):
        port = socks.port if kind == "socks5" else http.port
        route = Route(proxy_url=f"{kind}://127.0.0.1:{port}", verify=str(CERTIFICATE))
        assert closed(send(transport, wire.url, route)) == b"ok"
        assert closed(send(transport, wire.url, route)) == b"ok"
        assert wire.connections == [0, 0, 1]


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_unreachable_proxy(transport: Transport, kind: str) -> None:
    route = Route(proxy_url=f"{kind}://me:{SECRET}@127.0.0.1:{free_port()}")
    with pytest.raises(Unreachable, match=r"the proxy on the way to 127\.0\.0\.1 failed") as caught:
        send(transport, "http://127.0.0.1:9/", route)
    assert SECRET not in str(caught.value)


def test_proxy_that_refuses(transport: Transport) -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    with Wire([[refusal, "close"]]) as proxy:
        with pytest.raises(Unreachable, match="the proxy on the way to localhost failed"):
            send(transport, "https://localhost:9/", Route(proxy_url=proxy.url))
        assert SECRET.encode() not in proxy.requests[0][1]


def test_no_proxy(transport: Transport) -> None:
    with Wire([[OK]]) as wire:
        route = Route(proxy_url=f"http://127.0.0.1:{free_port()}", no_proxy=("127.0.0.0/8",))
        assert closed(send(transport, wire.url, route)) == b"ok"


@pytest.mark.parametrize(
    ("host", "entry", "wanted"),
    [
        ("example.com", "example.com", True),
        ("Example.COM", "example.com", True),
        ("example.com", "EXAMPLE.com", True),
        ("a.example.com", "example.com", True),
        ("a.example.com", ".example.com", True),
        ("a.example.com", "*.example.com", True),
        ("anexample.com", "example.com", False),
        ("anexample.com", "*.example.com", False),
        ("example.com", "a.example.com", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("::1", "[::1]", True),
        ("::1", "::/64", True),
        ("anything", "*", True),
        ("anything", "", False),
        ("anything", ".", False),
        ("anything", " ", False),
    ],
)
def test_bypasses(host: str, entry: str, wanted: bool) -> None:
    assert bypasses(host, [entry]) is wanted
    assert bypasses(host, ["other.test", entry]) is wanted
    assert not bypasses(host, [])


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        (("",), ""),
        (("direct",), ""),
        (("direct", "me", "pw"), ""),
        (("http://h:1",), "http://h:1"),
        (("http://h:1", "me"), "http://me@h:1"),
        (("http://h:1", "me", "p@:/w"), "http://me:p%40%3A%2Fw@h:1"),
        (("socks5://old:pw@h:1", "me", "new"), "socks5://me:new@h:1"),
        (("http://[::1]:1", "me", "pw"), "http://me:pw@[::1]:1"),
    ],
)
def test_s85_proxy_with_credentials(args: tuple[str, ...], wanted: str) -> None:
    assert proxy_with_credentials(*args) == wanted


def test_ca_bundle() -> None:
    assert ca_bundle("rustls").endswith("cacert.pem")
    assert Path(ca_bundle("native-tls")).exists()
    assert ca_bundle("rustls", "/mine.pem") == "/mine.pem"


# ---- faults --------------------------------------------------------------------------------


def test_dns_failure(transport: Transport) -> None:
    with pytest.raises(Unreachable, match=r"^the name no-such-host\.invalid cannot be resolved$"):
        send(transport, "http://no-such-host.invalid/")


def test_refused_connection(transport: Transport) -> None:
    with pytest.raises(Unreachable, match=r"^127\.0\.0\.1 refused the connection$"):
        send(transport, f"http://127.0.0.1:{free_port()}/")


def test_server_that_does_not_speak_tls(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            client = server.accept()[0]
            client.sendall(b"220 mail.example ESMTP\r\n")
            client.recv(65536)
            client.close()

        thread = threading.Thread(target=talk)
        thread.start()
        with pytest.raises(Unreachable, match=r"TLS with 127\.0\.0\.1 failed"):
            send(transport, f"https://127.0.0.1:{server.getsockname()[1]}/")
        thread.join()


def test_untrusted_certificate(transport: Transport) -> None:
    with Wire([[OK]], tls=True) as wire:
        with pytest.raises(Unreachable, match=r"TLS with 127\.0\.0\.1 failed: check caBundle"):
            send(transport, wire.url)
        assert wire.requests == []


def test_trusted_certificate(transport: Transport) -> None:
    go = threading.Event()
    steps: list[Any] = [CHUNKED, b"1\r\na\r\n", go, b"1\r\nb\r\n0\r\n\r\n"]
    with Wire([steps, [OK], ["close"]], [[OK]], tls=True) as wire:
        route = Route(verify=str(CERTIFICATE))
        exchange = send(transport, wire.url, route)
        assert exchange.read(3) == b"a"
        assert exchange.read(0.02) is None
        go.set()
        assert closed(exchange) == b"b"
        assert closed(send(transport, wire.url, route)) == b"ok"
        assert closed(send(transport, wire.url, route)) == b"ok"
        assert wire.connections == [0, 0, 0, 1]


def test_missing_ca_bundle(transport: Transport, tmp_path: Path) -> None:
    route = Route(verify=str(tmp_path / "none.pem"))
    with pytest.raises(Unreachable, match="CA bundle for localhost cannot be read"):
        send(transport, "https://localhost:9/", route)


def test_no_headers_in_time(transport: Transport) -> None:
    with (
        Wire([[0.4]]) as wire,
        pytest.raises(UpstreamTimeout, match=r"^127\.0\.0\.1 did not answer in time$"),
    ):
        send(transport, wire.url, timeout_s=0.1)


def test_no_http(transport: Transport) -> None:
    with (
        Wire([[b"SSH-2.0-OpenSSH\r\n", "close"]]) as wire,
        pytest.raises(Unreachable, match="did not answer in HTTP"),
    ):
        send(transport, wire.url)


@pytest.mark.parametrize("bad", [f"Bearer {SECRET}\n", f"Bearer {SECRET}\r\nx: y", "Bearer 密"])
def test_unsendable_headers_do_not_leak(transport: Transport, bad: str) -> None:
    with Wire([[OK]]) as wire:
        with pytest.raises(Unreachable, match="holds bytes that no header may hold") as caught:
            send(transport, wire.url, headers={"authorization": bad})
        assert wire.requests == []
    import traceback

    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("url", ["http://", "nonsense", "http://[bad/", "ftp://x/"])
def test_bad_addresses(transport: Transport, url: str) -> None:
    with pytest.raises(Unreachable, match="cannot be called"):
        send(transport, url)


# ---- whole answers -------------------------------------------------------------------------


def once(transport: Transport, url: str, **more: Any) -> Answer:
    given = {"headers": {}, "route": Route(), "timeout_s": 2.0} | more
    return transport.call_once("POST", url, **given)


def test_call_once_has_a_connection_of_its_own(transport: Transport) -> None:
    with Wire([[OK], [OK]], [[answer(b"one")]], [[answer(b"two")]]) as wire:
        closed(send(transport, wire.url))
        assert once(transport, wire.url).body == b"one"
        assert once(transport, wire.url, body=b"{}").body == b"two"
        assert wire.connections == [0, 1, 2]
        assert "connection: close" in [line.lower() for line in head_of(wire, 1)]
        assert wire.wait_until_ended(1)
        assert wire.wait_until_ended(2)


@pytest.mark.parametrize(
    "steps",
    [
        ["close"],
        ["reset"],
        [b"HTT", "close"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", "close"],
        [CHUNKED + b"2\r\nhi\r\n", "close"],
        [CHUNKED + b"zz\r\n", "close"],
        [answer(b"not gzip", "Content-Encoding: gzip")],
    ],
)
def test_call_once_never_repeats(transport: Transport, steps: list[Any]) -> None:
    with Wire([steps], [[OK]], [[OK]]) as wire:
        with pytest.raises(Unreachable):
            once(transport, wire.url)
        assert wire.connections == [0]


def test_call_once_silence(transport: Transport) -> None:
    with Wire([[1.0]], [[OK]]) as wire:
        with pytest.raises(UpstreamTimeout):
            once(transport, wire.url, timeout_s=0.1)
        assert wire.connections == [0]


def test_call_once_reads_the_body_within_its_timeout(transport: Transport) -> None:
    """A trickle of bytes, each in time, does not keep a refresh waiting for ever."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    with Wire([[head, *[0.05, b"x"] * 100]]) as wire:
        began = time.monotonic()
        with pytest.raises(UpstreamTimeout):
            once(transport, wire.url, timeout_s=0.3)
        assert time.monotonic() - began < 1.5


def test_call_once_waits_for_the_connection_as_long_as_it_was_told() -> None:
    """A listener whose queue is full does not answer."""
    patient = Transport(connect_timeout_s=30)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            waiting.append(one)
        began = time.monotonic()
        with pytest.raises((UpstreamTimeout, Unreachable)):
            once(patient, f"http://127.0.0.1:{port}/", connect_timeout_s=0.2)
        assert time.monotonic() - began < 5
        for one in waiting:
            one.close()


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", gzip.compress(b"plain", mtime=0)),
        ("deflate", zlib.compress(b"plain")),
        ("identity", b"plain"),
        ("GZIP", gzip.compress(b"plain", mtime=0)),
    ],
)
def test_whole_answers_are_decoded(transport: Transport, encoding: str, data: bytes) -> None:
    with Wire(*[[[answer(data, f"Content-Encoding: {encoding}", "X-One: 1")]]] * 2) as wire:
        got = once(transport, wire.url)
        assert (got.status, got.body, got.headers["x-one"]) == (200, b"plain", "1")
        got = transport.call("GET", wire.url, headers={}, route=Route(), timeout_s=2)
        assert got.body == b"plain"


def test_call_keeps_the_connection(transport: Transport) -> None:
    with Wire([[answer(b"no", status="429 Slow")], [OK]]) as wire:
        for wanted in ((429, b"no"), (200, b"ok")):
            got = transport.call("GET", wire.url, headers={}, route=Route(), timeout_s=2)
            assert (got.status, got.body) == wanted
        assert wire.connections == [0, 0]


@pytest.mark.parametrize(
    "data",
    [answer(b"x" * 2000), answer(gzip.compress(b"x" * 2000, mtime=0), "Content-Encoding: gzip")],
)
def test_whole_answers_have_a_limit(transport: Transport, data: bytes) -> None:
    with Wire([[data]]) as wire, pytest.raises(Unreachable, match="too large"):
        transport.call("GET", wire.url, headers={}, route=Route(), timeout_s=2, limit_bytes=1999)


def test_whole_answer_up_to_the_limit(transport: Transport) -> None:
    with Wire([[answer(b"x" * 2000)]]) as wire:
        got = transport.call(
            "GET", wire.url, headers={}, route=Route(), timeout_s=2, limit_bytes=2000
        )
        assert len(got.body) == 2000


# ---- what can be had of an error's body ----------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        ([CHUNKED + b"2\r\nhi\r\n0\r\n\r\n"], b"hi"),
        ([CHUNKED + b"2\r\nhi\r\n", "close"], b"hi"),
        ([CHUNKED + b"2\r\nhi\r\nzz\r\n"], b"hi"),
        ([CHUNKED + b"2\r\nhi\r\n", 0.6], b"hi"),
        ([CHUNKED + b"2\r\nhi\r\n", 0.1, "reset"], b"hi"),
        ([answer(b"0123456789")], b"01234567"),
    ],
)
def test_read_all_gives_what_it_has(transport: Transport, steps: list[Any], wanted: bytes) -> None:
    with Wire([steps]) as wire:
        exchange = send(transport, wire.url)
        assert exchange.read_all(8, 0.3) == wanted
        exchange.close()


@pytest.mark.parametrize(
    ("body", "encoding", "wanted"),
    [
        (gzip.compress(b"x" * 2000, mtime=0), "gzip", b"x" * 100),
        (zlib.compress(b"hi"), "deflate", b"hi"),
        (b"hi", "gzip", b"hi"),
    ],
)
def test_read_all_decodes_what_a_gateway_has_compressed(
    transport: Transport, body: bytes, encoding: str, wanted: bytes
) -> None:
    """What Kiro says decides on its credential, also where nobody asked for compression."""
    with Wire([[answer(body, f"Content-Encoding: {encoding}")]]) as wire:
        exchange = send(transport, wire.url)
        assert exchange.read_all(100, 2) == wanted
        exchange.close()


def test_read_all_has_one_deadline(transport: Transport) -> None:
    with Wire([[CHUNKED, *[0.05, b"1\r\nx\r\n"] * 60]]) as wire:
        exchange = send(transport, wire.url)
        began = time.monotonic()
        assert set(exchange.read_all(1000, 0.3)) == set(b"x")
        assert time.monotonic() - began < 1.5
        exchange.close()


# ---- under gevent --------------------------------------------------------------------------

GEVENT = """
from gevent import monkey; monkey.patch_all()
import sys, gevent
from kiroproxy.transport import Route, Transport
transport = Transport()
def one(url):
    exchange = transport.open("POST", url, headers={}, route=Route(), timeout_s=5)
    data = silences = 0
    while (more := exchange.read(0.05)) != b"":
        silences += more is None
        data += len(more or b"")
    exchange.close()
    return data, silences > 0, exchange.complete
jobs = [gevent.spawn(one, url) for url in sys.argv[1:]]
gevent.joinall(jobs, timeout=8)
print([job.value for job in jobs])
"""


def test_reads_with_timeouts_under_gevent() -> None:
    """Q13: also on a connection that the server wants closed."""
    chunks: list[Any] = [CHUNKED, 0.2, b"2\r\nab\r\n", 0.2, b"1\r\nc\r\n0\r\n\r\n"]
    last: list[Any] = [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\na",
        0.3,
        b"bcd",
        "close",
    ]
    with Wire([chunks]) as one, Wire([last]) as two:
        result = subprocess.run(
            [sys.executable, "-c", GEVENT, one.url, two.url],
            cwd=REPOSITORY,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert result.stdout.strip() == "[(3, True, True), (4, True, True)]", result.stderr


def test_errors_of_bodies_are_event_stream_errors() -> None:
    assert issubclass(BadChunk, EventStreamError)


class _Peer:
    """A socket that has reached an address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.closed = False

    def getpeername(self) -> tuple[str, int]:
        return self.address, 80

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("address", "good"),
    [
        *(("169.254.169.254", False), ("fe80::1%2", False), ("::ffff:100.100.100.200", False)),
        *(("127.0.0.1", True), ("10.0.0.1", True), ("203.0.113.1", True)),
    ],
)
def test_a_name_that_has_come_to_mean_metadata_is_left(address: str, good: bool) -> None:
    """Whoever may name a proxy may name one that resolves otherwise after it was checked."""
    peer = _Peer(address)
    reached = type("Reached", (), {"_new_conn": lambda self: peer, "host": "name.example"})
    connection = type("Connection", (_Sender, reached), {})()
    if good:
        assert connection._new_conn() is peer
        return
    with pytest.raises(urllib3.exceptions.NewConnectionError) as caught:
        connection._new_conn()
    assert peer.closed
    assert "metadata" in _reason(requests.ConnectionError(caught.value), "name.example")
