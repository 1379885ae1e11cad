"""What Kiro says when it refuses: status, message, reason and type by a short name.

Source: `protocol.md` 8. The names are ours: scripts, account faults and refusals use them.
"""

from dataclasses import dataclass
from typing import Any

VALIDATION = "ValidationException"
DENIED = "AccessDeniedException"
THROTTLING = "ThrottlingException"
QUOTA = "ServiceQuotaExceededException"
INTERNAL = "InternalServerException"


@dataclass(frozen=True, slots=True)
class KiroError:
    """An error answer; `page` stands for an HTML page of some gateway on the way."""

    status: int
    message: str
    reason: str | None = None
    type: str = VALIDATION
    headers: tuple[tuple[str, str], ...] = ()
    page: bool = False

    def body(self) -> Any:
        """The JSON object, or the page."""
        if self.page:
            return f"<html><body><h1>{self.status} {self.message}</h1></body></html>"
        return {"message": self.message, "reason": self.reason}


BEARER_MESSAGE = "The bearer token included in the request is invalid"
HIGH_LOAD = "Encountered unexpectedly high load when processing the request, please try again."
SUSPENDED_MESSAGE = (
    "Your User ID (simulated) temporarily is suspended. We locked your account as a security "
    "precaution because of unusual user activity."
)
NO_TOOL_CONFIG = (
    "The toolConfig field must be defined when using toolUse and toolResult content blocks."
)

KIRO_ERRORS: dict[str, KiroError] = {
    "improperly-formed": KiroError(400, "Improperly formed request."),
    "too-long": KiroError(400, "Input is too long.", "CONTENT_LENGTH_EXCEEDS_THRESHOLD"),
    "invalid-model": KiroError(
        400, "Invalid model. Please select a different model to continue.", "INVALID_MODEL_ID"
    ),
    "invalid-conversation": KiroError(400, "Invalid conversation id.", "INVALID_CONVERSATION_ID"),
    "tool-config-missing": KiroError(400, NO_TOOL_CONFIG, "TOOL_CONFIG_MISSING"),
    "tool-format": KiroError(400, "Invalid tool use format.", "REQUEST_BODY_INVALID"),
    "body-invalid": KiroError(400, "The request body is invalid.", "REQUEST_BODY_INVALID"),
    "tool-schema": KiroError(400, "The tool's input schema is invalid.", "TOOL_SCHEMA_INVALID"),
    "tool-mismatch": KiroError(
        400,
        "Expected toolResult blocks for the toolUse blocks of the previous turn.",
        "TOOL_USE_RESULT_MISMATCH",
    ),
    "tool-mismatch-5xx": KiroError(
        500,
        "Expected toolResult blocks for the toolUse blocks of the previous turn.",
        "TOOL_USE_RESULT_MISMATCH",
        INTERNAL,
    ),
    "effort-unsupported": KiroError(
        400, "additionalModelRequestFields is not supported for this model"
    ),
    "effort-invalid": KiroError(
        400, "Invalid additionalModelRequestFields: the property is not known."
    ),
    "profile-required": KiroError(400, "profileArn is required for this request."),
    "unauthorized": KiroError(401, "Unauthorized", type="UnauthorizedException"),
    "quota": KiroError(
        402, "You have reached the limit for this month.", "MONTHLY_REQUEST_COUNT", QUOTA
    ),
    "overage": KiroError(
        402, "You have reached your overage limit.", "OVERAGE_REQUEST_LIMIT_EXCEEDED", QUOTA
    ),
    "payment": KiroError(402, "Payment required.", None, QUOTA),
    "bearer": KiroError(403, BEARER_MESSAGE, type=DENIED),
    "suspended": KiroError(403, SUSPENDED_MESSAGE, "TEMPORARILY_SUSPENDED", DENIED),
    "not-authorized": KiroError(403, "User is not authorized to make this call.", None, DENIED),
    "feature": KiroError(403, "Feature is not supported.", "FEATURE_NOT_SUPPORTED", DENIED),
    "not-found": KiroError(404, "Not Found", type="ResourceNotFoundException"),
    "timeout": KiroError(408, "Request Timeout", type="RequestTimeoutException"),
    "too-large": KiroError(413, "Request Entity Too Large", page=True),
    "locked": KiroError(423, "Locked", type=DENIED),
    "throttled": KiroError(
        429, "Too many requests, please wait before trying again.", None, THROTTLING
    ),
    "throttled-retry-after": KiroError(
        429,
        "Too many requests, please wait before trying again.",
        None,
        THROTTLING,
        (("retry-after", "2"),),
    ),
    "capacity": KiroError(
        429,
        "I am experiencing high traffic, please try again shortly.",
        "INSUFFICIENT_MODEL_CAPACITY",
        THROTTLING,
    ),
    "suspicious": KiroError(
        429,
        "We have detected suspicious activity on your account and applied temporary limits.",
        None,
        THROTTLING,
    ),
    "daily": KiroError(429, "Daily limit reached.", "DAILY_REQUEST_COUNT", THROTTLING),
    "quota-429": KiroError(429, "Monthly limit reached.", "MONTHLY_REQUEST_COUNT", THROTTLING),
    "high-load": KiroError(500, HIGH_LOAD, None, "ServiceUnavailableException"),
    "model-down": KiroError(
        500, "The model is temporarily unavailable.", "MODEL_TEMPORARILY_UNAVAILABLE", INTERNAL
    ),
    "internal": KiroError(500, "Internal server error", None, INTERNAL),
    "bad-gateway": KiroError(502, "Bad Gateway", page=True),
    "unavailable": KiroError(503, "Service Unavailable", type="ServiceUnavailableException"),
    "gateway-timeout": KiroError(504, "Gateway Timeout", page=True),
    "edge-timeout": KiroError(524, "A timeout occurred", page=True),
}

_BY_STATUS = {400: "improperly-formed", 401: "unauthorized", 402: "quota", 403: "bearer"}
_BY_STATUS |= {404: "not-found", 429: "throttled", 500: "internal", 502: "bad-gateway"}
_BY_STATUS |= {503: "unavailable", 504: "gateway-timeout"}


def find_error(name: str) -> KiroError:
    """Find an error by its name, by a status ("429 always") or by status and reason.

    Raises:
        ValueError: it is none of these.
    """
    if name in KIRO_ERRORS:
        return KIRO_ERRORS[name]
    first, _, rest = name.partition(" ")
    if not first.isdecimal():
        raise ValueError(f"no such error: {name}; known: {', '.join(KIRO_ERRORS)}")
    status = int(first)
    reason = "" if rest == "always" else rest
    known = [e for e in KIRO_ERRORS.values() if e.status == status and e.reason == reason]
    if known:
        return known[0]
    base = KIRO_ERRORS.get(_BY_STATUS.get(status, ""), KiroError(status, "Simulated fault"))
    return KiroError(status, base.message, reason or base.reason, base.type)
