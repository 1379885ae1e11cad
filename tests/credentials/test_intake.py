"""Taking credentials in: preview, verification inside the store, per-row ends."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from kiroproxy import errors as e
from kiroproxy.credentials.groups import Group, GroupBook
from kiroproxy.credentials.imports import Found
from kiroproxy.credentials.intake import UNVERIFIED, Intake, Row, preview
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.refresh import RefreshFailure
from kiroproxy.credentials.registry import Registry
from kiroproxy.credentials.stores.file import FileStore
from tests.credentials.bench import Bench

LONG = "x" * 100


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, groups=GroupBook(tmp_path / "db.sqlite"))
    yield bench
    bench.settle()
    bench.runtime.close()


@pytest.fixture
def registry(bench: Bench) -> Registry:
    assert bench.pool.groups is not None
    return Registry(bench.pool, bench.pool.groups)


def new(name: str, **more: object) -> Credential:
    return Credential(refresh_token=name + LONG, label=name, **more)  # type: ignore[arg-type]


def rows_of(registry: Registry, *credentials: Credential) -> list[Row]:
    return preview(registry, [Found(credentials)])


def test_a_preview_changes_nothing(bench: Bench, registry: Registry) -> None:
    bench.add(refresh_token="a" + LONG)
    found = Found(
        (new("a"), new("b", id=77), new("b"), new("c", group="pro"), new("d", group="v1")),
        ("x: is broken",),
        (Group("pro"),),
    )
    rows = preview(registry, [found])
    assert [(row.number, row.status, row.why) for row in rows] == [
        (1, "duplicate", "already there, as #1"),
        (2, "new", ""),
        (3, "duplicate", "already there, as row 2"),
        (4, "new", ""),
        (5, "failed", "group: v1 is reserved"),
        (6, "failed", "x: is broken"),
    ]
    second = rows[1].credential
    assert second is not None
    assert second.id == 0, "other programs' ids are theirs"
    assert second.imported_from
    assert len(bench.store.snapshot().credentials) == 1
    placed = preview(registry, [found], group="team", priority=4)[4].credential
    assert placed is not None
    assert (placed.group, placed.priority) == ("team", 4)


def test_one_file_is_linked_once(bench: Bench, registry: Registry) -> None:
    bench.add(linked_to="/home/me/token.json")
    rows = rows_of(registry, new("a", linked_to="/home/me/token.json"))
    assert (rows[0].status, rows[0].why) == ("duplicate", "already there, linked as #1")


def test_what_is_verified_was_in_the_store_before(bench: Bench, registry: Registry) -> None:
    """The token is redeemed when the row is stored, switched off; nobody can lose it."""
    bench.auth.gate.clear()
    intake = Intake(bench.pool, registry)
    [row] = rows_of(registry, new("a"))
    results: list[Row] = []
    thread = threading.Thread(target=lambda: results.append(intake.take(row)))
    thread.start()
    while not bench.auth.redeemed:
        time.sleep(0.01)
    meanwhile = bench.stored(1)
    assert (meanwhile.disabled, meanwhile.disabled_reason) == (True, UNVERIFIED)
    with pytest.raises(e.NoCredential):
        bench.pool.lease("m")
    bench.auth.gate.set()
    thread.join(10)
    assert (results[0].status, results[0].credential) == ("added", bench.stored(1))
    after = bench.stored(1)
    assert (after.disabled, after.disabled_reason, after.generation) == (False, None, 1)
    assert after.refresh_token == "rt-1"
    again = rows_of(registry, new("a"))
    assert again[0].status == "duplicate", "its token has rotated since"


def test_a_refused_row_is_not_stored(bench: Bench, registry: Registry) -> None:
    bench.auth.script = [RefreshFailure("no", disable="InvalidRefreshToken")]
    rows = list(Intake(bench.pool, registry).run(rows_of(registry, new("bad"))))
    assert [row.status for row in rows] == ["failed"]
    assert "log in again" in rows[0].why
    assert FileStore(bench.path).snapshot().credentials == ()


def test_its_own_state_is_kept(bench: Bench, registry: Registry) -> None:
    end = bench.now + timedelta(days=1)
    off = new("a", disabled=True, disabled_reason="QuotaExceeded", disabled_until=end)
    stored = Intake(bench.pool, registry).admit(off)
    assert (stored.disabled_reason, stored.disabled_until) == ("QuotaExceeded", end)


def test_what_cannot_be_renewed_is_asked_for(bench: Bench, registry: Registry) -> None:
    asked: list[int] = []

    def probe(one: Credential) -> None:
        asked.append(one.id)
        if one.id == 2:
            raise e.BearerRejected("no")

    intake = Intake(bench.pool, registry, probe=probe)
    keys = [Credential(auth_method="api_key", kiro_api_key=f"ksk_{n}") for n in "ab"]
    assert intake.admit(keys[0]).id == 1
    with pytest.raises(e.BearerRejected):
        intake.admit(keys[1])
    assert asked == [1, 2]
    assert [one.id for one in bench.store.snapshot().credentials] == [1]


def test_unverified_rows_make_no_call(bench: Bench, registry: Registry) -> None:
    rows = rows_of(registry, *(new(str(n)) for n in range(5)))
    done = list(Intake(bench.pool, registry, verify=False).run(rows))
    assert [row.status for row in done] == ["added"] * 5
    assert bench.auth.redeemed == []
    [same] = list(Intake(bench.pool, registry, verify=False).run(rows[:1]))
    assert same.status == "duplicate", "also if somebody was quicker"


def test_many_rows_end_once_each(bench: Bench, registry: Registry) -> None:
    rows = rows_of(registry, *(new(str(n)) for n in range(20)))
    done = sorted(Intake(bench.pool, registry).run(rows), key=lambda row: row.number)
    assert [row.status for row in done] == ["added"] * 20
    assert len(bench.auth.redeemed) == 20
    stored = FileStore(bench.path).snapshot().credentials
    assert {one.disabled for one in stored} == {False}
    assert len({one.id for one in stored}) == 20
    assert [one.id for one in stored] == [row.credential.id for row in done if row.credential], (
        "in their order, which decides among equals (S95)"
    )


def test_an_unwritable_store_is_each_rows_end(
    bench: Bench, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_of(registry, new("a"))

    def refuse(_change: object) -> None:
        raise e.StoreUnwritable("no room")

    monkeypatch.setattr(bench.store, "edit", refuse)
    assert Intake(bench.pool, registry).take(rows[0]) == replace(
        rows[0], status="failed", why="no room"
    )
