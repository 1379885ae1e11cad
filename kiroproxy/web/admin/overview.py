"""`/api/admin/overview` and `/status`: is it serving, and what is about to break?"""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import marshmallow as ma

from kiroproxy import __version__
from kiroproxy.credentials.overview import Overview, overview
from kiroproxy.credentials.pool import PoolStatus
from kiroproxy.errors import DatabaseError
from kiroproxy.ledger.audit import build_entry
from kiroproxy.ledger.usage import UsageRow
from kiroproxy.ledger.usage_query import Asked, Total, build_total
from kiroproxy.web.admin import rows
from kiroproxy.web.admin.api import rest, room
from kiroproxy.web.admin.shapes import AuditEntry, list_of
from kiroproxy.web.admin.usage import forecast
from kiroproxy.web.services import Services, services

blueprint = room("overview", "Is it serving, and what is about to break?")
SPAN = timedelta(hours=1)
EVENTS = 10
FAILURES = 5
USERS = 6
SOON = timedelta(days=1)
EXHAUSTED = "QuotaExceeded"
BY_HAND = "Manual"


class Status(ma.Schema):
    """The pool in few words."""

    version = ma.fields.String()
    total = ma.fields.Integer()
    usable = ma.fields.Integer()
    store_writable = ma.fields.Boolean()
    problems = ma.fields.List(ma.fields.String())


class PoolFacts(ma.Schema):
    """How many are what."""

    total = ma.fields.Integer()
    usable = ma.fields.Integer()
    cooling = ma.fields.Integer()
    exhausted = ma.fields.Integer()
    disabled = ma.fields.Integer()
    reasons = ma.fields.Dict(keys=ma.fields.String(), values=ma.fields.Integer())
    inFlight = ma.fields.Integer()
    places = ma.fields.Integer()


class Soon(ma.Schema):
    """What ends or returns."""

    credentialId = ma.fields.Integer()
    name = ma.fields.String()
    what = ma.fields.String()
    at = ma.fields.String()
    reason = ma.fields.String()


class Credits(ma.Schema):
    """What is left, and for how long."""

    left = ma.fields.Float()
    limit = ma.fields.Float()
    perDay = ma.fields.Float()
    dryAt = ma.fields.String(allow_none=True)
    known = ma.fields.Integer()


class Traffic(ma.Schema):
    """Of the last hour."""

    requests = ma.fields.Integer()
    errors = ma.fields.Integer()
    inputTokens = ma.fields.Integer()
    outputTokens = ma.fields.Integer()
    credits = ma.fields.Float()
    firstEventP50 = ma.fields.Float(allow_none=True)
    firstEventP95 = ma.fields.Float(allow_none=True)


class Minute(ma.Schema):
    """A minute with requests."""

    start = ma.fields.String()
    requests = ma.fields.Integer()
    errors = ma.fields.Integer()
    firstEvent = ma.fields.Float(allow_none=True)
    firstEventP50 = ma.fields.Float(allow_none=True)
    firstEventP95 = ma.fields.Float(allow_none=True)
    inFlight = ma.fields.Float()
    credits = ma.fields.Float()


class User(ma.Schema):
    """A client key that was used in the last hour; the root key has no id."""

    keyId = ma.fields.String()
    name = ma.fields.String()
    requests = ma.fields.Integer()
    errors = ma.fields.Integer()
    credits = ma.fields.Float()


class Failure(ma.Schema):
    """A request that failed in the last hour."""

    time = ma.fields.String()
    status = ma.fields.Integer()
    errorType = ma.fields.String()
    model = ma.fields.String()
    credentialId = ma.fields.Integer()
    traceId = ma.fields.String()


class OverviewAnswer(ma.Schema):
    """All at a glance."""

    state = ma.fields.String()
    reason = ma.fields.String()
    problems = ma.fields.List(ma.fields.String())
    version = ma.fields.String()
    time = ma.fields.String()
    setupNeeded = ma.fields.Boolean()
    pool = ma.fields.Nested(PoolFacts)
    soon = ma.fields.List(ma.fields.Nested(Soon))
    credits = ma.fields.Nested(Credits)
    traffic = ma.fields.Nested(Traffic)
    series = ma.fields.List(ma.fields.Nested(Minute))
    users = ma.fields.List(ma.fields.Nested(User))
    failures = ma.fields.List(ma.fields.Nested(Failure))
    events = list_of(AuditEntry)


@rest(blueprint, "GET", "/status", answer=Status)
def show_status() -> dict[str, Any]:
    """Tell how many credentials are usable."""
    pool = services().pool.status()
    return {
        "version": __version__,
        "total": pool.total,
        "usable": pool.usable,
        "store_writable": pool.store_writable,
        "problems": list(pool.problems),
    }


@rest(blueprint, "GET", "/overview", answer=OverviewAnswer)
def show_overview() -> dict[str, Any]:
    """Tell how it stands: the pool, credits, the last hour, the last changes."""
    parts, now = services(), datetime.now(UTC)
    seen, status = overview(parts.pool), parts.pool.status()
    state, reason = judge(seen, status)
    try:
        ledger = _of_ledger(parts, now)
    except DatabaseError as error:
        ledger = {"problem": f"the ledger cannot be read: {error}"}
    problems = [*status.problems, *parts.ledger.problems()]
    problem = ledger.pop("problem", None)
    if problem and problem not in problems:
        problems.append(problem)
    return {
        "state": state,
        "reason": reason,
        "problems": problems,
        "version": __version__,
        "time": rows.time(now),
        "setupNeeded": not seen,
        "pool": _pool_facts(seen),
        "soon": soon(seen, now),
    } | ledger


def judge(seen: Sequence[Overview], status: PoolStatus) -> tuple[str, str]:
    """The state of the whole and its reason; what a person has switched off is no trouble."""
    if not seen:
        return "down", "there is no credential yet"
    if not status.usable:
        return "down", "no credential can serve"
    active = sum(one.standing == "active" for one in seen)
    if not active:
        return "degraded", "all credentials rest"
    if not status.store_writable:
        return "degraded", "refreshed tokens cannot be stored"
    wanted = [
        one
        for one in seen
        if one.standing != "disabled" or one.credential.disabled_reason not in (None, BY_HAND)
    ]
    off = len(wanted) - active
    unready = max(active - status.usable, 0)
    if off + unready:
        return "degraded", f"{off + unready} of {len(wanted)} credentials cannot serve"
    return "serving", ""


def soon(seen: Sequence[Overview], now: datetime) -> list[dict[str, Any]]:
    """What ends or returns within a day, or with the quota; the first one first."""
    found: list[tuple[datetime, dict[str, Any]]] = []
    for one in seen:
        own = one.credential
        if one.standing == "cooling":
            found.append(_event(one, "cooling", now + timedelta(seconds=one.cooling_s)))
        elif one.standing == "disabled" and own.disabled_until is not None:
            found.append(_event(one, "exhausted", own.disabled_until))
        elif one.standing == "active" and own.expires_at is not None:
            lasts = own.renewable or own.auth_method == "api_key"
            if not lasts and own.expires_at - now < SOON:
                found.append(_event(one, "token", own.expires_at))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]


def _event(one: Overview, what: str, at: datetime) -> tuple[datetime, dict[str, Any]]:
    words = {"token": "its access token ends and cannot be renewed"}
    entry = {
        "credentialId": one.credential.id,
        "name": one.credential.label or one.credential.name or one.credential.email or "",
        "what": what,
        "at": rows.time(at),
        "reason": words.get(what, one.reason),
    }
    return at, entry


def _pool_facts(seen: Sequence[Overview]) -> dict[str, Any]:
    off = [one.credential.disabled_reason for one in seen if one.standing == "disabled"]
    exhausted = off.count(EXHAUSTED)
    others = Counter(reason or BY_HAND for reason in off if reason != EXHAUSTED)
    return {
        "total": len(seen),
        "usable": sum(one.standing == "active" for one in seen),
        "cooling": sum(one.standing == "cooling" for one in seen),
        "exhausted": exhausted,
        "disabled": len(off) - exhausted,
        "reasons": dict(others.most_common()),
        "inFlight": sum(one.in_flight for one in seen),
        "places": sum(one.places for one in seen if one.standing != "disabled"),
    }


def _of_ledger(parts: Services, now: datetime) -> dict[str, Any]:
    """Credits, traffic and events.

    Raises:
        DatabaseError: the ledger cannot be read.
    """
    accounts, out = forecast(parts)
    asked = Asked(now - SPAN, now + timedelta(minutes=1))
    reader = parts.ledger.reader
    totals, newest = reader.totals(asked), reader.rows(asked, page_size=1000).rows
    sums = build_total(totals[0]) if totals else {}
    waits = [row.first_event_s for row in newest if row.first_event_s is not None]
    return {
        "credits": {
            "left": out.pool.left,
            "limit": sum(one.quota for one in accounts),
            "perDay": out.pool.per_day,
            "dryAt": rows.time(out.pool.dry_at) if accounts else None,
            "known": len(accounts),
        },
        "traffic": {
            "requests": sums.get("requests", 0),
            "errors": sums.get("errors", 0),
            "inputTokens": sums.get("input_tokens", 0),
            "outputTokens": sums.get("output_tokens", 0),
            "credits": sums.get("credits", 0.0),
            "firstEventP50": percentile(waits, 0.5),
            "firstEventP95": percentile(waits, 0.95),
        },
        "series": minutes_of(reader.series("minute", asked), newest),
        "users": _users(parts, reader.totals(asked, ["key_id"])),
        "failures": [_failure(row) for row in newest if row.status >= 400][:FAILURES],
        "events": [
            build_entry(one) for one in parts.ledger.audit.entries(page_size=EVENTS).entries
        ],
    }


def minutes_of(totals: Sequence[Total], newest: Sequence[UsageRow]) -> list[dict[str, Any]]:
    """Minutes with requests, oldest first; percentiles as far back as the newest rows reach.

    `inFlight` is the mean of a minute, as those show that ended in it or later: what took long
    counts in each minute through which it ran.
    """
    waits: dict[int, list[float]] = {}
    for row in newest:
        if row.first_event_s is not None:
            waits.setdefault(int(row.time // 60), []).append(row.first_event_s)
    known = {int(one.start.timestamp() // 60): one for one in totals if one.start is not None}
    busy: Counter[int] = Counter()  # milliseconds of requests within each minute
    for minute, total in known.items():
        _spread(minute, total, busy)
    return [
        {
            "start": f"{datetime.fromtimestamp(minute * 60, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "requests": total.requests if total else 0,
            "errors": total.errors if total else 0,
            "firstEvent": total.first_event_s if total else None,
            "firstEventP50": percentile(waits.get(minute, ()), 0.5),
            "firstEventP95": percentile(waits.get(minute, ()), 0.95),
            "inFlight": round(busy[minute] / 60_000, 2),
            "credits": total.credits if total else 0.0,
        }
        for minute in sorted(known.keys() | busy.keys())
        for total in (known.get(minute),)
    ]


def _spread(minute: int, total: Total, busy: "Counter[int]") -> None:
    """Add the time of a minute's requests to the minutes through which their mean one ran."""
    mean_s = total.duration_s / max(total.requests, 1)
    reach = min(max(math.ceil(mean_s / 60), 1), 60)
    for one in range(minute - reach + 1, minute + 1):
        busy[one] += round(total.duration_s * 1000 / reach)


def _users(parts: Services, totals: Sequence[Total]) -> list[dict[str, Any]]:
    """Who asked most in the last hour."""
    names = {one.id: one.name or one.hint for one in parts.ledger.book.all()}
    most = sorted(totals, key=lambda one: one.requests, reverse=True)[:USERS]
    return [
        {
            "keyId": one.by["key_id"],
            "name": names.get(one.by["key_id"], ""),
            "requests": one.requests,
            "errors": one.errors,
            "credits": one.credits,
        }
        for one in most
    ]


def _failure(row: UsageRow) -> dict[str, Any]:
    return {
        "time": rows.time(datetime.fromtimestamp(row.time, UTC)),
        "status": row.status,
        "errorType": row.error_type,
        "model": row.model_asked or row.model,
        "credentialId": row.credential_id,
        "traceId": row.trace_id,
    }


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that such a share of them does not exceed."""
    if not values:
        return None
    return round(sorted(values)[math.ceil(share * len(values)) - 1], 4)
