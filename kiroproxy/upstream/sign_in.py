"""A sign-in as a value, what a person wished for, and where it is kept between calls."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from kiroproxy.credentials.identity import CLIENT_EXPIRES, START_URL
from kiroproxy.credentials.model import Credential, build_time
from kiroproxy.credentials.policy import DEFAULT_GROUP
from kiroproxy.upstream import oauth
from kiroproxy.upstream.oauth import Client, Method

Phase = Literal["pending", "storing", "done", "failed", "cancelled"]


class Keep(Protocol):
    """Where sign-ins wait between calls; a `Pool` is one."""

    def remember(self, name: str, value: str) -> None:
        """Keep a text."""

    def recall(self, prefix: str) -> dict[str, tuple[str, float]]:
        """The texts whose names begin so, with the time at which they were kept."""


class Memory:
    """Keeps sign-ins in this process."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, float]] = {}

    def remember(self, name: str, value: str) -> None:
        """Keep a text."""
        self._kept[name] = (value, 0.0)

    def recall(self, prefix: str) -> dict[str, tuple[str, float]]:
        """The texts whose names begin so."""
        return {name: one for name, one in self._kept.items() if name.startswith(prefix)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person wants; empty means: not said.

    `relogin` is the id of the credential that gets the new tokens. `port` is the loopback port that
    the browser is sent back to, for Google and GitHub.
    """

    method: Method | None = None
    start_url: str = ""
    region: str = ""
    relogin: int = 0
    group: str = ""
    priority: int | None = None
    label: str = ""
    port: int = oauth.REDIRECT_PORTS[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn:
    """A sign-in at one moment. Times are seconds since the epoch.

    `url` is the page to open; `user_code` is what it must show (device code only). `trouble` is why
    the last poll had no answer. `same_as` are other credentials of the same account;
    `other_account`: a credential that was signed in again was another account's before.
    """

    id: str
    wish: Wish
    method: Method
    region: str
    phase: Phase = "pending"
    url: str = ""
    page: str = ""
    user_code: str = ""
    expires_at: float = 0.0
    interval_s: float = oauth.DEFAULT_INTERVAL_S
    next_poll_at: float = 0.0
    trouble: str = ""
    error: str = ""
    message: str = ""
    credential_id: int = 0
    same_as: tuple[int, ...] = ()
    other_account: bool = False
    client: Client = field(default_factory=lambda: Client("", ""), repr=False)
    device_code: str = field(default="", repr=False)
    state: str = field(default="", repr=False)
    verifier: str = field(default="", repr=False)

    @property
    def device(self) -> bool:
        """Whether it is polled; else a redirect is received."""
        return self.method in oauth.DEVICE_METHODS

    @property
    def redirect_uri(self) -> str:
        """Where the browser comes back to."""
        return oauth.redirect_uri(self.wish.port)

    def describe(self) -> dict[str, Any]:
        """What anybody may see who may sign in; nothing here is a secret."""
        shown: dict[str, Any] = {
            "id": self.id,
            "phase": self.phase,
            "method": self.method,
            "region": self.region,
        }
        if self.phase in ("pending", "storing"):
            shown |= {"url": self.url, "expiresAt": _time(self.expires_at)}
            if self.device:
                shown |= {"page": self.page, "userCode": self.user_code}
                shown |= {"interval": self.interval_s}
            else:
                shown |= {"redirectUri": self.redirect_uri}
        if self.trouble:
            shown |= {"trouble": self.trouble}
        if self.phase == "failed":
            shown |= {"error": self.error, "message": self.message}
        if self.phase == "done":
            shown |= {"credentialId": self.credential_id, "sameAccountAs": list(self.same_as)}
            shown |= {"relogin": bool(self.wish.relogin), "otherAccount": self.other_account}
        return shown


def _time(at: float) -> str:
    return build_time(datetime.fromtimestamp(at, UTC))


def blank(sign_in: SignIn) -> Credential:
    """What is known of a credential before its tokens are."""
    wish = sign_in.wish
    extra: dict[str, Any] = {}
    if sign_in.method == "idc":
        extra[START_URL] = wish.start_url
    if sign_in.client.expires_at:
        extra[CLIENT_EXPIRES] = int(sign_in.client.expires_at)
    return Credential(
        auth_method="idc" if sign_in.device else "social",
        client_id=sign_in.client.id or None,
        client_secret=sign_in.client.secret or None,
        provider=oauth.PROVIDERS[sign_in.method],
        region=sign_in.region,
        group=None if wish.group == DEFAULT_GROUP else wish.group or None,
        priority=wish.priority or 0,
        label=wish.label or None,
        extra=extra,
    )


def ended(sign_in: SignIn, phase: Phase) -> SignIn:
    """Over; its secrets are not kept any longer."""
    return replace(
        sign_in, phase=phase, client=Client("", ""), device_code="", state="", verifier=""
    )


def expiry(sign_in: SignIn) -> str:
    """Why it is over, with what stood in the way."""
    return f"{oauth.EXPIRED} ({sign_in.trouble})" if sign_in.trouble else oauth.EXPIRED
