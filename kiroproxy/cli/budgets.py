"""Options of budgets in credits, which keys and groups share, and how their standing is shown."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from kiroproxy.cli.base import Function
from kiroproxy.cli.texts import marked
from kiroproxy.cli.texts import translated as _

if TYPE_CHECKING:
    from kiroproxy.ledger.budgets import Standing

CREDITS = click.FloatRange(0, 10**9)
BUDGETS = (
    ("--credits-per-day", "day_hard", "Credits a day (UTC), then nothing goes; 0: no limit."),
    ("--credits-per-month", "month_hard", "Credits a month (UTC), then nothing goes; 0: no limit."),
    ("--warn-per-day", "day_soft", "Warn beyond so many credits a day; 0: do not."),
    ("--warn-per-month", "month_soft", "Warn beyond so many credits a month; 0: do not."),
)
NAMES = tuple(name for _o, name, _h in BUDGETS)


def budget_options(function: Function) -> Function:
    """Add the four, as `Budgets` calls them."""
    for option, name, text in reversed(BUDGETS):
        function = click.option(option, name, type=CREDITS, help=text)(function)
    return function


def given_budgets(options: dict[str, Any]) -> dict[str, float]:
    """Take what was given out of a command's options.

    Raises:
        click.UsageError: it is no number.
    """
    found = {name: options.pop(name) for name in NAMES}
    given = {name: value for name, value in found.items() if value is not None}
    if any(value != value for value in given.values()):
        raise click.UsageError(_("Credits must be a number."))
    return given


def standing_rows(standings: "Iterable[Standing]") -> list[tuple[object, ...]]:
    """Cells of a table: period, spent, soft and hard limit, what is left, when it begins anew."""
    periods = {"day": _("day"), "month": _("month")}
    return [
        (
            periods[one.kind],
            f"{one.spent:.2f}",
            f"{one.soft:g}" if one.soft else "–",
            f"{one.hard:g}" if one.hard else "–",
            f"{max(one.limit - one.spent, 0):.2f}",
            f"{one.resets_at:%Y-%m-%d %H:%M}",
        )
        for one in standings
    ]


STANDING_COLUMNS = marked(("Period", "Spent", "Warning at", "Limit", "Left", "Anew at (UTC)"))


def build_standing(one: "Standing") -> dict[str, Any]:
    """As JSON."""
    return {
        "period": one.kind,
        "spent": one.spent,
        "soft": one.soft,
        "hard": one.hard,
        "remaining": max(one.limit - one.spent, 0.0),
        "warned": one.is_warned,
        "exhausted": one.is_spent,
        "resets_at": f"{one.resets_at:%Y-%m-%dT%H:%M:%SZ}",
    }
