"""`/api/admin/keys`: who may use the proxy."""

from datetime import UTC, datetime
from typing import Any

import marshmallow as ma

from kiroproxy.ledger.budgets import NO_BUDGETS
from kiroproxy.ledger.key_book import OVERLAP_S, build_key, parse_settings
from kiroproxy.ledger.keys import ClientKey
from kiroproxy.web.admin.api import Done, done, rest, room, switch, text
from kiroproxy.web.admin.changes import note
from kiroproxy.web.admin.groups import Standings, build_standings
from kiroproxy.web.admin.shapes import BudgetFacts, KeyLimitFacts, given, told
from kiroproxy.web.services import Services, services

blueprint = room("keys", "Client keys: who may use the proxy.")
ONE = "/keys/<key_id>"
CHANGING = ("id", "hint", "expired", "created_at", "last_used_at", "old_key_until")
"""What nobody sets."""


class KeyChange(ma.Schema):
    """What a key may do; 0 is no limit, an empty list no restriction."""

    name = text(200)
    owner = text(200)
    allowed_groups = ma.fields.List(text(200), allow_none=True)
    models = ma.fields.List(text(200), allow_none=True)
    limits = given(KeyLimitFacts)
    budgets = given(BudgetFacts)
    disabled = switch()
    expires_at = ma.fields.String(allow_none=True)


class NewKey(KeyChange):
    """A key to be made; `key` is a secret from another program."""

    key = text(1000)


class KeyRow(ma.Schema):
    """A key, without its secret."""

    id = ma.fields.String()
    name = ma.fields.String()
    owner = ma.fields.String()
    hint = ma.fields.String()
    allowed_groups = ma.fields.List(ma.fields.String())
    models = ma.fields.List(ma.fields.String())
    limits = told(KeyLimitFacts)
    budgets = told(BudgetFacts)
    disabled = ma.fields.Boolean()
    expired = ma.fields.Boolean()
    created_at = ma.fields.String(allow_none=True)
    expires_at = ma.fields.String(allow_none=True)
    last_used_at = ma.fields.String(allow_none=True)
    old_key_until = ma.fields.String(allow_none=True)
    standing = ma.fields.List(ma.fields.Nested(Standings))
    output_tokens_today = ma.fields.Integer()


class KeyList(ma.Schema):
    """All keys."""

    keys = ma.fields.List(ma.fields.Nested(KeyRow))
    total = ma.fields.Integer()


class ShownOnce(KeyRow):
    """A key with its secret, `key`, which nobody can show again."""

    key = ma.fields.String()


class Overlap(ma.Schema):
    """How long the old secret still opens, in seconds."""

    overlap = ma.fields.Float(allow_nan=False, validate=ma.validate.Range(0, 366 * 86400))


@rest(blueprint, "GET", "/keys", answer=KeyList)
def list_keys() -> dict[str, Any]:
    """List the client keys, oldest first."""
    parts = services()
    found = [_row(parts, one) for one in parts.ledger.book.all()]
    return {"keys": found, "total": len(found)}


@rest(blueprint, "POST", "/keys", body=NewKey, answer=ShownOnce, status=201)
def create_key(body: dict[str, Any]) -> dict[str, Any]:
    """Make a key; its secret is in the answer and nowhere else."""
    parts = services()
    secret = body.pop("key", "")
    made = parts.ledger.book.create(parse_settings(body), secret=secret)
    note("key.create", f"key {made.key.id}", None, _facts(made.key))
    return _row(parts, made.key, whole=True) | {"key": made.secret}


@rest(blueprint, "GET", ONE, answer=KeyRow)
def show_key(key_id: str) -> dict[str, Any]:
    """Show one, with how its budgets stand."""
    parts = services()
    return _row(parts, parts.ledger.book.get(key_id), whole=True)


@rest(blueprint, "PATCH", ONE, body=KeyChange, answer=KeyRow)
def edit_key(body: dict[str, Any], key_id: str) -> dict[str, Any]:
    """Change what a key may do; what is not named stays, within limits and budgets, too."""
    parts = services()
    before = parts.ledger.book.get(key_id)
    after = parts.ledger.book.patch(before.id, body)
    old, new = _facts(before), _facts(after)
    changed = [name for name in new if old[name] != new[name]]
    note(
        "key.edit",
        f"key {after.id}",
        {name: old[name] for name in changed},
        {name: new[name] for name in changed},
    )
    return _row(parts, after, whole=True)


@rest(blueprint, "POST", f"{ONE}/rotate", body=Overlap, answer=ShownOnce)
def rotate_key(body: dict[str, Any], key_id: str) -> dict[str, Any]:
    """Give a key another secret; the old one is good for a while yet."""
    parts = services()
    made = parts.ledger.book.rotate(key_id, body.get("overlap", OVERLAP_S))
    note("key.rotate", f"key {made.key.id}", None, {"hint": made.key.hint})
    return _row(parts, made.key, whole=True) | {"key": made.secret}


@rest(blueprint, "DELETE", ONE, answer=Done)
def delete_key(key_id: str) -> dict[str, Any]:
    """Forget a key; what it did stays in the ledger."""
    gone = services().ledger.book.delete(key_id)
    note("key.delete", f"key {gone.id}", _facts(gone), None)
    return done(f"Client key {gone.name or gone.id} is deleted.")


def _facts(key: ClientKey) -> dict[str, Any]:
    shown = build_key(key, datetime.now(UTC))
    return {name: value for name, value in shown.items() if name not in CHANGING}


def _row(parts: Services, key: ClientKey, *, whole: bool = False) -> dict[str, Any]:
    limits, row = parts.ledger.limits, build_key(key, datetime.now(UTC))
    if whole or key.budgets != NO_BUDGETS:
        row["standing"] = build_standings(limits.standings(key, "")["key"])
    if whole or key.limits.output_tokens_per_day:
        row["output_tokens_today"] = limits.output_tokens_today(key.id)
    return row
