"""Databases to try things on: SQLite and PostgreSQL."""

from pathlib import Path

import pytest

from kiroproxy.ledger.database import Database


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty database, of each engine."""
    if request.param == "sqlite":
        return Database(tmp_path / "data" / "kiroproxy.db")
    return Database(request.getfixturevalue("postgres_url"))
