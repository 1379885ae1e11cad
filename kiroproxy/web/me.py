"""`GET /v1/me`: what a key may do, has used, and has left; for whoever holds it.

The root key sees the whole pool's use. Limits and budgets are as the next request would meet them;
use is the ledger's, which is some two seconds behind.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from flask import Blueprint, Response, g

from kiroproxy.credentials.policy import DEFAULT_GROUP
from kiroproxy.errors import DatabaseError, NotAllowed
from kiroproxy.ledger.budgets import Standing, day_end, month_start
from kiroproxy.ledger.key_book import build_key
from kiroproxy.ledger.keys import ClientKey
from kiroproxy.ledger.parts import Ledger
from kiroproxy.ledger.usage_query import Asked, Total
from kiroproxy.web.services import Services, services
from kiroproxy.web.v1 import PREFIXES, authenticate, json_response

blueprint = Blueprint("me", __name__)
SHOWN: Final = ("id", "name", "owner", "hint", "allowed_groups", "models", "expires_at")
AMOUNTS: Final = (
    "requests",
    "errors",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "credits",
)


def me() -> Response:
    """The caller's limits, budgets and use."""
    group = _admit()
    response = json_response(describe(services(), g.caller, group, datetime.now(UTC)))
    response.headers["cache-control"] = "no-store"
    return response


def _admit() -> str:
    """Check the key; the group that it is about.

    Whoever names no group is told of one that the key may use.
    """
    try:
        authenticate()
    except NotAllowed:
        key: ClientKey | None = g.get("caller")
        if "group" in g or key is None or not key.allowed_groups:
            raise
        return key.allowed_groups[0]
    group: str = g.get("group", DEFAULT_GROUP)
    return group


def describe(parts: Services, key: ClientKey | None, group: str, now: datetime) -> dict[str, Any]:
    """Everything that the caller may know."""
    ledger = parts.ledger
    facts: dict[str, Any] = {
        "time": _time(now),
        "key": _key(key, now),
        "group": group,
        "limits": limits_of(ledger, key, now) if key is not None else {},
        "budgets": budgets_of(ledger, key, group),
        "usage": usage_of(ledger, key, now),
    }
    if key is None:
        status = parts.pool.status()
        facts["pool"] = {"credentials": status.total, "usable": status.usable}
    return facts


def _key(key: ClientKey | None, now: datetime) -> dict[str, Any]:
    if key is None:
        return {"kind": "root"} | dict.fromkeys(SHOWN) | {"allowed_groups": [], "models": []}
    facts = build_key(key, now)
    return {"kind": "client"} | {name: facts[name] for name in SHOWN}


def limits_of(ledger: Ledger, key: ClientKey, now: datetime) -> dict[str, Any]:
    """The limits that are set, with what is used of them."""
    own = key.limits
    requests, streams = ledger.limits.load(key.id)
    found: dict[str, Any] = {}
    if own.requests_per_minute:
        found["requests_per_minute"] = _limit(own.requests_per_minute, requests)
    if own.concurrent:
        found["concurrent"] = _limit(own.concurrent, streams)
    if own.output_tokens_per_day:
        used = ledger.limits.output_tokens_today(key.id)
        resets_at = _time(day_end(now))
        found["output_tokens_per_day"] = _limit(own.output_tokens_per_day, used) | {
            "resets_at": resets_at
        }
    return found


def _limit(limit: int, used: int) -> dict[str, Any]:
    return {"limit": limit, "used": used, "remaining": max(limit - used, 0)}


def budgets_of(ledger: Ledger, key: ClientKey | None, group: str) -> list[dict[str, Any]]:
    """The budgets that are set, of the key and of its group; what will stop it first is hard."""
    return [
        _budget(scope, one)
        for scope, standings in ledger.limits.standings(key, group).items()
        for one in standings
    ]


def _budget(scope: str, one: Standing) -> dict[str, Any]:
    return {
        "scope": scope,
        "period": one.kind,
        "spent": round(one.spent, 9),
        "soft": one.soft or None,
        "hard": one.hard or None,
        "remaining": round(max(one.limit - one.spent, 0.0), 9),
        "warned": one.is_warned,
        "exhausted": one.is_spent,
        "resets_at": _time(one.resets_at),
    }


def usage_of(ledger: Ledger, key: ClientKey | None, now: datetime) -> dict[str, Any] | None:
    """Sums of today and of this month (UTC); None while the ledger cannot be read."""
    where = {"key_id": (key.id,)} if key is not None else {}
    try:
        days = ledger.reader.series("day", Asked(month_start(now), None, where))
    except DatabaseError:
        return None
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return {
        "today": _sums([one for one in days if one.start == today]),
        "month": _sums(days),
    }


def _sums(found: Sequence[Total]) -> dict[str, Any]:
    return {name: sum(getattr(one, name) for one in found) for name in AMOUNTS}


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


for prefix in PREFIXES:
    blueprint.add_url_rule(f"{prefix}/me", view_func=me, methods=["GET"])
