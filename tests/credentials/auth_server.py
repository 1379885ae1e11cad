"""A tiny auth server whose refresh tokens rotate: an old one is refused, and counted."""

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

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

    def parse(self, data: bytes) -> dict[str, Any]:
        """What a body says."""
        said: dict[str, Any] = json.loads(data)
        return said

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        auth = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = auth.parse(self.rfile.read(int(self.headers["content-length"])))
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


ENTRA_CERTIFICATE = Path(__file__).parents[1] / "data/tls/entra.pem"
"""Of `login.microsoftonline.com`, signed by itself; with its key."""


class EntraServer(AuthServer):
    """The token endpoint of an Entra tenant: TLS, a form, a public client (protocol 5.1)."""

    def __init__(self, valid: str, client_id: str, path: str, life_s: int = 3600) -> None:
        super().__init__(valid, life_s)
        self._client_id = client_id
        self._path = path
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ENTRA_CERTIFICATE)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_port

    def parse(self, data: bytes) -> dict[str, Any]:
        """A form."""
        return dict(parse_qsl(data.decode(), strict_parsing=True))

    def redeem(self, body: dict[str, Any]) -> Reply:
        path, headers, _ = self.requests[-1]
        kind = {name.lower(): value for name, value in headers.items()}["content-type"]
        if path != self._path or kind != "application/x-www-form-urlencoded":
            return _refuse("invalid_request", "AADSTS900144: not a form, or another tenant")
        if body.get("grant_type") != "refresh_token":
            return _refuse("unsupported_grant_type", "AADSTS70003")
        if body.get("client_id") != self._client_id or "client_secret" in body:
            return _refuse("invalid_client", "AADSTS700025: the client is public")
        status, data = super().redeem({"refreshToken": body.get("refresh_token")})
        if status != 200:
            return _refuse("invalid_grant", "AADSTS70000: the grant has expired")
        said = json.loads(data)
        tokens = {
            "token_type": "Bearer",
            "scope": body.get("scope", ""),
            "expires_in": said["expiresIn"],
            "access_token": said["accessToken"],
            "refresh_token": said["refreshToken"],
        }
        return 200, json.dumps(tokens).encode()


def _refuse(error: str, description: str) -> Reply:
    return 400, json.dumps({"error": error, "error_description": description}).encode()
