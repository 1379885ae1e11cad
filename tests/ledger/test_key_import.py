"""Client keys of kiro2api's files (S121): taken over as they are, and once."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from kiroproxy.errors import InvalidRequest
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.key_book import KeyBook
from kiroproxy.ledger.key_import import read_entry, summary, take_over
from kiroproxy.ledger.keys import find_key

SECRET = "kp_a-key-of-another-program"
NOW = datetime.now(UTC)


@pytest.fixture
def book(database: Database) -> KeyBook:
    return KeyBook(database)


def holder(book: KeyBook, secret: str) -> str | None:
    from kiroproxy.ledger.keys import Snapshot

    found = find_key(Snapshot(1, tuple(book.all())), secret, NOW)
    return found.name if found is not None else None


def test_they_keep_secret_name_and_groups(book: KeyBook) -> None:
    entries = [
        {"key": SECRET, "name": "team", "allowed_groups": ["pro"], "colour": "red"},
        {"key": SECRET + "2", "name": None, "allowed_groups": None, "disabled": True},
        "sk-a-key-alone",
    ]
    rows = take_over(book, entries)
    assert [one.status for one in rows] == ["added"] * 3
    first, second, third = (book.get(one.id) for one in rows)
    assert (first.name, first.allowed_groups, first.id) == ("team", ("pro",), rows[0].id)
    assert (second.name, second.allowed_groups, second.disabled) == ("", (), True)
    assert holder(book, SECRET) == "team"
    assert holder(book, "sk-a-key-alone") == third.name == ""
    assert SECRET not in repr(rows)


def test_never_twice(book: KeyBook) -> None:
    """Not in one list, not again, not after a rotation, a second one, or a deletion."""
    entries = [{"key": SECRET, "name": "a"}, {"key": SECRET, "name": "b"}]
    assert [one.status for one in take_over(book, entries)] == ["added", "duplicate"]
    assert [one.status for one in take_over(book, entries)] == ["duplicate"] * 2
    for _ in range(2):
        book.rotate("a", 0)
        assert [one.status for one in take_over(book, entries)] == ["duplicate"] * 2
    assert holder(book, SECRET) is None
    book.delete("a")
    assert [one.status for one in take_over(book, entries)] == ["duplicate"] * 2
    assert book.all() == []


def test_a_key_that_was_made_here_is_known(book: KeyBook) -> None:
    made = book.create({"name": "own"})
    assert take_over(book, [{"key": made.secret}])[0].status == "duplicate"


def test_a_dry_run_writes_nothing(book: KeyBook) -> None:
    for _ in range(2):
        (row,) = take_over(book, [{"key": SECRET}], dry_run=True)
        assert (row.status, row.id, row.hint) == ("new", "", "kp_…gram")
    assert book.all() == []
    assert take_over(book, [{"key": SECRET}])[0].status == "added"


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        (None, "key"),
        (7, "key"),
        ([], "key"),
        ({}, "key"),
        ({"key": 7}, "key"),
        ({"key": ""}, "key"),
        ({"key": "short"}, "key"),
        ({"key": "with blank inside"}, "key"),
        ({"key": "schlüssel-mit-umlaut"}, "key"),
        ({"key": SECRET, "name": 7}, "name"),
        ({"key": SECRET, "allowed_groups": "pro"}, "allowed_groups"),
        ({"key": SECRET, "disabled": "no"}, "disabled"),
    ],
)
def test_what_cannot_be_used_is_named(book: KeyBook, entry: object, named: str) -> None:
    with pytest.raises(InvalidRequest, match=named) as error:
        read_entry(entry)
    assert SECRET not in str(error.value)
    rows = take_over(book, [entry, {"key": SECRET, "name": "good"}])
    assert [one.status for one in rows] == ["failed", "added"]
    assert [one.name for one in book.all()] == ["good"]


def test_nothing_to_take_over_opens_nothing(tmp_path: Path) -> None:
    place = tmp_path / "data" / "kiroproxy.db"
    assert take_over(KeyBook(Database(place)), []) == []
    assert not place.exists()


def test_what_is_said_at_start(book: KeyBook) -> None:
    rows = take_over(book, [{"key": SECRET}, {"key": "short"}])
    added, failed = summary(rows)
    assert added.startswith("1 client keys")
    assert failed.startswith("KIRO_AUTH_TOKEN: api_keys[1]: key: ")
    assert summary(take_over(book, [{"key": SECRET}])) == []
