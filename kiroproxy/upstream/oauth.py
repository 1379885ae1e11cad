"""The requests and answers of a sign-in: device code and PKCE (pure).

Source: protocol notes 5.8; RFC 8628 (device code), RFC 7636 (PKCE).
"""

import base64
import hashlib
import json
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qs, urlencode, urlsplit

from kiroproxy.credentials.model import REGION
from kiroproxy.credentials.refresh import error_codes
from kiroproxy.errors import InvalidRequest, LoginFailed, ServerFault, Throttled, UpstreamError
from kiroproxy.transport import Answer

Method = Literal["builder-id", "idc", "google", "github"]

PROVIDERS: Final[Mapping[Method, str]] = {
    "builder-id": "BuilderId",
    "idc": "Enterprise",
    "google": "Google",
    "github": "Github",
}
"""Method → `provider` of the credential, as the IDE spells it (protocol 5.7); also Kiro's `idp`."""
DEVICE_METHODS: Final = frozenset({"builder-id", "idc"})
BUILDER_ID_URL: Final = "https://view.awsapps.com/start"
BUILDER_ID_REGION: Final = "us-east-1"
"""The only one in which Builder ID exists."""
CLIENT_NAME: Final = "kiroproxy"
"""Shown to the person who approves."""
DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
SCOPES: Final = tuple(
    f"codewhisperer:{name}"
    for name in ("completions", "analysis", "conversations", "transformations", "taskassist")
)
REDIRECT_PORTS: Final = (3128, 4649, 6588, 8008, 9091, 49153, 50153, 51153, 52153, 53153)
"""Of the loopback address, to which alone Kiro sends a browser back."""
CALLBACK: Final = "/oauth/callback"
DEFAULT_INTERVAL_S: Final = 5.0
SLOW_DOWN_S: Final = 5.0
"""RFC 8628, 3.5: so much longer between polls, each time it is asked for."""
LONGEST_INTERVAL_S: Final = 120.0
DEFAULT_LIFE_S: Final = 600.0
LONGEST_LIFE_S: Final = 3600.0
REDIRECT_LIMIT: Final = 16_384
"""Characters; a redirect with more is none."""

DENIED: Final = "The sign-in was denied in the browser. Start it again to have another try."
EXPIRED: Final = "Nobody approved the sign-in in time. Start it again for a new code."
_SHOWN: Final = re.compile(r"[\x21-\x7e]{1,2048}")
_CODE: Final = re.compile(r"[A-Za-z0-9-]{1,32}")


@dataclass(frozen=True, slots=True)
class Post:
    """A JSON request to a sign-in service."""

    url: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client; `expires_at` in seconds since the epoch, 0 if it was not said."""

    id: str = field(repr=False)
    secret: str = field(repr=False)
    expires_at: float = 0.0


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """What a person is shown, and what is polled with."""

    device_code: str = field(repr=False)
    user_code: str
    verification_url: str
    complete_url: str
    life_s: float
    interval_s: float


def _post(url: str, **fields: Any) -> Post:
    return Post(url, json.dumps(fields).encode())


# ---- what a person says ----------------------------------------------------------------------


def check_start_url(url: str) -> str:
    """The start URL of an organisation.

    Raises:
        InvalidRequest: it cannot be one.
    """
    try:
        parts = urlsplit(url.strip())
        good = parts.scheme == "https" and parts.hostname and parts.username is None
    except ValueError:
        good = False
    if not good or not _SHOWN.fullmatch(url.strip()):
        raise InvalidRequest(
            "The start URL must be the https address of your organisation's sign-in page, such as "
            "https://example.awsapps.com/start.",
            param="start_url",
        )
    return url.strip()


def check_region(region: str, method: Method) -> str:
    """The region in which a person signs in.

    Raises:
        InvalidRequest: it is no region, or not one of this method.
    """
    if not REGION.fullmatch(region):
        raise InvalidRequest(f"{region!r} is not a region such as us-east-1.", param="region")
    if method == "builder-id" and region != BUILDER_ID_REGION:
        raise InvalidRequest(
            f"Builder ID exists in {BUILDER_ID_REGION} only; leave the region out.", param="region"
        )
    return region


# ---- device code -----------------------------------------------------------------------------


def registration(oidc_url: str, start_url: str) -> Post:
    """Register a client, for this sign-in and the renewals that follow."""
    return _post(
        f"{oidc_url}/client/register",
        clientName=CLIENT_NAME,
        clientType="public",
        scopes=SCOPES,
        grantTypes=(DEVICE_GRANT, "refresh_token"),
        issuerUrl=start_url,
    )


def device_authorization(oidc_url: str, client: Client, start_url: str) -> Post:
    """Ask for a code that a person can approve."""
    return _post(
        f"{oidc_url}/device_authorization",
        clientId=client.id,
        clientSecret=client.secret,
        startUrl=start_url,
    )


def device_poll(oidc_url: str, client: Client, device_code: str) -> Post:
    """Ask whether the person has approved."""
    return _post(
        f"{oidc_url}/token",
        clientId=client.id,
        clientSecret=client.secret,
        deviceCode=device_code,
        grantType=DEVICE_GRANT,
    )


def parse_client(answer: Answer) -> Client:
    """Read a registration.

    Raises:
        LoginFailed, UpstreamError: there is none.
    """
    said = _said(answer)
    expires_at = _number(said.get("clientSecretExpiresAt"), 0.0)
    return Client(_word(said, "clientId"), _word(said, "clientSecret"), expires_at)


def parse_device_code(answer: Answer) -> DeviceCode:
    """Read what the service wants a person to see: nothing but a web address and a code.

    Raises:
        LoginFailed, UpstreamError: there is none.
    """
    said = _said(answer)
    url = _web_address(said.get("verificationUri"))
    code = said.get("userCode")
    if not url or not isinstance(code, str) or not _CODE.fullmatch(code):
        raise LoginFailed("The sign-in service gave no code and page to approve it on.")
    life_s = _number(said.get("expiresIn"), DEFAULT_LIFE_S)
    interval_s = _number(said.get("interval"), DEFAULT_INTERVAL_S)
    return DeviceCode(
        device_code=_word(said, "deviceCode"),
        user_code=code,
        verification_url=url,
        complete_url=_web_address(said.get("verificationUriComplete")) or url,
        life_s=min(life_s, LONGEST_LIFE_S),
        interval_s=min(interval_s, LONGEST_INTERVAL_S),
    )


def still_pending(answer: Answer, interval_s: float) -> float | None:
    """How long to wait until the next poll; None when the answer holds the tokens.

    Raises:
        LoginFailed: the person said no, the code is over, or the service refuses.
    """
    if answer.status == 200:
        return None
    codes = error_codes(answer)
    if "authorizationpending" in codes:
        return interval_s
    if "slowdown" in codes or answer.status == 429:
        return min(interval_s + SLOW_DOWN_S, LONGEST_INTERVAL_S)
    if answer.status >= 500:
        return backed_off(interval_s)
    raise refusal(answer)


def backed_off(interval_s: float) -> float:
    """RFC 8628, 3.5: wait longer each time when there is no proper answer."""
    return min(max(interval_s, 1.0) * 2, LONGEST_INTERVAL_S)


# ---- PKCE ------------------------------------------------------------------------------------


def challenge_of(verifier: str) -> str:
    """S256 of RFC 7636."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def redirect_uri(port: int) -> str:
    """Where the browser is sent back to."""
    return f"http://127.0.0.1:{port}{CALLBACK}"


def social_page(auth_url: str, method: Method, redirect: str, verifier: str, state: str) -> str:
    """The page on which a person signs in with Google or GitHub."""
    query = {
        "idp": PROVIDERS[method],
        "redirect_uri": redirect,
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": "S256",
        "state": state,
    }
    return f"{auth_url}/login?{urlencode(query)}"


def social_exchange(auth_url: str, code: str, verifier: str, redirect: str) -> Post:
    """Exchange the code of a redirect for tokens; it works once."""
    return _post(
        f"{auth_url}/oauth/token", code=code, code_verifier=verifier, redirect_uri=redirect
    )


def parse_redirect(text: str, state: str) -> str:
    """The authorization code in the address that the browser was sent back to.

    A pasted address may be wrapped over lines, quoted, or only what follows its question mark.

    Raises:
        LoginFailed: it is of another sign-in (`state_mismatch`), the person said no
            (`access_denied`), or it is no such address at all (`invalid_redirect`).
    """
    fields = _query(text)
    # The state comes first: what did not come from our own start cannot end our sign-in either.
    given = fields.get("state", "").encode("utf-8", "surrogatepass")
    if not given and "code" not in fields and "error" not in fields:
        raise LoginFailed(
            "That is not the address that the browser was sent back to: it has to contain code= "
            "and state=. Copy the whole of it from the address bar.",
            code="invalid_redirect",
        )
    if not secrets.compare_digest(given, state.encode()):
        raise LoginFailed(
            "That address belongs to another sign-in: its state is not the one of this. Use the "
            "link that was shown last.",
            code="state_mismatch",
        )
    if error := fields.get("error"):
        raise _named_failure(error.replace("_", "").lower()) or LoginFailed(
            f"The sign-in page answered {_plain(error)!r}."
        )
    code = fields.get("code", "")
    if not _SHOWN.fullmatch(code):
        raise LoginFailed("The address holds no usable code.", code="invalid_redirect")
    return code


def _query(text: str) -> dict[str, str]:
    """The parameters of an address, or of its query alone; what is there twice is not there."""
    whole = "".join(text[:REDIRECT_LIMIT].split()).strip("'\"<>`")
    try:
        query = urlsplit(whole).query if "?" in whole else whole.partition("#")[0]
        fields = parse_qs(query, max_num_fields=100, errors="replace")
    except ValueError:
        return {}
    return {key: values[0] for key, values in fields.items() if len(values) == 1}


# ---- answers ---------------------------------------------------------------------------------


def refusal(answer: Answer) -> LoginFailed | UpstreamError:
    """What an answer that is no success means."""
    codes = error_codes(answer)
    for code in codes:
        if failure := _named_failure(code):
            return failure
    if answer.status == 429:
        return Throttled("The sign-in service has had too many calls. Try again in a minute.")
    if answer.status >= 500:
        return ServerFault(f"The sign-in service answered {answer.status}. Try again later.")
    said = json_object(answer.body)
    why = said.get("error_description") or said.get("message") or (codes[0] if codes else "")
    return LoginFailed(
        f"The sign-in service answered {answer.status}"
        + (f": {_plain(why)}" if isinstance(why, str) and why else ".")
    )


def _named_failure(code: str) -> LoginFailed | None:
    if code == "accessdenied":
        return LoginFailed(DENIED, code="access_denied")
    if code == "expiredtoken":
        return LoginFailed(EXPIRED, code="expired_token")
    return None


def _said(answer: Answer) -> dict[str, Any]:
    if answer.status != 200:
        raise refusal(answer)
    return json_object(answer.body)


def json_object(body: bytes) -> dict[str, Any]:
    """The object in a body; anything else counts as an empty one."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _word(said: Mapping[str, Any], key: str) -> str:
    value = said.get(key)
    if not isinstance(value, str) or not value:
        raise LoginFailed(f"The sign-in service's answer lacks {key}.")
    return value


def _number(value: object, default: float) -> float:
    """A number of seconds that makes sense, else the default."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good and isinstance(value, int | float) and value >= 0 else default


def _web_address(value: object) -> str:
    """An address that may be shown and opened; empty for anything else."""
    if not isinstance(value, str) or not _SHOWN.fullmatch(value):
        return ""
    return value if value.startswith(("https://", "http://")) else ""


def _plain(text: str) -> str:
    """Words of a stranger, fit for a terminal."""
    return "".join(one if one.isprintable() else " " for one in text[:200]).strip()
