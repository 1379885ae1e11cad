"""Questions to the usage ledger: rows, totals, series, exports. For people, not for requests."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from kiroproxy.errors import InvalidRequest
from kiroproxy.gate import Counter
from kiroproxy.ledger.budgets import NANO, burn_per_day
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.limits import credit_counters, tokens_counter
from kiroproxy.ledger.usage import UsageRow

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Table

FIELDS: Final[Mapping[str, Any]] = {
    one.name: one.type for one in msgspec.structs.fields(UsageRow) if one.name != "time"
}
"""What may be asked for; times are asked for as a range."""
DIMENSIONS: Final = ("key_id", "group", "credential_id", "model")
"""What roll-ups tell apart."""
COLUMNS: Final = {"group": "group_name", "credits": "credits_nano"}
PAGE: Final = 1000
LIMIT: Final = 1000
EXPORTS: Final = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


@dataclass(frozen=True, slots=True)
class Asked:
    """Which rows: from a time up to another, and any of these values of these fields."""

    since: datetime | None = None
    until: datetime | None = None
    where: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the rows, and how many there are."""

    rows: list[UsageRow]
    total: int


@dataclass(frozen=True, slots=True)
class Total:
    """A sum of requests. `by` names what it is the sum of, `start` when its period began."""

    by: Mapping[str, Any]
    start: datetime | None
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    credits: float
    duration_s: float
    first_event_s: float | None
    """The mean."""


# ---- what people write ---------------------------------------------------------------------


def parse_asked(given: Mapping[str, str | Sequence[str]]) -> Asked:
    """A question from names and texts, as in a query string; several values are alternatives.

    Raises:
        InvalidRequest: names what cannot be used.
    """
    times: dict[str, datetime] = {}
    where: dict[str, tuple[Any, ...]] = {}
    for name, raw in given.items():
        values = [raw] if isinstance(raw, str) else list(raw)
        if name in ("since", "until"):
            times[name] = parse_time(name, values[-1])
        elif name in FIELDS:
            where[name] = tuple(_parse_value(name, one) for one in values)
        else:
            raise InvalidRequest(f"{name}: there is no such field", param=name)
    return Asked(times.get("since"), times.get("until"), where)


def parse_time(name: str, value: str, now: datetime | None = None) -> datetime:
    """A time, or how long ago: 90s, 15m, 24h, 7d.

    Raises:
        InvalidRequest: it is neither.
    """
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    try:
        if value[-1:] in units and value[:-1].isascii() and value[:-1].isdigit():
            ago = timedelta(seconds=int(value[:-1]) * units[value[-1]])
            return (now or datetime.now(UTC)) - ago
        at = datetime.fromisoformat(value.replace(" ", "+"))  # a plus that was not escaped
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        words = "must be a time such as 2026-11-20T12:00:00Z, or how long ago: 15m, 24h, 7d"
        raise InvalidRequest(f"{name}: {words}", param=name) from None


def _parse_value(name: str, text: str) -> Any:
    kind = FIELDS[name]
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        raise InvalidRequest(f"{name}: {text!r} cannot be one", param=name) from None


# ---- questions -----------------------------------------------------------------------------


class UsageReader:
    """Answers from the database; every call may raise DatabaseError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(
        self, asked: Asked, page: int = 1, page_size: int = 100, *, newest_first: bool = True
    ) -> Page:
        """A page of rows, from 1; at most `LIMIT` of them."""
        size = max(min(page_size, LIMIT), 1)

        def work(connection: "Connection") -> Page:
            from sqlalchemy import func, select

            from kiroproxy.ledger import tables, usage_rows

            usage = tables.usage
            condition = _condition(usage, "time", asked)
            order = (usage.c.time, usage.c.id)
            query = (
                select(usage)
                .where(condition)
                .order_by(*(one.desc() if newest_first else one for one in order))
                .limit(size)
                .offset((max(page, 1) - 1) * size)
            )
            count = select(func.count()).select_from(usage).where(condition)
            found = [usage_rows.parse(row) for row in connection.execute(query)]
            return Page(found, connection.execute(count).scalar() or 0)

        return self._database.read(work)

    def after(self, last: UsageRow | None, asked: Asked, limit: int = PAGE) -> list[UsageRow]:
        """The next rows after one, oldest first: for following, and for exports.

        A row of another worker that is written late may be passed over.
        """

        def work(connection: "Connection") -> list[UsageRow]:
            from sqlalchemy import and_, or_, select

            from kiroproxy.ledger import tables, usage_rows

            usage = tables.usage
            query = select(usage).where(_condition(usage, "time", asked))
            if last is not None:
                at = round(last.time * 1000)
                same = and_(usage.c.time == at, usage.c.id > last.id)
                query = query.where(or_(usage.c.time > at, same))
            query = query.order_by(usage.c.time, usage.c.id).limit(limit)
            return [usage_rows.parse(row) for row in connection.execute(query)]

        return self._database.read(work)

    def totals(self, asked: Asked, by: Sequence[str] = ()) -> list[Total]:
        """Sums over the rows themselves, by any fields; exact, as far back as rows are kept.

        Raises:
            InvalidRequest: there is no such field.
        """
        _check(by, FIELDS)

        def work(connection: "Connection") -> list[Total]:
            from sqlalchemy import BigInteger, case, cast, func, or_, select

            from kiroproxy.ledger import tables, usage_rows

            def milliseconds(column: "ColumnElement[Any]") -> "ColumnElement[int]":
                return func.sum(cast(func.round(column * 1000), BigInteger))

            usage = tables.usage
            failed = or_(usage.c.status >= 400, usage.c.error_type != "")
            sums = [
                func.count().label("requests"),
                func.sum(case((failed, 1), else_=0)).label("errors"),
                *(func.sum(usage.c[one]).label(one) for one in usage_rows.TOKENS),
                func.sum(usage.c.credits_nano).label("credits_nano"),
                milliseconds(usage.c.duration_s).label("duration_ms"),
                milliseconds(usage.c.first_event_s).label("first_event_ms"),
                func.count(usage.c.first_event_s).label("first_events"),
            ]
            columns = [usage.c[COLUMNS.get(one, one)] for one in by]
            query = select(*columns, *sums).where(_condition(usage, "time", asked))
            query = query.group_by(*columns).order_by(*columns)
            found = connection.execute(query)
            return [_total(row._mapping, by) for row in found if row.requests]

        return self._database.read(work)

    def series(self, level: str, asked: Asked, by: Sequence[str] = ()) -> list[Total]:
        """Sums by minute, hour or day (UTC) from the roll-ups, which outlive the rows.

        Raises:
            InvalidRequest: no such level, or a field that roll-ups do not tell apart.
        """
        if level not in ("minute", "hour", "day"):
            raise InvalidRequest("level: must be minute, hour or day", param="level")
        _check([*by, *asked.where], DIMENSIONS)

        def work(connection: "Connection") -> list[Total]:
            from sqlalchemy import func, select

            from kiroproxy.ledger import tables, usage_rows

            table = tables.rollups
            columns = [table.c.start, *(table.c[COLUMNS.get(one, one)] for one in by)]
            sums = [func.sum(table.c[one]).label(one) for one in usage_rows.SUMS]
            condition = _condition(table, "start", _outward(asked, usage_rows.LEVELS[level]))
            query = select(*columns, *sums).where(table.c.level == level, condition)
            query = query.group_by(*columns).order_by(*columns)
            return [_total(row._mapping, by) for row in connection.execute(query)]

        return self._database.read(work)

    def burn_rates(self, now: datetime, days: int = 7) -> dict[int, float]:
        """Credits a day of each credential, from its last days; for `budgets.outlook`."""
        since = now - timedelta(days=days)
        spent: dict[int, float] = {}
        began: dict[int, datetime] = {}
        for one in self.series("hour", Asked(since, now), ["credential_id"]):
            id_ = one.by["credential_id"]
            spent[id_] = spent.get(id_, 0.0) + one.credits
            began.setdefault(id_, one.start or since)
        return {
            id_: burn_per_day(credits, (now - began[id_]).total_seconds())
            for id_, credits in spent.items()
        }

    def counters(self, since: datetime, until: datetime) -> dict[Counter, int]:
        """What `Limits.catch_up` asks for: whole days from the roll-ups, the last from the rows."""
        midnight = until.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        by = ("key_id", "group")
        days = self.series("day", Asked(since, midnight), by)
        last = self.totals(Asked(midnight, until), by)
        counts: dict[Counter, int] = {}
        for one in (*days, *last):
            at = one.start or midnight
            key_id, group = one.by["key_id"], one.by["group"]
            amounts = dict.fromkeys(credit_counters("group", group, at), round(one.credits * NANO))
            if key_id:
                own = credit_counters("key", key_id, at)
                amounts |= dict.fromkeys(own, round(one.credits * NANO))
                amounts[tokens_counter(key_id, at)] = one.output_tokens
            for counter, amount in amounts.items():
                counts[counter] = counts.get(counter, 0) + amount
        return {counter: amount for counter, amount in counts.items() if amount}

    def export(self, asked: Asked, kind: str) -> Iterator[str]:
        """All rows, oldest first, as pieces of a CSV or JSON document.

        Raises:
            InvalidRequest: it is neither of the two.
        """
        if kind not in EXPORTS:
            raise InvalidRequest("format: must be csv or json", param="format")
        pages = self._pages(asked)
        return _csv(pages) if kind == "csv" else _json(pages)

    def _pages(self, asked: Asked) -> Iterator[list[UsageRow]]:
        last: UsageRow | None = None
        while True:
            rows = self.after(last, asked)
            if not rows:
                return
            yield rows
            last = rows[-1]


def _check(names: Iterable[str], known: Iterable[str]) -> None:
    for one in names:
        if one not in known:
            raise InvalidRequest(
                f"{one}: there is no such field; there are {', '.join(known)}", param=one
            )


def _condition(table: "Table", time: str, asked: Asked) -> "ColumnElement[bool]":
    from sqlalchemy import and_, true

    parts: list[ColumnElement[bool]] = []
    if asked.since is not None:
        parts.append(table.c[time] >= _ms(asked.since))
    if asked.until is not None:
        parts.append(table.c[time] < _ms(asked.until))
    for name, values in asked.where.items():
        found = [round(one * NANO) for one in values] if name == "credits" else list(values)
        parts.append(table.c[COLUMNS.get(name, name)].in_(found))
    return and_(true(), *parts)


def _outward(asked: Asked, length_ms: int) -> Asked:
    """A period that has begun belongs to the range."""
    if asked.since is None:
        return asked
    start = _ms(asked.since) // length_ms * length_ms
    return Asked(datetime.fromtimestamp(start / 1000, UTC), asked.until, asked.where)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _total(row: Mapping[Any, Any], by: Sequence[str]) -> Total:
    start, firsts = row.get("start"), row["first_events"]
    return Total(
        by={one: _value(one, row[COLUMNS.get(one, one)]) for one in by},
        start=None if start is None else datetime.fromtimestamp(start / 1000, UTC),
        requests=int(row["requests"]),
        errors=int(row["errors"]),
        input_tokens=int(row["input_tokens"]),
        output_tokens=int(row["output_tokens"]),
        cache_read_tokens=int(row["cache_read_tokens"]),
        cache_write_tokens=int(row["cache_write_tokens"]),
        credits=int(row["credits_nano"]) / NANO,
        duration_s=int(row["duration_ms"]) / 1000,
        first_event_s=int(row["first_event_ms"]) / firsts / 1000 if firsts else None,
    )


def _value(name: str, value: Any) -> Any:
    return value / NANO if name == "credits" else value


# ---- documents -----------------------------------------------------------------------------


def build_row(row: UsageRow) -> dict[str, Any]:
    """A row as JSON."""
    values: dict[str, Any] = msgspec.structs.asdict(row)
    at = datetime.fromtimestamp(row.time, UTC)
    values["time"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return values


def build_total(total: Total) -> dict[str, Any]:
    """A sum as JSON, what it is the sum of beside the amounts."""
    values = {one: getattr(total, one) for one in Total.__dataclass_fields__}
    start = values.pop("start")
    named = dict(values.pop("by"))
    if start is not None:
        named = {"start": start.isoformat(timespec="seconds").replace("+00:00", "Z"), **named}
    return named | values


def _json(pages: Iterator[list[UsageRow]]) -> Iterator[str]:
    yield "["
    separator = "\n"
    for rows in pages:
        texts = [msgspec.json.encode(build_row(row)).decode() for row in rows]
        yield separator + ",\n".join(texts)
        separator = ",\n"
    yield "\n]\n"


def _csv(pages: Iterator[list[UsageRow]]) -> Iterator[str]:
    names = [one.name for one in msgspec.structs.fields(UsageRow)]
    yield ",".join(names) + "\r\n"
    for rows in pages:
        out = io.StringIO()
        writer = csv.writer(out)
        for row in rows:
            writer.writerow([_cell(value) for value in build_row(row).values()])
        yield out.getvalue()


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is made a text: clients choose names."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value
