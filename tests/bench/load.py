"""The load generator: bare sockets, so that it costs little, in a process of its own.

One JSON object says what to do and another what came of it:

    python -m tests.bench.load '{"scene": "sequence", "port": 8990, "body": "burst", "count": 20}'
"""

import json
import re
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.bench import bodies

KEY = "sk-kiroproxy-bench"
LIMIT_S = 60
STAMP = re.compile(rb"@(\d+\.\d{6});")
END = b"\r\n0\r\n\r\n"
"""Of a chunked body; without the first line break a header that ends in 0 would look like it."""
STAMP_BYTES = 24
"""No stamp is longer; so much is kept of a read in case one was cut."""
BODIES: dict[str, Callable[[], bytes]] = {
    "small": lambda: bodies.ask("small", stream=False),
    "small_stream": lambda: bodies.ask("small"),
    "burst": lambda: bodies.ask("burst"),
    "joined": lambda: bodies.ask("joined"),
    "large": lambda: bodies.large("small"),
    "thinking": lambda: bodies.think("thinking"),
    "tools": lambda: bodies.call("tools"),
    "chat": lambda: bodies.chat("burst"),
    "responses": lambda: bodies.responses("burst"),
}
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
"""Where a body goes to, if not to /v1/messages."""


class Failure(Exception):
    """An answer that is not as it should be."""


def http_request(body: bytes, path: str = "/v1/messages") -> bytes:
    """The bytes of a POST."""
    return (
        b"POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"x-api-key: %s\r\ncontent-length: %d\r\n\r\n%s"
        % (path.encode(), KEY.encode(), len(body), body)
    )


class Connection:
    """A kept connection to the server under test."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)

    def recv(self) -> bytes:
        data: bytes = self._socket.recv(262144)
        if not data:
            raise Failure("the connection was closed")
        return data

    def exchange(self, request: bytes) -> bytes:
        """Send a request and read its whole answer, head included."""
        self.send(request)
        return self.finish(b"")

    def finish(self, data: bytes) -> bytes:
        """Read the rest of an answer."""
        while b"\r\n\r\n" not in data:
            data += self.recv()
        head, _, rest = data.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise Failure(data[:300].decode("latin-1"))
        parts = [data]
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if length is None:
            tail = rest
            while not tail.endswith(END):
                parts.append(self.recv())
                tail = (tail + parts[-1])[-STAMP_BYTES:]
        else:
            missing = int(length[1]) - len(rest)
            while missing > 0:
                parts.append(self.recv())
                missing -= len(parts[-1])
        return b"".join(parts)

    def close(self) -> None:
        self._socket.close()


def sequence(port: int, body: str, count: int) -> dict[str, Any]:
    """One request after the other on one connection."""
    request = http_request(BODIES[body](), PATHS.get(body, "/v1/messages"))
    connection = Connection(port)
    began = time.perf_counter()
    sizes = {len(connection.exchange(request)) for _ in range(count)}
    return {"seconds": time.perf_counter() - began, "sizes": sorted(sizes)}


def first_delta(ports: list[int], count: int) -> dict[str, Any]:
    """Seconds from a request to its first delta, the servers in turn."""
    request = http_request(BODIES["small_stream"]())
    connections = [Connection(port) for port in ports]
    waits: list[list[float]] = [[] for _ in ports]
    for turn in range(count):
        for at in range(len(ports)) if turn % 2 else reversed(range(len(ports))):
            waits[at].append(_first_delta(connections[at], request))
    return {"medians": [statistics.median(one) for one in waits]}


def _first_delta(connection: Connection, request: bytes) -> float:
    began = time.perf_counter()
    connection.send(request)
    data = b""
    while b"content_block_delta" not in data:
        data += connection.recv()
    wait = time.perf_counter() - began
    connection.finish(data)
    return wait


class Streams:
    """Many paced streams at once; what counts is what was sent while all of them ran.

    One bare epoll loop: greenlets would cost three times as much, and what the generator takes
    from the processors, the server under test has to wait for.
    """

    def __init__(self, port: int, count: int, frames: int, ramp_s: float) -> None:
        self._port = port
        self._count = count
        self._frames = frames
        self._pause_s = ramp_s / count
        self._request = http_request(bodies.ask(f"paced:{frames}"))
        self._selector = selectors.DefaultSelector()
        self._times: list[tuple[float, float]] = []
        """When a frame was sent, and how long it took."""
        self._begun: list[float] = []
        self._ended: list[float] = []
        self._errors: list[str] = []

    def run(self) -> dict[str, Any]:
        """Start them one by one, read until all have ended, and count."""
        began = time.monotonic()
        started = 0
        while started < self._count or self._selector.get_map():
            due = began + started * self._pause_s
            now = time.monotonic()
            if now > began + LIMIT_S:
                self._errors += ["did not end"] * len(self._selector.get_map())
                break
            if started < self._count and due <= now:
                self._start()
                started += 1
            wait_s = max(0.0, due - now) if started < self._count else 1.0
            for key, _ in self._selector.select(wait_s):
                self._read(key.data)
        return self._summary()

    def _start(self) -> None:
        stream = _Stream(socket.create_connection(("127.0.0.1", self._port), timeout=LIMIT_S))
        stream.socket.sendall(self._request)
        stream.socket.setblocking(False)
        self._selector.register(stream.socket, selectors.EVENT_READ, stream)

    def _read(self, stream: "_Stream") -> None:
        try:
            data = stream.tail + stream.socket.recv(65536)
            now = time.monotonic()
            if len(data) == len(stream.tail):
                raise Failure("the connection was closed")
            self._note(stream, data, now)
            if not data.endswith(END):
                return
            self._ended.append(now)
            if stream.count != self._frames:
                raise Failure(f"{stream.count} of {self._frames} frames")
        except (OSError, Failure) as error:
            self._errors.append(str(error))
        self._selector.unregister(stream.socket)
        stream.socket.close()

    def _note(self, stream: "_Stream", data: bytes, now: float) -> None:
        if not stream.count and not stream.tail and not data.startswith(b"HTTP/1.1 200"):
            raise Failure(data[:300].decode("latin-1"))
        if b"event: error" in data:
            raise Failure(data[-300:].decode("latin-1"))
        end = 0
        for stamp in STAMP.finditer(data):
            if not stream.count:
                self._begun.append(now)
            stream.count += 1
            sent = float(stamp[1])
            self._times.append((sent, now - sent))
            end = stamp.end()
        stream.tail = data[max(end, len(data) - STAMP_BYTES) :]

    def _summary(self) -> dict[str, Any]:
        since = max(self._begun, default=0.0)
        until = min(self._ended, default=0.0)
        late = sorted(took for sent, took in self._times if since <= sent <= until)
        if not late:
            raise Failure(f"no frames while all streams ran: {self._errors[:3]}")
        return {
            "errors": self._errors,
            "frames": len(self._times),
            "counted": len(late),
            "median": late[len(late) // 2],
            "p99": late[int(len(late) * 0.99)],
            "max": late[-1],
        }


@dataclass(slots=True)
class _Stream:
    """One of them; `tail` is the end of what was read, in case a stamp was cut."""

    socket: socket.socket
    count: int = 0
    tail: bytes = b""


def streams(port: int, count: int, frames: int, ramp_s: float) -> dict[str, Any]:
    """See `Streams`."""
    return Streams(port, count, frames, ramp_s).run()


SCENES: dict[str, Callable[..., dict[str, Any]]] = {
    "sequence": sequence,
    "first_delta": first_delta,
    "streams": streams,
}

if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    print(json.dumps(SCENES[order.pop("scene")](**order)))
