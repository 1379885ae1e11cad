"""`/api/admin/requests`, `/usage` and `/audit`: who did what, from the ledger."""

import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import marshmallow as ma
from flask import Response, stream_with_context

from kiroproxy.credentials.model import Credential
from kiroproxy.errors import DatabaseError, InvalidRequest
from kiroproxy.ledger.audit import build_entry
from kiroproxy.ledger.budgets import Account, Forecast, Outlook, outlook
from kiroproxy.ledger.usage import UsageRow
from kiroproxy.ledger.usage_query import (
    EXPORTS,
    FIELDS,
    Asked,
    build_row,
    build_total,
    parse_asked,
    parse_time,
)
from kiroproxy.web.admin import rows, shapes
from kiroproxy.web.admin.api import FILE, rest, room, word
from kiroproxy.web.admin.lines import LINES, lines
from kiroproxy.web.admin.shapes import list_of
from kiroproxy.web.services import Services, services

blueprint = room("usage", "Requests, usage and the audit log.")
PAGES = 10**6
SIZE = 1000
LOOK_S = 1.0
PING_S = 8.0
LIFE_S = 60.0
"""So long a live view lasts: a server that stops does not wait for those who only look."""
AS_FILE = {"text/csv": FILE, "application/json": shapes.RequestRow(many=True)}
LEVELS = ("minute", "hour", "day")


def _values() -> ma.fields.List[Any]:
    return ma.fields.List(ma.fields.String(validate=ma.validate.Length(max=200)))


def _page() -> ma.fields.Integer:
    return ma.fields.Integer(load_default=1, validate=ma.validate.Range(1, PAGES))


def _size() -> ma.fields.Integer:
    return ma.fields.Integer(load_default=100, validate=ma.validate.Range(1, SIZE))


class Span(ma.Schema):
    """From a time up to another; or how long ago: 15m, 24h, 7d."""

    since = ma.fields.String()
    until = ma.fields.String()


class DimensionFilters(Span):
    """Which sums."""

    key_id = _values()
    group = _values()
    credential_id = _values()
    model = _values()


class Filters(DimensionFilters):
    """Which requests; repeated values are alternatives."""

    model_asked = _values()
    dialect = _values()
    status = _values()
    error_type = _values()
    client = _values()
    streamed = _values()
    trace_id = _values()
    stop_reason = _values()


class PagedFilters(Filters):
    """Which requests, page by page."""

    page = _page()
    page_size = _size()


class TotalsQuery(Filters):
    """Sums by what."""

    by = ma.fields.List(word(*FIELDS), validate=ma.validate.Length(max=6))


class SeriesQuery(DimensionFilters):
    """Sums by minute, hour or day, and by what else."""

    level = word(*LEVELS, load_default="hour")
    by = ma.fields.List(word("key_id", "group", "credential_id", "model"))


class ExportQuery(Filters):
    """As what."""

    format = word(*EXPORTS, load_default="csv")


class AuditQuery(Span):
    """Which changes."""

    who = _values()
    client = _values()
    action = _values()
    target = _values()
    page = _page()
    page_size = _size()


class RequestPage(ma.Schema):
    """Some of the requests."""

    requests = list_of(shapes.RequestRow)
    total = ma.fields.Integer()
    page = ma.fields.Integer()
    page_size = ma.fields.Integer()


class Totals(ma.Schema):
    """Sums."""

    by = ma.fields.List(ma.fields.String())
    totals = list_of(shapes.Sum)


class Series(ma.Schema):
    """Sums of periods."""

    level = ma.fields.String()
    by = ma.fields.List(ma.fields.String())
    series = list_of(shapes.Sum)


class AuditPage(ma.Schema):
    """Some of the changes, newest first."""

    entries = list_of(shapes.AuditEntry)
    total = ma.fields.Integer()
    page = ma.fields.Integer()
    page_size = ma.fields.Integer()


class ForecastRow(ma.Schema):
    """When credits run out."""

    credentialId = ma.fields.Integer()
    left = ma.fields.Float()
    perDay = ma.fields.Float()
    dryAt = ma.fields.String(allow_none=True)
    resetsAt = ma.fields.String(allow_none=True)


class ForecastEnd(ma.Schema):
    """When credits run out, of each credential and of the pool."""

    pool = ma.fields.Nested(ForecastRow)
    credentials = ma.fields.List(ma.fields.Nested(ForecastRow))


# ---- requests ------------------------------------------------------------------------------


@rest(blueprint, "GET", "/requests", query=PagedFilters, answer=RequestPage)
def list_requests(query: dict[str, Any]) -> dict[str, Any]:
    """List requests, newest first."""
    page, size = query.pop("page"), query.pop("page_size")
    found = services().ledger.reader.rows(asked_of(query), page, size)
    shown = [build_row(one) for one in found.rows]
    return {"requests": shown, "total": found.total, "page": page, "page_size": size}


@rest(blueprint, "GET", "/requests/stream", query=Filters, also=LINES)
def stream_requests(query: dict[str, Any]) -> Response:
    """Tell requests as they end, for a minute."""
    if "since" not in query:
        query["since"] = datetime.now(UTC).isoformat()
    asked = asked_of(query)
    first = services().ledger.reader.after(None, asked)  # what fails, fails before the answer
    return lines(_live(services(), asked, first))


def _live(parts: Services, asked: Asked, found: list[UsageRow]) -> Iterator[dict[str, Any]]:
    began = told = time.monotonic()
    last: UsageRow | None = None
    yield {"type": "ping"}
    while True:
        for row in found:
            last, told = row, time.monotonic()
            yield {"type": "request", **build_row(row)}
        now = time.monotonic()
        if now - began >= LIFE_S:
            yield {"type": "end"}
            return
        if now - told >= PING_S:
            told = now
            yield {"type": "ping"}
        time.sleep(LOOK_S)
        try:
            found = parts.ledger.reader.after(last, asked)
        except DatabaseError:
            found = []


# ---- sums ----------------------------------------------------------------------------------


@rest(blueprint, "GET", "/usage", query=TotalsQuery, answer=Totals)
def show_totals(query: dict[str, Any]) -> dict[str, Any]:
    """Add requests up, by any of their fields."""
    by = query.pop("by", [])
    found = services().ledger.reader.totals(asked_of(query), by)
    return {"by": by, "totals": [build_total(one) for one in found]}


@rest(blueprint, "GET", "/usage/series", query=SeriesQuery, answer=Series)
def show_series(query: dict[str, Any]) -> dict[str, Any]:
    """Add requests up by minute, hour or day."""
    level, by = query.pop("level"), query.pop("by", [])
    found = services().ledger.reader.series(level, asked_of(query), by)
    return {"level": level, "by": by, "series": [build_total(one) for one in found]}


@rest(
    blueprint,
    "GET",
    "/usage/export",
    query=ExportQuery,
    also=AS_FILE,
)
def export_usage(query: dict[str, Any]) -> Response:
    """Download all requests, oldest first."""
    kind = query.pop("format")
    pieces = services().ledger.reader.export(asked_of(query), kind)
    start = list(itertools.islice(pieces, 2))  # what fails, fails before the answer
    content = stream_with_context(itertools.chain(start, pieces))
    response = Response(content, content_type=EXPORTS[kind])
    name = f"kiroproxy-usage-{datetime.now(UTC):%Y%m%d}.{kind}"
    response.headers["content-disposition"] = f'attachment; filename="{name}"'
    return response


@rest(blueprint, "GET", "/usage/forecast", answer=ForecastEnd)
def show_forecast() -> dict[str, Any]:
    """Say when credits run out at the rate of the last days."""
    accounts, found = forecast(services())
    resets = {one.id: one.resets_at for one in accounts}
    return {
        "pool": _forecast(found.pool) | ({} if accounts else {"dryAt": None}),  # nobody knows
        "credentials": [
            {"credentialId": id_, "resetsAt": rows.time(resets[id_])} | _forecast(one)
            for id_, one in found.credentials.items()
        ],
    }


def forecast(parts: Services) -> tuple[list[Account], Outlook]:
    """The outlook of those whose balance is known.

    Raises:
        DatabaseError: the ledger cannot be read.
    """
    now = datetime.now(UTC)
    known, burn = parts.balances.known(), parts.ledger.reader.burn_rates(now)

    def account(one: Credential) -> Account:
        usage = known[one.id][0]
        per_day = burn.get(one.id, 0.0)
        return Account(one.id, usage.remaining, usage.limit, usage.resets_at, per_day)

    accounts = [account(one) for one in parts.pool.roster().credentials if one.id in known]
    return accounts, outlook(accounts, now)


def _forecast(one: Forecast) -> dict[str, Any]:
    return {"left": one.left, "perDay": one.per_day, "dryAt": rows.time(one.dry_at)}


# ---- changes -------------------------------------------------------------------------------


@rest(blueprint, "GET", "/audit", query=AuditQuery, answer=AuditPage)
def list_changes(query: dict[str, Any]) -> dict[str, Any]:
    """List changes, newest first."""
    page, size = query.pop("page"), query.pop("page_size")
    span = {name: parse_time(name, query.pop(name)) for name in ("since", "until") if name in query}
    found = services().ledger.audit.entries(
        since=span.get("since"), until=span.get("until"), where=query, page=page, page_size=size
    )
    shown = [build_entry(one) for one in found.entries]
    return {"entries": shown, "total": found.total, "page": page, "page_size": size}


def asked_of(query: dict[str, Any]) -> Asked:
    """The question of a query.

    Raises:
        InvalidRequest: names what cannot be used.
    """
    asked = parse_asked(query)
    for name, values in asked.where.items():
        if any(isinstance(one, int) and abs(one) >= 2**63 for one in values):
            raise InvalidRequest(f"{name}: the number is too large", param=name)
    return asked
