"""The same tables for both engines."""

import pytest
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

from kiroproxy.ledger import tables


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()])
@pytest.mark.parametrize("table", tables.METADATA.sorted_tables, ids=lambda table: table.name)
def test_both_engines_can_make_it(dialect: object, table: object) -> None:
    text = str(CreateTable(table).compile(dialect=dialect))  # type: ignore[arg-type]
    assert "SERIAL" not in text, "ids are ours: they are the same everywhere"


def test_times_and_credits_are_whole_numbers() -> None:
    for table in tables.METADATA.sorted_tables:
        for column in table.columns:
            if column.name in ("time", "start", "at") or column.name.endswith(("_at", "_nano")):
                assert column.type.python_type is int, column
