"""`kiroproxy credentials list` and `show`."""

from datetime import UTC, datetime, timedelta

import pytest

from kiroproxy import errors
from kiroproxy.cli.credentials.listing import RESTS, expiry_words, span
from kiroproxy.credentials.policy import State, judge
from kiroproxy.runtime import Decision, Note, Runtime
from tests.cli.home import Home, entry


def cool(home: Home, credential_id: int, seconds: float) -> None:
    """Let a worker note that a credential rests, and leave one request in flight."""
    runtime = Runtime(home.place / "runtime.db")
    ticket = runtime.admit(lambda _shared: Decision(credential_id)).ticket
    assert ticket is not None
    runtime.give_back(ticket, lambda _state: Note(cooldown_s=seconds, why="throttled"))
    runtime.admit(lambda _shared: Decision(credential_id))
    runtime.close()


def test_state_with_its_reason(home: Home) -> None:
    home.run("credentials", "disable", 2)
    cool(home, 1, 12)
    result = home.run("credentials", "list")
    assert result.exit_code == 0
    head, first, second = result.stdout.splitlines()
    assert head.startswith("ID  Name")
    assert "cooling 12 s: throttled" in first or "cooling 11 s: throttled" in first
    assert " 1/8 " in first
    assert "disabled: Manual" in second
    assert "never" in second
    told = home.json("credentials", "list")
    assert (told["total"], told["available"]) == (2, 0)
    one, two = told["credentials"]
    assert (one["state"], one["reason"], one["inFlight"], one["maxConcurrent"]) == (
        "cooling",
        "throttled",
        1,
        8,
    )
    assert 0 < one["coolingSec"] <= 12
    assert (two["state"], two["disabledReason"], two["priority"]) == ("disabled", "Manual", 3)
    assert one["lastUsedAt"].endswith("Z")


def test_a_quota_is_told_with_its_end(tmp_path_factory: pytest.TempPathFactory) -> None:
    until = datetime.now(UTC) + timedelta(days=3)
    spent = entry("spent", disabled=True, disabledReason="QuotaExceeded")
    home = Home(
        tmp_path_factory.mktemp("quota"), spent | {"disabledUntil": until.isoformat()}, entry("b")
    )
    stdout = home.run("credentials", "list").stdout
    assert f"disabled: QuotaExceeded until {until:%Y-%m-%d %H:%M} UTC" in stdout


def test_only_a_group(home: Home) -> None:
    home.run("credentials", "group", 2, "--to", "pro")
    told = home.json("credentials", "list", "--group", "pro")
    assert [one["id"] for one in told["credentials"]] == [2]
    assert "no group" in home.refused("credentials", "list", "--group", "nobody", code=1)


def test_show_hides_secrets(home: Home) -> None:
    for arguments in (("show", 1), ("show", 1, "--json"), ("list",), ("list", "--json")):
        result = home.run("credentials", *arguments)
        assert result.exit_code == 0
        assert "yyyyyyyyyyy" not in result.output, "at most the last ten characters"
        assert "zzzzzzzzzzz" not in result.output
    assert "…yyyyyyyyyy" in home.run("credentials", "show", 1).stdout
    assert home.json("credentials", "show", 1)["refreshToken"] == "…yyyyyyyyyy"


def test_nobody_there_and_a_broken_entry(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = Home(tmp_path_factory.mktemp("empty"))
    assert "credentials add" in home.run("credentials", "list").stdout
    home.credentials_path.write_text('[{"authMethod": "magic", "refreshToken": "x"}]', "utf-8")
    result = home.run("credentials", "list")
    assert "authMethod" in result.stderr
    assert home.json("credentials", "list", code=1)["problems"]


def test_an_unreadable_file_is_not_an_empty_one(home: Home) -> None:
    home.credentials_path.write_text("[{", "utf-8")
    result = home.run("credentials", "list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not JSON" in result.stderr


@pytest.mark.parametrize("given", ["0", "-1", "x", "1.5", ""])
def test_bad_ids(home: Home, given: str) -> None:
    home.refused("credentials", "show", "--", given)
    assert "no credential 9" in home.refused("credentials", "show", 9, code=1)


def test_durations_in_words() -> None:
    words = [span(one) for one in (0, 59.9, 60, 3599, 3600, 86400 * 3)]
    assert words == ["0 s", "59 s", "1 min", "59 min", "1 h", "3 d"]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert expiry_words(None, now) == "unknown"
    assert expiry_words(now, now) == "over"
    assert expiry_words(now + timedelta(minutes=5), now) == "in 5 min"


def test_every_reason_to_cool_can_be_translated() -> None:
    unpaid, a_day, limited = (
        errors.QuotaExhausted("x"),
        errors.Throttled("x"),
        errors.Throttled("x"),
    )
    unpaid.payment, a_day.scope, limited.scope = True, "day", "account"
    plain = (errors.AccessDenied("x"), errors.Throttled("x"), errors.ServerFault("x"))
    outcomes = (unpaid, a_day, limited, *plain)
    now = datetime.now(UTC)
    reasons = [judge(one, now, State(failures=1)).note.why for one in outcomes]
    assert sorted(reasons) == sorted(RESTS)
