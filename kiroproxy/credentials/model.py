"""A credential and its JSON shape (pure).

Known keys are checked by a schema and errors name them; unknown keys are kept in `extra` and
survive a rewrite. Values that did not change are written back exactly as they were read.

Source: shared credential formats; protocol 2.2, 2.5, 5.1, 5.6; rulings X8, X12.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

import marshmallow as ma

from kiroproxy.errors import ConfigError

AuthMethod = Literal["social", "idc", "api_key", "external_idp"]

AUTH_METHODS: Final[Mapping[str, AuthMethod]] = {
    "social": "social",
    "idc": "idc",
    "builderid": "idc",
    "iam": "idc",
    "apikey": "api_key",
    "externalidp": "external_idp",
}
"""Spellings without case, hyphens and underscores (X8)."""

TOKEN_TYPES: Final[Mapping[str, str]] = {"api_key": "API_KEY", "external_idp": "EXTERNAL_IDP"}
"""Values of the `tokentype` header; other kinds send none (protocol 2.3)."""

REASONS: Final = frozenset(
    {
        *("Manual", "TooManyFailures", "TooManyRefreshFailures", "QuotaExceeded"),
        *("InvalidRefreshToken", "InvalidConfig", "Suspended"),
    }
)
"""Why a credential is disabled (S129), and Kiro's own suspension."""

DEFAULT_ENDPOINT: Final = "ide"
ENDPOINTS: Final = (DEFAULT_ENDPOINT, "cli")
"""Whose way of speaking to Kiro a credential takes: the IDE's, or kiro-cli's (protocol 2.4)."""

BUILDER_ID_ARN: Final = "arn:aws:codewhisperer:us-east-1:638616132270:profile/AAAACCCCXXXX"
SOCIAL_ARN: Final = "arn:aws:codewhisperer:us-east-1:699475941385:profile/EHGA3GRVQMUK"
PLACEHOLDER_ARNS: Final = frozenset({BUILDER_ID_ARN, SOCIAL_ARN})
"""Public constants that stand for "no profile of one's own" (protocol 2.5)."""

REGION: Final = re.compile(r"[a-z]{2}(-[a-z]{1,16}){1,3}-[0-9]{1,2}")
"""It becomes part of host names: a label has at most 63 characters."""
_HEADER_SAFE: Final = re.compile(r"[\x21-\x7e]+")
_HEX_64: Final = re.compile(r"[0-9a-f]{64}")
_HEX_32: Final = re.compile(r"[0-9a-f]{32}")

REFRESH_TOKEN_MIN: Final = 100
"""Characters; anything shorter is a display copy (S104, protocol 5.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An upstream account. `id` 0 means: not stored yet, the store gives one.

    `generation` counts refreshes and moves with nothing else. `refreshed_at` tells a token's whole
    life. `expires_at` None means expired (X12). A credential that is disabled with `disabled_until`
    rests until then. `linked_to` is the file of another program that refreshes it, too.
    """

    id: int = 0
    auth_method: AuthMethod = "social"
    access_token: str | None = field(default=None, repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None
    refreshed_at: datetime | None = None
    client_id: str | None = field(default=None, repr=False)
    client_secret: str | None = field(default=None, repr=False)
    kiro_api_key: str | None = field(default=None, repr=False)
    profile_arn: str | None = field(default=None, repr=False)
    provider: str | None = None
    priority: int = 0
    region: str | None = None
    auth_region: str | None = None
    api_region: str | None = None
    machine_id: str | None = field(default=None, repr=False)
    email: str | None = field(default=None, repr=False)
    label: str | None = None
    name: str | None = None
    group: str | None = None
    proxy_url: str | None = field(default=None, repr=False)
    proxy_username: str | None = field(default=None, repr=False)
    proxy_password: str | None = field(default=None, repr=False)
    endpoint: str | None = None
    max_concurrent: int | None = None
    disabled: bool = False
    disabled_reason: str | None = None
    disabled_until: datetime | None = None
    subscription: str | None = None
    token_endpoint: str | None = None
    linked_to: str | None = None
    generation: int = 0
    imported_from: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)

    @property
    def secrets(self) -> tuple[str | None, ...]:
        """What must not stand in a log."""
        return (
            self.access_token,
            self.refresh_token,
            self.client_secret,
            self.kiro_api_key,
            self.proxy_password,
        )

    @property
    def bearer(self) -> str | None:
        """What follows `Bearer`: the access token, or the API key itself."""
        return self.kiro_api_key if self.auth_method == "api_key" else self.access_token

    @property
    def token_type(self) -> str | None:
        """The `tokentype` header that this kind needs."""
        return TOKEN_TYPES.get(self.auth_method)

    @property
    def renewable(self) -> bool:
        """Whether there is anything with which to get an access token."""
        return self.auth_method != "api_key" and self.refresh_token is not None

    @property
    def display_name(self) -> str:
        """How to call it in words for the operator: no secret, no address."""
        return f"#{self.id} {self.label or self.name or ''}".rstrip()


# ---- reading -------------------------------------------------------------------------------


def parse_time(value: object) -> datetime | None:
    """An aware UTC time from RFC 3339 or an epoch in seconds or milliseconds; else None (X12).

    A time without a zone is taken as UTC.
    """
    try:
        if isinstance(value, str) and value.strip().isdecimal():
            value = int(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            # 1e11 is the year 5138 in seconds and 1973 in milliseconds
            return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
        if not isinstance(value, str):
            return None
        time = datetime.fromisoformat(value.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def build_time(time: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and `Z`, as Kiro's own files have it."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Text(ma.fields.String):
    """Text without the white space that pasting adds; empty means absent."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._deserialize(value, *args, **kwargs).strip() or None


class _Word(_Text):
    """A text whose case means nothing."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs)
        return text and text.lower()


class _Time(ma.fields.Field[datetime | None]):
    """Never an error: what cannot be read counts as expired (X12)."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> datetime | None:
        return parse_time(value)


class _Id(ma.fields.Field[int]):
    """Never an error: other programs keep other ids here; the store then gives a number."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


class _AuthMethod(ma.fields.Field[str]):
    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        plain = str(value).strip().lower().replace("-", "").replace("_", "")
        if plain not in AUTH_METHODS:
            raise ma.ValidationError("is not one of social, idc, api_key, external_idp")
        return AUTH_METHODS[plain]


_is_region = ma.validate.Regexp(REGION.pattern + r"\Z", error="is not a region such as us-east-1")
_is_header_safe = ma.validate.Regexp(
    _HEADER_SAFE.pattern + r"\Z", error="contains characters that no token has"
)


def _text(key: str, *checks: Any) -> _Text:
    return _Text(data_key=key, allow_none=True, validate=_unless_absent(checks))


def _unless_absent(checks: tuple[Any, ...]) -> list[Any]:
    def guard(check: Any) -> Any:
        return lambda value: None if value is None else check(value)

    return [guard(check) for check in checks]


class CredentialSchema(ma.Schema):
    """The known keys of one entry."""

    id = _Id(allow_none=True)
    auth_method = _AuthMethod(data_key="authMethod", allow_none=True)
    access_token = _text("accessToken", _is_header_safe)
    refresh_token = _text("refreshToken")
    expires_at = _Time(data_key="expiresAt", allow_none=True)
    refreshed_at = _Time(data_key="refreshedAt", allow_none=True)
    client_id = _text("clientId")
    client_secret = _text("clientSecret")
    kiro_api_key = _text("kiroApiKey", _is_header_safe)
    profile_arn = _text("profileArn")
    provider = _text("provider")
    priority = ma.fields.Integer(allow_none=True)
    region = _text("region", _is_region)
    auth_region = _text("authRegion", _is_region)
    api_region = _text("apiRegion", _is_region)
    machine_id = _text("machineId")
    email = _text("email")
    label = _text("label")
    name = _text("name")
    group = _text("group")
    proxy_url = _text("proxyUrl")
    proxy_username = _text("proxyUsername")
    proxy_password = _text("proxyPassword")
    endpoint = _Word(allow_none=True)
    max_concurrent = ma.fields.Integer(
        data_key="maxConcurrent", allow_none=True, validate=_unless_absent((ma.validate.Range(1),))
    )
    disabled = ma.fields.Boolean(allow_none=True)
    disabled_reason = _text("disabledReason")
    disabled_until = _Time(data_key="disabledUntil", allow_none=True)
    subscription = _text("subscriptionTitle")
    token_endpoint = _text("tokenEndpoint")
    linked_to = _text("linkedTo")
    generation = ma.fields.Integer(allow_none=True)
    imported_from = _text("importedFrom")


_SCHEMA: Final = CredentialSchema()
KEYS: Final[Mapping[str, str]] = {
    attribute: one.data_key or attribute for attribute, one in _SCHEMA.fields.items()
}
"""Attribute → JSON key, in the order in which a new entry is written."""
_KNOWN: Final = frozenset(KEYS.values()) | {"auth"}


def parse_credential(raw: object, where: str = "credentials") -> Credential:
    """Read one entry.

    Raises:
        ConfigError: names the entry and the key.
    """
    credential = parse_stored(raw, where)
    if why := unknown_endpoint(credential):
        raise ConfigError(f"{where}.endpoint", why)
    return credential


def unknown_endpoint(credential: Credential) -> str:
    """Why nobody can speak to Kiro as its `endpoint` says; empty if that is known."""
    if credential.endpoint is None or credential.endpoint in ENDPOINTS:
        return ""
    return f"must be {' or '.join(ENDPOINTS)}, not {credential.endpoint[:40]!r}"


def parse_stored(raw: object, where: str) -> Credential:
    """Read one entry of a store, where an unknown `endpoint` may have got in by hand.

    Raises:
        ConfigError: names the entry and the key.
    """
    if not isinstance(raw, dict):
        raise ConfigError(where, "is not an object")
    known = {key: value for key, value in raw.items() if key in _KNOWN}
    alias = known.pop("auth", None)
    if known.get("authMethod") is None and alias is not None:
        known["authMethod"] = alias
    try:
        values = _SCHEMA.load(known)
    except ma.ValidationError as error:
        messages: Any = error.messages
        key = next(iter(messages))
        raise ConfigError(f"{where}.{key}", str(messages[key][0])) from error
    values = {name: value for name, value in values.items() if value is not None}
    values.setdefault("auth_method", _guess_method(values))
    extra = {key: value for key, value in raw.items() if key not in _KNOWN}
    credential = Credential(**values, extra=extra)
    _check(credential, where)
    return credential


def _guess_method(values: Mapping[str, object]) -> AuthMethod:
    """S100: idc if both client fields exist, else social; a lone API key is one."""
    if "kiro_api_key" in values and "refresh_token" not in values:
        return "api_key"
    return "idc" if "client_id" in values and "client_secret" in values else "social"


def _check(credential: Credential, where: str) -> None:
    if credential.auth_method == "api_key":
        if credential.kiro_api_key is None:
            raise ConfigError(f"{where}.kiroApiKey", "is missing (authMethod is api_key)")
        return
    if credential.refresh_token is None and credential.access_token is None:
        raise ConfigError(f"{where}.refreshToken", "is missing, and so is kiroApiKey")
    if credential.auth_method == "idc" and credential.refresh_token is not None:
        for key in ("client_id", "client_secret"):  # S91
            if getattr(credential, key) is None:
                raise ConfigError(f"{where}.{KEYS[key]}", "is missing (authMethod is idc)")


# ---- writing -------------------------------------------------------------------------------


def _plain(value: object) -> object:
    return build_time(value) if isinstance(value, datetime) else value


def build_credential(
    new: Credential, raw: Mapping[str, Any] | None = None, old: Credential | None = None
) -> dict[str, Any]:
    """The JSON object of a credential.

    With the object `raw` from which `old` was parsed, only what differs is changed in it.
    `auth` becomes `authMethod` (X8).
    """
    if raw is None or old is None:
        raw, old = {}, replace(_BLANK, auth_method=new.auth_method)
    entry = dict(raw)
    entry.pop("auth", None)
    for attribute, key in KEYS.items():
        value = getattr(new, attribute)
        if value == getattr(old, attribute):
            continue
        if value is None:
            entry.pop(key, None)
        else:
            entry[key] = _plain(value)
    entry["id"] = new.id
    entry["authMethod"] = new.auth_method
    for key in old.extra.keys() - new.extra.keys():
        entry.pop(key, None)
    return entry | {k: v for k, v in new.extra.items() if k not in _KNOWN}


_BLANK: Final = Credential()
ATTRIBUTES: Final = tuple(one.name for one in fields(Credential))


# ---- who and where -------------------------------------------------------------------------


def check_refresh_token(token: str) -> str | None:
    """Why a refresh token cannot be a whole one, in words for people; None if it can (S104)."""
    if "..." in token or "…" in token:
        return (
            "the refresh token is truncated: it contains '...', so it is a display copy; "
            "copy the whole value from the file that holds it"
        )
    if len(token) < REFRESH_TOKEN_MIN:
        return (
            f"the refresh token is truncated: it has {len(token)} characters, whole ones have "
            f"{REFRESH_TOKEN_MIN} or more; copy the whole value from the file that holds it"
        )
    return None


def effective_auth_region(credential: Credential, auth_region: str, region: str) -> str:
    """Where to refresh; the last two are the configuration's (protocol 2.2)."""
    return credential.auth_region or credential.region or auth_region or region


def effective_api_region(credential: Credential, api_region: str, region: str) -> str:
    """Where to call; the last two are the configuration's.

    A real profile ARN names its region and outranks the configuration; the credential's own
    `apiRegion` outranks both. Its `region` feeds only the auth region (protocol 2.2).
    """
    return credential.api_region or arn_region(credential.profile_arn) or api_region or region


def arn_region(arn: str | None) -> str | None:
    """The region in a profile ARN, unless the ARN is a placeholder."""
    if not arn or arn in PLACEHOLDER_ARNS:
        return None
    parts = arn.split(":")
    return parts[3] if len(parts) > 3 and REGION.fullmatch(parts[3]) else None


def chat_profile_arn(credential: Credential) -> str | None:
    """The ARN for the body of a chat call (protocol 2.5)."""
    if credential.auth_method == "api_key":
        return None
    if credential.profile_arn:
        return credential.profile_arn
    if credential.auth_method == "social":
        return SOCIAL_ARN
    builder_id = (credential.provider or "BuilderId").lower() == "builderid"
    return BUILDER_ID_ARN if credential.auth_method == "idc" and builder_id else None


def control_profile_arn(credential: Credential) -> str | None:
    """The ARN for control calls and MCP: placeholders cause 403 there (protocol 2.5)."""
    if credential.auth_method == "api_key" or credential.profile_arn in PLACEHOLDER_ARNS:
        return None
    return credential.profile_arn


def normalise_machine_id(text: str | None) -> str | None:
    """64 lower-case hex digits: given so, or a UUID doubled; None for anything else."""
    plain = (text or "").strip().lower()
    if _HEX_64.fullmatch(plain):
        return plain
    plain = plain.replace("-", "")
    return plain * 2 if _HEX_32.fullmatch(plain) else None


def derive_machine_id(credential: Credential) -> str:
    """From the refresh token, the API key, or at last the id (protocol 5.6)."""
    if credential.auth_method == "api_key" and credential.kiro_api_key:
        seed = f"KiroAPIKey/{credential.kiro_api_key}"
    elif credential.refresh_token:
        seed = f"KotlinNativeAPI/{credential.refresh_token}"
    else:
        seed = f"KiroFallback/{credential.id}"
    return hashlib.sha256(seed.encode()).hexdigest()


def effective_machine_id(credential: Credential, machine_id: str = "") -> str:
    """The machine id of all calls of a credential; `machine_id` is the configuration's."""
    return (
        normalise_machine_id(credential.machine_id)
        or normalise_machine_id(machine_id)
        or derive_machine_id(credential)
    )


def freeze_machine_id(credential: Credential, machine_id: str = "") -> Credential:
    """Write the derived id down, before a rotation changes what it is derived from."""
    if normalise_machine_id(credential.machine_id) or normalise_machine_id(machine_id):
        return credential
    return replace(credential, machine_id=derive_machine_id(credential))
