"""Databases to try things on: SQLite always, and what KIROPROXY_TEST_DATABASE_URL names."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiroproxy.ledger.database import Database

SECOND = os.environ.get("KIROPROXY_TEST_DATABASE_URL", "")


@pytest.fixture(params=["sqlite", *(["second"] if SECOND else [])])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database, of each engine that there is."""
    if request.param == "sqlite":
        yield Database(tmp_path / "data" / "kiroproxy.db")
        return
    from sqlalchemy import MetaData, create_engine

    engine = create_engine(SECOND)
    there = MetaData()
    there.reflect(engine)
    there.drop_all(engine)
    engine.dispose()
    yield Database(SECOND)
