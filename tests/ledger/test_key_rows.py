"""Keys survive the way into the database and back."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select

from kiroproxy.ledger import key_rows, tables
from kiroproxy.ledger.budgets import Budgets
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.keys import ClientKey, KeyLimits, Snapshot

times = st.none() | st.integers(1, 4 * 10**12).map(
    lambda ms: datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)
)
names = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))).map(tuple)
keys = st.builds(
    ClientKey,
    id=st.just("a"),
    hash=st.just("h"),
    allowed_groups=names,
    models=names,
    limits=st.builds(KeyLimits, st.integers(0, 10**9), st.integers(0, 10**9)),
    budgets=st.builds(Budgets, st.floats(0, 1e9)),
    created_at=times.filter(bool),
    expires_at=times,
)


@given(keys)
def test_build_and_parse(key: ClientKey) -> None:
    row = key_rows.build_row(key)

    class Row:
        _mapping = row

    assert key_rows.parse_row(Row()) == key  # type: ignore[arg-type]


def test_rows_snapshots_and_restoring(database: Database) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    key = ClientKey("a", "h", name="ü", created_at=at, budgets=Budgets(1.5))
    row = key_rows.build_row(key)
    database.write(lambda connection: connection.execute(insert(tables.client_keys).values(row)))
    assert database.read(lambda c: key_rows.read_snapshot(c, None)) == Snapshot(0, (key,))
    assert database.read(lambda c: key_rows.read_snapshot(c, 0)) is None
    other = ClientKey("b", "i", created_at=at)
    kept = Snapshot(41, (key, other), {"pro": Budgets(2)})
    database.write(lambda connection: key_rows.restore(connection, kept))
    again = database.read(lambda c: key_rows.read_snapshot(c, 41))
    assert again == Snapshot(42, (key, other), {"pro": Budgets(2)})


def test_the_last_use_never_goes_back(database: Database) -> None:
    row = key_rows.build_row(ClientKey("a", "h"))
    database.write(lambda connection: connection.execute(insert(tables.client_keys).values(row)))
    for now in (5000, 3000):
        database.write(lambda c, at=now: key_rows.write_used(c, [{"key": "a", "now": at}]))
    column = tables.client_keys.c.last_used_at
    assert database.read(lambda c: c.execute(select(column)).scalar()) == 5000
