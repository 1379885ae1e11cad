"""Rows and roll-ups agree, whatever is written how often."""

import math
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from kiroproxy.ledger import tables, usage_rows
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.usage import Retention, UsageRow

AT = datetime(2026, 11, 20, 12, 30, 45, tzinfo=UTC).timestamp()
texts = st.text(max_size=300)
rows = st.builds(
    UsageRow,
    time=st.floats(1, 4e9),
    trace_id=texts,
    model=texts,
    error_type=texts,
    status=st.integers(100, 599),
    credits=st.floats(),
    duration_s=st.floats(),
    first_event_s=st.none() | st.floats(0, 1e5),
    input_tokens=st.integers(),
    client=texts,
)


@given(rows)
def test_whatever_comes_fits(row: UsageRow) -> None:
    for name, value in usage_rows.build(row).items():
        column = tables.usage.c[name]
        if isinstance(value, str):
            assert len(value) <= column.type.length  # type: ignore[attr-defined]
            assert "\0" not in value
            value.encode()
        elif isinstance(value, float):
            assert math.isfinite(value)
        elif value is not None:
            assert -(2**63) < value < 2**63


@given(st.lists(rows, max_size=20))
def test_roll_ups_add_up(many: list[UsageRow]) -> None:
    stored = [usage_rows.build(row) for row in many]
    rolled = usage_rows.roll_up(stored)
    for level, length in usage_rows.LEVELS.items():
        own = [one for one in rolled if one["level"] == level]
        assert all(one["start"] % length == 0 for one in own)
        assert sum(one["requests"] for one in own) == len(many)
        for name in ("credits_nano", "input_tokens"):
            assert sum(one[name] for one in own) == sum(row[name] for row in stored)


def test_there_and_back(database: Database) -> None:
    row = UsageRow(time=AT, key_id="k", group="pro", credits=0.25, model="ü", streamed=True)
    database.write(lambda connection: usage_rows.insert(connection, [row], 0))
    (found,) = database.read(lambda c: c.execute(select(tables.usage)).all())
    assert usage_rows.parse(found) == row


def sums(database: Database) -> list[tuple[str, int, int, int]]:
    table = tables.rollups
    query = select(
        table.c.level,
        func.sum(table.c.requests),
        func.sum(table.c.errors),
        func.sum(table.c.credits_nano),
    ).group_by(table.c.level)
    found = database.read(lambda c: c.execute(query).all())
    return sorted((row[0], int(row[1]), int(row[2]), int(row[3])) for row in found)


def test_written_twice_counts_once(database: Database) -> None:
    first = [UsageRow(time=AT + n, credits=0.1, status=200 + 300 * (n % 2)) for n in range(10)]
    second = [*first[5:], *(UsageRow(time=AT + n, credits=0.1, error_type="x") for n in range(3))]
    written = [
        database.write(lambda c, batch=batch: usage_rows.insert(c, batch, 0))
        for batch in (first, second, second, [*first, *first])
    ]
    assert written == [10, 3, 0, 0]
    assert sums(database) == [(level, 13, 8, 13 * 10**8) for level in ("day", "hour", "minute")]


def test_rows_too_old_to_be_known_are_passed_over(database: Database) -> None:
    row = UsageRow(time=AT)
    assert database.write(lambda c: usage_rows.insert(c, [row], AT + 1)) == 0
    assert database.write(lambda c: usage_rows.insert(c, [row], AT)) == 1


def test_what_is_outdated() -> None:
    now = datetime.fromtimestamp(AT, UTC)
    assert len(list(usage_rows.outdated(Retention(), now))) == 5
    assert list(usage_rows.outdated(Retention(0, 0, 0, 0, 0), now)) == []
