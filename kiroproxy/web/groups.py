"""Groups in paths, `/api/tokens` and `/api/groups` (S118 to S125, X6, X17)."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Flask, Response, g, request
from werkzeug.routing import BaseConverter, ValidationError

from kiroproxy.credentials.groups import ROUTES, Group, build_settings, parse_settings
from kiroproxy.credentials.model import Credential, build_time
from kiroproxy.credentials.policy import disabled_reason, group_of
from kiroproxy.credentials.registry import Duplicate, GroupInfo, Registry, settings_of
from kiroproxy.errors import (
    CredentialError,
    DatabaseError,
    InvalidRequest,
    KiroProxyError,
    NotAuthenticated,
)
from kiroproxy.ledger.budgets import NO_BUDGETS
from kiroproxy.ledger.keys import ClientKey
from kiroproxy.ledger.keys import check_group as check_key_group
from kiroproxy.runtime import Tally
from kiroproxy.upstream.usage import Usage
from kiroproxy.web.admin.changes import note, note_credential
from kiroproxy.web.admin.targets import check_sent
from kiroproxy.web.auth import identify
from kiroproxy.web.body import read_json
from kiroproxy.web.operator import admit_operator
from kiroproxy.web.services import Services, services
from kiroproxy.web.v1 import json_response

blueprint = Blueprint("groups", __name__, url_prefix="/api")
PAGE_SIZE = 100
PAGE_LIMIT = 1000
BALANCE_WAIT_S = 2.0
"""So long an answer waits for balances that nobody knows yet; then they are shown as 0."""
REFRESHES = 4
"""At once, when all are to be renewed."""
STATUSES = {"Suspended": "banned", "QuotaExceeded": "exhausted", "Manual": "disabled", "": "active"}
"""S125b; all other reasons are `error`."""

CHANGEABLE = {"disabled": bool, "group": str, "name": str}


# ---- paths -----------------------------------------------------------------------------------


class GroupName(BaseConverter):
    """The first part of a path that is no route of ours (X6)."""

    def to_python(self, value: str) -> str:
        """The name, unless it is one of our own paths."""
        if value.lower() in ROUTES:
            raise ValidationError
        return value


def install(app: Flask) -> None:
    """Let paths begin with a group; views find it as `g.group`."""
    app.url_map.converters["group"] = GroupName

    @app.url_value_preprocessor
    def take_group(endpoint: str | None, values: dict[str, Any] | None) -> None:
        if values and "group" in values:
            g.group = values.pop("group")


# ---- who may ---------------------------------------------------------------------------------


def _operator() -> Registry:
    parts = admit_operator()
    return Registry(parts.pool, parts.groups)


def _reader() -> ClientKey | None:
    """A client may look at its own groups, the admin at all (X17); None: at all of them."""
    parts = services()
    try:
        return identify(request, parts.config.api_key, parts.ledger.keys)
    except (NotAuthenticated, DatabaseError):
        if not parts.config.admin_api_key.strip():
            raise
        admit_operator("Invalid API key")
    return None


def _body() -> dict[str, Any]:
    config = services().config
    return read_json(request, limit_bytes=config.max_body_bytes, timeout_s=config.body_timeout_sec)


# ---- tokens ----------------------------------------------------------------------------------


@blueprint.get("/tokens")
def list_tokens() -> Response:
    """The pool, page by page; never a whole token."""
    key, parts = _reader(), services()
    page = _number("page", 1, 1 << 30)
    size = _number("page_size", PAGE_SIZE, PAGE_LIMIT)
    group = request.args.get("group")
    if key is not None and group:
        check_key_group(key, group)
    seen = key.allowed_groups if key is not None else ()
    credentials = parts.pool.roster().credentials
    own = [
        one
        for one in credentials
        if group in (None, "", group_of(one)) and (not seen or group_of(one) in seen)
    ]
    shown = own[(page - 1) * size : page * size]
    rows = token_rows(parts, shown, (page - 1) * size)
    now = datetime.now(UTC)
    active = sum(_status(one, now) == "active" for one in own)
    in_flight = parts.pool.activity()[1]
    ids = {one.id for one in own}
    totals = {"total_tokens": len(own), "active_tokens": active}
    stats = totals | {
        "global_in_flight": sum(n for id_, n in in_flight.items() if id_ in ids),
        "tokens_with_in_flight": sum(1 for id_ in in_flight if id_ in ids),
    }
    return json_response(
        {"timestamp": build_time(now)}
        | totals
        | {"page": page, "page_size": size, "tokens": rows, "pool_stats": stats}
    )


def _number(name: str, default: int, limit: int) -> int:
    text = request.args.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= limit:
        raise InvalidRequest(f"{name}: must be a number from 1 to {limit}", param=name)
    return int(text)


def token_rows(
    parts: Services, credentials: Sequence[Credential], first: int
) -> list[dict[str, Any]]:
    """S125b of each."""
    now = datetime.now(UTC)
    tallies, in_flight, _ = parts.pool.activity()
    asked = [one for one in credentials if _status(one, now) == "active"][:PAGE_SIZE]
    parts.balances.look(asked, BALANCE_WAIT_S)
    usage = parts.balances.look(credentials, 0.0)
    return [
        _row(
            one,
            first + number,
            now,
            tallies.get(one.id, Tally()),
            in_flight.get(one.id, 0),
            usage.get(one.id),
        )
        for number, one in enumerate(credentials)
    ]


def _row(
    one: Credential, index: int, now: datetime, tally: Tally, in_flight: int, usage: Usage | None
) -> dict[str, Any]:
    last = datetime.fromtimestamp(tally.last_used, UTC) if tally.last_used else None
    row: dict[str, Any] = {
        "id": one.id,
        "index": index,
        "user_email": mask_email(one.email),
        "token_preview": preview(one.bearer or one.refresh_token),
        "auth_type": one.auth_method,
        "remaining_usage": usage.remaining if usage is not None else 0.0,
        "expires_at": build_time(one.expires_at) if one.expires_at else None,
        "last_used": build_time(last) if last else None,
        "status": _status(one, now),
        "group": group_of(one),
        "name": one.name or one.label or "",
        "request_count": tally.requests,
        "success_count": tally.successes,
        "failure_count": tally.requests - tally.successes,
        "in_flight": in_flight,
        "avg_latency": round(tally.seconds / tally.requests, 4) if tally.requests else 0.0,
    }
    if usage is not None:
        row["usage_limits"] = {
            "total_limit": usage.limit,
            "current_usage": usage.used,
            "is_exceeded": usage.limit > 0 and usage.used >= usage.limit,
        }
    if reason := disabled_reason(one, now):
        row["error"] = reason
    return row


def _status(one: Credential, now: datetime) -> str:
    if not disabled_reason(one, now):
        return STATUSES[""]
    return STATUSES.get(one.disabled_reason or "Manual", "error")


def mask_email(email: str | None) -> str:
    """`m***@example.org`."""
    name, at, host = (email or "").partition("@")
    return f"{name[:1]}***{at}{host}" if name else ""


def preview(token: str | None) -> str:
    """The last ten characters; of a short secret, none."""
    return f"***{token[-10:] if len(token) >= 40 else ''}" if token else ""


@blueprint.post("/tokens")
def add_token() -> Response:
    """Add one credential: 201, or 409 with the one that has its token already."""
    registry = _operator()
    try:
        added = registry.add(_body(), check_sent)
    except Duplicate as error:
        return json_response(_duplicate(error), 409)
    note_credential("credential.add", None, added)
    return json_response(_brief(added), 201)


@blueprint.post("/tokens/bulk")
def add_tokens() -> Response:
    """Add many; each one's outcome is told."""
    registry = _operator()
    entries = _body().get("tokens")
    if not isinstance(entries, list):
        raise InvalidRequest("tokens: must be a list", param="tokens")
    results = [_try_add(registry, index, entry) for index, entry in enumerate(entries)]
    counts = {
        name: sum(one["status"] == name for one in results)
        for name in ("added", "duplicate", "failed")
    }
    return json_response(counts | {"total": len(results), "results": results})


def _try_add(registry: Registry, index: int, entry: object) -> dict[str, Any]:
    try:
        added = registry.add(entry, check_sent)
    except Duplicate as error:
        return {"index": index, "status": "duplicate"} | _duplicate(error)
    except KiroProxyError as error:
        return {"index": index, "status": "failed", "error": str(error)}
    note_credential("credential.add", None, added)
    return {"index": index, "status": "added"} | _brief(added)


def _brief(one: Credential) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name or one.label or "",
        "group": group_of(one),
        "disabled": one.disabled,
        "token_preview": preview(one.bearer or one.refresh_token),
    }


def _duplicate(error: Duplicate) -> dict[str, Any]:
    one = error.existing
    existing = {"id": one.id, "name": one.name or one.label or "", "group": group_of(one)}
    return {"error": str(error), "duplicate": True, "existing": existing}


@blueprint.patch("/tokens/<int:token_id>")
def change_token(token_id: int) -> Response:
    """Switch on or off, move, name."""
    registry = _operator()
    body = _body()
    for key, kind in CHANGEABLE.items():
        if body.get(key) is not None and not isinstance(body[key], kind):
            raise InvalidRequest(f"{key}: is of the wrong type", param=key)
    disabled, group, name = (body.get(key) for key in CHANGEABLE)
    before = changed = registry.credential(token_id)
    if group is not None:
        changed = registry.move(token_id, group.strip())
    if name is not None:
        changed = registry.update(token_id, lambda one: replace(one, name=name.strip() or None))
    if disabled is not None:
        changed = registry.set_disabled(token_id, disabled)
    note_credential("credential.edit", before, changed)
    return json_response(_brief(changed))


@blueprint.put("/tokens/<int:token_id>/move")
def move_token(token_id: int) -> Response:
    """Put one into a group."""
    registry = _operator()
    group = _body().get("group")
    if not isinstance(group, str) or not group.strip():
        raise InvalidRequest("group: must be a text", param="group")
    before = registry.credential(token_id)
    moved = registry.move(token_id, group.strip())
    note_credential("credential.move", before, moved)
    return json_response(_brief(moved))


@blueprint.delete("/tokens/<int:token_id>")
def remove_token(token_id: int) -> Response:
    """Delete one."""
    registry = _operator()
    gone = registry.credential(token_id)
    registry.remove(token_id)
    note_credential("credential.delete", gone, None)
    return Response(status=204)


@blueprint.post("/tokens/refresh")
def refresh_tokens() -> Response:
    """Renew access tokens now, of a group or of all."""
    _operator()
    parts = services()
    body = _body() if request.content_length else {}
    group, limit = body.get("group"), body.get("limit")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise InvalidRequest("limit: must be a whole number of at least 1", param="limit")
    if group is not None and not isinstance(group, str):
        raise InvalidRequest("group: must be a text", param="group")
    now = datetime.now(UTC)
    wanted = [
        one
        for one in parts.pool.roster().credentials
        if group in (None, "", group_of(one)) and one.renewable and not disabled_reason(one, now)
    ][:limit]
    with ThreadPoolExecutor(REFRESHES) as threads:
        results = list(threads.map(lambda one: _refresh(parts, one), wanted))
    for one in results:
        if one["success"]:
            note("credential.refresh", f"credential {one['id']}")
    refreshed = sum(one["success"] for one in results)
    return json_response(
        {
            "refreshed": refreshed,
            "failed": len(results) - refreshed,
            "total": len(results),
            "concurrency": REFRESHES,
            "results": results,
            "message": f"{refreshed} of {len(results)} tokens are renewed",
        }
    )


def _refresh(parts: Services, one: Credential) -> dict[str, Any]:
    try:
        parts.pool.force_refresh(one, one.access_token or "")
    except CredentialError as error:
        return {"id": one.id, "success": False, "error": str(error)}
    return {"id": one.id, "success": True}


# ---- groups ----------------------------------------------------------------------------------


def _group_object(info: GroupInfo) -> dict[str, Any]:
    return {
        "name": info.group.name,
        "display_name": info.group.display_name or info.group.name,
        "settings": build_settings(info.group.settings),
        "token_count": info.total,
        "active_count": info.active,
    }


@blueprint.get("/groups")
def list_groups() -> Response:
    """All groups."""
    found = [_group_object(info) for info in _operator().groups()]
    return json_response({"groups": found, "total": len(found)})


@blueprint.get("/groups/<name>")
def one_group(name: str) -> Response:
    """One of them."""
    return json_response(_group_object(_operator().group(name)))


@blueprint.post("/groups")
def create_group() -> Response:
    """Make one."""
    registry = _operator()
    body = _body()
    name = body.get("name")
    if not isinstance(name, str):
        raise InvalidRequest("name: must be a text", param="name")
    shown, settings = settings_of(body, name.strip())
    registry.create_group(Group(name.strip(), shown, parse_settings(settings)))
    made = _group_object(registry.group(name.strip()))
    note("group.create", f"group {name.strip()}", None, made)
    return json_response(made, 201)


@blueprint.put("/groups/<name>")
def change_group(name: str) -> Response:
    """Change how it is shown, and its settings."""
    registry = _operator()
    body = _body()
    before = registry.group(name).group
    shown, settings = settings_of(body, before.display_name or name)
    registry.change_group(Group(name, shown, parse_settings(settings, before.settings)))
    after = _group_object(registry.group(name))
    old = {"display_name": before.display_name, "settings": build_settings(before.settings)}
    note("group.edit", f"group {name}", old, {key: after[key] for key in old})
    return json_response(after)


@blueprint.post("/groups/<name>/rename")
def rename_group(name: str) -> Response:
    """Call it otherwise; its tokens go with it."""
    registry = _operator()
    new = registry.rename_group(name, _body().get("new_name"))
    services().ledger.book.rename_group(name, new)
    note("group.rename", f"group {new}", {"name": name}, {"name": new})
    return json_response(_group_object(registry.group(new)))


@blueprint.delete("/groups/<name>")
def remove_group(name: str) -> Response:
    """Delete it; its tokens go to `default`."""
    registry = _operator()
    gone = _group_object(registry.group(name))
    registry.remove_group(name)
    services().ledger.book.set_group_budgets(name, NO_BUDGETS)
    note("group.delete", f"group {name}", gone, None)
    return Response(status=204)
