"""Kiro's refusals → exceptions. The only file that knows upstream's error strings.

The reason decides before the text, the text before the exception type, the type before the status
(protocol notes 8: the same reason comes under different statuses). Upstream's words never reach a
client: they hold account ids.
"""

import re
from collections.abc import Callable, Mapping

from kiroproxy.errors import (
    AccessDenied,
    BearerRejected,
    BodyTooLarge,
    ContextTooLong,
    EffortUnsupported,
    InvalidRequest,
    KiroProxyError,
    ModelUnavailable,
    Overloaded,
    ProfileArnRequired,
    QuotaExhausted,
    Refused,
    ServerFault,
    Suspended,
    Throttled,
    Unreachable,
    UpstreamTimeout,
)
from kiroproxy.kiro.events import UpstreamException, lenient_json

LIMITED_S = 600.0
"""How long an account rests that upstream suspects (protocol notes 8)."""

Make = Callable[[str], KiroProxyError]
"""Takes what is safe to show of Kiro's reason."""


def _improper(reason: str) -> KiroProxyError:
    shown = f" ({reason})" if reason else ""
    return InvalidRequest(f"Kiro refused the request as improperly formed{shown}.")


def _too_long(reason: str) -> KiroProxyError:
    return ContextTooLong(0, 200_000)


def _of(kind: type[KiroProxyError], message: str) -> Make:
    return lambda reason: kind(message)


def _daily(reason: str) -> KiroProxyError:
    error = Throttled("The Kiro account has reached its daily limit.")
    error.scope = "day"
    return error


def _limited(reason: str) -> KiroProxyError:
    error = Throttled("Kiro has limited this account for a while.", retry_after_s=LIMITED_S)
    error.scope = "account"
    return error


def _payment(reason: str) -> KiroProxyError:
    error = QuotaExhausted("The Kiro account needs a payment.")
    error.payment = True
    return error


def _unauthorized(reason: str) -> KiroProxyError:
    error = AccessDenied("Kiro denied this account the call.")
    error.profile_suspect = True
    return error


_quota = _of(QuotaExhausted, "The Kiro account's credits are used up.")
_overloaded = _of(Overloaded, "Kiro has no capacity for this model right now.")
_throttled = _of(Throttled, "Kiro is limiting this account's requests.")
_suspended = _of(Suspended, "The Kiro account is suspended.")
_bearer = _of(BearerRejected, "Kiro refused the access token.")
_denied = _of(AccessDenied, "Kiro denied this account the call.")
_model = _of(ModelUnavailable, "This Kiro account does not have the model.")
_arn = _of(ProfileArnRequired, "Kiro needs a profile ARN for this account.")
_effort = _of(EffortUnsupported, "This model does not take the effort field.")
_fault = _of(ServerFault, "Kiro failed to answer.")
_timeout = _of(UpstreamTimeout, "Kiro timed out.")
_large = _of(BodyTooLarge, "The request is larger than Kiro takes.")

REASONS: Mapping[str, Make] = {
    "CONTENT_LENGTH_EXCEEDS_THRESHOLD": _too_long,
    "INVALID_MODEL_ID": _model,
    "TOOL_CONFIG_MISSING": _improper,
    "REQUEST_BODY_INVALID": _improper,
    "TOOL_SCHEMA_INVALID": _improper,
    "TOOL_USE_RESULT_MISMATCH": _improper,
    "INVALID_CONVERSATION_ID": _improper,
    "MONTHLY_REQUEST_COUNT": _quota,
    "OVERAGE_REQUEST_LIMIT_EXCEEDED": _quota,
    "CONVERSATION_LIMIT_EXCEEDED": _throttled,
    "DAILY_REQUEST_COUNT": _daily,
    "INSUFFICIENT_MODEL_CAPACITY": _overloaded,
    "MODEL_TEMPORARILY_UNAVAILABLE": _overloaded,
    "TEMPORARILY_SUSPENDED": _suspended,
    "FEATURE_NOT_SUPPORTED": _denied,
}

TEXTS: tuple[tuple[str, Make], ...] = (
    ("input is too long", _too_long),
    ("improperly formed request", _improper),
    ("expected toolresult blocks", _improper),
    ("invalid tool use format", _improper),
    ("toolconfig field must be defined", _improper),
    ("additionalmodelrequestfields", _effort),
    ("profilearn is required", _arn),
    ("temporarily is suspended", _suspended),
    ("locked your account as a security precaution", _suspended),
    ("unusual user activity", _suspended),
    ("suspicious activity", _limited),
    ("user is not authorized to make this call", _unauthorized),
    ("bearer token included in the request is invalid", _bearer),
    ("expiredtoken", _bearer),
    ("unexpectedly high load", _overloaded),
)
"""Lower case; looked up in the body where no reason decided."""

LENGTH_EXCEEDED = "contentlengthexceeded"
TYPES: Mapping[str, Make] = {
    "throttling": _throttled,
    "toomanyrequests": _throttled,
    "servicequotaexceeded": _quota,
    "accessdenied": _denied,
    "unauthorized": _bearer,
    "unrecognizedclient": _bearer,
    "expiredtoken": _bearer,
    "validation": _improper,
    LENGTH_EXCEEDED: _too_long,
    "serviceunavailable": _overloaded,
    "modelnotready": _overloaded,
    "modeltimeout": _timeout,
}
"""Exception names without their `Exception` or `Error`, in lower case: service and SDK differ."""

STATUSES: Mapping[int, Make] = {
    400: _improper,
    401: _bearer,
    402: _payment,
    403: _denied,
    408: _timeout,
    413: _large,
    423: _denied,
    429: _throttled,
    503: _overloaded,
    504: _timeout,
    524: _timeout,
}


GATEWAYS_OWN = (401, 403, 407)
"""Statuses that a gateway or firewall in between gives with a page of HTML. Kiro answers in JSON,
and no credential is to blame for the way."""


def _is_page(headers: Mapping[str, str], body: bytes) -> bool:
    kind = headers.get("content-type", "").strip().lower()
    return kind.startswith("text/html") and body.lstrip().startswith(b"<")


def error_from_response(status: int, headers: Mapping[str, str], body: bytes) -> KiroProxyError:
    """Name what an HTTP refusal means."""
    value = lenient_json(body)
    nested = value.get("error")
    reason = value.get("reason") or (nested.get("reason") if isinstance(nested, dict) else None)
    named = headers.get("x-amzn-errortype", "").partition(":")[0]  # as AWS's REST services do
    kind = str(value.get("__type") or value.get("code") or named)
    make = _decide(str(reason or ""), body.decode(errors="replace"), kind)
    if make is None and status in GATEWAYS_OWN and _is_page(headers, body):
        return Unreachable(f"Something on the way to Kiro answered {status} with a page.")
    if make is None:
        make = STATUSES.get(status) or (_fault if status >= 500 else None)
    shown = str(reason or "") if re.fullmatch(r"[A-Z_]{1,64}", str(reason or "")) else ""
    if make is None:
        return Refused(f"Kiro answered {status}.", status=status, reason=shown)
    error = make(shown)
    if isinstance(error, Throttled):
        given = _retry_after(headers)
        error.retry_after_s = error.retry_after_s if given is None else given
    return error


def error_from_exception(event: UpstreamException) -> KiroProxyError:
    """Name what an exception frame inside a 200 means."""
    make = _decide(event.reason, event.message, event.type) or _fault
    return make(event.reason if re.fullmatch(r"[A-Z_]{1,64}", event.reason) else "")


def is_length_exception(event: UpstreamException) -> bool:
    """Whether the frame says that the answer grew too long."""
    return _base(event.type) == LENGTH_EXCEEDED


def _decide(reason: str, text: str, kind: str) -> Make | None:
    if reason in REASONS:
        return REASONS[reason]
    lower = text.lower()
    if not reason:
        for named, make in REASONS.items():
            if named in text:
                return make
    for marker, make in TEXTS:
        if marker in lower:
            return make
    return TYPES.get(_base(kind))


def _base(kind: str) -> str:
    return kind.rpartition("#")[2].lower().removesuffix("exception").removesuffix("error")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; the HTTP-date form is not used by this service and is ignored."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None
