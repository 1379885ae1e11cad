"""Responses to go on from: bounded, expiring, shared by processes, and never a failure."""

import multiprocessing
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.web.response_store import ROOT, ResponseStore, owner_of

ME = owner_of("k1", "default")
SPAWN = multiprocessing.get_context("spawn")


def response(id_: str, previous: str | None = None, text: str = "") -> dict[str, Any]:
    output = [{"type": "message", "id": f"msg_{id_}", "content": text or f"answer {id_}"}]
    return {"id": id_, "previous_response_id": previous, "output": output}


def item(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def store(tmp_path: Path, now: list[float]) -> Iterator[ResponseStore]:
    made = ResponseStore(
        tmp_path / "state" / "responses.db",
        clock=lambda: now[0],
        max_age_s=100,
        limit_bytes=10_000,
    )
    yield made
    made.close()


def test_a_chain_of_responses(store: ResponseStore) -> None:
    store.put(ME, response("a"), [item("one")])
    store.put(ME, response("b", "a"), [item("two"), item("three")])
    history = store.history(ME, "b")
    assert history is not None
    assert [one["content"] for one in history] == ["one", "answer a", "two", "three", "answer b"]
    assert [one["content"] for one in store.history(ME, "a") or []] == ["one", "answer a"]


def test_branches(store: ResponseStore) -> None:
    store.put(ME, response("a"), [item("one")])
    for name in ("b", "c"):
        store.put(ME, response(name, "a"), [item(name)])
    assert [one["content"] for one in store.history(ME, "c") or []][2:] == ["c", "answer c"]


def test_get_and_delete(store: ResponseStore) -> None:
    store.put(ME, response("a"), [])
    assert store.get(ME, "a") == response("a")
    assert store.delete(ME, "a")
    assert not store.delete(ME, "a")
    assert store.get(ME, "a") is None
    assert store.history(ME, "a") is None


def test_a_chain_with_a_gap_is_unknown(store: ResponseStore) -> None:
    store.put(ME, response("a"), [item("one")])
    store.put(ME, response("b", "a"), [item("two")])
    store.delete(ME, "a")
    assert store.history(ME, "b") is None


def test_others_do_not_know_it(store: ResponseStore) -> None:
    """Neither another client key, nor the same in another group, nor the root key."""
    store.put(ME, response("a"), [item("one")])
    for owner in (owner_of("k2", "default"), owner_of("k1", "pro"), owner_of("", "default")):
        other = store.shelf(owner)
        assert other.get("a") is None
        assert other.history("a") is None
        assert not other.delete("a")
        other.put(response(f"b of {owner}", "a"), [item("two")])
        assert other.history(f"b of {owner}") is None, "it leads to another one's"
    assert len(store.shelf(ME).history("a") or []) == 2
    assert store.shelf(ME).delete("a")


def test_a_file_from_before_there_were_owners(store: ResponseStore, now: list[float]) -> None:
    store.put(ME, response("a"), [])
    store.close()
    with sqlite3.connect(store.path) as db:
        db.execute("ALTER TABLE responses DROP COLUMN owner")
    db.close()
    assert store.get(ME, "a") is None
    assert store.get(ROOT, "a"), "whose keys were told apart by nothing"


def test_expiry(store: ResponseStore, now: list[float]) -> None:
    store.put(ME, response("a"), [item("one")])
    now[0] += 99
    assert store.get(ME, "a")
    now[0] += 2
    assert store.get(ME, "a") is None
    assert store.history(ME, "a") is None


def test_going_on_keeps_the_whole_chain(store: ResponseStore, now: list[float]) -> None:
    store.put(ME, response("a"), [item("one")])
    for name, previous in (("b", "a"), ("c", "b"), ("d", "c")):
        now[0] += 60
        assert store.history(ME, previous)
        store.put(ME, response(name, previous), [item(name)])
    assert len(store.history(ME, "d") or []) == 8


def test_expired_ones_are_deleted(store: ResponseStore, now: list[float]) -> None:
    store.put(ME, response("a"), [item("one")])
    now[0] += 101
    store.put(ME, response("b"), [item("two")])
    with sqlite3.connect(store.path) as db:
        assert db.execute("SELECT id FROM responses").fetchall() == [("b",)]
    db.close()


def test_size(store: ResponseStore, now: list[float]) -> None:
    for name in "abcdef":
        now[0] += 1
        store.put(ME, response(name, text="x" * 3000), [])
    assert [name for name in "abcdef" if store.get(ME, name)] == ["d", "e", "f"]


def test_what_is_too_large_is_not_kept(store: ResponseStore) -> None:
    store.put(ME, response("a", text="x" * 20_000), [])
    assert store.get(ME, "a") is None
    store.put(ME, response("b"), [])
    assert store.get(ME, "b")


def test_big_integers_and_odd_texts(store: ResponseStore) -> None:
    store.put(ME, response("a"), [{"content": "\u2028\x00é🧪", "n": 2**70}])
    history = store.history(ME, "a")
    assert history is not None
    assert history[0]["content"] == "\u2028\x00é🧪"


def test_prompts_are_private(store: ResponseStore) -> None:
    store.put(ME, response("a"), [])
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


# ---- nothing fails ---------------------------------------------------------------------------


def test_a_ruined_file_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "responses.db"
    path.write_bytes(b"no database at all " * 100)
    store = ResponseStore(path)
    store.put(ME, response("a"), [])
    assert store.faults == 1
    assert store.history(ME, "a") is None
    store._reopen_at = 0.0
    store.put(ME, response("a"), [])
    assert store.get(ME, "a")
    store.close()


def test_an_impossible_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = ResponseStore(tmp_path / "file" / "responses.db")
    store.put(ME, response("a"), [])
    assert store.get(ME, "a") is None
    assert store.history(ME, "a") is None
    assert not store.delete(ME, "a")
    assert store.faults == 4


def test_a_busy_file(store: ResponseStore) -> None:
    store.put(ME, response("a"), [])
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        store.put(ME, response("b"), [])
        assert store.faults == 1
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert store.get(ME, "a")
    assert store.get(ME, "b") is None


# ---- processes -------------------------------------------------------------------------------


def _write(path: Path, worker: int, count: int) -> None:
    store = ResponseStore(path)
    for number in range(count):
        previous = f"{worker}-{number - 1}" if number else None
        store.put(ME, response(f"{worker}-{number}", previous), [item(str(number))])
    store.close()


def test_workers_share_it(tmp_path: Path) -> None:
    path = tmp_path / "responses.db"
    workers = [SPAWN.Process(target=_write, args=(path, n, 20)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    store = ResponseStore(path)
    assert [len(store.history(ME, f"{n}-19") or []) for n in range(3)] == [40] * 3
    store.close()


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_connection_is_not_carried_over_a_fork(store: ResponseStore) -> None:
    store.put(ME, response("a"), [])
    child = os.fork()
    if child == 0:
        try:
            store.put(ME, response("b"), [])
            os._exit(0 if store.get(ME, "b") and len(store._inherited) == 1 else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert store.get(ME, "b")
