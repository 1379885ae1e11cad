"""`/api/admin/credentials` (S128 to S135, S140)."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import marshmallow as ma

from kiroproxy.credentials.intake import Intake
from kiroproxy.credentials.model import KEYS, Credential, build_credential, parse_credential
from kiroproxy.credentials.policy import DEFAULT_GROUP, disabled_reason, group_of
from kiroproxy.credentials.registry import Registry, read_entry
from kiroproxy.errors import ConfigError, InvalidRequest, NotFound, RefreshTokenInvalid
from kiroproxy.ledger.audit import build_entry
from kiroproxy.ledger.usage_query import Asked, build_row
from kiroproxy.web.admin import rows, shapes
from kiroproxy.web.admin.api import Done, count, done, line, rest, room, switch, text, whole
from kiroproxy.web.admin.changes import note, note_credential
from kiroproxy.web.admin.shapes import list_of
from kiroproxy.web.admin.targets import check_proxy_url, check_same_host
from kiroproxy.web.services import Services, services
from kiroproxy.web.trial import MODEL, try_credential

blueprint = room("credentials", "The accounts with which requests are served.")
ONE = "/credentials/<int:credential_id>"
HISTORY = 50
EDITABLE = (
    *("label", "name", "email", "group", "priority", "region", "auth_region", "api_region"),
    *("profile_arn", "machine_id", "max_concurrent", "endpoint"),
    *("proxy_url", "proxy_username", "proxy_password"),
)
"""Attributes that a person may change; tokens come from sign-ins."""


class CredentialList(ma.Schema):
    """The pool."""

    total = ma.fields.Integer()
    available = ma.fields.Integer()
    currentId = ma.fields.Integer()
    credentials = ma.fields.List(ma.fields.Nested(rows.CredentialRow))


class ListQuery(ma.Schema):
    """Which of them."""

    group = text(100)


class Editable(ma.Schema):
    """What can be said of a credential beside its tokens."""

    label = line(200, allow_none=True)
    name = line(200, allow_none=True)
    email = line(320, allow_none=True)
    group = text(100, allow_none=True)
    priority = count(allow_none=True)
    region = text(64, allow_none=True)
    authRegion = text(64, allow_none=True)
    apiRegion = text(64, allow_none=True)
    profileArn = text(2000, allow_none=True)
    machineId = text(200, allow_none=True)
    maxConcurrent = whole(allow_none=True, validate=ma.validate.Range(1, 10**6))
    endpoint = text(64, allow_none=True)
    proxyUrl = text(2000, allow_none=True)
    proxyUsername = text(1000, allow_none=True)
    proxyPassword = text(1000, allow_none=True)


class NewCredential(Editable):
    """A credential to be added (S130)."""

    refreshToken = text(20_000, allow_none=True)
    authMethod = text(64, allow_none=True)
    clientId = text(20_000, allow_none=True)
    clientSecret = text(20_000, allow_none=True)
    kiroApiKey = text(20_000, allow_none=True)
    provider = line(64, allow_none=True)


class Added(Done):
    """It was added."""

    credentialId = ma.fields.Integer()
    email = ma.fields.String()


class Switch(ma.Schema):
    """On or off."""

    disabled = switch(required=True)


class Priority(ma.Schema):
    """The lowest goes first."""

    priority = count(required=True)


class Refreshed(Done):
    """When the new access token ends."""

    expiresAt = ma.fields.String(allow_none=True)


class BalanceQuery(ma.Schema):
    """Whether what was asked within five minutes will do."""

    fresh = ma.fields.Boolean()


class Balance(ma.Schema):
    """Credits of an account (S135)."""

    id = ma.fields.Integer()
    subscriptionTitle = ma.fields.String()
    currentUsage = ma.fields.Float()
    usageLimit = ma.fields.Float()
    remaining = ma.fields.Float()
    usagePercentage = ma.fields.Float()
    nextResetAt = ma.fields.String(allow_none=True)


class TrialBody(ma.Schema):
    """Which model to ask."""

    model = text(200)


class TrialEnd(ma.Schema):
    """The answer, and what it took."""

    credentialId = ma.fields.Integer()
    model = ma.fields.String()
    answer = ma.fields.String()
    firstEventSec = ma.fields.Float()
    totalSec = ma.fields.Float()
    inputTokens = ma.fields.Integer()
    outputTokens = ma.fields.Integer()
    credits = ma.fields.Float()
    attempts = ma.fields.Integer()
    trace = ma.fields.String()


class History(ma.Schema):
    """What was done to a credential, and what it did."""

    changes = list_of(shapes.AuditEntry)
    requests = list_of(shapes.RequestRow)


def registry_of(parts: Services) -> Registry:
    """Whoever changes credentials and groups."""
    return Registry(parts.pool, parts.groups)


@rest(blueprint, "GET", "/credentials", query=ListQuery, answer=CredentialList)
def list_credentials(query: dict[str, Any]) -> dict[str, Any]:
    """List the credentials by priority."""
    parts = services()
    group = query.get("group")
    shown = [one for one in rows.credential_rows(parts) if group in (None, "", one["group"])]
    return {
        "total": len(shown),
        "available": sum(not one["disabled"] for one in shown),
        "currentId": next((one["id"] for one in shown if one["isCurrent"]), 0),
        "credentials": shown,
    }


@rest(blueprint, "POST", "/credentials", body=NewCredential, answer=Added, asks_kiro=True)
def add_credential(body: dict[str, Any]) -> dict[str, Any]:
    """Add a credential, once Kiro has accepted its token."""
    parts = services()
    registry = registry_of(parts)
    raw = {key: value for key, value in body.items() if value is not None}
    if raw.get("proxyUrl"):
        raw["proxyUrl"] = check_proxy_url(raw["proxyUrl"])
    new = read_entry(raw)
    registry.check_group(group_of(new))
    try:
        stored = Intake(parts.pool, registry, probe=parts.balances.fetch).admit(new)
    except RefreshTokenInvalid as error:
        raise InvalidRequest(f"Kiro refuses this token: {error}", param="refreshToken") from None
    note_credential("credential.add", None, stored)
    end = done(f"Credential #{stored.id} is added.", credentialId=stored.id)
    return end | ({"email": stored.email} if stored.email else {})


@rest(blueprint, "GET", ONE, answer=rows.DetailedCredential)
def show_credential(credential_id: int) -> dict[str, Any]:
    """Show one with its details."""
    return rows.detailed_row(services(), credential_id)


@rest(blueprint, "GET", f"{ONE}/history", answer=History)
def show_history(credential_id: int) -> dict[str, Any]:
    """Show the newest changes and requests of one."""
    parts = services()
    target = {"target": [f"credential {credential_id}"]}
    changes = parts.ledger.audit.entries(where=target, page_size=HISTORY).entries
    asked = Asked(where={"credential_id": (min(credential_id, 2**62),)})
    requests = parts.ledger.reader.rows(asked, page_size=HISTORY).rows
    if not changes and not requests:
        registry_of(parts).credential(credential_id)
    return {
        "changes": [build_entry(one) for one in changes],
        "requests": [build_row(one) for one in requests],
    }


@rest(blueprint, "PATCH", ONE, body=Editable, answer=rows.DetailedCredential)
def edit_credential(body: dict[str, Any], credential_id: int) -> dict[str, Any]:
    """Change what is said of a credential; null takes it away."""
    parts = services()
    registry = registry_of(parts)
    if body.get("proxyUrl"):
        body["proxyUrl"] = check_proxy_url(body["proxyUrl"])
    if body.get("group"):
        registry.check_group(body["group"].strip())
    before = registry.credential(credential_id)
    if body.get("proxyUrl") and before.proxy_password and not {"proxyPassword"} & set(body):
        check_same_host("proxyUrl", before.proxy_url or "", body["proxyUrl"], "proxyPassword")
    after = registry.update(credential_id, lambda one: edited(one, body))
    note_credential("credential.edit", before, after)
    return rows.detailed_row(parts, credential_id)


def edited(one: Credential, body: dict[str, Any]) -> Credential:
    """The credential with other facts, checked as if it were read from its file.

    Raises:
        InvalidRequest: names the one that cannot be.
    """
    raw = build_credential(one) | body
    try:
        read = parse_credential(
            {key: raw[key] for key in raw if raw[key] is not None}, "credential"
        )
    except ConfigError as error:
        param = error.setting.removeprefix("credential.")
        why = str(error).removeprefix("credential.")
        raise InvalidRequest(why, param=param) from None
    attributes = [name for name in EDITABLE if KEYS[name] in body]
    values = {name: getattr(read, name) for name in attributes}
    if values.get("group") == DEFAULT_GROUP:
        values["group"] = None
    return replace(one, **values)


@rest(blueprint, "DELETE", ONE, answer=Done)
def delete_credential(credential_id: int) -> dict[str, Any]:
    """Delete one that is disabled (S131)."""
    [removed] = registry_of(services()).remove_all([credential_id])
    note_credential("credential.delete", removed, None)
    return done(f"Credential #{credential_id} is deleted.")


@rest(blueprint, "POST", f"{ONE}/disabled", body=Switch, answer=Done)
def switch_credential(body: dict[str, Any], credential_id: int) -> dict[str, Any]:
    """Switch one off, or on with everything forgotten that was wrong with it (S132)."""
    registry = registry_of(services())
    before = registry.credential(credential_id)
    after = registry.set_disabled(credential_id, body["disabled"])
    act = "disable" if body["disabled"] else "enable"
    note_credential(f"credential.{act}", before, after)
    return done(f"Credential #{credential_id} is {act}d.")


@rest(blueprint, "POST", f"{ONE}/priority", body=Priority, answer=Done)
def prioritise_credential(body: dict[str, Any], credential_id: int) -> dict[str, Any]:
    """Give one a priority, from the next request on (S133)."""
    registry = registry_of(services())
    before = registry.credential(credential_id)
    [after] = registry.prioritise([credential_id], body["priority"])
    note_credential("credential.priority", before, after)
    return done(f"Credential #{credential_id} has priority {after.priority}.")


@rest(blueprint, "POST", f"{ONE}/reset", answer=Done)
def reset_credential(credential_id: int) -> dict[str, Any]:
    """Forget failures and rests, and switch it on (S134)."""
    registry = registry_of(services())
    before = registry.credential(credential_id)
    [after] = registry.reset([credential_id])
    note_credential("credential.reset", before, after)
    return done(f"Credential #{credential_id} is reset.")


@rest(blueprint, "POST", f"{ONE}/refresh", answer=Refreshed, asks_kiro=True)
def refresh_credential(credential_id: int) -> dict[str, Any]:
    """Renew its access token now (S140)."""
    after = registry_of(services()).refresh(credential_id)
    note("credential.refresh", f"credential {credential_id}")
    end = rows.time(after.expires_at)
    return done(f"Credential #{credential_id} is renewed.", expiresAt=end)


@rest(blueprint, "GET", f"{ONE}/balance", query=BalanceQuery, answer=Balance, asks_kiro=True)
def show_balance(query: dict[str, Any], credential_id: int) -> dict[str, Any]:
    """Show its credits, at most five minutes old (S135)."""
    parts = services()
    one = registry_of(parts).credential(credential_id)
    usage, _ = parts.balances.current(one, fresh=query.get("fresh", False))
    return rows.balance_row(credential_id, usage)


@rest(blueprint, "POST", f"{ONE}/test", body=TrialBody, answer=TrialEnd, asks_kiro=True)
def test_credential(body: dict[str, Any], credential_id: int) -> dict[str, Any]:
    """Ask Kiro one short question through this credential alone."""
    parts = services()
    one = registry_of(parts).credential(credential_id)
    if why := disabled_reason(one, datetime.now(UTC)):
        raise InvalidRequest(f"Credential #{credential_id} is {why}: enable it first")
    try:
        end = try_credential(parts, credential_id, body.get("model") or MODEL)
    except NotFound as error:
        raise InvalidRequest(str(error), param="model") from None
    note("credential.test", f"credential {credential_id}", after={"model": end.model})
    return {
        "credentialId": end.credential_id,
        "model": end.model,
        "answer": end.answer,
        "firstEventSec": end.first_event_s,
        "totalSec": end.total_s,
        "inputTokens": end.input_tokens,
        "outputTokens": end.output_tokens,
        "credits": end.credits,
        "attempts": end.attempts,
        "trace": end.trace,
    }
