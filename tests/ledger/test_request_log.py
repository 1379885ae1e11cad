"""The request log begins anew when it is emptied; the ledger keeps its rows."""

from datetime import UTC, datetime, timedelta

from kiroproxy.ledger.database import Database
from kiroproxy.ledger.request_log import RequestLog
from kiroproxy.ledger.usage_query import Asked

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_it_shows_all_until_it_is_emptied(database: Database) -> None:
    log = RequestLog(database)
    asked = Asked(where={"status": (200,)})
    assert log.begins_at() is None
    assert log.within(asked) == asked
    log.clear(NOW)
    assert log.begins_at() == NOW
    assert log.within(asked) == Asked(NOW, None, asked.where)
    log.clear(NOW + timedelta(hours=1))
    assert log.begins_at() == NOW + timedelta(hours=1)


def test_the_later_beginning_counts(database: Database) -> None:
    log = RequestLog(database)
    log.clear(NOW)
    later, earlier = NOW + timedelta(hours=1), NOW - timedelta(hours=1)
    assert log.within(Asked(later)).since == later
    assert log.within(Asked(earlier)).since == NOW
