"""Making, changing, rotating, deleting keys."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kiroproxy.errors import InvalidRequest, NotAuthenticated, NotFound
from kiroproxy.ledger.budgets import Budgets
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.key_book import KeyBook, build_key, parse_budgets, parse_settings
from kiroproxy.ledger.keys import KeyLimits, Snapshot, find_key, hash_of

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def book(database: Database) -> KeyBook:
    return KeyBook(database, clock=lambda: NOW)


def snapshot(book: KeyBook) -> Snapshot:
    return Snapshot(0, tuple(book.all()))


def test_a_key_is_shown_once(book: KeyBook) -> None:
    made = book.create(parse_settings({"name": "ci", "allowed_groups": ["pro"]}))
    (listed,) = book.all()
    assert listed == made.key == book.get("ci") == book.get(made.key.id)
    assert listed.hash == hash_of(made.secret)
    shown = json.dumps(build_key(listed, NOW))
    assert made.secret not in shown
    assert listed.hash not in shown
    assert made.key.hint.endswith(made.secret[-4:])


def test_a_key_is_changed_and_what_is_not_named_stays(book: KeyBook) -> None:
    book.create(parse_settings({"name": "ci", "limits": {"concurrent": 2}}))
    book.change("ci", parse_settings({"owner": "team", "expires_at": "2027-01-31T12:00:00Z"}))
    one = book.get("ci")
    assert (one.owner, one.limits) == ("team", KeyLimits(concurrent=2))
    assert one.expires_at == datetime(2027, 1, 31, 12, tzinfo=UTC)
    book.change("ci", parse_settings({"expires_at": None}))
    assert book.get("ci").expires_at is None


def test_deleting(book: KeyBook) -> None:
    book.create({"name": "ci"})
    assert book.delete("ci").name == "ci"
    assert book.all() == []
    for call in (book.delete, book.get, book.rotate, lambda name: book.change(name, {})):
        with pytest.raises(NotFound, match="There is no client key ci"):
            call("ci")


def test_names_need_not_differ_but_then_the_id_is_wanted(book: KeyBook) -> None:
    first = book.create({"name": "ci"}).key
    book.create({"name": "ci"})
    with pytest.raises(InvalidRequest, match=first.id):
        book.delete("ci")
    book.delete(first.id)
    assert len(book.all()) == 1
    with pytest.raises(NotFound):
        book.get("")


def test_rotation_overlaps(book: KeyBook) -> None:
    first = book.create({"name": "ci"})
    second = book.rotate("ci", 60)
    assert second.key.id == first.key.id
    for secret in (first.secret, second.secret):
        assert find_key(snapshot(book), secret, NOW) == book.get("ci")
    assert build_key(second.key, NOW)["old_key_until"] == "2026-11-20T12:01:00Z"
    later = NOW + timedelta(seconds=60)
    assert build_key(second.key, later)["old_key_until"] is None
    with pytest.raises(NotAuthenticated):
        find_key(snapshot(book), first.secret, later)
    third = book.rotate("ci", 0)
    assert find_key(snapshot(book), second.secret, NOW) is None, "at once"
    assert find_key(snapshot(book), third.secret, NOW)


@pytest.mark.parametrize("overlap", [-1, float("nan"), float("inf"), 1e12])
def test_an_impossible_overlap(book: KeyBook, overlap: float) -> None:
    first = book.create({"name": "ci"})
    with pytest.raises(InvalidRequest, match="overlap"):
        book.rotate("ci", overlap)
    assert find_key(snapshot(book), first.secret, NOW)


def test_keys_of_other_programs_are_taken_as_they_are(book: KeyBook) -> None:
    """S121: `api_keys` of a file of kiro2api's."""
    book.create({"name": "old"}, secret="sk-12345678")
    assert find_key(snapshot(book), "sk-12345678", NOW)
    with pytest.raises(InvalidRequest, match="already"):
        book.create({}, secret="sk-12345678")
    for bad in ("short", "with blank inside", "schlüssel-lang"):
        with pytest.raises(InvalidRequest, match="key: "):
            book.create({}, secret=bad)
    assert len(book.all()) == 1


def test_budgets_of_groups(book: KeyBook) -> None:
    assert book.group_budgets() == {}
    book.set_group_budgets("pro", parse_budgets("budgets", {"day_hard": 1.5}))
    assert book.group_budgets() == {"pro": Budgets(day_hard=1.5)}
    book.set_group_budgets("pro", Budgets())
    assert book.group_budgets() == {}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([], "object"),
        ({"colour": "red"}, "colour"),
        ({"name": 7}, "name"),
        ({"name": "x" * 300}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"allowed_groups": "pro"}, "allowed_groups"),
        ({"models": [1]}, "models"),
        ({"disabled": "yes"}, "disabled"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
        ({"limits": 5}, "limits"),
        ({"limits": {"concurrent": 1.5}}, "limits.concurrent"),
        ({"limits": {"concurrent": True}}, "limits.concurrent"),
        ({"limits": {"concurrent": -1}}, "limits.concurrent"),
        ({"limits": {"qps": 1}}, "limits.qps"),
        ({"budgets": {"day_hard": float("nan")}}, "budgets.day_hard"),
        ({"budgets": {"day_hard": "5"}}, "budgets.day_hard"),
    ],
)
def test_settings_that_cannot_be_used(given: Any, named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        parse_settings(given)


def test_settings_as_people_write_them() -> None:
    parsed = parse_settings(
        {
            "name": " ci ",
            "models": ["*haiku*", " ", "*haiku*"],
            "allowed_groups": None,
            "expires_at": "2027-01-31",
            "limits": {"requests_per_minute": 5, "concurrent": None},
            "budgets": {"month_soft": 3},
        }
    )
    assert parsed == {
        "name": "ci",
        "models": ("*haiku*",),
        "allowed_groups": (),
        "expires_at": datetime(2027, 1, 31, tzinfo=UTC),
        "limits": KeyLimits(requests_per_minute=5),
        "budgets": Budgets(month_soft=3),
    }
