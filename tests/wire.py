"""A TCP server that plays scripts byte by byte, and proxies as small as they can be."""

import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

Step = bytes | float | threading.Event | str | Callable[[socket.socket], None]
Script = list[list[Step]]
"""Of one connection: for each request, bytes to send, seconds to wait, an event to wait for,
`"close"` or `"reset"`, or something to be done with the socket."""

CERTIFICATE = Path(__file__).parent / "data/tls/localhost.pem"
"""Of `localhost` and 127.0.0.1, signed by itself; with its key."""


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole answer with Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def read_request(client: socket.socket, held: bytes = b"") -> bytes:
    """One request, with its body; nothing at the end of the connection."""
    data = bytearray(held)
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            missing = int(line[15:]) - len(body)
            while missing > 0:
                more = client.recv(1 << 20)
                if not more:
                    return b""
                data += more
                missing -= len(more)
    return bytes(data)


class _Server:
    """Listens, and gives each connection a thread."""

    def __init__(self, tls: bool = False) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._context: ssl.SSLContext | None = None
        if tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(CERTIFICATE)
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            self._spawn(self._guarded, client, number)
            number += 1

    def _guarded(self, client: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), client:
            if self._context is not None:
                client = self._context.wrap_socket(client, server_side=True)
                self._open.append(client)
            with client:
                self.serve(client, number)

    def serve(self, client: socket.socket, number: int) -> None:
        """Talk on one connection."""
        raise NotImplementedError


class Wire(_Server):
    """Plays one script per connection; connections beyond the scripts are closed at once.

    `requests` holds (connection, bytes) of all requests, `ended` the connections that the client
    closed.
    """

    def __init__(self, *scripts: Script, tls: bool = False, pause_s: float = 0) -> None:
        """Pause before each request is read."""
        super().__init__(tls)
        self._scripts = scripts
        self._pause_s = pause_s
        self.requests: list[tuple[int, bytes]] = []
        self.ended: list[int] = []
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"

    @property
    def connections(self) -> list[int]:
        """On which connection each request came."""
        return [number for number, _ in self.requests]

    def serve(self, client: socket.socket, number: int) -> None:
        if number >= len(self._scripts):
            return
        for steps in self._scripts[number]:
            time.sleep(self._pause_s)
            request = read_request(client)
            if not request:
                self.ended.append(number)
                return
            self.requests.append((number, request))
            for step in steps:
                if step == "close":
                    return
                self._play(client, step)
        with contextlib.suppress(ConnectionError):
            while client.recv(65536):
                pass
        self.ended.append(number)

    def _play(self, client: socket.socket, step: Step) -> None:
        if isinstance(step, bytes):
            client.sendall(step)
        elif isinstance(step, float):
            time.sleep(step)
        elif isinstance(step, threading.Event):
            assert step.wait(10)
        elif step == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        elif callable(step):
            step(client)

    def wait_until_ended(self, number: int) -> bool:
        """Whether the client has closed a connection, or does soon."""
        deadline = time.monotonic() + 3
        while number not in self.ended and time.monotonic() < deadline:
            time.sleep(0.005)
        return number in self.ended


def _splice(a: socket.socket, b: socket.socket) -> None:
    while True:
        for one in select.select([a, b], [], [])[0]:
            data = one.recv(65536)
            if not data:
                return
            (b if one is a else a).sendall(data)


class HttpProxy(_Server):
    """An HTTP proxy: CONNECT, and plain requests with an absolute URL. `heads` is what it read.

    `diverted` says what it connects to in place of some `host:port`.
    """

    def __init__(self, diverted: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.diverted = diverted or {}
        self.heads: list[bytes] = []

    def serve(self, client: socket.socket, number: int) -> None:
        data = read_request(client)
        if not data:  # somebody looked whether it is there
            return
        self.heads.append(data.partition(b"\r\n\r\n")[0])
        target = data.split(b" ", 2)[1].decode()
        tunnel = data.startswith(b"CONNECT")
        where = target if tunnel else target.split("/")[2]
        where = self.diverted.get(where, where)
        host, _, port = where.rpartition(":")
        with socket.create_connection((host, int(port))) as upstream:
            if tunnel:
                client.sendall(b"HTTP/1.1 200 go ahead\r\n\r\n")
            else:
                upstream.sendall(data.replace(target.encode(), b"/" + target.encode()[7:], 1))
            _splice(client, upstream)


class SocksProxy(_Server):
    """SOCKS 5 with user name and password (RFC 1928, 1929). `logins` and `targets` as they came."""

    def __init__(self) -> None:
        super().__init__()
        self.logins: list[tuple[bytes, bytes]] = []
        self.targets: list[tuple[str, int]] = []

    def serve(self, client: socket.socket, number: int) -> None:
        stream = client.makefile("rb")
        methods = stream.read(stream.read(2)[1])
        client.sendall(b"\x05\x02" if 2 in methods else b"\x05\x00")
        if 2 in methods:
            user = stream.read(stream.read(2)[1])
            self.logins.append((user, stream.read(stream.read(1)[0])))
            client.sendall(b"\x01\x00")
        kind = stream.read(4)[3]
        host = (
            socket.inet_ntoa(stream.read(4))
            if kind == 1
            else stream.read(stream.read(1)[0]).decode()
        )
        port = int.from_bytes(stream.read(2), "big")
        self.targets.append((host, port))
        with socket.create_connection((host, port)) as upstream:
            client.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            _splice(client, upstream)
