"""Notice that a client has gone while nothing is being written to it (design, Q7).

A bare callback of the event loop peeks at the client's socket; at its end it kills the handler's
greenlet, whose `finally` closes upstream and gives the credential back.
"""

import socket
from types import TracebackType
from typing import Any

import gevent
from gevent.hub import Hub

READ = 1


class ClientGone(gevent.GreenletExit):  # type: ignore[misc]
    """Raised inside the handler of a client that has left."""


class DisconnectWatcher:
    """Watches the client of the running request from `start` until `stop`.

    Bytes of a pipelined request end the watch: behind them the socket's end cannot be seen.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        client = environ.get("gunicorn.socket")
        self._socket: Any = getattr(client, "_sock", None)
        self._handler = gevent.getcurrent()
        self._io: Any = None

    def start(self) -> "DisconnectWatcher":
        """Begin to watch; does nothing outside gunicorn's gevent worker."""
        if self._socket is not None and isinstance(gevent.get_hub(), Hub):
            self._io = gevent.get_hub().loop.io(self._socket.fileno(), READ)
            self._io.start(self._on_readable)
        return self

    def _on_readable(self) -> None:
        try:
            data = self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.stop()
        if not data:
            self._handler.kill(ClientGone, block=False)

    def stop(self) -> None:
        """End the watch; harmless when repeated."""
        io, self._io = self._io, None
        if io is not None:
            io.stop()
            io.close()

    def __enter__(self) -> "DisconnectWatcher":
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
