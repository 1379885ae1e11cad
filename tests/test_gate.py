"""What a client key may do at once, a minute and a day: statements on runtime.db."""

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.gate import (
    REQUESTS,
    SCHEMA,
    STREAMS,
    WINDOW_S,
    Gate,
    Passage,
    drop_counters,
    enter,
    forget_old,
    leave,
    read_counters,
    recent,
    reclaim,
)

TODAY = ("tokens key a", "2026-11-20")


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(":memory:")
    db.executescript(SCHEMA)
    yield db
    db.close()


def at(db: sqlite3.Connection, now: float, gate: Gate, pid: int = 1) -> Passage:
    return enter(db, gate, now, pid, "s")


def test_requests_at_once(db: sqlite3.Connection) -> None:
    gate = Gate("a", concurrent=2)
    first, second = at(db, 1, gate), at(db, 1, gate)
    assert (first.refused, first.streams, second.streams) == ("", 1, 2)
    third = at(db, 1, gate)
    assert (third.refused, third.slot, third.streams) == (STREAMS, 0, 2)
    assert at(db, 1, Gate("b", concurrent=1)).refused == ""
    leave(db, [first.slot], {})
    assert at(db, 1, gate).refused == ""


def test_places_of_the_dead_are_freed(db: sqlite3.Connection) -> None:
    gate = Gate("a", concurrent=1)
    at(db, 1, gate, pid=7)
    assert not reclaim(db, lambda pid, started: True)
    assert at(db, 1, gate).refused == STREAMS
    assert reclaim(db, lambda pid, started: pid != 7)
    assert at(db, 1, gate).refused == ""


def test_requests_a_minute(db: sqlite3.Connection) -> None:
    gate = Gate("a", per_minute=2)
    assert [at(db, now, gate).refused for now in (10.9, 20.0, 30.0)] == ["", "", REQUESTS]
    refused = at(db, 30.0, gate)
    assert refused.room_s == pytest.approx(41.0), "the second 10 counts until 71"
    assert refused.full_s == pytest.approx(51.0)
    assert at(db, 70.95, gate).refused == REQUESTS
    assert at(db, 71.0, gate).refused == ""
    assert at(db, 71.0, gate).refused == REQUESTS, "the one at 20 is still there"


@given(
    st.integers(1, 6),
    st.lists(st.floats(0, 30) | st.just(0.0), min_size=1, max_size=60),
)
def test_in_no_minute_more_than_the_limit(limit: int, steps: list[float]) -> None:
    db = sqlite3.connect(":memory:")
    db.executescript(SCHEMA)
    now, admitted, gate = 1000.0, [], Gate("a", per_minute=limit)
    for step in steps:
        now += step
        passage = at(db, now, gate)
        if not passage.refused:
            admitted.append(now)
        else:
            again = at(db, now + passage.room_s, gate)
            assert not again.refused, "it is told when it may come again"
            admitted.append(now + passage.room_s)
            now += passage.room_s
    for last in admitted:
        assert sum(last - WINDOW_S < one <= last for one in admitted) <= limit
    rows = db.execute("SELECT count(*) FROM key_seconds").fetchone()[0]
    assert rows <= WINDOW_S + 2, "no more than a minute is kept"
    db.close()


def test_counters_and_their_ceilings(db: sqlite3.Connection) -> None:
    gate = Gate("a", ceilings={TODAY: 100}, watched=(("x", "y"),))
    assert at(db, 1, gate).amounts == {}
    leave(db, [], {TODAY: 60, ("x", "y"): 1})
    assert at(db, 1, gate).amounts == {TODAY: 60, ("x", "y"): 1}
    leave(db, [], {TODAY: 60})
    passage = at(db, 1, gate)
    assert passage.refused == TODAY
    assert read_counters(db, [TODAY, ("no", "ne")]) == {TODAY: 120}
    drop_counters(db, ["y"])
    assert read_counters(db, [TODAY, ("x", "y")]) == {("x", "y"): 1}
    assert at(db, 1, gate).refused == ""


def test_a_refused_request_takes_nothing(db: sqlite3.Connection) -> None:
    leave(db, [], {TODAY: 1})
    gate = Gate("a", per_minute=5, concurrent=5, ceilings={TODAY: 1})
    assert at(db, 1, gate).refused == TODAY
    free = Gate("a", per_minute=5, concurrent=5)
    assert (at(db, 1, free).requests, at(db, 1, free).streams) == (1, 2)
    held = Gate("a", per_minute=2, concurrent=5)
    assert at(db, 1, held).refused == REQUESTS
    assert at(db, 1, free).streams == 3


def test_what_was_counted_a_minute_ago_can_be_forgotten(db: sqlite3.Connection) -> None:
    gate = Gate("someone", per_minute=2)
    for moment in (100.0, 101.0):
        at(db, moment, gate)
    assert recent(db, "someone", 102.0) == (2, 59.0)
    assert recent(db, "nobody", 102.0) == (0, 0.0)
    forget_old(db, 100.5 + 1 + WINDOW_S)
    assert db.execute("SELECT second FROM key_seconds").fetchall() == [(101,)]
