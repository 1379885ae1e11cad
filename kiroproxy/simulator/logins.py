"""Sign-ins: device code and PKCE, without a person when wanted. No IO; `now` is an argument.

Source: `protocol.md` 5.8.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from kiroproxy.simulator.accounts import OAuthError

CLIENT_SECRET_DAYS = 90
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
ERRORS = {"deny": "access_denied", "expire": "expired_token"}
IDPS = {"Google", "Github"}
SCOPE = "codewhisperer:"


@dataclass(slots=True)
class DeviceLogin:
    """A device sign-in under way."""

    device_code: str
    user_code: str
    expires_at: float
    interval: float
    mode: str
    polls: int = 0
    last_poll: float = 0.0


@dataclass(slots=True)
class PendingCode:
    """An authorization code that was not yet exchanged."""

    kind: str
    challenge: str
    redirect_uri: str
    client_id: str
    mode: str = "auto"


class Logins:
    """Clients, device sign-ins and authorization codes."""

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.mode = "auto"
        """auto: granted at the second poll; manual: when approved; deny; expire."""
        self.interval = 1.0
        self.expires_in = 600.0
        self.slow_downs = 0
        """So many of the next polls are told to slow down."""
        self.email: str | None = None
        """Whose the next sign-ins are; None: of somebody new each time."""
        self._clients: dict[str, str] = {}
        self._devices: dict[str, DeviceLogin] = {}
        self._codes: dict[str, PendingCode] = {}

    def register_client(self, fields: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Register a public client.

        Raises:
            OAuthError: it lacks something, or its start URL, scopes or redirects cannot be right.
        """
        if not fields.get("clientName") or fields.get("clientType") != "public":
            raise OAuthError("invalid_client_metadata", "clientName and clientType are required")
        if "issuerUrl" in fields:
            check_start_url(fields["issuerUrl"])
        if not all(str(scope).startswith(SCOPE) for scope in fields.get("scopes") or ()):
            raise OAuthError("invalid_scope", "Invalid scope provided")
        for uri in fields.get("redirectUris") or ():
            check_loopback(str(uri))
        client_id, client_secret = f"simulated-{secrets.token_hex(8)}", secrets.token_hex(32)
        self._clients[client_id] = client_secret
        return {
            "clientId": client_id,
            "clientSecret": client_secret,
            "clientIdIssuedAt": int(now),
            "clientSecretExpiresAt": int(now + CLIENT_SECRET_DAYS * 86_400),
        }

    def check_client(self, fields: Mapping[str, Any]) -> str:
        """Return the id of the client that calls.

        Raises:
            OAuthError: no client, a wrong secret, or (strict) a client that was never registered.
        """
        client_id, secret = fields.get("clientId"), fields.get("clientSecret")
        if not client_id or not secret:
            raise OAuthError("invalid_request", "clientId and clientSecret are required")
        known = self._clients.get(client_id)
        if known != secret and (known is not None or self.strict):
            raise OAuthError("invalid_client", "Invalid client provided", 401)
        return str(client_id)

    # ---- device code ---------------------------------------------------------------------

    def start_device(self, fields: Mapping[str, Any], base_url: str, now: float) -> dict[str, Any]:
        """Begin a device sign-in."""
        self.check_client(fields)
        check_start_url(fields.get("startUrl"))
        user_code = "-".join(secrets.token_hex(2).upper() for _ in range(2))
        code = secrets.token_urlsafe(24)
        expires_at = now + self.expires_in
        self._devices[code] = DeviceLogin(code, user_code, expires_at, self.interval, self.mode)
        return {
            "deviceCode": code,
            "userCode": user_code,
            "verificationUri": f"{base_url}/device",
            "verificationUriComplete": f"{base_url}/device?user_code={user_code}",
            "expiresIn": self.expires_in,
            "interval": self.interval,
        }

    def decide_device(self, user_code: str | None, decision: str) -> int:
        """Approve, deny or expire one device sign-in, or all of them; return how many."""
        chosen = [d for d in self._devices.values() if user_code in (None, d.user_code)]
        for device in chosen:
            device.mode = decision
        return len(chosen)

    def poll_device(self, fields: Mapping[str, Any], now: float) -> None:
        """Ask for the outcome; returning means that tokens may be issued.

        Raises:
            OAuthError: not yet, too fast, refused, or over.
        """
        self.check_client(fields)
        device = self._devices.get(fields.get("deviceCode", ""))
        if device is None:
            raise OAuthError("invalid_grant", "Invalid device code provided")
        if now >= device.expires_at:
            device.mode = "expire"
        too_fast = now - device.last_poll < device.interval * 0.9
        device.polls, device.last_poll = device.polls + 1, now
        if device.mode in ERRORS:
            del self._devices[device.device_code]
            raise OAuthError(ERRORS[device.mode], "The simulated person said no, or nothing")
        if self.slow_downs > 0:
            self.slow_downs -= 1
            too_fast = True
        if too_fast:
            raise OAuthError("slow_down", "Slow down to prevent throttling")
        if device.mode != "approve" and not (device.mode == "auto" and device.polls > 1):
            raise OAuthError("authorization_pending", "Authorization is still pending")
        del self._devices[device.device_code]

    # ---- authorization code with PKCE ----------------------------------------------------

    def authorize(self, query: Mapping[str, str], kind: str) -> str | None:
        """Grant a browser sign-in at once; return where the browser goes next.

        When a person is to decide, None until the query holds a `decision`.

        Raises:
            OAuthError: the request lacks something, or its redirect leads away from this host.
        """
        needed = ["redirect_uri", "state", "code_challenge", "code_challenge_method"]
        missing = [key for key in needed if not query.get(key)]
        if missing or query["code_challenge_method"] != "S256":
            raise OAuthError("invalid_request", f"missing or unusable: {missing or 'method'}")
        if query.get("idp", "Google") not in IDPS:
            raise OAuthError("invalid_request", f"idp is one of {', '.join(sorted(IDPS))}")
        uri = query["redirect_uri"]
        check_loopback(uri)
        decision = query.get("decision")
        if self.mode == "manual" and decision is None:
            return None
        if "deny" in (self.mode, decision):
            answer = {"error": "access_denied", "state": query["state"]}
        else:
            code = secrets.token_urlsafe(24)
            client_id = query.get("client_id", "")
            self._codes[code] = PendingCode(
                kind, query["code_challenge"], uri, client_id, self.mode
            )
            answer = {"code": code, "state": query["state"]}
        return f"{uri}{'&' if urlsplit(uri).query else '?'}{urlencode(answer)}"

    def exchange(self, kind: str, code: str, verifier: str, redirect_uri: str) -> None:
        """Use an authorization code up; returning means that tokens may be issued.

        Raises:
            OAuthError: code, verifier or redirect do not belong together.
        """
        pending = self._codes.pop(code, None)
        if pending is None or pending.kind != kind:
            raise OAuthError("invalid_grant", "Invalid authorization code provided")
        if pending.mode == "expire":
            raise OAuthError("expired_token", "The authorization code has expired")
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if challenge != pending.challenge:
            raise OAuthError("invalid_grant", "Invalid code verifier provided")
        # The portal's clients send the whole URI that received the code (5.8).
        if redirect_uri.split("?")[0] != pending.redirect_uri.split("?")[0]:
            raise OAuthError("invalid_grant", "Redirect URI mismatch")


def check_start_url(url: Any) -> None:
    """Refuse what cannot be an organisation's page.

    Raises:
        OAuthError: it is missing or no https address.
    """
    if not url:
        raise OAuthError("invalid_request", "startUrl is required")
    if not str(url).startswith("https://") or " " in str(url):
        raise OAuthError("invalid_request", "Invalid start url provided")


def check_loopback(uri: str) -> None:
    """Refuse to send a browser to another host than its own.

    Raises:
        OAuthError: the address is not a loopback one, nor the IDE's.
    """
    parts = urlsplit(uri)
    if parts.scheme != "kiro" and (parts.scheme != "http" or parts.hostname not in LOOPBACK):
        raise OAuthError("invalid_request", "redirect_uri is not on this host")
