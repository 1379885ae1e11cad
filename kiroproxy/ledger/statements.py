"""What SQLAlchemy has no common word for, said the same to SQLite and PostgreSQL."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, update
from sqlalchemy.dialects import postgresql, sqlite

from kiroproxy.ledger import tables


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    add: Iterable[str] = (),
    replace: Iterable[str] = (),
) -> None:
    """Insert rows; where the primary key is there already, add to or replace those columns.

    Both engines know `ON CONFLICT … DO UPDATE`. With neither, the row that is there stays.
    """
    if not rows:
        return
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table)
    new = statement.excluded
    changes = {name: table.c[name] + new[name] for name in add}
    changes |= {name: new[name] for name in replace}
    key = list(table.primary_key.columns)
    if changes:
        statement = statement.on_conflict_do_update(index_elements=key, set_=changes)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=key)
    connection.execute(statement, list(rows))


def move_mark(connection: Connection, name: str) -> None:
    """Tell those who keep a copy of something that it has changed."""
    moved = connection.execute(
        update(tables.marks)
        .where(tables.marks.c.name == name)
        .values(value=tables.marks.c.value + 1)
    )
    if moved.rowcount == 0:
        upsert(connection, tables.marks, [{"name": name, "value": 1}], add=["value"])
