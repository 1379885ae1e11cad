"""Where a browser comes back to after a sign-in: a port of this machine's loopback address."""

import html
import os
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from kiroproxy.errors import InvalidRequest
from kiroproxy.upstream.oauth import CALLBACK, REDIRECT_PORTS

HOST: Final = "127.0.0.1"
VERDICT_S: Final = 120.0
"""So long a browser waits to hear what became of its visit."""
REQUEST_S: Final = 10.0
SEND_S: Final = 2.0
PAGE: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>kiroproxy</title>'
    '<body style="font: 1.2rem sans-serif; margin: 4rem"><h1>{title}</h1><p>{text}</p>'
)


class Visit:
    """A browser that came back; it waits until it is answered."""

    def __init__(self, redirect: str) -> None:
        self.redirect = redirect
        """The path and query that it came to."""
        self._done = threading.Event()
        self._sent = threading.Event()
        self._ok = False
        self._text = "Nobody waits for this sign-in any more."

    def answer(self, ok: bool, text: str) -> None:
        """Show the person what became of it; returns when the page is on its way."""
        self._ok, self._text = ok, text
        self._done.set()
        self._sent.wait(SEND_S)

    def sent(self) -> None:
        """The page has left."""
        self._sent.set()

    def page(self) -> tuple[int, bytes]:
        """Status and page, once there is an answer."""
        self._done.wait(VERDICT_S)
        title = "Signed in" if self._ok else "Not signed in"
        page = PAGE.format(title=title, text=html.escape(self._text))
        return (200 if self._ok else 400), page.encode()


class Loopback:
    """Listens while it is open; use as a context manager."""

    def __init__(self, port: int | None = None) -> None:
        """Take a port, or the first free one of those that Kiro sends browsers back to.

        Raises:
            InvalidRequest: it is taken, or all are.
        """
        self._visits: queue.Queue[Visit] = queue.Queue()
        self._server = _listen((port,) if port else REDIRECT_PORTS, self._visits)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def wait(self, timeout_s: float) -> Visit | None:
        """The next browser that comes back; None if none does in time."""
        try:
            return self._visits.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Give the port back; browsers that still wait are told that it is over."""
        self._server.shutdown()
        while not self._visits.empty():
            self._visits.get().answer(False, "The sign-in was cancelled.")
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    # On Windows the option would let two programs listen on one port.
    allow_reuse_address = os.name == "posix"
    daemon_threads = True
    block_on_close = False
    visits: "queue.Queue[Visit]"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is nobody's concern."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_S
    server_version = "kiroproxy"
    sys_version = ""

    def do_GET(self) -> None:  # noqa: N802, RUF100 - the base class looks for this name
        """Hand a callback over; anything else is not found."""
        if urlsplit(self.path).path != CALLBACK:
            self._send(404, b"")
            return
        visit = Visit(self.path)
        self.server.visits.put(visit)
        try:
            self._send(*visit.page())
        finally:
            visit.sent()

    def _send(self, status: int, page: bytes) -> None:
        self.send_response(status)
        headers = {
            "content-type": "text/html; charset=utf-8",
            "content-length": str(len(page)),
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",  # the address holds the code
            "connection": "close",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: Any) -> None:
        """The address must not be written anywhere."""


def _listen(ports: tuple[int, ...], visits: "queue.Queue[Visit]") -> _Server:
    for port in ports:
        try:
            server = _Server((HOST, port), _Handler)
        except OSError:
            continue
        server.visits = visits
        return server
    what = f"Port {ports[0]} is" if len(ports) == 1 else "All ports for a sign-in are"
    raise InvalidRequest(
        f"{what} taken on {HOST}: choose another with --port, or paste the address with --paste.",
        param="port",
    )
