"""Credentials as the admin API shows them (S128): never a token."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import marshmallow as ma

from kiroproxy.config import mask, mask_password
from kiroproxy.credentials.model import DEFAULT_ENDPOINT, Credential, build_time
from kiroproxy.credentials.overview import Overview, details, overview, tail
from kiroproxy.credentials.policy import group_of
from kiroproxy.credentials.rehearsal import rehearse
from kiroproxy.errors import NotFound
from kiroproxy.upstream.usage import Usage
from kiroproxy.web.services import Services


class LastBalance(ma.Schema):
    """What Kiro said last about a credential's credits."""

    remaining = ma.fields.Float()
    usageLimit = ma.fields.Float()
    nextResetAt = ma.fields.String(allow_none=True)
    askedAt = ma.fields.String()


class CredentialRow(ma.Schema):
    """A credential; a secret is at most shown by its end or its hash."""

    id = ma.fields.Integer()
    priority = ma.fields.Integer()
    disabled = ma.fields.Boolean()
    failureCount = ma.fields.Integer()
    isCurrent = ma.fields.Boolean()
    expiresAt = ma.fields.String(allow_none=True)
    authMethod = ma.fields.String()
    hasProfileArn = ma.fields.Boolean()
    refreshTokenHash = ma.fields.String(allow_none=True)
    apiKeyHash = ma.fields.String(allow_none=True)
    maskedApiKey = ma.fields.String(allow_none=True)
    email = ma.fields.String(allow_none=True)
    successCount = ma.fields.Integer()
    lastUsedAt = ma.fields.String(allow_none=True)
    hasProxy = ma.fields.Boolean()
    proxyUrl = ma.fields.String()
    refreshFailureCount = ma.fields.Integer()
    disabledReason = ma.fields.String()
    endpoint = ma.fields.String()
    label = ma.fields.String(allow_none=True)
    group = ma.fields.String()
    provider = ma.fields.String(allow_none=True)
    state = ma.fields.String()
    reason = ma.fields.String(allow_none=True)
    coolingSec = ma.fields.Float(allow_none=True)
    disabledUntil = ma.fields.String(allow_none=True)
    inFlight = ma.fields.Integer()
    maxConcurrent = ma.fields.Integer()
    requestCount = ma.fields.Integer()
    tokenPreview = ma.fields.String(allow_none=True)
    subscription = ma.fields.String(allow_none=True)
    linkedTo = ma.fields.String(allow_none=True)
    renewable = ma.fields.Boolean()
    balance = ma.fields.Nested(LastBalance, allow_none=True)


class CredentialDetails(ma.Schema):
    """What a credential says itself."""

    name = ma.fields.String(allow_none=True)
    region = ma.fields.String(allow_none=True)
    authRegion = ma.fields.String(allow_none=True)
    apiRegion = ma.fields.String(allow_none=True)
    profileArn = ma.fields.String(allow_none=True)
    machineId = ma.fields.String(allow_none=True)
    clientId = ma.fields.String(allow_none=True)
    refreshedAt = ma.fields.String(allow_none=True)
    generation = ma.fields.Integer()
    hasProxy = ma.fields.Boolean()
    proxyUrl = ma.fields.String(allow_none=True)
    proxyUsername = ma.fields.String(allow_none=True)
    endpoint = ma.fields.String(allow_none=True)
    maxConcurrent = ma.fields.Integer(allow_none=True)
    otherKeys = ma.fields.List(ma.fields.String())


class DetailedCredential(CredentialRow):
    """A row, and what the credential says itself."""

    details = ma.fields.Nested(CredentialDetails)


def current_id(parts: Services) -> int:
    """Whom a new conversation would get; 0 if nobody can take it."""
    return rehearse(parts.pool, "").credential_id


def credential_rows(parts: Services) -> list[dict[str, Any]]:
    """All credentials by priority."""
    current, balances = current_id(parts), parts.balances.known()
    return [
        build_row(parts, seen, current, balances.get(seen.credential.id))
        for seen in overview(parts.pool)
    ]


def detailed_row(parts: Services, credential_id: int) -> dict[str, Any]:
    """One of them with its details.

    Raises:
        NotFound: there is none of that id.
    """
    for seen in overview(parts.pool):
        if seen.credential.id == credential_id:
            known = parts.balances.known().get(credential_id)
            row = build_row(parts, seen, current_id(parts), known)
            return row | {"details": _details(seen.credential)}
    raise NotFound(f"There is no credential {credential_id}.")


def build_row(
    parts: Services, seen: Overview, current: int, balance: tuple[Usage, float] | None
) -> dict[str, Any]:
    """S128, and what the page shows besides."""
    one, tally = seen.credential, seen.tally
    off = seen.standing == "disabled"
    row: dict[str, Any] = {
        "id": one.id,
        "priority": one.priority,
        "disabled": off,
        "failureCount": seen.failures,
        "isCurrent": one.id == current,
        "expiresAt": time(one.expires_at),
        "authMethod": one.auth_method,
        "hasProfileArn": one.profile_arn is not None,
        "refreshTokenHash": _hash(one.refresh_token),
        "apiKeyHash": _hash(one.kiro_api_key),
        "maskedApiKey": mask(one.kiro_api_key) if one.kiro_api_key else None,
        "email": one.email,
        "successCount": tally.successes,
        "lastUsedAt": time_of(tally.last_used),
        "hasProxy": one.proxy_url is not None,
        "refreshFailureCount": parts.pool.renewals.refusals(one.id),
        "endpoint": one.endpoint or DEFAULT_ENDPOINT,
        "label": one.label or one.name,
        "group": group_of(one),
        "provider": one.provider,
        "state": seen.standing,
        "reason": seen.reason or None,
        "coolingSec": round(seen.cooling_s, 1) or None,
        "disabledUntil": time(one.disabled_until) if off else None,
        "inFlight": seen.in_flight,
        "maxConcurrent": seen.places,
        "requestCount": tally.requests,
        "tokenPreview": tail(one.bearer or one.refresh_token),
        "subscription": one.subscription,
        "linkedTo": one.linked_to,
        "renewable": one.renewable,
        "balance": _balance(balance),
    }
    if one.proxy_url is not None:
        row["proxyUrl"] = mask_password(one.proxy_url)
    if off:
        row["disabledReason"] = one.disabled_reason or "Manual"
    return row


def _details(one: Credential) -> Mapping[str, Any]:
    proxy_url = mask_password(one.proxy_url) if one.proxy_url is not None else None
    return {
        **details(one),
        "name": one.name,
        "proxyUrl": proxy_url,
        "proxyUsername": one.proxy_username,
        "maxConcurrent": one.max_concurrent,
    }


def _balance(known: tuple[Usage, float] | None) -> dict[str, Any] | None:
    if known is None:
        return None
    usage, asked_at = known
    return {
        "remaining": usage.remaining,
        "usageLimit": usage.limit,
        "nextResetAt": time(usage.resets_at),
        "askedAt": time_of(asked_at),
    }


def balance_row(credential_id: int, usage: Usage) -> dict[str, Any]:
    """S135."""
    return {
        "id": credential_id,
        "subscriptionTitle": usage.subscription,
        "currentUsage": usage.used,
        "usageLimit": usage.limit,
        "remaining": usage.remaining,
        "usagePercentage": round(100 * usage.used / usage.limit, 2) if usage.limit else 0.0,
        "nextResetAt": time(usage.resets_at),
    }


def time(at: datetime | None) -> str | None:
    """As all answers have it."""
    return build_time(at) if at is not None else None


def time_of(seconds: float) -> str | None:
    """The same, of a time of day in seconds; 0 is never."""
    return build_time(datetime.fromtimestamp(seconds, UTC)) if seconds else None


def _hash(secret: str | None) -> str | None:
    return hashlib.sha256(secret.encode()).hexdigest() if secret else None
