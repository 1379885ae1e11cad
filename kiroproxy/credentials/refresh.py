"""How each kind of credential gets an access token.

Requests and answers are pure; `Refresher.redeem` is the one act. It happens at most once per
call: an ambiguous timeout is never repeated (design 5 rule 4, Q13).

Source: protocol 5.1 to 5.5; S98 to S103.
"""

import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlencode

from kiroproxy.credentials.model import (
    Credential,
    check_refresh_token,
    effective_auth_region,
    effective_machine_id,
    freeze_machine_id,
)
from kiroproxy.errors import Unreachable, UpstreamTimeout
from kiroproxy.transport import Answer, Route, Transport, proxy_with_credentials

CONNECT_S: Final = 5.0
READ_S: Final = 30.0
DEFAULT_LIFE_S: Final = 3600
"""Of an access token whose answer does not say `expiresIn` (protocol 5.2)."""
LONGEST_LIFE_S: Final = 366 * 86400
MAY_CONDEMN: Final = frozenset({400, 401, 403})
"""Only these statuses, with a positive marker, may disable a credential (protocol 5.4)."""
COUNTED: Final = frozenset({"accessdenied", "expiredtoken"})
DEAD: Final[Mapping[str, str]] = {
    "invalidgrant": "InvalidRefreshToken",
    "invalidclient": "InvalidConfig",
    "unauthorizedclient": "InvalidConfig",
}
"""Error codes without case and underscores → `disabled_reason` (S129): a new login is needed."""
IDP_HOSTS: Final = ("microsoftonline.com", "microsoftonline.us", "microsoftonline.cn")
"""The identity providers that a token may be sent to."""
_IDP_URL: Final = re.compile(r"(?i:https)://([A-Za-z0-9.-]+)(?::443)?/[!-~]*")
"""Whose host is the same for whoever reads it: a backslash in it ends the host for some."""
SNAKE: Final[Mapping[str, str]] = {
    "access_token": "accessToken",
    "refresh_token": "refreshToken",
    "expires_in": "expiresIn",
}
"""OAuth's own names, which Entra uses, and Kiro's."""
_CODE_KEYS: Final = ("error", "code", "__type", "errorCode", "reason")
_TEXT_KEYS: Final = ("error_description", "errorDescription", "message", "Message")
_SAFE_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class RefreshSettings:
    """What refreshing takes from the configuration; URLs are templates with `{region}`."""

    social_auth_url: str = "https://prod.{region}.auth.desktop.kiro.dev"
    oidc_url: str = "https://oidc.{region}.amazonaws.com"
    region: str = "us-east-1"
    auth_region: str = ""
    kiro_version: str = "0.8.0"
    machine_id: str = ""
    system_version: str = "win32#10.0.22631"
    node_version: str = "22.21.1"
    route: Route = field(default_factory=Route)


@dataclass(frozen=True, slots=True)
class RefreshRequest:
    """An HTTP request that redeems a refresh token."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class RefreshFailure:
    """Why there is no new access token.

    `disable` is the reason to disable the credential for good, empty if it may recover. `counts`:
    the third of these in a row disables. `unconfirmed`: the token may have been redeemed.
    """

    message: str
    disable: str = ""
    counts: bool = False
    unconfirmed: bool = False
    retry_after_s: float | None = None


def route_for(credential: Credential, default: Route) -> Route:
    """The way out for a credential: its own proxy, or the configuration's; `direct` means none."""
    if credential.proxy_url is None:
        return default
    own = proxy_with_credentials(
        credential.proxy_url, credential.proxy_username or "", credential.proxy_password or ""
    )
    return replace(default, proxy_url=own)


# ---- requests ------------------------------------------------------------------------------


def build_request(
    credential: Credential, settings: RefreshSettings, invocation_id: str
) -> RefreshRequest | RefreshFailure:
    """The refresh request of a credential, or why there is none."""
    if credential.auth_method == "api_key":
        return RefreshFailure("an API key has no refresh: replace it", counts=True)
    if credential.refresh_token is None:
        return RefreshFailure("there is no refresh token: log in again", disable="InvalidConfig")
    if credential.auth_method == "external_idp":
        return _idp_request(credential)
    region = effective_auth_region(credential, settings.auth_region, settings.region)
    if credential.auth_method == "social":
        return _social_request(credential, settings, region)
    return _idc_request(credential, settings, region, invocation_id)


def _social_request(
    credential: Credential, settings: RefreshSettings, region: str
) -> RefreshRequest:
    machine_id = effective_machine_id(credential, settings.machine_id)
    headers = {
        "accept": "application/json, text/plain, */*",
        "content-type": "application/json",
        "user-agent": f"KiroIDE-{settings.kiro_version}-{machine_id}",
        "accept-encoding": "gzip, deflate",
    }
    url = settings.social_auth_url.replace("{region}", region).rstrip("/") + "/refreshToken"
    body = json.dumps({"refreshToken": credential.refresh_token}).encode()
    return RefreshRequest("POST", url, headers, body)


def _idc_request(
    credential: Credential, settings: RefreshSettings, region: str, invocation_id: str
) -> RefreshRequest:
    headers = {
        "content-type": "application/json",
        "x-amz-user-agent": "aws-sdk-js/3.980.0 KiroIDE",
        "user-agent": f"aws-sdk-js/3.980.0 ua/2.1 os/{settings.system_version} lang/js "
        f"md/nodejs#{settings.node_version} api/sso-oidc#3.980.0 m/E KiroIDE",
        "amz-sdk-invocation-id": invocation_id,
        "amz-sdk-request": "attempt=1; max=4",
        "accept-encoding": "gzip, deflate",
    }
    url = settings.oidc_url.replace("{region}", region).rstrip("/") + "/token"
    body = {
        "clientId": credential.client_id,
        "clientSecret": credential.client_secret,
        "refreshToken": credential.refresh_token,
        "grantType": "refresh_token",
    }
    return RefreshRequest("POST", url, headers, json.dumps(body).encode())


def _idp_request(credential: Credential) -> RefreshRequest | RefreshFailure:
    """A public client's refresh at an Entra tenant (protocol 5.1); tokens go to no other host."""
    url = credential.token_endpoint or ""
    plain = _IDP_URL.fullmatch(url)
    host = plain[1].lower() if plain else ""
    if not any(host == one or host.endswith(f".{one}") for one in IDP_HOSTS):
        return RefreshFailure(
            "tokenEndpoint must be the https address of a Microsoft Entra tenant, such as "
            "https://login.microsoftonline.com/<tenant>/oauth2/v2.0/token"
        )
    form = {"grant_type": "refresh_token", "refresh_token": credential.refresh_token or ""}
    if credential.client_id:
        form["client_id"] = credential.client_id
    scope = credential.extra.get("scope") or credential.extra.get("scopes")
    if scope:
        form["scope"] = " ".join(scope) if isinstance(scope, list) else str(scope)
    headers = {
        "accept": "application/json",
        "content-type": "application/x-www-form-urlencoded",
        "accept-encoding": "gzip, deflate",
    }
    return RefreshRequest("POST", url, headers, urlencode(form).encode())


# ---- answers -------------------------------------------------------------------------------


def parse_answer(
    credential: Credential, answer: Answer, now: datetime
) -> Credential | RefreshFailure:
    """The renewed credential, or why there is none; only `accessToken` is mandatory."""
    if answer.status != 200:
        return classify_failure(answer, now)
    said = _object(answer.body)
    tokens = {SNAKE.get(key, key): value for key, value in said.items()}
    access_token = tokens.get("accessToken")
    if not isinstance(access_token, str) or not _SAFE_TOKEN.fullmatch(access_token):
        return RefreshFailure("the auth server's answer holds no access token", unconfirmed=True)
    return replace(
        credential,
        access_token=access_token,
        refresh_token=_text(tokens.get("refreshToken")) or credential.refresh_token,
        profile_arn=_text(tokens.get("profileArn")) or credential.profile_arn,
        expires_at=now + timedelta(seconds=_life_s(tokens.get("expiresIn"))),
        refreshed_at=now,
    )


def classify_failure(answer: Answer, now: datetime) -> RefreshFailure:
    """What a refusal means, by protocol 5.4: a page of HTML never condemns a credential."""
    status = answer.status
    said = _object(answer.body)
    codes = _codes(said)
    words = f"the auth server answered {status}" + (f" {codes[0]}" if codes else "")
    retry_after_s = _retry_after_s(answer.headers, now)
    if status == 429 or "slowdown" in codes:
        return RefreshFailure(words, retry_after_s=retry_after_s)
    if status not in MAY_CONDEMN or not said:
        return RefreshFailure(words, unconfirmed=status >= 500, retry_after_s=retry_after_s)
    for code in codes:
        if code in DEAD:
            return RefreshFailure(words, disable=DEAD[code])
    return RefreshFailure(words, counts=status != 400 or not COUNTED.isdisjoint(codes))


def error_codes(answer: Answer) -> list[str]:
    """The error codes of an auth service's refusal, without case, underscores and suffixes."""
    return _codes(_object(answer.body))


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _codes(said: Mapping[str, Any]) -> list[str]:
    """Error codes, plain: `InvalidGrantException`, `invalid_grant` and their prose are one."""
    nested = said.get("error")
    sources = [said, nested] if isinstance(nested, dict) else [said]
    codes = [
        _plain_code(value)
        for source in sources
        for key in _CODE_KEYS
        if isinstance(value := source.get(key), str) and value
    ]
    prose = " ".join(
        value
        for source in sources
        for key in _TEXT_KEYS
        if isinstance(value := source.get(key), str)
    ).lower()
    if "invalid_grant" in prose or "invalid refresh token" in prose:
        codes.append("invalidgrant")
    return codes


def _plain_code(code: str) -> str:
    plain = code.rpartition("#")[2].lower().replace("_", "").replace(" ", "")[:64]
    return plain.removesuffix("exception").removesuffix("error")


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _life_s(value: object) -> float:
    """A token's life in seconds; the default for anything that is none."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) else 0.0
    except (ValueError, OverflowError):
        seconds = 0.0
    if isinstance(value, bool) or not math.isfinite(seconds) or seconds <= 0:
        return DEFAULT_LIFE_S
    return min(seconds, LONGEST_LIFE_S)


def _retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    value = next((v for k, v in headers.items() if k.lower() == "retry-after"), "").strip()
    if value.isdecimal():
        return min(float(value), LONGEST_LIFE_S)
    try:
        return max((parsedate_to_datetime(value) - now).total_seconds(), 0.0)
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return None


# ---- the act -------------------------------------------------------------------------------


class Refresher:
    """Redeems refresh tokens over HTTP."""

    def __init__(self, transport: Transport, settings: RefreshSettings) -> None:
        self._transport = transport
        self._settings = settings

    def redeem(self, credential: Credential, now: datetime) -> Credential | RefreshFailure:
        """Ask the auth server once. The answer must be stored before it is used.

        The machine id is frozen into the result, for the refresh token it derives from is gone.
        """
        request = build_request(credential, self._settings, str(uuid.uuid4()))
        if isinstance(request, RefreshFailure):
            return request
        try:
            answer = self._transport.call_once(
                request.method,
                request.url,
                headers=request.headers,
                body=request.body,
                route=route_for(credential, self._settings.route),
                timeout_s=READ_S,
                connect_timeout_s=CONNECT_S,
            )
        except (Unreachable, UpstreamTimeout) as error:
            return RefreshFailure(str(error), unconfirmed=True)
        frozen = freeze_machine_id(credential, self._settings.machine_id)
        outcome = parse_answer(frozen, answer, now)
        if isinstance(outcome, RefreshFailure) and outcome.disable:
            why = check_refresh_token(credential.refresh_token or "")
            if why:
                outcome = replace(outcome, message=f"{outcome.message}; {why}")
        return outcome
