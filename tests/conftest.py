"""What tests of several packages share."""

import os
from collections.abc import Iterator

import pytest

from tests import postgres

GIVEN = os.environ.get("KIROPROXY_TEST_DATABASE_URL", "")
"""A PostgreSQL elsewhere, whose tables the tests drop."""


@pytest.fixture(scope="session")
def running_postgres() -> Iterator[str]:
    """The URL of a PostgreSQL; where there is none, the tests that want it are skipped."""
    if GIVEN:
        yield GIVEN
        return
    with postgres.cluster() as url:
        yield url


@pytest.fixture
def postgres_url(running_postgres: str) -> str:
    """The same, emptied."""
    postgres.empty(running_postgres)
    return running_postgres
