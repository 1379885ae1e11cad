"""The HTTP server and what it can do to a connection that a well-behaved one would not."""

import socket
import struct
from collections.abc import Callable
from typing import Any

import gevent
from gevent.lock import Semaphore
from gevent.pywsgi import WSGIHandler, WSGIServer

CONNECTION = "kiroproxy.simulator.connection"
"""The key in the WSGI environment."""
READ = 1
LINGER_NOT = struct.pack("ii", 1, 0)
FOR_EVER_S = 10_000_000
BACKLOG = 2048


class ClientGone(Exception):
    """The client has closed its end."""


class Connection:
    """The client's socket under one request.

    While a script waits, the socket is watched: a client that leaves ends the wait at once.
    """

    def __init__(self, handler: Any) -> None:
        self._handler = handler
        self._watcher: Any = None
        self._waiting: Any = None
        self._gone = False

    def send(self, data: bytes) -> None:
        """Write to the socket, past WSGI.

        Raises:
            ClientGone: nobody is there.
        """
        try:
            self._handler.socket.sendall(data)
        except OSError as error:
            raise ClientGone from error

    def begin(self, *, keep: bool) -> None:
        """Tell WSGI that the answer is written here."""
        self._handler.status = b"200 OK"
        self._handler.headers_sent = True
        if not keep:
            self._handler.close_connection = True

    @property
    def keeps(self) -> bool:
        """Whether the client wants to use the connection again."""
        return not self._handler.close_connection

    def sleep(self, seconds: float | None) -> None:
        """Wait; `None` is for ever.

        Raises:
            ClientGone: the client left meanwhile.
        """
        self._wait(gevent.sleep, FOR_EVER_S if seconds is None else seconds)

    def pass_gate(self, gate: Semaphore) -> None:
        """Wait until the gate lets one through.

        Raises:
            ClientGone: the client left meanwhile.
        """
        self._wait(gate.acquire)

    def end(self, how: str) -> None:
        """Close the connection after this request: silently, or with a reset."""
        if how == "reset":
            self._handler.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        self.begin(keep=False)

    def stop_watching(self) -> None:
        """Leave the socket to the next request."""
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None

    def _wait(self, call: Callable[..., Any], *args: Any) -> None:
        if self._watcher is None:
            self._watcher = gevent.get_hub().loop.io(self._handler.socket.fileno(), READ)
            self._watcher.start(self._readable)
        if self._gone:
            raise ClientGone
        self._waiting = gevent.getcurrent()
        try:
            call(*args)
        finally:
            self._waiting = None

    def _readable(self) -> None:
        """Runs in the hub; throws into the waiting greenlet as gevent's timeouts do."""
        try:
            self._gone = not self._handler.socket._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            self._gone = True
        self._watcher.stop()  # a gone client stays readable; pipelined bytes are for later
        if self._gone and self._waiting is not None:
            self._waiting.throw(ClientGone)


class Handler(WSGIHandler):  # type: ignore[misc] # gevent has no types
    """Gives the application its connection."""

    def run_application(self) -> None:
        """Run the application with the connection in its environment."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(self)
        self.environ[CONNECTION] = connection
        try:
            super().run_application()
        finally:
            connection.stop_watching()


def make_server(host: str, port: int, application: Any, *, quiet: bool) -> WSGIServer:
    """Make a server; it listens once started."""
    log = None if quiet else "default"
    return WSGIServer((host, port), application, handler_class=Handler, log=log, backlog=BACKLOG)
