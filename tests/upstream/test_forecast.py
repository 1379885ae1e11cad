"""When credits run out: balances of Kiro's, rates of the ledger's."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.credentials.model import Credential
from kiroproxy.ledger import usage_rows
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.usage import UsageRow
from kiroproxy.ledger.usage_query import UsageReader
from kiroproxy.upstream.forecast import build_forecast, forecast
from kiroproxy.upstream.usage import Usage

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
RESET = datetime(2026, 12, 1, tzinfo=UTC)


class Told:
    """Balances that are known."""

    def __init__(self, **usages: Usage) -> None:
        self.usages = {int(name[1:]): usage for name, usage in usages.items()}
        self.asked: list[int] = []

    def look(self, credentials: Any, wait_s: float) -> dict[int, Usage]:
        self.asked = [one.id for one in credentials]
        return {id_: self.usages[id_] for id_ in self.asked if id_ in self.usages}


def one(id_: int, **more: Any) -> Credential:
    return Credential(id=id_, refresh_token="x" * 120, **more)


@pytest.fixture
def reader(tmp_path: Path) -> UsageReader:
    """Two days of 10 credits each, all by credential 1."""
    database = Database(tmp_path / "kiroproxy.db")
    rows = [
        UsageRow(time=(NOW - timedelta(hours=n)).timestamp(), credential_id=1, credits=10 / 24)
        for n in range(1, 49)
    ]
    database.write(lambda connection: usage_rows.insert(connection, rows, 0))
    return UsageReader(database)


def test_each_and_the_pool(reader: UsageReader) -> None:
    told = Told(c1=Usage("PRO", 100, 80, RESET), c2=Usage("PRO", 50, 0, None))
    found = forecast(told, reader, [one(1), one(2), one(3)], NOW)  # type: ignore[arg-type]
    first, second = found.outlook.credentials[1], found.outlook.credentials[2]
    assert first.left == 20
    assert first.per_day == pytest.approx(10, rel=0.05)
    assert first.dry_at is not None
    assert abs(first.dry_at - (NOW + timedelta(days=2))) < timedelta(hours=3)
    assert (second.left, second.per_day, second.dry_at) == (50, 0, None)
    assert found.outlook.pool.left == 70
    assert [one.id for one in found.unknown] == [3]
    said = build_forecast(found)
    assert [row["id"] for row in said["credentials"]] == [1, 2]
    assert said["credentials"][0]["resets_at"] == "2026-12-01T00:00:00Z"
    assert said["credentials"][1]["dry_at"] is None
    assert said["unknown"] == [3]


def test_who_counts(reader: UsageReader) -> None:
    """A credential whose quota is spent comes back; one that a person has disabled does not."""
    told = Told()
    credentials = [
        one(1),
        one(2, disabled=True, disabled_reason="Manual"),
        one(3, disabled=True, disabled_reason="QuotaExceeded", disabled_until=RESET),
        one(4, disabled=True, disabled_reason="Suspended"),
    ]
    found = forecast(told, reader, credentials, NOW)  # type: ignore[arg-type]
    assert told.asked == [1, 3]
    assert found.accounts == {}
    assert build_forecast(found)["pool"]["left"] == 0
