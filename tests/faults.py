"""A TCP proxy with faults, between kiroproxy and the simulator.

Faults are queued; each exchange (a request and its answer, on a kept connection or a new one) takes
the next one, or none. `FaultProxy` runs it in a process of its own; what it says there goes through
stdin and stdout, one JSON value a line.
"""

import contextlib
import json
import random
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Literal

from tests.simulation import REPOSITORY

READ = 65536


@dataclass
class Fault:
    """What one exchange suffers.

    `after` counts bytes of the answer; None means when the request arrives, which is then not
    passed on.
    """

    end: Literal["", "reset", "close", "hole", "corrupt"] = ""
    """A hole swallows everything and stays open."""
    after: int | None = 0
    latency_s: float = 0.0
    """Before each piece of the answer."""
    slice_bytes: int = 0
    """Pieces of 1 to so many bytes, each in a packet of its own."""


class FaultProxy:
    """`with FaultProxy(sim.url) as faults:`; `faults.url` takes the simulator's place."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.url = ""

    def __enter__(self) -> "FaultProxy":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults", self._target.rpartition("/")[2]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        self.url = f"http://127.0.0.1:{self._answer()}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def suffer(self, *faults: Fault) -> int:
        """Queue faults in place of those that wait; returns how many exchanges there were."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([asdict(fault) for fault in faults]) + "\n")
        self._process.stdin.flush()
        exchanges: int = self._answer()
        return exchanges


# ---- the process -----------------------------------------------------------------------------


class Server:
    """Passes connections on, and keeps the queue."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.queue: deque[Fault] = deque()
        self.exchanges = 0

    def next_fault(self) -> Fault:
        self.exchanges += 1
        return self.queue.popleft() if self.queue else Fault()

    def handle(self, client: Any, _: Any) -> None:
        import gevent
        from gevent import socket as green

        with client, green.create_connection(self.target) as upstream:
            for one in (client, upstream):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(self, client, upstream)
            both = [gevent.spawn(link.up), gevent.spawn(link.down)]
            gevent.joinall(both, count=1)
            gevent.killall(both)


class Link:
    """One connection. When either of its ways ends, it ends."""

    def __init__(self, server: Server, client: Any, upstream: Any) -> None:
        self._server = server
        self._client = client
        self._upstream = upstream
        self._fault: Fault | None = None
        self._passed = 0
        self._hole = False

    def up(self) -> None:
        """The request's way."""
        with contextlib.suppress(OSError):
            self._up()

    def down(self) -> None:
        """The answer's way."""
        with contextlib.suppress(OSError):
            self._down()

    def _up(self) -> None:
        while data := self._client.recv(READ):
            if self._hole:
                continue
            if self._fault is None or self._passed:
                self._fault, self._passed = self._server.next_fault(), 0
            if self._fault.end and self._fault.after is None:
                if self._strike():
                    return
                continue
            self._upstream.sendall(data)

    def _down(self) -> None:
        import gevent

        while data := self._upstream.recv(READ):
            fault = self._fault or Fault()
            for piece in pieces(data, fault.slice_bytes):
                if fault.latency_s:
                    gevent.sleep(fault.latency_s)
                if self._pass_on(piece, fault):
                    return
                if fault.slice_bytes:
                    gevent.sleep(0)
            while self._hole:
                gevent.sleep(3600)

    def _pass_on(self, piece: bytes, fault: Fault) -> bool:
        """Send a piece, or what the fault leaves of it; whether that was the end."""
        place = (fault.after or 0) - self._passed
        self._passed += len(piece)
        if self._hole:
            return False
        if fault.end and 0 <= place < len(piece):
            if fault.end == "corrupt":
                piece = piece[:place] + bytes([piece[place] ^ 0x20]) + piece[place + 1 :]
            else:
                self._client.sendall(piece[:place])
                return self._strike()
        self._client.sendall(piece)
        return False

    def _strike(self) -> bool:
        assert self._fault is not None
        if self._fault.end == "hole":
            self._hole = True
            return False
        if self._fault.end == "reset":
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return True


def pieces(data: bytes, limit: int) -> Iterator[bytes]:
    """The data in pieces of 1 to `limit` bytes; whole if there is no limit."""
    chance = random.Random(len(data))
    start = 0
    while start < len(data):
        size = chance.randint(1, limit) if limit else len(data)
        yield data[start : start + size]
        start += size


def main() -> None:
    """Serve until stdin ends."""
    from gevent.fileobject import FileObjectThread
    from gevent.server import StreamServer

    host, _, port = sys.argv[1].partition(":")
    server = Server((host, int(port)))
    listener = StreamServer(("127.0.0.1", 0), server.handle)
    listener.start()
    print(listener.server_port, flush=True)
    for line in FileObjectThread(sys.stdin):
        server.queue = deque(Fault(**fields) for fields in json.loads(line))
        print(server.exchanges, flush=True)


if __name__ == "__main__":
    main()
