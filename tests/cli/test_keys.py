"""`kiroproxy keys …`."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kiroproxy.ledger.audit import AuditLog
from kiroproxy.ledger.key_book import KeyBook
from kiroproxy.ledger.keys import ClientKey, Snapshot, find_key
from tests.cli.home import Home
from tests.cli.ledger import database

NOW = datetime.now(UTC)


def holder(home: Home, secret: str) -> ClientKey | None:
    return find_key(Snapshot(1, tuple(KeyBook(database(home)).all())), secret, NOW)


def make(home: Home, name: str = "ci", *options: object) -> dict[str, Any]:
    made: dict[str, Any] = home.json("keys", "create", name, *options)
    return made


def test_it_is_shown_once_with_lines(home: Home) -> None:
    result = home.run("keys", "create", "ci", "--owner", "team-a", "--group", "pro")
    assert result.exit_code == 0, result.output
    (secret,) = {
        word.strip("'\"") for word in result.stdout.split() if word.strip("'\"").startswith("kp_")
    }
    assert len(secret) == 46
    for line in ("ANTHROPIC_BASE_URL=http://127.0.0.1:8080/pro", "OPENAI_API_KEY", "KIRO_KEY"):
        assert line in result.stdout
    found = holder(home, secret)
    assert found is not None
    assert (found.name, found.owner, found.allowed_groups) == ("ci", "team-a", ("pro",))
    for again in (("list",), ("show", "ci"), ("list", "--json"), ("show", "ci", "--json")):
        shown = home.run("keys", *again).stdout
        assert secret not in shown
        assert found.hash not in shown
        assert f"kp_…{secret[-4:]}" in shown
    log = "".join(str(one) for one in AuditLog(database(home)).entries().entries)
    assert "key.create" in log
    assert secret not in log


def test_a_group_that_is_not_there(home: Home) -> None:
    told = home.run("keys", "create", "ci", "--group", "prro", "--group", "default")
    assert told.exit_code == 0
    assert told.stderr == "Note: there is no group prro yet.\n"
    assert home.run("keys", "set", "ci", "--group", "default").stderr == ""


def test_as_json(home: Home) -> None:
    made = make(
        home, "ci", "--requests-per-minute", 30, "--credits-per-day", 2.5, "--url", "https://a.b/"
    )
    assert made["limits"]["requests_per_minute"] == 30
    assert made["budgets"]["day_hard"] == 2.5
    assert made["base_url"] == "https://a.b"
    assert made["key"] in "".join(made["lines"]["Claude Code"])
    told = home.json("keys", "list")
    assert (told["total"], told["keys"][0]["name"]) == (1, "ci")
    assert home.json("keys", "show", made["id"])["standing"][0]["hard"] == 2.5


def test_settings_that_are_not_named_stay(home: Home) -> None:
    make(home, "ci", "--concurrent", 3, "--model", "claude-*", "--expires", "30d")
    changed = home.json("keys", "set", "ci", "--requests-per-minute", 5)
    assert changed["limits"]["concurrent"] == 3
    assert changed["models"] == ["claude-*"]
    until = datetime.fromisoformat(changed["expires_at"])
    assert abs(until - NOW - timedelta(days=30)) < timedelta(minutes=5)
    changed = home.json(
        "keys", "set", "ci", "--all-models", "--concurrent", 0, "--expires", "never"
    )
    assert (changed["models"], changed["expires_at"]) == ([], None)
    assert changed["limits"]["concurrent"] == 0
    assert home.json("keys", "set", "ci", "--name", "anna")["name"] == "anna"
    assert home.run("keys", "set", "anna", "--owner", "me").stdout == (
        "Client key anna is changed.\n"
    )


def test_rotation_with_an_overlap_and_without(home: Home) -> None:
    first = make(home)["key"]
    second = home.json("keys", "rotate", "ci", "--overlap", "1h")
    assert second["old_key_until"]
    assert holder(home, first)
    assert holder(home, second["key"])
    third = home.run("keys", "rotate", "ci", "--overlap", 0)
    assert third.exit_code == 0
    assert "only time" in third.stdout
    assert holder(home, second["key"]) is None
    assert "the old key until" not in home.run("keys", "list").stdout


def test_off_on_away(home: Home) -> None:
    make(home)
    assert home.json("keys", "disable", "ci")["disabled"] is True
    assert "disabled" in home.run("keys", "list").stdout
    assert home.json("keys", "enable", "ci")["disabled"] is False
    assert "--yes" in home.refused("keys", "remove", "ci")
    assert home.json("keys", "remove", "ci", "--yes")["name"] == "ci"
    assert "no client key yet" in home.run("keys", "list").stdout


def test_a_secret_of_ones_own(home: Home) -> None:
    result = home.run("keys", "create", "old", "--own-secret", given="sk-brought-along\n")
    assert result.exit_code == 0
    assert holder(home, "sk-brought-along")
    again = home.refused("keys", "create", "new", "--own-secret", given="sk-brought-along")
    assert "already" in again
    assert "sk-brought" not in again
    for bad in ("", "short", "with blank inside", "schlüssel-mit-umlaut"):
        home.refused("keys", "create", "new", "--own-secret", given=bad)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--expires", "soon"),
        ("--expires", "2020-01-01"),
        ("--expires", "0d"),
        ("--expires", ""),
        ("--expires", "0001-01-01T00:00:00+14:00"),
        ("--expires", "999999999w"),
        ("--requests-per-minute=-1",),
        ("--requests-per-minute=1.5",),
        ("--concurrent=x",),
        ("--output-tokens-per-day=1e3",),
        ("--group", "pro", "--all-groups"),
        ("--model", "x", "--all-models"),
        ("--owner", "x" * 201),
        ("--owner", "a\nb"),
        ("--name", "x" * 201),
        ("--group", "x" * 201),
        ("--model", "a\nb"),
    ],
)
def test_bad_settings(home: Home, options: tuple[str, ...]) -> None:
    make(home)
    home.refused("keys", "set", "ci", *options)
    if options and not {"--all-groups", "--all-models", "--name"} & set(options):
        home.refused("keys", "create", "other", *options)


@pytest.mark.parametrize("overlap", ["-1h", "soon", "", "1", "999999999w", "400d"])
def test_bad_overlaps(home: Home, overlap: str) -> None:
    make(home)
    home.refused("keys", "rotate", "ci", f"--overlap={overlap}")


def test_names(home: Home) -> None:
    make(home)
    home.refused("keys", "create", "ci")
    home.refused("keys", "create", "  ")
    home.refused("keys", "create", "a\tb")
    home.refused("keys", "create", "other", "--shell", "tcsh")
    for command in (["show"], ["set", "--concurrent=1"], ["rotate"], ["enable"], ["disable"]):
        told = home.refused("keys", command[0], "nobody", *command[1:], code=1)
        assert "no client key nobody" in told
    home.refused("keys", "remove", "nobody", "--yes", code=1)
    book = KeyBook(database(home))
    book.create({"name": "twin"})
    book.create({"name": "twin"})
    assert "Several" in home.refused("keys", "show", "twin")
    assert json.dumps(home.json("keys", "list"))
