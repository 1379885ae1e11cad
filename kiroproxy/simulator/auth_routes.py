"""The auth services' paths: social and IdC refresh, device code and PKCE (`protocol.md` 5)."""

import html
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlencode

from kiroproxy.simulator.accounts import Accounts, OAuthError
from kiroproxy.simulator.exchange import Answer, Request
from kiroproxy.simulator.logins import Logins

View = Callable[[Request], Answer]
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
PAGE = "<html><body><h1>Simulated sign-in</h1><p>{}</p></body></html>"
CHOICE = (
    '<a href="{0}&amp;decision=approve">Approve</a> or <a href="{0}&amp;decision=deny">deny</a>'
)
FORM = '<form>Code: <input name="user_code" autofocus> <button>Approve</button></form>'
DECISIONS = ("approve", "deny")


class Host(Protocol):
    """What these routes need of the simulator; `reset` replaces the parts."""

    url: str
    accounts: Accounts
    logins: Logins


class AuthRoutes:
    """Views of the auth services."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._grants: dict[str, Callable[[dict[str, Any], float], dict[str, Any]]] = {
            "refresh_token": self._refresh_grant,
            DEVICE_GRANT: self._device_grant,
            "authorization_code": self._code_grant,
        }

    def views(self) -> dict[tuple[str, str], View]:
        """(method, path) → view."""
        return {
            ("POST", "/refreshToken"): self._social_refresh,
            ("POST", "/token"): self._token,
            ("POST", "/client/register"): self._register,
            ("POST", "/device_authorization"): self._start_device,
            ("GET", "/device"): self._approve_device,
            ("GET", "/authorize"): lambda r: self._authorize(r, "idc"),
            ("GET", "/login"): lambda r: self._authorize(r, "social"),
            ("GET", "/signin"): lambda r: self._authorize(r, "social"),
            ("POST", "/oauth/token"): self._social_exchange,
        }

    def _social_refresh(self, request: Request) -> Answer:
        token = str(request.fields().get("refreshToken", ""))
        return Answer(self._host.accounts.redeem(token, "social", request.time))

    def _token(self, request: Request) -> Answer:
        fields = request.fields()
        grant = self._grants.get(str(fields.get("grantType")))
        if grant is None:
            raise OAuthError("unsupported_grant_type", "Unsupported grant type")
        return Answer(grant(fields, request.time))

    def _refresh_grant(self, fields: dict[str, Any], now: float) -> dict[str, Any]:
        self._host.logins.check_client(fields)
        return self._host.accounts.redeem(str(fields.get("refreshToken", "")), "idc", now)

    def _device_grant(self, fields: dict[str, Any], now: float) -> dict[str, Any]:
        self._host.logins.poll_device(fields, now)
        return self._sign_in("idc", now)

    def _code_grant(self, fields: dict[str, Any], now: float) -> dict[str, Any]:
        self._host.logins.check_client(fields)
        values = [str(fields.get(key, "")) for key in ("code", "codeVerifier", "redirectUri")]
        self._host.logins.exchange("idc", *values)
        return self._sign_in("idc", now)

    def _sign_in(self, kind: str, now: float) -> dict[str, Any]:
        return self._host.accounts.sign_in(kind, now, email=self._host.logins.email)

    def _social_exchange(self, request: Request) -> Answer:
        fields = request.fields()
        values = [str(fields.get(key, "")) for key in ("code", "code_verifier", "redirect_uri")]
        self._host.logins.exchange("social", *values)
        return Answer(self._sign_in("social", request.time))

    def _register(self, request: Request) -> Answer:
        return Answer(self._host.logins.register_client(request.fields(), request.time))

    def _start_device(self, request: Request) -> Answer:
        base = self._host.url
        return Answer(self._host.logins.start_device(request.fields(), base, request.time))

    def _approve_device(self, request: Request) -> Answer:
        code = request.query.get("user_code", "")
        if not code:
            return Answer(PAGE.format(FORM))
        decision = request.query.get("decision", "approve")
        if decision not in DECISIONS:
            raise OAuthError("invalid_request", "decision is approve or deny")
        decided = self._host.logins.decide_device(code, decision)
        done = "Approved." if decision == "approve" else "Denied."
        said = f"{done} Go back to your program." if decided else "No such code."
        return Answer(PAGE.format(said), 200 if decided else 404)

    def _authorize(self, request: Request, kind: str) -> Answer:
        location = self._host.logins.authorize(request.query, kind)
        if location is None:
            here = html.escape(f"{request.path}?{urlencode(request.query)}")
            return Answer(PAGE.format(CHOICE.format(here)))
        return Answer(PAGE.format("Signed in."), 302, {"location": location})
