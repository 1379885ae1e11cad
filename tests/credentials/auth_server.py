"""A tiny auth server whose refresh tokens rotate: an old one is refused, and counted."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Reply = tuple[int, bytes]


class AuthServer:
    """`valid` is the one refresh token that may be redeemed; `script` may answer instead."""

    def __init__(self, valid: str = "rt-0", life_s: int = 3600) -> None:
        self.valid = valid
        self.life_s = life_s
        self.issued = 0
        self.reused = 0
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.script: Callable[[dict[str, Any]], Reply | None] = lambda body: None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def redeem(self, body: dict[str, Any]) -> Reply:
        if (scripted := self.script(body)) is not None:
            return scripted
        with self._lock:
            if body.get("refreshToken") != self.valid:
                self.reused += 1
                said = {
                    "error": "invalid_grant",
                    "error_description": "Invalid refresh token provided",
                }
                return 400, json.dumps(said).encode()
            self.issued += 1
            self.valid = f"rt-{self.issued}"
            tokens = {
                "accessToken": f"at-{self.issued}",
                "refreshToken": self.valid,
                "expiresIn": self.life_s,
            }
            return 200, json.dumps(tokens).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        auth = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                auth.requests.append((self.path, dict(self.headers), body))
                status, data = auth.redeem(body)
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        return Handler

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
