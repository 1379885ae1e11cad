"""Breaking answers off: while they wait, never while they write (Q6)."""

from typing import Any

import gevent
import pytest
from gevent.event import Event

from kiroproxy.web.draining import Answers, TimeIsUp


def test_who_waits_is_interrupted() -> None:
    answers = Answers()
    told: list[str] = []

    def handler() -> None:
        work = answers.begin()
        try:
            with work:
                gevent.sleep(30)
        except TimeIsUp:
            told.append("broken off")
        work.done()
        work.done()

    greenlet = gevent.spawn(handler)
    gevent.sleep(0)
    assert len(answers) == 1
    assert answers.break_off() == 1
    assert answers.wait(5)
    greenlet.join(5)
    assert told == ["broken off"]


def test_who_writes_is_not_interrupted_and_stops_at_its_next_wait() -> None:
    answers = Answers()
    told: list[str] = []
    wrote = Event()

    def handler() -> None:
        work = answers.begin()
        with work:
            pass
        wrote.wait(30)
        told.append("written")
        try:
            with work:
                told.append("never")
        except TimeIsUp:
            told.append("broken off")
        work.done()

    gevent.spawn(handler)
    gevent.sleep(0)
    answers.break_off()
    assert not answers.wait(0.05)
    wrote.set()
    assert answers.wait(5)
    assert told == ["written", "broken off"]


def test_who_never_comes_back_is_killed() -> None:
    answers = Answers()

    def handler() -> None:
        work = answers.begin()
        try:
            Event().wait(30)  # in a write that its client does not take
        finally:
            work.done()

    greenlet = gevent.spawn(handler)
    gevent.sleep(0)
    answers.break_off()
    assert not answers.wait(0.05)
    answers.kill()
    assert answers.wait(5)
    greenlet.join(5)
    assert isinstance(greenlet.value, gevent.GreenletExit)


def test_what_begins_later_ends_at_once() -> None:
    answers = Answers()
    answers.break_off()
    with pytest.raises(TimeIsUp), answers.begin():
        raise AssertionError


def test_no_handler_of_plain_errors_swallows_it() -> None:
    error: Any = TimeIsUp()
    assert not isinstance(error, Exception)
