"""`kiroproxy usage …`."""

import csv
import io
import json

import pytest

from kiroproxy.ledger.key_book import KeyBook
from tests.cli.home import Home, entry
from tests.cli.ledger import database, record
from tests.simulation import Simulator

DAY = 86400


@pytest.fixture
def used(home: Home) -> Home:
    key = KeyBook(database(home)).create({"name": "ci"}).key.id
    record(
        home,
        {"key_id": key, "credits": 0.5, "output_tokens": 10, "trace_id": "req_1"},
        {"key_id": key, "credits": 0.25, "status": 429, "error_type": "Throttled", "group": "pro"},
        {"credits": 1.0, "model": "claude-haiku-4.5", "credential_id": 2, "model_asked": "=cmd()"},
        {"key_id": "0123456789ab", "credits": 4.0, "ago": 3 * DAY},
        {"key_id": key, "credits": 100.0, "ago": 9 * DAY},
    )
    return home


def test_totals_by_key_are_what_comes_first(used: Home) -> None:
    rows = used.json("usage")
    assert {row["key_id"]: row["requests"] for row in rows}[""] == 1
    assert sum(row["credits"] for row in rows) == pytest.approx(5.75)
    text = used.run("usage").stdout
    assert text == used.run("usage", "totals").stdout
    for word in ("ci", "(apiKey)", "0123456789ab", "5.750", "total"):
        assert word in text
    assert "100" not in text, "nine days ago"


@pytest.mark.parametrize(
    ("options", "credits"),
    [
        (["--by", "group"], {"default": 5.5, "pro": 0.25}),
        (["--by", "model", "--since", "1d"], {"claude-haiku-4.5": 1.0, "claude-sonnet-4.5": 0.75}),
        (["--by", "credential", "--since=1h"], {1: 0.75, 2: 1.0}),
        (["--by", "status", "--key", "ci"], {200: 0.5, 429: 0.25}),
        (["--by", "group", "--key", "ci", "--key", "root", "--status=200"], {"default": 1.5}),
        (["--by", "group", "--until", "2d"], {"default": 4.0}),
        (["--by", "key", "--key", "0123456789ab"], {"0123456789ab": 4.0}),
        (["--by", "client", "--trace", "req_1"], {"": 0.5}),
    ],
)
def test_what_is_added_up(used: Home, options: list[str], credits: dict[object, float]) -> None:
    rows = used.json("usage", *options)
    assert {next(iter(row.values())): row["credits"] for row in rows} == credits
    assert used.run("usage", *options).exit_code == 0


def test_by_day(used: Home) -> None:
    rows = used.json("usage", "--by", "day", "--since", "30d")
    assert sum(row["credits"] for row in rows) == pytest.approx(105.75)
    assert len(rows) >= 3
    assert rows[0]["start"] < rows[-1]["start"]
    text = used.run("usage", "--by", "day", "--by", "key", "--since", "30d").stdout
    assert rows[0]["start"][:10] in text


def test_csv(used: Home) -> None:
    read = list(csv.DictReader(io.StringIO(used.run("usage", "--by", "model", "--csv").stdout)))
    assert {row["model"]: row["requests"] for row in read}["claude-haiku-4.5"] == "1"
    assert used.run("usage", "--csv", "--key", "root", "--since", "1s").stdout == ""


def test_requests(used: Home) -> None:
    text = used.run("usage", "--requests").stdout.splitlines()
    assert len(text) == 5
    assert "Throttled" in used.run("usage", "--requests", "--status", "429").stdout
    assert "The last 2 of 4" in used.run("usage", "--requests", "-n", 2).stdout
    assert len(used.json("usage", "--requests", "--since", "30d")) == 5
    assert [row["trace_id"] for row in used.json("usage", "--requests", "--trace=req_1")] == [
        "req_1"
    ]
    assert len(used.json("usage", "--requests", "--limit", 1)) == 1
    shown = used.run("usage", "--requests", "--csv", "--since", "30d").stdout
    read = list(csv.DictReader(io.StringIO(shown)))
    assert len(read) == 5
    assert "'=cmd()" in shown, "no formula for a spreadsheet"
    assert len(used.run("usage", "--requests", "--csv", "-n", 1).stdout.splitlines()) == 2


def test_nothing_was_used(home: Home) -> None:
    assert home.run("usage").stdout == "Nothing was used in that time.\n"
    assert home.run("usage", "--requests").stdout == "There was no request in that time.\n"
    assert home.json("usage") == []
    assert home.json("usage", "--requests") == []


@pytest.mark.parametrize(
    "options",
    [
        ("nonsense",),
        ("--since", "soon"),
        ("--since", ""),
        ("--since", "99999999999d"),
        ("--until", "yesterday"),
        ("--since=1d", "--until=2d"),
        ("--credential", "first"),
        ("--status", "good"),
        ("--by", "day", "--by", "hour"),
        ("--by", "day", "--status", "200"),
        ("--requests", "--by", "key"),
        ("--limit", "5"),
        ("--requests", "--limit", "0"),
        ("--csv", "--json"),
    ],
)
def test_bad_questions(used: Home, options: tuple[str, ...]) -> None:
    used.refused("usage", *options)


def test_a_key_that_never_was(used: Home) -> None:
    assert "no client key nobody" in used.refused("usage", "--key", "nobody", code=1)


def test_help_of_the_group(home: Home) -> None:
    text = home.run("usage", "--help").stdout
    assert "forecast" in text
    assert "totals" in text


# ---- forecast ------------------------------------------------------------------------------


def test_a_forecast(kiro: Simulator, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("forecast")
    home = Home(place, entry("one"), entry("two", group="pro"), upstream=kiro.url)
    record(home, {"credits": 7.0, "ago": DAY})
    told = home.json("usage", "forecast")
    assert [row["id"] for row in told["credentials"]] == [1, 2]
    assert told["credentials"][0]["per_day"] == pytest.approx(7.0, rel=0.2)
    assert told["credentials"][1]["per_day"] == 0
    assert told["pool"]["left"] == pytest.approx(sum(row["left"] for row in told["credentials"]))
    text = home.run("usage", "forecast").stdout
    assert "the pool" in text
    assert "one" in text
    assert [
        row["id"] for row in home.json("usage", "forecast", "--group", "pro")["credentials"]
    ] == [2]


def test_a_forecast_without_balances(home: Home) -> None:
    told = home.json("usage", "forecast")
    assert told["unknown"] == [1, 2]
    assert "no balance" in home.run("usage", "forecast").stdout
    home.run("groups", "list")  # makes its own table where a database is
    home.refused("usage", "forecast", "--group", "nobody", code=1)
    for bad in ("--days=0", "--days=91", "--days=x"):
        home.refused("usage", "forecast", bad)
    assert json.dumps(told)
