"""The same words for both engines."""

from sqlalchemy import select

from kiroproxy.ledger import tables
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.statements import move_mark, upsert


def marks(database: Database) -> dict[str, int]:
    rows = database.read(lambda connection: connection.execute(select(tables.marks)).all())
    return {row.name: row.value for row in rows}


def test_upsert(database: Database) -> None:
    def put(value: int, **how: list[str]) -> None:
        row = {"name": "a", "value": value}
        database.write(lambda connection: upsert(connection, tables.marks, [row], **how))

    put(1)
    put(2)
    assert marks(database) == {"a": 1}, "the first stays"
    put(3, replace=["value"])
    assert marks(database) == {"a": 3}
    put(4, add=["value"])
    assert marks(database) == {"a": 7}
    database.write(lambda connection: upsert(connection, tables.marks, []))


def test_marks_move(database: Database) -> None:
    for _ in range(3):
        database.write(lambda connection: move_mark(connection, "keys"))
    assert marks(database) == {"keys": 3}
