"""Options of budgets, which keys and groups share."""

import pytest

from tests.cli.home import Home

OPTIONS = ("--credits-per-day", "--credits-per-month", "--warn-per-day", "--warn-per-month")


def test_budgets_of_a_group(home: Home) -> None:
    home.run("groups", "create", "pro", "--credits-per-day", 5)
    (day,) = home.json("groups", "show", "pro")["budgets"]
    assert (day["period"], day["hard"], day["soft"], day["remaining"]) == ("day", 5, 0, 5)
    home.json("groups", "set", "pro", "--warn-per-day", 4, "--credits-per-month", 50)
    month, day = home.json("groups", "show", "pro")["budgets"]
    assert (day["hard"], day["soft"], month["hard"]) == (5, 4, 50)
    text = home.run("groups", "show", "pro").stdout
    assert "Warning at" in text
    assert "5.00" in text
    home.run("groups", "rename", "pro", "team")
    assert len(home.json("groups", "show", "team")["budgets"]) == 2, "they go with it"
    home.run("groups", "set", "team", "--credits-per-day", 0, "--warn-per-day", 0)
    home.run("groups", "set", "team", "--credits-per-month", 0)
    assert home.json("groups", "show", "team")["budgets"] == []
    home.run("groups", "set", "default", "--credits-per-day", 1)
    assert len(home.json("groups", "show", "default")["budgets"]) == 1


def test_a_removed_groups_budgets_do_not_come_back(home: Home) -> None:
    home.run("groups", "create", "pro", "--credits-per-day", 5)
    home.run("groups", "remove", "pro", "--yes")
    home.run("groups", "create", "pro")
    assert home.json("groups", "show", "pro")["budgets"] == []


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("value", ["-1", "many", "nan", "inf", "1e10"])
def test_what_is_no_amount(home: Home, option: str, value: str) -> None:
    home.run("groups", "create", "pro", "--credits-per-day", 5)
    home.run("keys", "create", "ci", "--credits-per-day", 5)
    home.refused("groups", "set", "pro", f"{option}={value}")
    home.refused("groups", "create", "other", f"{option}={value}")
    home.refused("keys", "set", "ci", f"{option}={value}")
    home.refused("keys", "create", "other", f"{option}={value}")
