"""`kiroproxy credentials refresh`, `balance` and `test` against the simulator."""

import json
from pathlib import Path

import pytest

from tests.cli.home import Home, entry
from tests.simulation import Simulator


@pytest.fixture
def there(kiro: Simulator, tmp_path: Path) -> Home:
    return Home(tmp_path, entry("one"), entry("two", group="pro"), upstream=kiro.url)


def test_refresh(there: Home, kiro: Simulator) -> None:
    result = there.run("credentials", "refresh", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "#1 one is renewed" in result.stdout
    one, two = there.stored()
    assert one["generation"] == 1
    assert one["refreshToken"] != entry("one")["refreshToken"]
    assert "generation" not in two
    assert one["refreshToken"] not in result.output
    assert one["accessToken"] not in result.output
    told = there.json("credentials", "refresh", "--all")
    assert (told["refreshed"], told["failed"]) == (2, 0)
    assert there.json("credentials", "refresh", "--group", "pro")["refreshed"] == 1
    assert len(kiro.requests("/refreshToken")) == 4


def test_a_refused_refresh_fails_alone(there: Home, kiro: Simulator) -> None:
    kiro.account(id="dead", refreshToken=entry("two")["refreshToken"], revoked=True)
    told = there.json("credentials", "refresh", 1, 2, code=1)
    assert [one["ok"] for one in told["results"]] == [True, False]
    assert "log in again" in told["results"][1]["error"]
    result = there.run("credentials", "refresh", 2)
    assert result.exit_code == 1
    assert result.stderr.startswith("#2 two: ")


@pytest.mark.parametrize("command", ["refresh", "balance"])
def test_all_is_not_all_when_an_entry_cannot_be_used(there: Home, command: str) -> None:
    """Scripts that watch `--all` must hear of it."""
    good = entry("one")
    there.credentials_path.write_text(json.dumps([good, {"authMethod": "magic"}]), "utf-8")
    result = there.run("credentials", command, "--all")
    assert result.exit_code == 1
    assert "#1 one" in result.stdout, "what can be asked is asked"
    assert "authMethod" in result.stderr
    assert len(there.json("credentials", command, "--all", code=1)["results"]) == 1


@pytest.mark.parametrize("command", ["refresh", "balance"])
def test_all_of_an_unreadable_file(there: Home, command: str) -> None:
    there.credentials_path.write_text("[{", "utf-8")
    result = there.run("credentials", command, "--all")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not JSON" in result.stderr


def test_a_disabled_one_is_renewed_when_it_is_named(there: Home) -> None:
    there.run("credentials", "disable", 1)
    assert there.json("credentials", "refresh", "--all")["refreshed"] == 1
    assert there.json("credentials", "refresh", 1)["refreshed"] == 1
    assert there.stored()[0]["disabled"], "but it stays off"


@pytest.mark.parametrize("command", ["refresh", "balance"])
def test_whom_to_ask(there: Home, command: str) -> None:
    for arguments in ([], [1, "--all"], ["--all", "--group", "pro"], ["x"], [0]):
        there.refused("credentials", command, *arguments)
    there.refused("credentials", command, 9, code=1)
    there.refused("credentials", command, "--group", "nobody", code=1)


def test_balance(there: Home, kiro: Simulator) -> None:
    """S135: kept for five minutes, unless fresh ones are wanted."""
    kiro.account(accessToken=entry("one")["accessToken"], quota=1000, used=250.5)
    told = there.json("credentials", "balance", 1)["results"][0]
    assert (told["subscriptionTitle"], told["currentUsage"]) == ("KIRO PRO", 250.5)
    assert (told["remaining"], told["usagePercentage"]) == (749.5, 25.05)
    table = there.run("credentials", "balance", "--all").stdout
    assert "749.5" in table
    assert len(kiro.requests("/getUsageLimits")) == 2, "the first was known"
    there.run("credentials", "balance", 1, "--fresh")
    assert len(kiro.requests("/getUsageLimits")) == 3
    assert there.json("credentials", "show", 1)["remaining"] == 749.5


def test_no_balance(home: Home) -> None:
    result = home.run("credentials", "balance", 1)
    assert result.exit_code == 1
    assert result.stderr.startswith("#1 one: ")


def test_one_question(there: Home, kiro: Simulator) -> None:
    told = there.json("credentials", "test", 2)
    assert told["ok"]
    assert told["credential_id"] == 2
    assert told["answer"].startswith("This is a simulated answer")
    assert told["model"] == "claude-haiku-4.5"
    assert told["first_event_s"] <= told["total_s"]
    assert told["input_tokens"] > 0
    calls = kiro.requests("/generateAssistantResponse")
    assert len(calls) == 1
    explained = there.json("explain", told["trace"])
    assert [one["credential_id"] for one in explained["attempts"]] == [2]
    text = there.run("credentials", "test", 2, "--model", "claude-sonnet-4-5").stdout
    assert "claude-sonnet-4.5: first event after" in text


def test_no_other_credential_is_asked(there: Home, kiro: Simulator) -> None:
    kiro.account(accessToken=entry("one")["accessToken"], fault="suspended")
    result = there.run("credentials", "test", 1)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert len(kiro.requests("/generateAssistantResponse")) == 1
    there.run("credentials", "disable", 2)
    assert "disabled: Manual" in there.refused("credentials", "test", 2, code=1)


def test_bad_questions(there: Home) -> None:
    there.refused("credentials", "test", "x")
    there.refused("credentials", "test", 9, code=1)
    assert "--model" in there.refused("credentials", "test", 1, "--model", "gpt-none")
