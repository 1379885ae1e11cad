"""`/api/stats` and `/api/logs`: what was used, as kiro2api's users know it; for the admin (X17).

Both read the usage ledger. Filters are its fields, `since` and `until`; several values of one are
alternatives.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, request

from kiroproxy.errors import InvalidRequest
from kiroproxy.ledger.request_log import RequestLog
from kiroproxy.ledger.usage import UsageRow
from kiroproxy.ledger.usage_query import EXPORTS, Asked, Total, build_row, build_total, parse_asked
from kiroproxy.web.admin.changes import note
from kiroproxy.web.operator import admit_operator
from kiroproxy.web.services import services
from kiroproxy.web.v1 import json_response

blueprint = Blueprint("accounting", __name__, url_prefix="/api")
PAGE_SIZE = 100
PAGE_LIMIT = 1000
SINCE = "24h"
NAMES = {"key": "key_id", "token_id": "credential_id", "credential": "credential_id"}
"""Other names of the ledger's fields."""
SUMS = {"by_key": "key_id", "by_group": "group", "by_token": "credential_id", "by_model": "model"}
PERIODS = ("minute", "hour", "day")


@blueprint.before_request
def _guard() -> None:
    admit_operator()


def _asked(*apart: str, since: str | None = SINCE) -> Asked:
    """The question of the query string, but for the parameters that stand `apart`."""
    given: dict[str, Sequence[str]] = {"since": [since]} if since else {}
    for name, values in request.args.lists():
        if name not in apart and any(values):
            given[NAMES.get(name, name)] = values
    asked = parse_asked(given)
    if asked.since is not None and asked.until is not None and asked.since >= asked.until:
        raise InvalidRequest("until: must be later than since", param="until")
    return asked


def _number(name: str, default: int, limit: int) -> int:
    text = request.args.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= limit:
        raise InvalidRequest(f"{name}: must be a number from 1 to {limit}", param=name)
    return int(text)


def _time(at: datetime | None) -> str | None:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}" if at is not None else None


# ---- statistics ----------------------------------------------------------------------------


@blueprint.get("/stats")
def stats() -> Response:
    """Sums of the last 24 hours, or of `since` and `until`; with `period`, a series as well."""
    asked = _asked("period")
    period = request.args.get("period", "")
    if period and period not in PERIODS:
        raise InvalidRequest("period: must be minute, hour or day", param="period")
    reader = services().ledger.reader
    combined = reader.totals(asked, list(SUMS.values()))
    body = {"since": _time(asked.since), "until": _time(asked.until)} | summed(combined)
    for name, field in SUMS.items():
        body[name] = [{field: value} | summed(own) for value, own in _parted(combined, field)]
    if period:
        body["series"] = [build_total(one) for one in reader.series(period, asked)]
    return json_response(body)


def _parted(found: Iterable[Total], field: str) -> list[tuple[Any, list[Total]]]:
    parts: dict[Any, list[Total]] = {}
    for one in found:
        parts.setdefault(one.by[field], []).append(one)
    return sorted(parts.items(), key=lambda part: -sum(one.requests for one in part[1]))


def summed(found: Sequence[Total]) -> dict[str, Any]:
    """Sums over sums."""

    def sum_of(value: Callable[[Total], float]) -> Any:
        return sum(map(value, found))

    requests = sum_of(lambda one: one.requests)
    errors = sum_of(lambda one: one.errors)
    seconds = sum_of(lambda one: one.duration_s)
    counts = {
        name: sum_of(lambda one, name=name: getattr(one, name))  # type: ignore[misc]
        for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    }
    return {
        "total_requests": requests,
        "success_count": requests - errors,
        "failure_count": errors,
        "success_rate": round((requests - errors) / requests, 4) if requests else 0.0,
        **counts,
        "total_tokens": counts["input_tokens"] + counts["output_tokens"],
        "credits": round(sum_of(lambda one: one.credits), 9),
        "avg_latency": round(seconds / requests, 4) if requests else 0.0,
    }


@blueprint.get("/stats/records")
def records() -> Response:
    """Requests one by one, newest first; `format=csv` or `json` exports all of them."""
    asked = _asked("page", "page_size", "format", since=None)
    reader = services().ledger.reader
    kind = request.args.get("format", "")
    if kind:
        pieces = reader.export(asked, kind)
        reader.rows(asked, page_size=1)  # an ill database is told before the answer begins
        name = f"attachment; filename=usage.{kind}"
        return Response(pieces, content_type=EXPORTS[kind], headers={"content-disposition": name})
    page = _number("page", 1, 1 << 30)
    size = _number("page_size", PAGE_SIZE, PAGE_LIMIT)
    found = reader.rows(asked, page, size)
    rows = [build_row(one) for one in found.rows]
    return json_response({"records": rows, "total": found.total, "page": page, "page_size": size})


# ---- the log -------------------------------------------------------------------------------


def _log() -> RequestLog:
    return RequestLog(services().ledger.database)


@blueprint.get("/logs")
def logs() -> Response:
    """The request log, newest first."""
    asked = _log().within(_asked("page", "page_size", since=None))
    page = _number("page", 1, 1 << 30)
    size = _number("page_size", PAGE_SIZE, PAGE_LIMIT)
    found = services().ledger.reader.rows(asked, page, size)
    rows = [log_entry(one) for one in found.rows]
    return json_response({"logs": rows, "total": found.total, "page": page, "page_size": size})


def log_entry(row: UsageRow) -> dict[str, Any]:
    """A request as a line of a log."""
    facts = build_row(row)
    failed = row.status >= 400 or bool(row.error_type)
    return {
        "id": row.id,
        "timestamp": facts["time"],
        "level": "error" if failed else "info",
        "request_id": row.trace_id,
        "client_ip": row.client,
        "key_id": row.key_id,
        "group": row.group,
        "token_id": row.credential_id,
        "api": row.dialect,
        "model": row.model_asked,
        "kiro_model": row.model,
        "stream": row.streamed,
        "status": row.status,
        "attempts": row.attempts,
        "duration_ms": round(row.duration_s * 1000),
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "credits": row.credits,
        "stop_reason": row.stop_reason,
        "error": row.error_type or None,
    }


@blueprint.get("/logs/stats")
def log_stats() -> Response:
    """How many requests the log holds, and how they ended."""
    log = _log()
    found = services().ledger.reader.totals(log.within(_asked(since=None)), ["status"])
    total = sum(one.requests for one in found)
    errors = sum(one.errors for one in found)
    return json_response(
        {
            "total": total,
            "success": total - errors,
            "error": errors,
            "error_rate": round(errors / total, 4) if total else 0.0,
            "by_status": {str(one.by["status"]): one.requests for one in found},
            "cleared_at": _time(log.begins_at()),
        }
    )


@blueprint.delete("/logs")
def clear_logs() -> Response:
    """Empty the log; usage, statistics and budgets keep their figures."""
    parts = services()
    now = datetime.now(UTC)
    shown = parts.ledger.reader.rows(_log().within(Asked()), page_size=1).total
    _log().clear(now)
    note("logs.clear", "request log", after={"rows": shown})
    return json_response({"cleared": shown, "cleared_at": _time(now)})
