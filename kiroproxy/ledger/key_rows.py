"""Client keys as rows of the database, and back."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import BindParameter, Connection, Row, bindparam, or_, select, update

from kiroproxy.ledger import tables
from kiroproxy.ledger.budgets import Budgets
from kiroproxy.ledger.keys import MARK, ClientKey, KeyLimits, Snapshot
from kiroproxy.ledger.statements import move_mark, upsert

TIMES = ("created_at", "expires_at", "last_used_at", "old_until")
DOCUMENTS: Mapping[str, Any] = {
    "allowed_groups": tuple[str, ...],
    "models": tuple[str, ...],
    "limits": KeyLimits,
    "budgets": Budgets,
}
CHANGING = ("name", "owner", "hash", "hint", "disabled", "old_hash", *TIMES, *DOCUMENTS)


def parse_row(row: Row[Any]) -> ClientKey:
    """A key as it was stored."""
    values = dict(row._mapping)
    for name in TIMES:
        if values[name] is not None:
            values[name] = datetime.fromtimestamp(values[name] / 1000, UTC)
    for name, kind in DOCUMENTS.items():
        values[name] = msgspec.json.decode(values[name], type=kind)
    return ClientKey(**values)


def build_row(key: ClientKey) -> dict[str, Any]:
    """A key as it is stored."""
    values: dict[str, Any] = {name: getattr(key, name) for name in ("id", *CHANGING)}
    for name in TIMES:
        if values[name] is not None:
            values[name] = round(values[name].timestamp() * 1000)
    for name in DOCUMENTS:
        values[name] = msgspec.json.encode(values[name]).decode()
    values["created_at"] = values["created_at"] or 0
    return values


def read_mark(connection: Connection) -> int:
    """What moves with every change of a key."""
    query = select(tables.marks.c.value).where(tables.marks.c.name == MARK)
    return connection.execute(query).scalar() or 0


def read_snapshot(connection: Connection, known: int | None) -> Snapshot | None:
    """All keys; None if the mark is still the `known` one."""
    mark = read_mark(connection)
    if mark == known:
        return None
    table = tables.client_keys
    rows = connection.execute(select(table).order_by(table.c.created_at, table.c.id))
    budgets = connection.execute(select(tables.group_budgets))
    return Snapshot(
        mark,
        tuple(map(parse_row, rows)),
        {one.name: msgspec.json.decode(one.budgets, type=Budgets) for one in budgets},
    )


def write_used(connection: Connection, rows: Sequence[Mapping[str, object]]) -> None:
    """Note when keys were last used; an older time never replaces a newer one."""
    table = tables.client_keys
    at: BindParameter[int] = bindparam("now")
    statement = (
        update(table)
        .where(table.c.id == bindparam("key"))
        .where(or_(table.c.last_used_at.is_(None), table.c.last_used_at < at))
        .values(last_used_at=at)
    )
    connection.execute(statement, list(rows))


def restore(connection: Connection, kept: Snapshot) -> None:
    """Put keys into a database that was begun anew; the mark goes on from where it was."""
    upsert(connection, tables.client_keys, [build_row(one) for one in kept.keys])
    budgets = [
        {"name": name, "budgets": msgspec.json.encode(one).decode()}
        for name, one in kept.group_budgets.items()
    ]
    upsert(connection, tables.group_budgets, budgets)
    upsert(connection, tables.marks, [{"name": MARK, "value": kept.mark}], replace=["value"])
    move_mark(connection, MARK)
