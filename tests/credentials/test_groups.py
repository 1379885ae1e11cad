"""Groups: their names, their settings, and where they are kept (S119 to S123)."""

import contextlib
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.credentials import groups as module
from kiroproxy.credentials.groups import (
    RESERVED,
    Group,
    GroupBook,
    GroupSettings,
    build_settings,
    check_name,
    parse_groups,
    parse_settings,
)
from kiroproxy.errors import ConfigError, InvalidRequest, NotFound


@pytest.fixture
def book(tmp_path: Path) -> GroupBook:
    return GroupBook(tmp_path / "data" / "kiroproxy.db")


@pytest.mark.parametrize(
    "name", [*sorted(RESERVED), "V1", "", "  ", "a/b", "x" * 65, "a\nb", None, 5]
)
def test_x6_s123_names_that_no_group_may_have(name: object) -> None:
    with pytest.raises(InvalidRequest):
        check_name(name)


@pytest.mark.parametrize("name", ["pro", "团队", "team-1", "v2", " pro "])
def test_other_names(name: str) -> None:
    assert check_name(name) == name.strip()


def test_settings() -> None:
    given = {"priority": 1, "rate_limit_qps": 5, "rate_limit_burst": 10, "cooldown_sec": 30}
    settings = parse_settings(given)
    assert settings == GroupSettings(1, 30, 5, 10)
    assert build_settings(settings) == given
    assert parse_settings({"priority": 2}, settings) == GroupSettings(2, 30, 5, 10)
    assert parse_settings(None) == GroupSettings()


@pytest.mark.parametrize(
    "given",
    [
        [],
        "x",
        {"priority": "1"},
        {"priority": 1.5},
        {"cooldown_sec": -1},
        {"rate_limit_qps": True},
        {"rate_limit_burst": float("inf")},
        {"cooldown_sec": float("nan")},
    ],
)
def test_settings_that_cannot_be_used(given: Any) -> None:
    with pytest.raises(InvalidRequest, match="settings"):
        parse_settings(given)


def test_s121_the_groups_of_a_file() -> None:
    raw = {
        "pro": {"name": "pro", "display_name": "Pro", "settings": {"cooldown_sec": 5}},
        "api": {"name": "api"},
        "default": {},
        "odd": {"settings": []},
    }
    assert parse_groups(raw) == [
        Group("pro", "Pro", GroupSettings(cooldown_sec=5)),
        Group("default"),
    ]
    assert parse_groups(None) == []


def test_s122_groups_survive_a_restart(book: GroupBook) -> None:
    assert dict(book.all()) == {}
    assert not book.path.exists(), "nothing is made before it is needed"
    pro = Group("pro", "Pro", GroupSettings(cooldown_sec=5))
    book.save([pro])
    assert GroupBook(book.path).all() == {"pro": pro}
    book.save([Group("pro", "Prof.")])
    assert book.settings("pro") == GroupSettings()
    assert book.settings("unknown") == GroupSettings()
    book.rename("pro", "team")
    assert list(GroupBook(book.path).all()) == ["team"]
    book.remove("team")
    assert dict(book.all()) == {}
    with pytest.raises(NotFound):
        book.rename("team", "x")


def test_other_processes_see_it_within_a_second(
    book: GroupBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dict(book.all()) == {}
    GroupBook(book.path).save([Group("pro")])
    monkeypatch.setattr(module, "SNAPSHOT_AGE_S", 0)
    assert list(book.all()) == ["pro"]


def test_whoever_looks_again_sees_it_at_once(book: GroupBook) -> None:
    other = GroupBook(book.path)
    book.save([Group("pro")])
    other.all()
    book.save([Group("more")])
    other.look_again()
    assert set(other.all()) == {"pro", "more"}


def test_whoever_watches_finds_them_in_memory(
    book: GroupBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request never waits for the file, and sees what others changed within a second."""
    threads: list[str] = []

    def in_thread(work: Any) -> Any:
        threads.append(threading.current_thread().name)
        return work()

    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(module, "SNAPSHOT_AGE_S", 0)
    book.save([Group("pro")])
    own = GroupBook(book.path, in_thread=in_thread)
    own.watch()
    own.watch()
    assert set(own.all()) == {"pro"}
    assert set(threads) == {"MainThread"}, "before there are requests"
    threads.clear()
    changes = own.changes
    book.save([Group("team")])
    deadline = time.monotonic() + 5
    while "team" not in own.all():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert own.changes == changes + 1
    assert set(threads) == {"groups"}
    own.save([Group("here")])
    assert "here" in own.all(), "at once where it was changed"
    with contextlib.closing(sqlite3.connect(book.path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert set(own.all()) == {"pro", "team", "here"}
        assert time.monotonic() - began < 0.05


def test_a_file_that_was_begun_anew_gets_them_back(book: GroupBook) -> None:
    """A damaged database is put aside, and another one made in its place."""
    book.save([Group("pro", "Pro", GroupSettings(priority=3))])
    for path in book.path.parent.iterdir():
        path.unlink()
    book.path.touch()
    book.refresh()
    assert GroupBook(book.path).settings("pro").priority == 3
    book.remove("pro")
    book.refresh()
    assert dict(book.all()) == {}


def test_a_broken_database_serves_on_and_says_so_when_written(book: GroupBook) -> None:
    book.path.parent.mkdir()
    book.path.write_bytes(b"garbage" * 1000)
    assert dict(book.all()) == {}
    with pytest.raises(ConfigError, match="databasePath"):
        book.save([Group("pro")])


def test_a_busy_database_is_waited_for(book: GroupBook) -> None:
    book.save([Group("pro")])
    blocker = sqlite3.connect(book.path, isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN IMMEDIATE")
    threading.Timer(0.1, lambda: blocker.execute("ROLLBACK")).start()
    book.save([Group("team")])
    assert len(GroupBook(book.path).all()) == 2
    blocker.close()


# ---- groups that the credentials' store defines ----------------------------------------------


def test_those_of_the_store_and_what_was_changed_here(tmp_path: Path) -> None:
    """S121: what the API has changed precedes, the file is not written."""
    given = [Group("pro", "Pro", GroupSettings(cooldown_sec=5)), Group("team")]
    book = GroupBook(tmp_path / "db.sqlite", lambda: given)
    assert list(book.all()) == ["pro", "team"]
    assert book.settings("pro").cooldown_sec == 5
    book.save([Group("pro", settings=GroupSettings(cooldown_sec=9)), Group("own")])
    assert book.settings("pro").cooldown_sec == 9
    assert set(book.all()) == {"pro", "team", "own"}
    assert book.is_given("pro")
    assert not book.is_given("own")
    given.clear()
    assert set(book.all()) == {"pro", "own"}


# ---- is the database there -------------------------------------------------------------------


@pytest.fixture
def looked_at_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REACHABLE_AGE_S", 0.0)


@pytest.mark.usefixtures("looked_at_each_time")
def test_s159_the_database_is_reachable(book: GroupBook) -> None:
    assert book.reachable(), "it is made when it is needed"
    assert not book.path.exists(), "but not by looking"
    book.save([Group("pro")])
    assert book.reachable()
    with contextlib.closing(sqlite3.connect(book.path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert book.reachable(), "somebody is writing"
        assert time.monotonic() - began < 0.5


@pytest.mark.usefixtures("looked_at_each_time")
@pytest.mark.parametrize("content", [b"no database at all, " * 100, None])
def test_s159_the_database_is_ill(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "db.sqlite"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    assert not GroupBook(path).reachable()


@pytest.mark.usefixtures("looked_at_each_time")
def test_s159_a_place_where_none_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert not GroupBook(tmp_path / "file" / "db.sqlite").reachable()


def test_s159_the_database_is_not_looked_at_each_time(book: GroupBook) -> None:
    assert book.reachable()
    book.path.parent.mkdir()
    book.path.write_bytes(b"broken " * 100)
    assert book.reachable(), "for a few seconds"


def test_an_ill_database_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, for example: every request looks here."""
    book = GroupBook(tmp_path / "k.db")
    book.save([Group("pro")])
    assert set(book.all()) == {"pro"}
    monkeypatch.setattr("kiroproxy.credentials.groups.SCHEMA", "SELECT * FROM nowhere")
    book._checked_at = -module.SNAPSHOT_AGE_S
    began = time.monotonic()
    assert set(book.all()) == {"pro"}, "the last good ones"
    assert time.monotonic() - began < 0.5
