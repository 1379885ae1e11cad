"""`kiroproxy groups …`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kiroproxy.cli.asking import confirm, opened, wrong_usage
from kiroproxy.cli.base import Group, json_option, path_options, print_json, print_table
from kiroproxy.cli.budgets import (
    STANDING_COLUMNS,
    budget_options,
    build_standing,
    given_budgets,
    standing_rows,
)
from kiroproxy.cli.texts import marked
from kiroproxy.cli.texts import translated as _

if TYPE_CHECKING:
    from kiroproxy.credentials.registry import GroupInfo
    from kiroproxy.ledger.budgets import Standing
    from kiroproxy.web.services import Services

SETTINGS = (
    ("--priority", "priority", int, "Order of groups where any may serve."),
    ("--cooldown-sec", "cooldown_sec", click.FloatRange(0), "Rest of a throttled credential."),
    ("--rate-limit-qps", "rate_limit_qps", click.FloatRange(0), "Requests a second; 0: no limit."),
    ("--rate-limit-burst", "rate_limit_burst", click.FloatRange(0), "Requests at once."),
)


def _settings_options(function: Any) -> Any:
    function = budget_options(function)
    for name, key, kind, text in reversed(SETTINGS):
        function = click.option(name, key, type=kind, help=text)(function)
    return click.option("--display-name", help="What people call it.")(function)


@click.group(cls=Group)
def groups() -> None:
    """Look at groups of credentials, and change them.

    Credentials are put into groups by `kiroproxy credentials group`.
    """


@groups.command(name="list", examples=["kiroproxy groups list"])
@path_options
@json_option
def list_(config_path: Path | None, credentials_path: Path | None, as_json: bool) -> None:
    """List the groups."""
    with opened(config_path, credentials_path) as (_parts, registry):
        found = registry.groups()
    if as_json:
        print_json({"groups": [_object(one) for one in found], "total": len(found)})
        return
    columns = marked(
        ("Group", "Name", "Credentials", "Enabled", "Priority", "Requests/s", "Cooldown s")
    )
    rows = []
    for one in found:
        own = one.group.settings
        rate = f"{own.rate_limit_qps:g}" if own.rate_limit_qps else "–"
        rest = "–" if own.cooldown_sec is None else f"{own.cooldown_sec:g}"
        shown = one.group.display_name or one.group.name
        rows.append((one.group.name, shown, one.total, one.active, own.priority, rate, rest))
    print_table(columns, rows)


def _object(info: "GroupInfo") -> dict[str, Any]:
    from kiroproxy.credentials.groups import build_settings

    return {
        "name": info.group.name,
        "display_name": info.group.display_name or info.group.name,
        "settings": build_settings(info.group.settings),
        "token_count": info.total,
        "active_count": info.active,
    }


@groups.command(examples=["kiroproxy groups show pro --json"])
@click.argument("name")
@path_options
@json_option
def show(name: str, config_path: Path | None, credentials_path: Path | None, as_json: bool) -> None:
    """Show one group: settings, and which credentials it has."""
    with opened(config_path, credentials_path) as (parts, registry):
        info = registry.group(name)
        ids = [one.id for one in registry.in_group(name)]
        standings = _standings(parts, name)
    facts = _object(info)
    if as_json:
        budgets = [build_standing(one) for one in standings]
        print_json(facts | {"credentials": ids, "budgets": budgets})
        return
    rows = {key: value for key, value in facts.items() if key != "settings"} | facts["settings"]
    rows["credentials"] = ", ".join(f"#{one}" for one in ids)
    width = max(map(len, rows))
    for key, value in rows.items():
        if value is not None:
            click.echo(f"{key:<{width}}  {value}".rstrip())
    if standings:
        print_table(STANDING_COLUMNS, standing_rows(standings))


def _standings(parts: "Services", name: str) -> "list[Standing]":
    """How the group's budgets stand."""
    from kiroproxy.ledger.limits import Limits

    budgets = parts.ledger.book.group_budgets().get(name)
    if budgets is None:
        return []
    limits = Limits(parts.ledger.limits.runtime, group_budgets=lambda group: budgets)
    return limits.standings(None, name)["group"]


def _set_budgets(parts: "Services", name: str, given: dict[str, float]) -> None:
    from dataclasses import replace

    from kiroproxy.ledger.budgets import NO_BUDGETS

    if given:
        book = parts.ledger.book
        before = book.group_budgets().get(name, NO_BUDGETS)
        book.set_group_budgets(name, replace(before, **given))
        parts.ledger.audit.append("group.budgets", name, who="cli", after=given)


@groups.command(examples=["kiroproxy groups create pro --display-name Pro --priority 1"])
@click.argument("name")
@_settings_options
@path_options
@json_option
def create(
    name: str,
    display_name: str | None,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Make a group; it serves the paths that begin with its name."""
    from kiroproxy.credentials.groups import Group as GroupOfCredentials
    from kiroproxy.credentials.groups import parse_settings

    budgets = given_budgets(settings)
    with opened(config_path, credentials_path) as (parts, registry):
        with wrong_usage():
            values = parse_settings(_given(settings))
            registry.create_group(GroupOfCredentials(name, display_name or name, values))
        info = registry.group(name.strip())
        _set_budgets(parts, name.strip(), budgets)
    _report(info, _("Group {name} is made."), as_json)


@groups.command(
    name="set",
    examples=[
        "kiroproxy groups set pro --rate-limit-qps 2 --rate-limit-burst 5",
        "kiroproxy groups set default --credits-per-day 100 --warn-per-day 80",
    ],
)
@click.argument("name")
@_settings_options
@path_options
@json_option
def set_(
    name: str,
    display_name: str | None,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Change a group's settings; what is not named stays."""
    from dataclasses import replace

    from kiroproxy.credentials.groups import parse_settings

    if display_name is None and all(value is None for value in settings.values()):
        raise click.UsageError(_("Say what to set: see `kiroproxy groups set --help`."))
    budgets = given_budgets(settings)
    only_budgets = display_name is None and all(value is None for value in settings.values())
    with opened(config_path, credentials_path) as (parts, registry):
        before = registry.group(name).group
        with wrong_usage():
            values = parse_settings(_given(settings), before.settings)
        shown = display_name or before.display_name
        if not only_budgets:
            registry.change_group(replace(before, display_name=shown, settings=values))
        _set_budgets(parts, name, budgets)
        info = registry.group(name)
    _report(info, _("Group {name} is changed."), as_json)


@groups.command(examples=["kiroproxy groups rename pro team"])
@click.argument("name")
@click.argument("new_name")
@path_options
@json_option
def rename(
    name: str,
    new_name: str,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Call a group otherwise; its credentials and settings go with it."""
    with opened(config_path, credentials_path) as (parts, registry):
        with wrong_usage():
            new_name = registry.rename_group(name, new_name)
        parts.ledger.book.rename_group(name, new_name)
        info = registry.group(new_name)
    _report(info, _("The group is called {name} now."), as_json)


@groups.command(examples=["kiroproxy groups remove pro --yes"])
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@path_options
@json_option
def remove(
    name: str,
    yes: bool,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Delete a group; its credentials go to `default`."""
    from kiroproxy.credentials.groups import check_name
    from kiroproxy.ledger.budgets import NO_BUDGETS

    with opened(config_path, credentials_path) as (parts, registry):
        with wrong_usage():
            check_name(name)
        total = registry.group(name).total
        if total:
            text = _("Move {n} credentials of group {name} to `default`?")
            confirm(text.format(n=total, name=name), yes)
        with wrong_usage():
            registry.remove_group(name)
        parts.ledger.book.set_group_budgets(name, NO_BUDGETS)
    if as_json:
        print_json({"removed": name, "moved": total})
        return
    click.echo(_("Group {name} is removed.").format(name=name))


def _report(info: "GroupInfo", sentence: str, as_json: bool) -> None:
    if as_json:
        print_json(_object(info))
        return
    click.echo(sentence.format(name=info.group.name))


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    """What the command line has said; options that were left out change nothing."""
    return {name: value for name, value in settings.items() if value is not None}
