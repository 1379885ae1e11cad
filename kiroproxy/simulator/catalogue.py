"""Models, profiles and usage limits, as Kiro lists them (pure): `protocol.md` 6 and 9."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from kiroproxy.simulator.accounts import Account

MILLION, THOUSAND = 1_000_000, 1_000

WINDOWS: dict[str, int] = {
    "auto": MILLION,
    "claude-sonnet-4": 200 * THOUSAND,
    "claude-sonnet-4.5": 200 * THOUSAND,
    "claude-sonnet-4.6": MILLION,
    "claude-sonnet-5": MILLION,
    "claude-opus-4.5": 200 * THOUSAND,
    "claude-opus-4.6": MILLION,
    "claude-opus-4.7": MILLION,
    "claude-opus-4.8": MILLION,
    "claude-opus-5": MILLION,
    "claude-haiku-4.5": 200 * THOUSAND,
    "deepseek-3.2": 164 * THOUSAND,
    "glm-5": 200 * THOUSAND,
    "minimax-m2.1": 196 * THOUSAND,
    "minimax-m2.5": 196 * THOUSAND,
    "qwen3-coder-next": 256 * THOUSAND,
    "gpt-5.6-sol": 200 * THOUSAND,
    "gpt-5.6-terra": 200 * THOUSAND,
    "gpt-5.6-luna": 200 * THOUSAND,
}
"""Model id → context window in tokens (9.1, 9.3)."""
INTERNAL_IDS = (
    "CLAUDE_SONNET_4_5_20250929_V1_0",
    "CLAUDE_SONNET_4_20250514_V1_0",
    "CLAUDE_3_7_SONNET_20250219_V1_0",
)
"""Older names, taken and not listed (9.1); `modelTable: "codewhisperer"` sends them."""
RATES = {"opus": 2.2, "haiku": 0.4, "sonnet": 1.3}
MAX_OUTPUT_TOKENS = 64_000
DEFAULT_WINDOW = 200 * THOUSAND
PAGE_SIZE = 50
DEFAULT_MODEL = "auto"


def models_of(account: Account) -> list[str]:
    """The models that an account may use; a free one has no Opus (6.1)."""
    if account.models is not None:
        return list(account.models)
    free = "FREE" in account.subscription
    return [model for model in WINDOWS if not (free and "opus" in model)]


def accepted_models(account: Account) -> list[str]:
    """What chat takes as a model id."""
    listed = models_of(account)
    return listed if account.models is not None else [*listed, *INTERNAL_IDS]


def describe_model(model: str) -> dict[str, Any]:
    """One entry of ListAvailableModels."""
    rate = next((rate for family, rate in RATES.items() if family in model), 1.0)
    return {
        "modelId": model,
        "modelName": model.replace("-", " ").title(),
        "description": "A simulated model",
        "rateMultiplier": rate,
        "rateUnit": "credit",
        "tokenLimits": {
            "maxInputTokens": WINDOWS.get(model, DEFAULT_WINDOW),
            "maxOutputTokens": MAX_OUTPUT_TOKENS,
        },
        "supportedInputTypes": ["TEXT", "IMAGE"] if "claude" in model else ["TEXT"],
        "supportsPromptCache": "claude" in model,
    }


def model_page(
    models: list[str], max_results: str | int | None, token: str | None
) -> dict[str, Any]:
    """One page of ListAvailableModels; the page token is the next model's id.

    Raises:
        ValueError: size or token cannot be used.
    """
    size = int(max_results or PAGE_SIZE)
    start = models.index(token) if token else 0
    if size < 1:
        raise ValueError("maxResults")
    page: dict[str, Any] = {"models": [describe_model(m) for m in models[start : start + size]]}
    if models:
        page["defaultModel"] = describe_model(
            DEFAULT_MODEL if DEFAULT_MODEL in models else models[0]
        )
    if start + size < len(models):
        page["nextToken"] = models[start + size]
    return page


def profile_list(arns: Iterable[str]) -> dict[str, Any]:
    """ListAvailableProfiles."""
    return {
        "profiles": [
            {"arn": arn, "profileName": "Simulated", "status": "ACTIVE", "profileType": "KIRO"}
            for arn in arns
        ]
    }


def next_reset(now: datetime) -> datetime:
    """The first of the next month."""
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def usage_limits(account: Account, now: float) -> dict[str, Any]:
    """GetUsageLimits of an account."""
    moment = datetime.fromtimestamp(now, UTC)
    reset = account.resets_at or next_reset(moment).timestamp()
    limit = account.quota if account.quota is not None else 1000.0
    overage = "ENABLED" if account.overage else "DISABLED"
    capable = "OVERAGE_INCAPABLE" if "FREE" in account.subscription else "OVERAGE_CAPABLE"
    person = account.email or f"{account.id}@example.com"
    kind = account.subscription.removeprefix("KIRO ").replace("+", "_PLUS").replace(" ", "_")
    return {
        "nextDateReset": reset,
        "daysUntilReset": max(0, int((reset - now) // 86_400)),
        "subscriptionInfo": {
            "type": f"Q_DEVELOPER_STANDALONE_{kind}",
            "subscriptionTitle": account.subscription,
            "upgradeCapability": "UPGRADE_CAPABLE",
            "overageCapability": capable,
            "subscriptionManagementTarget": "MANAGE",
        },
        "overageConfiguration": {"overageStatus": overage},
        "userInfo": {"userId": f"simulated-{person.partition('@')[0]}", "email": person},
        "usageBreakdownList": [_breakdown(account.used, limit, reset)],
    }


def _breakdown(used: float, limit: float, reset: float) -> dict[str, Any]:
    return {
        "resourceType": "CREDIT",
        "displayName": "Credit",
        "unit": "INVOCATIONS",
        "currentUsage": int(used),
        "currentUsageWithPrecision": used,
        "usageLimit": int(limit),
        "usageLimitWithPrecision": limit,
        "currentOverages": 0,
        "currentOveragesWithPrecision": 0.0,
        "overageCap": 0,
        "overageCapWithPrecision": 0.0,
        "overageRate": 0.04,
        "overageCharges": 0.0,
        "currency": "USD",
        "nextDateReset": reset,
        "freeTrialInfo": {
            "freeTrialStatus": "EXPIRED",
            "freeTrialExpiry": reset,
            "currentUsageWithPrecision": 0.0,
            "usageLimitWithPrecision": 0.0,
        },
        "bonuses": [],
    }
