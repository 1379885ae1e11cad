"""Rows of the usage ledger and their roll-ups, written in one transaction and once."""

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Table, delete, select
from sqlalchemy import insert as insert_into

from kiroproxy.ledger import tables
from kiroproxy.ledger.budgets import NANO, to_nano
from kiroproxy.ledger.statements import upsert
from kiroproxy.ledger.usage import Retention, UsageRow

SLICE: Final = 2000
"""Rows that are deleted at once."""
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
LEVELS: Final = {"minute": MINUTE_MS, "hour": HOUR_MS, "day": DAY_MS}
DIMENSIONS: Final = ("key_id", "group_name", "credential_id", "model")
TOKENS: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
SUMS: Final = (
    "requests",
    "errors",
    *TOKENS,
    "credits_nano",
    "duration_ms",
    "first_event_ms",
    "first_events",
)
LARGEST: Final = 2**40
"""Beyond all token counts, and small enough to add millions of them."""
LONGEST_S: Final = 1e6
COLUMN_OF: Final = {"group": "group_name", "credits": "credits_nano"}
"""Fields of `UsageRow` that are called otherwise in the table."""


def build(row: UsageRow) -> dict[str, Any]:
    """A row as it is stored: whatever came, it fits."""
    values: dict[str, Any] = {}
    for name in row.__struct_fields__:
        value = getattr(row, name)
        column = tables.usage.c[COLUMN_OF.get(name, name)]
        if name == "time":
            value = round(value * 1000)
        elif name == "credits":
            value = to_nano(value)
        elif isinstance(value, str):
            length: int = column.type.length  # type: ignore[attr-defined]
            value = value.replace("\0", "").encode(errors="replace").decode()[:length]
        elif isinstance(value, float):
            value = min(max(value, 0.0), LONGEST_S) if math.isfinite(value) else 0.0
        elif isinstance(value, int) and not isinstance(value, bool):
            value = min(max(value, 0), LARGEST)
        values[column.name] = value
    return values


def parse(row: Row[Any]) -> UsageRow:
    """A row as it was recorded."""
    values = dict(row._mapping)
    values["time"] /= 1000
    values["group"] = values.pop("group_name")
    values["credits"] = values.pop("credits_nano") / NANO
    return UsageRow(**values)


def insert(connection: Connection, rows: Sequence[UsageRow], keep_from: float) -> int:
    """Write those that are not there yet, and add them to the roll-ups; how many.

    Rows from before `keep_from` are passed over: whether they were written cannot be known.
    """
    fresh = {row.id: build(row) for row in rows if row.time >= keep_from}
    if not fresh:
        return 0
    known = select(tables.usage.c.id).where(tables.usage.c.id.in_(list(fresh)))
    for (id_,) in connection.execute(known):
        del fresh[id_]
    if not fresh:
        return 0
    connection.execute(insert_into(tables.usage), list(fresh.values()))
    upsert(connection, tables.rollups, roll_up(fresh.values()), add=SUMS)
    return len(fresh)


def roll_up(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Stored rows, added up by minute, hour and day (UTC); in one order for all who write."""
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        amounts = _amounts(row)
        for level, length_ms in LEVELS.items():
            start = row["time"] // length_ms * length_ms
            key = (level, start, *(row[name] for name in DIMENSIONS))
            into = sums.get(key)
            if into is None:
                names = ("level", "start", *DIMENSIONS)
                sums[key] = dict(zip(names, key, strict=True)) | amounts
            else:
                for name in SUMS:
                    into[name] += amounts[name]
    return [sums[key] for key in sorted(sums)]


def _amounts(row: dict[str, Any]) -> dict[str, int]:
    first = row["first_event_s"]
    return {
        "requests": 1,
        "errors": int(row["status"] >= 400 or bool(row["error_type"])),
        **{name: row[name] for name in TOKENS},
        "credits_nano": row["credits_nano"],
        "duration_ms": round(row["duration_s"] * 1000),
        "first_event_ms": 0 if first is None else round(first * 1000),
        "first_events": int(first is not None),
    }


# ---- retention -----------------------------------------------------------------------------

Outdated = tuple[Table, ColumnElement[bool]]


def outdated(retention: Retention, now: datetime) -> Iterator[Outdated]:
    """Which rows of which table may go."""
    now_ms = round(now.timestamp() * 1000)
    rollups = tables.rollups
    for level in LEVELS:
        if days := getattr(retention, f"{level}_days"):
            old = rollups.c.start < now_ms - days * DAY_MS
            yield rollups, old & (rollups.c.level == level)
    for table, days in ((tables.usage, retention.raw_days), (tables.audit, retention.audit_days)):
        if days:
            yield table, table.c.time < now_ms - days * DAY_MS


def delete_some(connection: Connection, table: Table, old: ColumnElement[bool]) -> int:
    """Delete a slice; how many rows."""
    if table is tables.rollups:  # few, and their key is long
        return connection.execute(delete(table).where(old)).rowcount
    chosen = select(table.c.id).where(old).limit(SLICE).scalar_subquery()
    return connection.execute(delete(table).where(table.c.id.in_(chosen))).rowcount
