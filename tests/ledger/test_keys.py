"""Who is let in: by a copy in memory that follows the database."""

import multiprocessing
import re
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.errors import DatabaseError, NotAllowed, NotAuthenticated
from kiroproxy.ledger.budgets import Budgets
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.key_book import KeyBook
from kiroproxy.ledger.keys import (
    LOOK_EVERY_S,
    ClientKey,
    KeyLimits,
    KeyRing,
    Snapshot,
    check_group,
    check_model,
    copy_path,
    find_key,
    hash_of,
    hint_of,
    load_copy,
    new_secret,
    save_copy,
)

SPAWN = multiprocessing.get_context("spawn")
NOW = datetime(2026, 11, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)


def key(secret: str = "kp_x", **facts: Any) -> ClientKey:
    return ClientKey("k1", hash_of(secret), **facts)


def eventually(check: Callable[[], object], within_s: float = 2.0) -> None:
    deadline = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# ---- pure ----------------------------------------------------------------------------------


def test_secrets_are_256_bits() -> None:
    made = {new_secret() for _ in range(200)}
    assert len(made) == 200
    assert all(re.fullmatch(r"kp_[0-9A-Za-z]{43}", one) for one in made)
    assert 62**43 > 2**256
    assert hint_of("kp_abcdefgh") == "kp_…efgh"
    assert hint_of("sk-abcdefgh") == "…efgh"


def test_a_key_is_found_by_its_secret_alone() -> None:
    snapshot = Snapshot(1, (key(name="ci"),))
    found = find_key(snapshot, "kp_x", NOW)
    assert found is not None
    assert found.name == "ci"
    for other in ("kp_y", "", hash_of("kp_x"), "kp_x ", "kp_\udcff", "kp_ü"):
        assert find_key(snapshot, other, NOW) is None


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"disabled": True}, "disabled"),
        ({"expires_at": NOW}, "expired"),
        ({"expires_at": NOW + HOUR}, ""),
    ],
)
def test_expired_and_disabled_keys_are_refused(facts: dict[str, Any], words: str) -> None:
    snapshot = Snapshot(1, (key(**facts),))
    if not words:
        assert find_key(snapshot, "kp_x", NOW)
        return
    with pytest.raises(NotAuthenticated, match=words):
        find_key(snapshot, "kp_x", NOW)


def test_an_old_secret_is_good_for_a_while() -> None:
    snapshot = Snapshot(1, (key(old_hash=hash_of("kp_old"), old_until=NOW + HOUR),))
    assert find_key(snapshot, "kp_old", NOW) == find_key(snapshot, "kp_x", NOW)
    with pytest.raises(NotAuthenticated, match="replaced"):
        find_key(snapshot, "kp_old", NOW + HOUR)
    assert find_key(snapshot, "kp_x", NOW + HOUR)


def test_groups() -> None:
    """S124: none named means all."""
    check_group(key(), "pro")
    check_group(key(allowed_groups=("pro", "default")), "pro")
    with pytest.raises(NotAllowed, match="ci may not use group max: it is for pro"):
        check_group(key(name="ci", allowed_groups=("pro",)), "max")


@pytest.mark.parametrize(
    ("models", "asked", "served", "allowed"),
    [
        ((), "claude-opus-4-8", "claude-opus-4.8", True),
        (("*haiku*",), "claude-haiku-4-5", "claude-haiku-4.5", True),
        (("claude-haiku-4.5",), "claude-haiku-4-5-20251001", "claude-haiku-4.5", True),
        (("gpt-*",), "GPT-5", "claude-sonnet-4.5", True),
        (("*haiku*", "*sonnet*"), "claude-opus-4-8", "claude-opus-4.8", False),
        (("claude-haiku-4",), "claude-haiku-4-5", "claude-haiku-4.5", False),
    ],
)
def test_models(models: tuple[str, ...], asked: str, served: str, allowed: bool) -> None:
    one = key(name="ci", models=models)
    if allowed:
        check_model(one, asked, served)
        return
    with pytest.raises(NotAllowed, match=f"ci may not use model {asked}: it is for ") as told:
        check_model(one, asked, served)
    assert ", ".join(models) in str(told.value)


@given(st.lists(st.text(max_size=20), unique=True, max_size=20), st.text(max_size=20))
def test_nobody_else_is_let_in(secrets: list[str], shown: str) -> None:
    keys = tuple(ClientKey(str(n), hash_of(one)) for n, one in enumerate(secrets))
    found = find_key(Snapshot(1, keys), shown, NOW)
    assert (found is not None) == (shown in secrets)
    assert found is None or secrets[int(found.id)] == shown


def test_a_check_takes_microseconds_with_10_000_keys() -> None:
    secrets = [new_secret() for _ in range(10_000)]
    keys = tuple(ClientKey(str(n), hash_of(one)) for n, one in enumerate(secrets))
    snapshot = Snapshot(1, keys)
    find_key(snapshot, "x", NOW)
    started = time.perf_counter()
    for one in secrets[::10]:
        assert find_key(snapshot, one, NOW)
    assert (time.perf_counter() - started) / 1000 < 100e-6, "measured: 3 µs"


# ---- the copy follows ----------------------------------------------------------------------


@pytest.fixture
def ring(database: Database) -> Iterator[KeyRing]:
    ring = KeyRing(database)
    yield ring
    ring.close()


def test_changes_are_seen_within_a_second(database: Database, ring: KeyRing) -> None:
    book = KeyBook(Database(database.url))
    made = book.create({"name": "ci", "limits": KeyLimits(5)})
    found = ring.find(made.secret)
    assert found == made.key
    assert ring.find("kp_other") is None
    book.change("ci", {"disabled": True})
    started = time.monotonic()

    def refused() -> bool:
        try:
            return ring.find(made.secret) is None
        except NotAuthenticated:
            return True

    eventually(refused)
    assert time.monotonic() - started < 1.0
    book.delete("ci")
    eventually(lambda: ring.find(made.secret) is None if ring.look() is None else False)
    book.set_group_budgets("pro", Budgets(day_hard=5))
    eventually(lambda: ring.group_budgets("pro").day_hard == 5)
    assert ring.group_budgets("default") == Budgets()
    assert ring.problems() == []


def other_process(url: str, secret: str) -> None:
    ring = KeyRing(Database(url))
    assert ring.find(secret) is not None
    ring.close()


def test_other_processes_see_it(database: Database) -> None:
    made = KeyBook(database).create({})
    worker = SPAWN.Process(target=other_process, args=(database.url, made.secret))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    (one,) = KeyBook(database).all()
    assert one.last_used_at is not None, "its use was noted"
    assert abs(one.last_used_at.timestamp() - time.time()) < 60


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "k.db"


def test_the_last_copy_serves_while_the_database_is_locked(path: Path) -> None:
    database = Database(path)
    made = KeyBook(database).create({})
    ring = KeyRing(database)
    assert ring.find(made.secret)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("PRAGMA locking_mode = EXCLUSIVE")
    blocker.execute("BEGIN EXCLUSIVE")
    ring.look()
    assert ring.find(made.secret)
    assert "locked" in ring.problems()[0]
    blocker.execute("ROLLBACK")
    blocker.close()
    ring.close()


def test_the_database_is_left_alone_while_nobody_writes_it(path: Path) -> None:
    database = Database(path)
    made = KeyBook(database).create({})
    reads: list[int] = []
    ring = KeyRing(database)
    read = database.read
    database.read = lambda *a, **k: reads.append(1) or read(*a, **k)  # type: ignore[method-assign]
    assert ring.find(made.secret)
    time.sleep(3 * LOOK_EVERY_S)  # its time must be old enough to be trusted
    before = len(reads)
    time.sleep(3 * LOOK_EVERY_S)
    assert len(reads) == before
    later = KeyBook(Database(path)).create({})
    eventually(lambda: ring.find(later.secret) is not None)
    ring.close()


@pytest.mark.parametrize("harm", ["garbage", "deleted", "begun by others"])
def test_keys_outlive_their_database(path: Path, harm: str) -> None:
    database = Database(path)
    book = KeyBook(database)
    made = book.create({"name": "ci"})
    book.set_group_budgets("pro", Budgets(day_hard=5))
    ring = KeyRing(database)
    assert ring.find(made.secret)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    if harm == "garbage":
        path.write_bytes(b"garbage" * 2000)
    elif harm == "begun by others":
        assert KeyBook(Database(path)).all() == []
    ring.look()
    assert ring.find(made.secret)
    assert [one.name for one in KeyBook(Database(path)).all()] == ["ci"]
    assert KeyBook(Database(path)).group_budgets() == {"pro": Budgets(day_hard=5)}
    book.delete("ci")
    ring.look()
    assert ring.find(made.secret) is None
    ring.close()


def test_a_start_with_a_corrupt_database_has_the_keys_again(path: Path) -> None:
    database = Database(path)
    made = KeyBook(database).create({"name": "ci"})
    path.write_bytes(b"garbage" * 2000)
    database = Database(path)
    ring = KeyRing(database)
    assert ring.find(made.secret)
    assert any("was damaged" in one for one in database.problems())
    ring.close()


def test_a_start_with_an_unusable_database_has_the_copy(path: Path) -> None:
    made = KeyBook(Database(path)).create({"name": "ci"})
    copy = copy_path(Database(path))
    assert copy is not None
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert made.secret not in copy.read_text()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    path.mkdir()
    ring = KeyRing(Database(path))
    assert ring.find(made.secret)
    assert "out of date" in ring.problems()[0]
    ring.close()


def test_where_no_key_was_ever_read_only_the_root_key_opens(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ring = KeyRing(Database(tmp_path / "file" / "k.db"))
    with pytest.raises(DatabaseError, match="cannot be checked"):
        ring.find(new_secret())
    assert ring.find("sk-anything") is None
    assert ring.problems()
    ring.close()


def test_copies_that_cannot_be_read_are_no_copies(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    assert load_copy(path) is load_copy(None) is None
    path.write_bytes(b"{")
    assert load_copy(path) is None
    snapshot = Snapshot(3, (key(expires_at=NOW, limits=KeyLimits(1)),), {"pro": Budgets(1)})
    save_copy(path, snapshot)
    assert load_copy(path) == snapshot
    save_copy(tmp_path / "nowhere" / "c.json", snapshot)
    assert [one.name for one in tmp_path.iterdir()] == ["c.json"]


def test_a_forked_child_looks_for_itself(path: Path) -> None:
    database = Database(path)
    book = KeyBook(database)
    ring = KeyRing(database)
    assert ring.find("kp_none") is None
    ring._pid = -1  # as a child finds it
    made = book.create({})
    eventually(lambda: ring.find(made.secret))
    ring.close()
