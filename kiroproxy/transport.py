"""HTTP to the outside: sessions, timeouts, and foreign exceptions translated.

The only importer of `requests`. One `Session` per proxy and TLS setting; nothing is taken from
the environment (design, Q13).
"""

import contextlib
import email.parser
import functools
import http.client
import ipaddress
import logging
import re
import select
import ssl
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlsplit

import certifi
import requests
import requests.adapters
import socks  # type: ignore[import-untyped]
import urllib3.exceptions
import urllib3.util
from gevent import monkey

from kiroproxy.addresses import is_off_limits, parse_literal
from kiroproxy.errors import EventStreamError, Unreachable, UpstreamTimeout
from kiroproxy.http_body import Body, ChunkedBody, CountedBody, UnboundedBody

# It tells of each damaged response head, with a traceback; what comes of it is told by us.
logging.getLogger("urllib3.connection").setLevel(logging.ERROR)

READ_BYTES = 65536
_HOSTS = 1000
"""So many hosts' pools an adapter remembers."""
FILE_BUFFER_BYTES = 8192
"""Of http.client's file object, which holds what came along with the headers."""
SEND_S = 120.0
"""A request's whole body must be sent within this: 32 MiB at 2 Mbit/s and a little more."""
ANSWER_LIMIT_BYTES = 16 * 1024 * 1024
TOO_LARGE = "the answer is too large"


@dataclass(frozen=True, slots=True)
class Route:
    """How to get out: the key under which sessions are kept.

    `proxy_url` may carry credentials and may be empty; `verify` is a CA bundle's path. `no_proxy`
    holds names (good for what is below them too, `.` or `*.` before them or not), addresses,
    networks, or `*`.
    """

    proxy_url: str = ""
    no_proxy: tuple[str, ...] = ()
    verify: str = ""


def ca_bundle(tls_backend: str, override: str = "") -> str:
    """The CA bundle of a `tlsBackend`: certifi's for `rustls`, the system's for `native-tls`."""
    if override:
        return override
    if tls_backend == "native-tls":
        paths = ssl.get_default_verify_paths()
        return paths.cafile or paths.capath or certifi.where()
    return certifi.where()


def proxy_with_credentials(url: str, username: str = "", password: str = "") -> str:
    """Write a user name and password into a proxy URL; `direct` means none."""
    if not url or url == "direct":
        return ""
    if not username:
        return url
    parts = urlsplit(url)
    user = quote(username, safe="") + (":" + quote(password, safe="") if password else "")
    return parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}").geturl()


@dataclass(slots=True)
class Answer:
    """A whole response. `body` is decoded by Content-Encoding."""

    status: int
    headers: Mapping[str, str]
    body: bytes


_JOINED_BYTES = 64 * 1024
"""Longer bodies are not copied for it."""
_poll = monkey.get_original("select", "poll") if hasattr(select, "POLLIN") else None
"""The system's own; None on Windows."""


class _OffLimits(urllib3.exceptions.NewConnectionError):
    """A name has led to a link-local or metadata address."""


_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*\r?\n")
_FIELDS = 100
_LINE_BYTES = 65536
"""http.client's own limits of a response's head."""


class _Response(http.client.HTTPResponse):
    """A response whose head is parsed at once: http.client has the email package do it, 60 µs.

    Lines that are no plain fields are left to that package: it keeps what is no header apart.
    """

    def begin(self) -> None:
        """Read the head, and those of the 1xx responses before it."""
        if self.headers is not None:
            return
        status = 100
        while 100 <= status < 200 and status != 101:
            version, status, reason = self._read_status()
            lines = self._read_fields()
        if not version.startswith(("HTTP/1.", "HTTP/0.9")):
            raise http.client.UnknownProtocol(version)
        self.code = self.status = status
        self.reason = reason.strip()
        self.version = 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        self.headers = self.msg = _parse_fields(lines)
        self.chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        self.will_close = self._check_close()
        self.length = self._announced_length()
        if self.length is None and not self.chunked:
            self.will_close = True

    def _read_fields(self) -> list[bytes]:
        lines = []
        while (line := self.fp.readline(_LINE_BYTES + 1)) not in (b"\r\n", b"\n"):
            if not line.endswith(b"\n") and len(line) <= _LINE_BYTES:
                raise HTTPException("the head breaks off")
            if len(line) > _LINE_BYTES:
                raise http.client.LineTooLong("header line")
            lines.append(line)
            if len(lines) > _FIELDS:
                raise HTTPException(f"more than {_FIELDS} header fields")
        return lines

    def _announced_length(self) -> int | None:
        if self.status in (204, 304) or self.status < 200 or self._method == "HEAD":  # type: ignore[attr-defined]
            return 0
        length = self.headers.get("content-length", "")
        return int(length) if not self.chunked and length.isdecimal() else None


def _parse_fields(lines: list[bytes]) -> http.client.HTTPMessage:
    fields = list(map(_FIELD.fullmatch, lines))
    if None in fields:
        text = b"".join(lines).decode("iso-8859-1")
        return email.parser.Parser(_class=http.client.HTTPMessage).parsestr(text)
    message = http.client.HTTPMessage()
    for field_ in fields:
        name, value = field_.groups()  # type: ignore[union-attr]
        message.set_raw(name.decode(), value.decode("iso-8859-1"))
    message.set_payload("")
    return message


class _Sender:
    """Mixed into urllib3's connections: a large body may take longer to send than to connect.

    Without it the connect timeout would be the deadline of the whole `sendall`. The head goes out
    together with the beginning of the body: one system call and one packet less. And a name may
    mean another address than when somebody checked it: that is looked at before a byte is sent.
    """

    response_class = _Response
    _joins = False
    """The next thing to be sent is a request's head."""
    _head = b""

    def _tunnel(self: Any) -> None:
        try:
            super()._tunnel()  # type: ignore[misc]
        except (OSError, HTTPException) as error:
            error.kiroproxy_tunnel = True  # type: ignore[union-attr]
            raise

    def _new_conn(self: Any) -> Any:
        made = super()._new_conn()  # type: ignore[misc]
        peer = parse_literal(str(made.getpeername()[0]))
        if peer is not None and is_off_limits(peer):
            made.close()
            raise _OffLimits(self, "off limits")
        return made

    def endheaders(self: Any, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()
        self.sock.settimeout(SEND_S)
        self._joins = True
        try:
            super().endheaders(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._joins = False

    def send(self: Any, data: Any) -> None:
        if self._joins:
            self._head, self._joins = data, False
            return
        head, self._head = self._head, b""
        if head and isinstance(data, bytes) and len(data) <= _JOINED_BYTES:
            data = head + data
        elif head:
            super().send(head)  # type: ignore[misc]
        super().send(data)  # type: ignore[misc]

    def getresponse(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._head:  # there was no body
            self.send(b"")
        return super().getresponse(*args, **kwargs)  # type: ignore[misc]

    def close(self: Any) -> None:
        self._head = b""
        super().close()  # type: ignore[misc]

    @property
    def is_connected(self: Any) -> bool:
        """Whether a kept connection is still good: nothing to read, no end either.

        urllib3 asks gevent's `poll`, which takes 40 µs and a turn of the loop to say "not now".
        """
        if self.sock is None or _poll is None:
            return bool(super().is_connected)  # type: ignore[misc]
        poll = _poll()
        poll.register(self.sock, select.POLLIN)
        return not poll.poll(0)


class _Marker:
    """Mixed into urllib3's pools: marks errors of a connection that had served before.

    Its peer may just have timed it out. The socket is what counts: urllib3 opens a new one for the
    same connection object.
    """

    def _make_request(self, conn: Any, *args: Any, **kwargs: Any) -> Any:
        kept = conn.sock is not None and conn.sock is getattr(conn, "kiroproxy_served", None)
        try:
            response = super()._make_request(conn, *args, **kwargs)  # type: ignore[misc]
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            error.kiroproxy_kept = kept  # type: ignore[union-attr]
            raise
        conn.kiroproxy_served = conn.sock
        return response


@functools.cache
def _mixed(pool: type[Any]) -> type[Any]:
    connection = type("Connection", (_Sender, pool.ConnectionCls), {})
    return type("Pool", (_Marker, pool), {"ConnectionCls": connection})


class _Adapter(requests.adapters.HTTPAdapter):
    """Puts our pools into all of urllib3's managers: direct, HTTP proxy and SOCKS.

    It also remembers what requests would work out anew for each call, a third of the call's cost:
    which pool serves a host, the path of a URL. An adapter serves one `Route`, so a host is reached
    either directly or by the one proxy, with the one CA bundle.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._known: dict[str, Any] = {}

    def get_connection_with_tls_context(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """The pool of the URL's host, unless it was closed to make room for others."""
        host = request.url[: request.url.find("/", 8)]  # behind http:// or https://
        pool = self._known.get(host)
        if pool is None or pool.pool is None:
            pool = super().get_connection_with_tls_context(request, *args, **kwargs)
            verify = kwargs.get("verify", args[0] if args else True)
            super().cert_verify(pool, request.url, verify, None)  # type: ignore[no-untyped-call]
            if len(self._known) >= _HOSTS:
                self._known.clear()
            self._known[host] = pool
        return pool

    def cert_verify(self, *args: Any) -> None:
        """Done once, when the pool was made."""

    def request_url(self, request: Any, proxies: Any) -> str:
        """The path of the request line, or the whole URL for a proxy."""
        return super().request_url(request, proxies) if proxies else _path(request.url)

    def build_response(self, request: Any, response: Any) -> requests.Response:
        """The little that `Exchange` reads: no cookies, no history."""
        answer = requests.Response()
        answer.status_code = response.status
        answer.headers = response.headers
        answer.raw = response
        return answer

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _mix_into(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not known:
            _mix_into(manager)
        return manager


@functools.lru_cache(maxsize=256)
def _path(url: str) -> str:
    prepared = requests.PreparedRequest()
    prepared.url = url
    return prepared.path_url


def _mix_into(manager: Any) -> None:
    classes = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _mixed(pool) for scheme, pool in classes.items()}


def causes(error: BaseException) -> list[BaseException]:
    """An exception and all that it wraps: the libraries use four ways of wrapping."""
    found: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        one = todo.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            todo += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
    return found


class Exchange:
    """An open response whose body is read as it arrives.

    `status` and `headers` are there at once. The connection goes back to its pool only when the
    body was consumed exactly; otherwise `close` closes it.
    """

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        raw: Any = response.raw._fp
        self._first = raw.fp
        """http.client's file object; it may hold bytes that came along with the headers."""
        self._socket = raw.fp.raw._sock if raw.fp is not None else None
        self._body: Body
        if raw.chunked:
            self._body = ChunkedBody()
        elif raw.length is not None:
            self._body = CountedBody(raw.length)
        else:
            self._body = UnboundedBody()
        self._timeout_s: float | None = None
        self.damaged = bool(raw.msg.get_payload())
        """The head goes on after a line that is no header. http.client reads to the next empty
        line, which may lie in the body: its beginning would be lost without a trace."""

    @property
    def complete(self) -> bool:
        """Whether the body was read to its announced end."""
        return self._body.complete

    @property
    def announced_end(self) -> bool:
        """Whether the body says where it ends; if so, an EOF before that is a cut."""
        return not isinstance(self._body, UnboundedBody)

    def read(self, timeout_s: float) -> bytes | None:
        """More of the body; `b""` at its end or at EOF, None when no content came in time.

        Raises:
            Unreachable: the connection was reset.
            EventStreamError: the chunked coding is broken.
        """
        if self._body.fault is not None:
            raise self._body.fault
        if self._body.complete or self._socket is None:
            return b""
        if timeout_s != self._timeout_s:
            self._socket.settimeout(max(timeout_s, 0.001))
            self._timeout_s = timeout_s
        try:
            if self._first is not None:
                first, self._first = self._first, None
                data = first.read1(READ_BYTES)
                if len(data) > FILE_BUFFER_BYTES // 2:  # its buffer was full: more is at hand
                    data += self._at_hand(self._socket)
            else:
                data = self._socket.recv(READ_BYTES)
        except TimeoutError:
            return None
        except OSError as error:
            raise Unreachable(f"the connection to Kiro broke: {error}") from error
        if not data:
            return b""
        body = self._body.feed(data)
        return body if body or self._body.complete else None

    def _at_hand(self, connection: Any) -> bytes:
        """What the socket holds already."""
        self._timeout_s = None
        connection.settimeout(0)
        try:
            data: bytes = connection.recv(READ_BYTES)
            return data
        except (BlockingIOError, TimeoutError, ssl.SSLWantReadError):
            return b""

    def _parts(self, limit_bytes: int, timeout_s: float) -> Iterator[bytes]:
        """The body until its end, until there is more of it than the limit, or out of time."""
        deadline = time.monotonic() + timeout_s
        size = 0
        while size <= limit_bytes:
            left_s = deadline - time.monotonic()
            data = self.read(left_s) if left_s > 0 else None
            if data == b"":
                return
            if data is not None:
                size += len(data)
                yield data
            elif left_s <= 0:
                raise UpstreamTimeout("the answer broke off in silence")

    def read_all(self, limit_bytes: int, timeout_s: float) -> bytes:
        """What can be had of a small body, decoded; quietly less on any trouble.

        At most `limit_bytes`, and for no longer than `timeout_s` altogether.
        """
        data = bytearray()
        with contextlib.suppress(Unreachable, UpstreamTimeout, EventStreamError):
            for part in self._parts(limit_bytes, timeout_s):
                data += part
        body = bytes(data[:limit_bytes])
        with contextlib.suppress(zlib.error):
            body = self._decoded(body, limit_bytes)
        return body[:limit_bytes]

    def _decoded(self, data: bytes, limit_bytes: int) -> bytes:
        """The body without its Content-Encoding, which some gateway may have put on unasked."""
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if not data or encoding not in ("gzip", "x-gzip", "deflate"):
            return data
        return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data, limit_bytes + 1)

    def answer(self, limit_bytes: int, timeout_s: float) -> Answer:
        """The whole response, decoded by its Content-Encoding, and closed.

        Raises:
            Unreachable: it broke off, is broken or larger than the limit.
            UpstreamTimeout: it did not come to its end in time.
        """
        try:
            data = b"".join(self._parts(limit_bytes, timeout_s))
            if self.announced_end and not self.complete:
                raise Unreachable("the answer was cut" if len(data) <= limit_bytes else TOO_LARGE)
            data = self._decoded(data, limit_bytes)
        except (EventStreamError, zlib.error) as error:
            raise Unreachable(f"the answer is broken: {error}") from error
        finally:
            self.close()
        if len(data) > limit_bytes:
            raise Unreachable(TOO_LARGE)
        return Answer(self.status, self.headers, data)

    def close(self) -> None:
        """Give the connection back if the body was consumed exactly, else close it."""
        response = self._response
        raw: Any = response.raw
        self._socket = None
        if self._body.complete and not self._body.excess and raw._connection is not None:
            raw._fp.close()
            raw.release_conn()
        else:
            response.close()


class Transport:
    """Sends requests over kept connections.

    `pool_size` is how many connections to one host are kept; more may be open at once.
    """

    def __init__(self, *, pool_size: int = 1000, connect_timeout_s: float = 10) -> None:
        self._pool_size = pool_size
        self._connect_timeout_s = connect_timeout_s
        self._sessions: dict[Route, requests.Session] = {}

    def _session(self, route: Route, *, pool_size: int) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.headers.clear()
        session.verify = route.verify or True
        adapter = _Adapter(pool_connections=10, pool_maxsize=pool_size, max_retries=0)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        return session

    def _send(
        self,
        session: requests.Session,
        route: Route,
        call: "_Call",
        timeout_s: float,
        connect_timeout_s: float,
    ) -> Exchange:
        try:
            proxied = route.proxy_url and not bypasses(call.host, route.no_proxy)
            proxies = {"http": route.proxy_url, "https": route.proxy_url} if proxied else {}
            prepared = call.prepare()
            # not session.send, whose cookies, hooks and redirects nobody wants
            response = session.get_adapter(prepared.url or "").send(
                prepared,
                stream=True,
                timeout=(connect_timeout_s, timeout_s),
                proxies=proxies,
                verify=route.verify or True,
            )
        except requests.Timeout as error:
            where = "connect" if isinstance(error, requests.ConnectTimeout) else "answer"
            raise UpstreamTimeout(f"{call.host} did not {where} in time") from error
        except ValueError as error:  # its words hold headers, and so may its traceback
            raise Unreachable(_reason(error, call.host)) from None
        except OSError as error:  # as all of requests' are
            unreachable = Unreachable(_reason(error, call.host))
            unreachable.kept_connection = any(
                getattr(one, "kiroproxy_kept", False) for one in causes(error)
            )
            raise unreachable from error
        if response.is_redirect:
            response.close()
            raise Unreachable(f"{call.host} answered with a redirect, which is not followed")
        return Exchange(response)

    def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        route: Route,
        timeout_s: float,
    ) -> Exchange:
        """Send a request and return when the response's headers are there.

        A kept connection that dies before any byte of the answer is tried once more on a new one.

        Raises:
            Unreachable: DNS, TCP, TLS or proxy fault, or a damaged head.
            UpstreamTimeout: no connection or no headers in time.
        """
        call = _Call(method, url, headers, body)
        session = self._sessions.get(route)
        if session is None:
            session = self._sessions[route] = self._session(route, pool_size=self._pool_size)
        try:
            exchange = self._send(session, route, call, timeout_s, self._connect_timeout_s)
        except Unreachable as error:
            if not error.kept_connection:
                raise
            once = self._session(route, pool_size=1)
            exchange = self._send(once, route, call, timeout_s, self._connect_timeout_s)
        if exchange.damaged:
            exchange.close()
            raise Unreachable(f"the head of {call.host}'s answer is damaged")
        return exchange

    def call_once(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        route: Route,
        timeout_s: float,
        connect_timeout_s: float = 5,
    ) -> Answer:
        """Send a request on a connection of its own, never repeat it, read the whole answer.

        For calls that must not happen twice, such as redeeming a refresh token. The answer must
        begin within `timeout_s`, and have ended after as long again.

        Raises:
            Unreachable: DNS, TCP, TLS or proxy fault, or the answer broke off.
            UpstreamTimeout: no answer in time.
        """
        call = _Call(method, url, {**headers, "connection": "close"}, body)
        with self._session(route, pool_size=1) as session:
            exchange = self._send(session, route, call, timeout_s, connect_timeout_s)
            return exchange.answer(ANSWER_LIMIT_BYTES, timeout_s)

    def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        route: Route,
        timeout_s: float,
        limit_bytes: int = ANSWER_LIMIT_BYTES,
    ) -> Answer:
        """Send a request over the kept connections and read the whole answer.

        Raises:
            Unreachable: DNS, TCP, TLS or proxy fault, or the answer broke off.
            UpstreamTimeout: no answer in time, as with `call_once`.
        """
        exchange = self.open(
            method, url, headers=headers, body=body, route=route, timeout_s=timeout_s
        )
        return exchange.answer(limit_bytes, timeout_s)


@dataclass(frozen=True, slots=True)
class _Call:
    """A request, as often as it is sent."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)

    @property
    def host(self) -> str:
        try:
            return urlsplit(self.url).hostname or self.url
        except ValueError:
            return self.url

    def prepare(self) -> requests.PreparedRequest:
        prepared = requests.PreparedRequest()
        prepared.method = self.method
        prepared.url = _checked_url(self.url)
        if any(map(_UNSENDABLE.search, self.headers.values())):
            raise requests.exceptions.InvalidHeader("a header holds bytes that none may hold")
        prepared.headers = requests.structures.CaseInsensitiveDict(self.headers)
        if self.body is not None:
            prepared.headers["content-length"] = str(len(self.body))
            prepared.body = self.body
        prepared.hooks = {"response": []}
        prepared.headers.setdefault("user-agent", "kiroproxy")
        # else http.client sends one, and an event stream must not be asked for compressed (Q13)
        prepared.headers.setdefault("accept-encoding", urllib3.util.SKIP_HEADER)
        return prepared


_UNSENDABLE = re.compile(r"^\s|[\r\n]")


@functools.lru_cache(maxsize=256)
def _checked_url(url: str) -> str:
    """A URL as requests would send it; checking costs as much as the rest of a request."""
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, None)
    return prepared.url or url


def bypasses(host: str, no_proxy: Collection[str]) -> bool:
    """Whether a host is reached without the proxy."""
    host = host.lower()
    for entry in no_proxy:
        name = entry.strip().lower().removeprefix("*").lstrip(".")
        if not name:
            if entry.strip() == "*":
                return True
            continue
        if host == name.strip("[]") or host.endswith("." + name):
            return True
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False):
                return True
    return False


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (requests.exceptions.SSLError, "TLS with {host} failed: check caBundle, tlsBackend, the clock"),
    (requests.exceptions.ProxyError, "the proxy on the way to {host} failed"),
    (socks.ProxyError, "the proxy on the way to {host} failed"),
    (requests.exceptions.InvalidProxyURL, "the proxy on the way to {host} has no proper address"),
    (requests.exceptions.InvalidHeader, "a header for {host} holds bytes that no header may hold"),
    (UnicodeError, "a header for {host} holds bytes that no header may hold"),
    (ValueError, "{host} cannot be called: check the address"),
    (urllib3.exceptions.NameResolutionError, "the name {host} cannot be resolved"),
    (_OffLimits, "the way to {host} leads to a link-local or metadata address"),
    (ConnectionRefusedError, "{host} refused the connection"),
    (ConnectionError, "{host} closed the connection without an answer"),
    (TimeoutError, "{host} did not take the request in time"),
    (HTTPException, "{host} did not answer in HTTP"),
    (urllib3.exceptions.NewConnectionError, "{host} cannot be reached"),
)
"""The first row that fits what happened, or what lies behind it."""


def fetch_pinned(
    url: str, address: str, *, verify: str, limit_bytes: int, timeout_s: float
) -> Answer:
    """GET an https URL from one resolved address, without redirects (SSRF: design 7 of issue 3).

    At most `limit_bytes` + 1 of the body are read; the certificate must be the host's.

    Raises:
        Unreachable: it cannot be had, or not in `timeout_s`.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    deadline = time.monotonic() + timeout_s
    pool = urllib3.HTTPSConnectionPool(
        address,
        parts.port or 443,
        server_hostname=host,
        assert_hostname=host,
        ca_certs=verify or certifi.where(),
        cert_reqs="CERT_REQUIRED",
        timeout=timeout_s,
        retries=False,
    )
    body = b""
    try:
        response = pool.request(
            "GET",
            target,
            headers={"host": parts.netloc.rpartition("@")[2], "accept": "image/*"},
            redirect=False,
            preload_content=False,
        )
        while len(body) <= limit_bytes and (part := response.read(READ_BYTES)):
            body += part
            if time.monotonic() > deadline:
                raise Unreachable(f"{host} is too slow")
        return Answer(response.status, response.headers, body)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Unreachable(f"{host} cannot be reached: {type(error).__name__}") from error
    finally:
        pool.close()


def _reason(error: Exception, host: str) -> str:
    """One sentence for people, never with the words of the exception: they may hold secrets."""
    if type(error) is OSError:  # requests looks for the file before each call
        return f"the CA bundle for {host} cannot be read: check caBundle"
    chain = causes(error)
    if any(getattr(one, "kiroproxy_tunnel", False) for one in chain):
        return f"the proxy on the way to {host} failed"
    for kind, sentence in _REASONS:
        if any(isinstance(one, kind) for one in chain):
            return sentence.format(host=host)
    return f"{host} cannot be reached: {type(error).__name__}"
