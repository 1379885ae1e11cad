"""The exception tree: facts as attributes, a message for people (never matched on)."""

from collections.abc import Iterable
from typing import Any, Literal


class KiroProxyError(Exception):
    """Root of all errors that this package raises on purpose."""


class ConfigError(KiroProxyError):
    """A setting cannot be used; the server does not start."""

    def __init__(self, setting: str, message: str) -> None:
        """Name the setting as the operator writes it."""
        super().__init__(f"{setting}: {message}")
        self.setting = setting


class ServerStopping(KiroProxyError):
    """The answer took longer than a server that stops or reloads may wait for it."""

    def __init__(
        self, message: str = "The server is restarting and had to break off: please try again."
    ) -> None:
        """There is nothing to tell but what to do."""
        super().__init__(message)


# ---- the caller's doing --------------------------------------------------------------------


class RequestError(KiroProxyError):
    """The request cannot be served as it stands."""


class InvalidRequest(RequestError):
    """Malformed or impossible; `details` is handed to the client beside the message."""

    def __init__(
        self, message: str, *, param: str | None = None, details: dict[str, Any] | None = None
    ) -> None:
        """Name the offending parameter where one is to blame."""
        super().__init__(message)
        self.param = param
        self.details = details


class NotAuthenticated(RequestError):
    """No valid client or admin key."""


class NotAllowed(RequestError):
    """The key is good, but not for this."""


class LimitExceeded(RequestError):
    """The client key, or its group, has used up what it may use for now."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        """`retry_after_s` is when the same request would be admitted."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotFound(RequestError):
    """No such path, model, credential or group."""

    def __init__(self, message: str, *, code: str = "not_found") -> None:
        """`code` is what OpenAI clients read, such as `model_not_found`."""
        super().__init__(message)
        self.code = code


class MethodNotAllowed(RequestError):
    """The path exists, this method of it does not; those of `allowed` do."""

    def __init__(self, message: str, *, allowed: Iterable[str] = ()) -> None:
        """Say what is wrong."""
        super().__init__(message)
        self.allowed = tuple(allowed)


class BodyTooLarge(RequestError):
    """The request body exceeds `maxBodyBytes`."""


class BodyTimeout(RequestError):
    """The request body did not arrive in time."""


class UnsupportedEncoding(RequestError):
    """The body's Content-Encoding is unknown."""


class ContextTooLong(RequestError):
    """The prompt does not fit the model's window. Clients compact on this message's wording."""

    def __init__(self, tokens: int, limit: int) -> None:
        """`tokens` always exceeds `limit`, else clients do not believe the message."""
        self.tokens = max(tokens, limit + 1)
        self.limit = limit
        super().__init__(f"prompt is too long: {self.tokens} tokens > {limit} maximum")


class LoginFailed(RequestError):
    """A person's sign-in with Kiro came to nothing, and nothing was stored."""

    def __init__(self, message: str, *, code: str = "refused") -> None:
        """`code` tells why, for programs.

        It is `access_denied`, `expired_token`, `state_mismatch`, `invalid_redirect`, `cancelled`,
        or `refused` for whatever else the sign-in service says.
        """
        super().__init__(message)
        self.code = code


# ---- our credentials -----------------------------------------------------------------------


class CredentialError(KiroProxyError):
    """A credential cannot be used; the caller is not to blame."""


class NoCredential(CredentialError):
    """Nothing in the pool can serve this request now."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        """`retry_after_s` is the soonest moment at which one may."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Exhausted(NoCredential):
    """Every credential is busy, throttled or spent: the caller has to wait."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        """Where nothing says for how long, a second is worth a try."""
        super().__init__(message, retry_after_s=1.0 if retry_after_s is None else retry_after_s)


class NoCapacity(NoCredential):
    """Every credential rests after faults of the service."""


class RefreshFailed(CredentialError):
    """The access token could not be renewed for now; the refresh token may still be good."""


class RefreshTokenInvalid(CredentialError):
    """The auth server refused the refresh token for good: a person must log in again."""


class StoreLocked(CredentialError):
    """Another process holds the store's lock for longer than we wait."""

    counted = False
    """Whether the metrics have it."""


class StoreUnwritable(CredentialError):
    """No room, or a read-only file system: rotating a token now would lose it."""

    counted = False
    """Whether the metrics have it."""


# ---- our database --------------------------------------------------------------------------


class DatabaseError(KiroProxyError):
    """The database of keys and usage does not serve; no client's request depends on it.

    `reason` is `busy`, `full`, `corrupt`, `conflict` (a value that must be unique is there
    already) or `unusable`.
    """

    def __init__(self, message: str, *, reason: str = "unusable") -> None:
        """Say what the operator can do about it."""
        super().__init__(message)
        self.reason = reason


# ---- Kiro's answers ------------------------------------------------------------------------


class UpstreamError(KiroProxyError):
    """Kiro, or the way to it, failed."""

    def __init__(self, message: str, *, credential_id: str = "") -> None:
        """`credential_id` tells on whose behalf the call was made."""
        super().__init__(message)
        self.credential_id = credential_id


class Unreachable(UpstreamError):
    """No answer: DNS, TCP, TLS or proxy fault, or the connection died."""

    kept_connection = False
    """Whether the connection had served before, so that its peer may just have timed it out."""


class UpstreamTimeout(UpstreamError):
    """No byte within the limit."""


class Throttled(UpstreamError):
    """Too many requests for this account.

    `scope` is `day` for a daily cap, `account` where the account itself was limited for a while.
    """

    scope: Literal["", "day", "account"] = ""

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, credential_id: str = ""
    ) -> None:
        """`retry_after_s` as upstream gave it."""
        super().__init__(message, credential_id=credential_id)
        self.retry_after_s = retry_after_s


class Overloaded(UpstreamError):
    """The service or the model has no capacity; no account is to blame."""


class QuotaExhausted(UpstreamError):
    """The account's credits are used up until their reset."""

    payment = False
    """It is not the credits: upstream wants a payment, and does not say until when."""


class BearerRejected(UpstreamError):
    """The access token was refused; a refresh may help."""


class Suspended(UpstreamError):
    """The account is locked; only a person can undo that."""


class AccessDenied(UpstreamError):
    """A 403 without a clear cause."""

    profile_suspect = False
    """The profile ARN may be wrong: it is worth asking for the account's profiles."""


class ModelUnavailable(UpstreamError):
    """This account does not have the model."""


class ProfileArnRequired(UpstreamError):
    """The call lacks the profile ARN that this account needs."""


class EffortUnsupported(UpstreamError):
    """The model does not take the native effort field."""


class Refused(UpstreamError):
    """Any other refusal."""

    def __init__(
        self, message: str, *, status: int, reason: str = "", credential_id: str = ""
    ) -> None:
        """`reason` is Kiro's enumeration value, where it gave one."""
        super().__init__(message, credential_id=credential_id)
        self.status = status
        self.reason = reason


class ServerFault(UpstreamError):
    """A 5xx of upstream, or an unknown exception frame."""


class EmptyReply(UpstreamError):
    """Upstream said it was done and had said nothing."""


# ---- its event stream ----------------------------------------------------------------------


class EventStreamError(KiroProxyError):
    """The bytes are not a sound event stream; `offset` counts from the stream's first byte."""

    def __init__(self, message: str, *, offset: int) -> None:
        """Say where."""
        super().__init__(f"{message} (at byte {offset})")
        self.offset = offset


class BadChecksum(EventStreamError):
    """A checksum does not match; `part` is `prelude` or `message`."""

    def __init__(self, part: str, *, expected: int, computed: int, offset: int) -> None:
        """Both values as unsigned 32-bit integers."""
        super().__init__(f"{part} checksum {expected:08x} is not {computed:08x}", offset=offset)
        self.part = part
        self.expected = expected
        self.computed = computed


class BadLength(EventStreamError):
    """A prelude's lengths contradict each other."""


class FrameTooLarge(BadLength):
    """A prelude announces more than the limit."""

    def __init__(self, size: int, limit: int, *, offset: int) -> None:
        """Both in bytes."""
        super().__init__(f"frame part of {size} bytes exceeds {limit}", offset=offset)
        self.size = size
        self.limit = limit


class BadHeader(EventStreamError):
    """The header block cannot be parsed."""


class BadPayload(EventStreamError):
    """A frame's payload is not the JSON that its event type promises."""

    def __init__(self, message: str) -> None:
        """The frame itself was sound, so its place says nothing."""
        KiroProxyError.__init__(self, message)
        self.offset = -1


class TruncatedStream(EventStreamError):
    """The stream ended inside a frame, or the HTTP body before its announced end."""

    def __init__(self, missing: int, *, offset: int) -> None:
        """`missing` bytes at least were still to come."""
        super().__init__(f"stream ended, at least {missing} bytes missing", offset=offset)
        self.missing = missing
