"""Commands that change credentials: all of those named, or none (S131 to S134)."""

import pytest

from kiroproxy.runtime import Decision, Note, Runtime
from tests.cli.home import Home, entry


def test_off_and_on_again(home: Home) -> None:
    """S132."""
    result = home.run("credentials", "disable", 1, 2)
    assert result.stdout == "#1 one is disabled.\n#2 two is disabled.\n"
    assert [one["disabledReason"] for one in home.stored()] == ["Manual", "Manual"]
    told = home.json("credentials", "enable", 2)
    assert told == {"changed": [{"id": 2, "disabled": False, "priority": 3, "group": "default"}]}
    assert [one.get("disabled", False) for one in home.stored()] == [True, False]
    assert "disabledReason" not in home.stored()[1]


def test_enabling_forgets_rests_for_all_workers(home: Home) -> None:
    runtime = Runtime(home.place / "runtime.db")
    ticket = runtime.admit(lambda _shared: Decision(1)).ticket
    assert ticket is not None
    runtime.give_back(ticket, lambda _state: Note(failed=True, cooldown_s=60, why="throttled"))
    assert runtime.states()[1].failures == 1
    home.run("credentials", "enable", 1)
    assert runtime.states() == {}
    runtime.close()


def test_order_and_group(home: Home) -> None:
    """S133."""
    assert home.run("credentials", "priority", 1, 2, "--to", 7).exit_code == 0
    assert [one["priority"] for one in home.stored()] == [7, 7]
    assert home.run("credentials", "group", 2, "--to", "pro").stdout == "#2 two is in group pro.\n"
    assert home.stored()[1]["group"] == "pro"
    home.run("credentials", "group", 2, "--to", "default")
    assert "group" not in home.stored()[1]


def test_reset(tmp_path_factory: pytest.TempPathFactory) -> None:
    """S134: all but InvalidConfig."""
    home = Home(
        tmp_path_factory.mktemp("reset"),
        entry("a", disabled=True, disabledReason="TooManyFailures"),
        entry("b", disabled=True, disabledReason="InvalidConfig"),
    )
    assert home.run("credentials", "reset", 1).exit_code == 0
    assert not home.stored()[0].get("disabled")
    home.run("credentials", "disable", 1)
    assert "InvalidConfig" in home.refused("credentials", "reset", 1, 2, code=1)


def test_only_what_is_disabled_is_removed(home: Home) -> None:
    """S131."""
    assert "disable first" in home.refused("credentials", "remove", 1, "--yes", code=1)
    home.run("credentials", "disable", 1)
    assert "disable first" in home.refused("credentials", "remove", 1, 2, "--yes", code=1)
    assert "--yes" in home.refused("credentials", "remove", 1), "there is nobody to ask"
    assert home.run("credentials", "remove", 1, "--yes").stdout == "#1 one is removed.\n"
    assert [one["id"] for one in home.stored()] == [2]
    assert home.json("credentials", "remove", 2, "--force", "--yes") == {"removed": [2]}
    assert home.stored() == []


@pytest.mark.parametrize(
    "command",
    [["enable"], ["disable"], ["reset"], ["priority", "--to", "1"], ["group", "--to", "pro"]],
)
def test_one_unknown_id_and_nothing_happens(home: Home, command: list[str]) -> None:
    name, *rest = command
    assert "no credential 8, 9" in home.refused("credentials", name, 1, 8, 9, *rest, code=1)
    for bad in ("0", "x", "1x"):
        home.refused("credentials", name, *rest, 1, bad)
    home.refused("credentials", name, *rest)
    assert home.run("credentials", name, 1, 1, *rest).exit_code == 0


@pytest.mark.parametrize("value", ["-1", "x", "1.5"])
def test_bad_priorities(home: Home, value: str) -> None:
    home.refused("credentials", "priority", 1, f"--to={value}")
    home.refused("credentials", "priority", 1)


@pytest.mark.parametrize("name", ["", " ", "v1", "banned", "a/b", "x" * 65, "admin"])
def test_bad_groups(home: Home, name: str) -> None:
    home.refused("credentials", "group", 1, "--to", name)
