"""Questions to the ledger, and the documents they give."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kiroproxy.errors import InvalidRequest
from kiroproxy.ledger import usage_query, usage_rows
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.usage import UsageRow
from kiroproxy.ledger.usage_query import (
    Asked,
    UsageReader,
    build_row,
    build_total,
    parse_asked,
    parse_time,
)

START = datetime(2026, 11, 20, 23, 50, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def reader(database: Database) -> UsageReader:
    """Twenty requests, one a minute, over midnight."""
    rows = [
        UsageRow(
            id=f"r{n:02}",
            time=(START + n * MINUTE).timestamp(),
            key_id=("", "k1")[n % 2],
            group=("default", "pro")[n % 3 == 0],
            credential_id=n % 4,
            model=("claude-haiku-4.5", "claude-opus-4.8")[n % 2],
            model_asked="=cmd()",
            status=500 if n == 7 else 200,
            streamed=n % 2 == 0,
            output_tokens=n,
            credits=0.1,
            duration_s=2.0,
            first_event_s=None if n == 7 else 0.5,
        )
        for n in range(20)
    ]
    database.write(lambda connection: usage_rows.insert(connection, rows, 0))
    return UsageReader(database)


def ids(rows: list[UsageRow]) -> list[str]:
    return [row.id for row in rows]


def test_pages(reader: UsageReader) -> None:
    first = reader.rows(Asked(), 1, 8)
    assert (ids(first.rows)[0], len(first.rows), first.total) == ("r19", 8, 20)
    third = reader.rows(Asked(), 3, 8)
    assert ids(third.rows) == ["r03", "r02", "r01", "r00"]
    assert reader.rows(Asked(), 4, 8).rows == []
    assert ids(reader.rows(Asked(), 0, 1, newest_first=False).rows) == ["r00"]
    assert len(reader.rows(Asked(), 1, 10**9).rows) == 20


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"key_id": "k1"}, range(1, 20, 2)),
        ({"key_id": ""}, range(0, 20, 2)),
        ({"credential_id": ["1", "2"]}, [n for n in range(20) if n % 4 in (1, 2)]),
        ({"status": "500"}, [7]),
        ({"streamed": "true", "group": "pro"}, [0, 6, 12, 18]),
        ({"id": "r03"}, [3]),
        ({"output_tokens": "5"}, [5]),
        ({"credits": "0.1", "model": "claude-opus-4.8"}, range(1, 20, 2)),
        ({"since": "2026-11-21", "until": "2026-11-21T00:02:00Z"}, [10, 11]),
        ({"model": "nobody's"}, []),
    ],
)
def test_rows_by_any_field(reader: UsageReader, given: dict[str, Any], expected: Any) -> None:
    found = reader.rows(parse_asked(given), newest_first=False)
    assert ids(found.rows) == [f"r{n:02}" for n in expected]
    assert found.total == len(found.rows)


def test_following(reader: UsageReader) -> None:
    first = reader.after(None, Asked(), 3)
    assert ids(first) == ["r00", "r01", "r02"]
    assert ids(reader.after(first[-1], parse_asked({"key_id": "k1"}), 2)) == ["r03", "r05"]


def test_totals(reader: UsageReader) -> None:
    (all_of_it,) = reader.totals(Asked())
    assert (all_of_it.requests, all_of_it.errors, all_of_it.output_tokens) == (20, 1, 190)
    assert (all_of_it.credits, all_of_it.duration_s, all_of_it.first_event_s) == (2.0, 40.0, 0.5)
    by = reader.totals(Asked(), ["group", "streamed"])
    assert {(one.by["group"], one.by["streamed"]): one.requests for one in by} == {
        ("default", False): 7,
        ("default", True): 6,
        ("pro", False): 3,
        ("pro", True): 4,
    }
    assert reader.totals(parse_asked({"model": "x"})) == []


def test_series_from_roll_ups(reader: UsageReader) -> None:
    days = reader.series("day", Asked(), ["key_id"])
    assert [(one.start, one.by["key_id"], one.requests) for one in days] == [
        (datetime(2026, 11, 20, tzinfo=UTC), "", 5),
        (datetime(2026, 11, 20, tzinfo=UTC), "k1", 5),
        (datetime(2026, 11, 21, tzinfo=UTC), "", 5),
        (datetime(2026, 11, 21, tzinfo=UTC), "k1", 5),
    ]
    assert len(reader.series("minute", Asked())) == 20
    hours = reader.series("hour", Asked(since=START + 12 * MINUTE, where={"key_id": ("k1",)}))
    assert [(one.requests, one.credits) for one in hours] == [(5, 0.5)], "the hour it is in"
    shown = build_total(hours[0])
    assert list(shown)[:3] == ["start", "requests", "errors"]
    assert shown["start"] == "2026-11-21T00:00:00Z"
    assert build_total(days[0])["key_id"] == ""


def test_rows_and_roll_ups_agree(reader: UsageReader) -> None:
    for by in (["key_id"], ["model", "group"], ["credential_id"]):
        exact = [build_total(one) for one in reader.totals(Asked(), by)]
        summed: dict[Any, int] = {}
        for one in reader.series("hour", Asked(), by):
            key = tuple(one.by.values())
            summed[key] = summed.get(key, 0) + one.output_tokens
        assert summed == {tuple(one[name] for name in by): one["output_tokens"] for one in exact}


def test_what_limits_begin_with(reader: UsageReader) -> None:
    counts = reader.counters(datetime(2026, 11, 1, tzinfo=UTC), START + 15 * MINUTE)
    assert counts[("tokens key k1", "2026-11-20")] == 1 + 3 + 5 + 7 + 9
    assert counts[("tokens key k1", "2026-11-21")] == 11 + 13
    assert counts[("credits key k1", "2026-11")] == 7 * 10**8
    assert counts[("credits group pro", "2026-11-21")] == 10**8
    assert counts[("credits group default", "2026-11")] == 10 * 10**8


def test_burn_rates(reader: UsageReader) -> None:
    """Five requests of each credential at 0.1; the first hour of all of them began at 23:00."""
    rates = reader.burn_rates(datetime(2026, 11, 21, 11, tzinfo=UTC))
    assert {id_: round(rate, 6) for id_, rate in rates.items()} == dict.fromkeys(range(4), 1.0)
    assert reader.burn_rates(datetime(2027, 1, 1, tzinfo=UTC)) == {}


@pytest.mark.parametrize("page", [7, 1000])
def test_exports(reader: UsageReader, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader.after.__func__, "__defaults__", (page,))  # type: ignore[attr-defined]
    pieces = list(reader.export(Asked(), "json"))
    document = json.loads("".join(pieces))
    assert [row["id"] for row in document] == [f"r{n:02}" for n in range(20)]
    assert document[0]["time"] == "2026-11-20T23:50:00.000Z"
    assert document[0]["credits"] == 0.1
    assert len(pieces) >= 20 / page, "piece by piece"
    rows = list(csv.DictReader(io.StringIO("".join(reader.export(Asked(), "csv")), newline="")))
    assert len(rows) == 20
    assert rows[3]["id"] == "r03"
    assert rows[3]["model_asked"] == "'=cmd()", "no formula for a spreadsheet"
    nothing = parse_asked({"id": "x"})
    assert json.loads("".join(reader.export(nothing, "json"))) == []
    assert len("".join(reader.export(nothing, "csv")).splitlines()) == 1


def test_times() -> None:
    now = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert parse_time("since", "24h", now) == now - timedelta(days=1)
    assert parse_time("since", "15m", now) == now - 15 * MINUTE
    assert parse_time("since", "2026-11-20T12:00:00 01:00") == now - timedelta(hours=1)
    assert parse_time("since", "2026-11-20") == now - timedelta(hours=12)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"since": "yesterday"}, "since"),
        ({"until": ""}, "until"),
        ({"since": "99999999999999d"}, "since"),
        ({"status": "bad"}, "status"),
        ({"streamed": "maybe"}, "streamed"),
    ],
)
def test_questions_that_make_no_sense(given: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        parse_asked(given)


def test_other_nonsense(reader: UsageReader) -> None:
    for call in (
        lambda: reader.totals(Asked(), ["time"]),
        lambda: reader.series("week", Asked()),
        lambda: reader.series("day", Asked(), ["status"]),
        lambda: reader.series("day", parse_asked({"status": "200"})),
        lambda: reader.export(Asked(), "xml"),
    ):
        with pytest.raises(InvalidRequest):
            call()


def test_a_row_as_json_has_every_field() -> None:
    assert {*build_row(UsageRow())} == {*usage_query.FIELDS, "time"}
