"""`kiroproxy groups …`."""

import pytest

from tests.cli.home import Home


def test_a_groups_life(home: Home) -> None:
    created = home.json("groups", "create", "pro", "--display-name", "Pro", "--cooldown-sec", 5)
    assert (created["name"], created["display_name"]) == ("pro", "Pro")
    assert created["settings"]["cooldown_sec"] == 5
    home.run("credentials", "group", 2, "--to", "pro")
    changed = home.json("groups", "set", "pro", "--rate-limit-qps", 2, "--priority", -1)
    assert changed["settings"] == {
        "priority": -1,
        "rate_limit_qps": 2,
        "rate_limit_burst": 0,
        "cooldown_sec": 5,
    }
    assert changed["display_name"] == "Pro"
    assert home.json("groups", "show", "pro")["credentials"] == [2]
    text = home.run("groups", "show", "pro").stdout
    assert "rate_limit_qps    2" in text
    assert "#2" in text
    assert home.run("groups", "rename", "pro", "team").stdout == "The group is called team now.\n"
    assert home.stored()[1]["group"] == "team"
    told = home.json("groups", "list")
    assert [(one["name"], one["token_count"]) for one in told["groups"]] == [
        ("default", 1),
        ("team", 1),
    ]
    assert "team" in home.run("groups", "list").stdout
    assert "--yes" in home.refused("groups", "remove", "team"), "it has a credential"
    assert home.json("groups", "remove", "team", "--yes") == {"removed": "team", "moved": 1}
    assert "group" not in home.stored()[1]


@pytest.mark.parametrize("name", ["", "default", "v1", "exhausted", "a/b", "x" * 65])
def test_bad_names(home: Home, name: str) -> None:
    home.run("groups", "create", "pro")
    for arguments in (
        ("create", name),
        ("rename", "pro", name),
        ("rename", name, "other"),
        ("remove", name, "--yes"),
    ):
        home.refused("groups", *arguments)


@pytest.mark.parametrize(
    "option",
    ["--priority=x", "--cooldown-sec=-1", "--rate-limit-qps=x", "--rate-limit-burst=-0.5"],
)
def test_bad_settings(home: Home, option: str) -> None:
    home.run("groups", "create", "pro")
    home.refused("groups", "set", "pro", option)
    home.refused("groups", "create", "other", option)


def test_what_is_not_there_or_there_already(home: Home) -> None:
    home.run("groups", "create", "pro")
    home.refused("groups", "create", "pro")
    home.refused("groups", "set", "pro")
    for arguments in (
        ("show", "nobody"),
        ("set", "nobody", "--priority", "1"),
        ("rename", "nobody", "x"),
        ("remove", "nobody", "--yes"),
    ):
        assert "no group nobody" in home.refused("groups", *arguments, code=1)
    assert home.run("groups", "remove", "pro").exit_code == 0, "an empty one goes unasked"
