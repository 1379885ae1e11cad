"""`/api/admin/groups`: groups with their settings and budgets."""

from collections.abc import Iterable
from typing import Any

import marshmallow as ma

from kiroproxy.credentials.groups import Group, build_settings, parse_settings
from kiroproxy.credentials.registry import GroupInfo
from kiroproxy.ledger.budgets import Budgets, Standing
from kiroproxy.ledger.key_book import parse_budgets
from kiroproxy.web.admin import rows
from kiroproxy.web.admin.api import Done, done, line, rest, room, text
from kiroproxy.web.admin.changes import note
from kiroproxy.web.admin.credentials import registry_of
from kiroproxy.web.admin.shapes import BudgetFacts, GroupSettings, given, told
from kiroproxy.web.services import services

blueprint = room("groups", "Groups of credentials.")
ONE = "/groups/<name>"


class Standings(ma.Schema):
    """How a budget stands."""

    kind = ma.fields.String()
    spent = ma.fields.Float()
    soft = ma.fields.Float()
    hard = ma.fields.Float()
    resets_at = ma.fields.String()
    warned = ma.fields.Boolean()
    spent_up = ma.fields.Boolean()


class GroupRow(ma.Schema):
    """A group."""

    name = ma.fields.String()
    display_name = ma.fields.String()
    settings = told(GroupSettings)
    budgets = told(BudgetFacts)
    standing = ma.fields.List(ma.fields.Nested(Standings))
    token_count = ma.fields.Integer()
    active_count = ma.fields.Integer()


class GroupList(ma.Schema):
    """All groups."""

    groups = ma.fields.List(ma.fields.Nested(GroupRow))
    total = ma.fields.Integer()


class GroupChange(ma.Schema):
    """What a group is called to people, and what it may do."""

    display_name = line(200)
    settings = given(GroupSettings)
    budgets = given(BudgetFacts)


class NewGroup(GroupChange):
    """A group to be made."""

    name = text(200, required=True)


class NewName(ma.Schema):
    """What it is to be called."""

    new_name = text(200, required=True)


@rest(blueprint, "GET", "/groups", answer=GroupList)
def list_groups() -> dict[str, Any]:
    """List the groups."""
    budgets = services().ledger.book.group_budgets()
    found = [
        _row(info, budgets.get(info.group.name, Budgets()))
        for info in registry_of(services()).groups()
    ]
    return {"groups": found, "total": len(found)}


@rest(blueprint, "POST", "/groups", body=NewGroup, answer=GroupRow, status=201)
def create_group(body: dict[str, Any]) -> dict[str, Any]:
    """Make a group; it serves the paths that begin with its name."""
    name = body["name"].strip()
    shown = body.get("display_name", "").strip() or name
    budgets = parse_budgets("budgets", body.get("budgets"))
    registry_of(services()).create_group(Group(name, shown, parse_settings(body.get("settings"))))
    if "budgets" in body:
        services().ledger.book.set_group_budgets(name, budgets)
    row = _shown(name)
    note("group.create", f"group {name}", None, _facts(row))
    return row


@rest(blueprint, "GET", ONE, answer=GroupRow)
def show_group(name: str) -> dict[str, Any]:
    """Show one."""
    return _shown(name)


@rest(blueprint, "PATCH", ONE, body=GroupChange, answer=GroupRow)
def edit_group(body: dict[str, Any], name: str) -> dict[str, Any]:
    """Change a group; what is not named stays, within settings and budgets, too."""
    parts = services()
    registry = registry_of(parts)
    before, old = registry.group(name).group, _shown(name)
    wanted = body.get("budgets")
    budgets = parse_budgets("budgets", old["budgets"] | wanted if wanted else wanted)
    settings = parse_settings(body.get("settings"), before.settings)
    shown = body.get("display_name", before.display_name).strip() or name
    registry.change_group(Group(name, shown, settings))
    if "budgets" in body:
        parts.ledger.book.set_group_budgets(name, budgets)
    row = _shown(name)
    note("group.edit", f"group {name}", _facts(old), _facts(row))
    return row


@rest(blueprint, "POST", f"{ONE}/rename", body=NewName, answer=GroupRow)
def rename_group(body: dict[str, Any], name: str) -> dict[str, Any]:
    """Call it otherwise; its credentials, budgets and client keys go with it."""
    parts = services()
    new = registry_of(parts).rename_group(name, body["new_name"])
    parts.ledger.book.rename_group(name, new)
    note("group.rename", f"group {new}", {"name": name}, {"name": new})
    return _shown(new)


@rest(blueprint, "DELETE", ONE, answer=Done)
def delete_group(name: str) -> dict[str, Any]:
    """Delete it; its credentials go to `default`."""
    parts = services()
    old = _shown(name)
    registry_of(parts).remove_group(name)
    parts.ledger.book.set_group_budgets(name, Budgets())
    note("group.delete", f"group {name}", _facts(old), None)
    return done(f"Group {name} is deleted.")


def _shown(name: str) -> dict[str, Any]:
    parts = services()
    info = registry_of(parts).group(name)
    return _row(info, parts.ledger.book.group_budgets().get(name, Budgets()))


def _row(info: GroupInfo, budgets: Budgets) -> dict[str, Any]:
    group = info.group
    standings = services().ledger.limits.standings(None, group.name)["group"]
    return {
        "name": group.name,
        "display_name": group.display_name or group.name,
        "settings": build_settings(group.settings),
        "budgets": {one: getattr(budgets, one) for one in Budgets.__dataclass_fields__},
        "standing": build_standings(standings),
        "token_count": info.total,
        "active_count": info.active,
    }


def _facts(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("name", "display_name", "settings", "budgets")}


def build_standings(found: Iterable[Standing]) -> list[dict[str, Any]]:
    """How budgets stand, as JSON."""
    return [
        {
            "kind": one.kind,
            "spent": one.spent,
            "soft": one.soft,
            "hard": one.hard,
            "resets_at": rows.time(one.resets_at),
            "warned": one.is_warned,
            "spent_up": one.is_spent,
        }
        for one in found
    ]
