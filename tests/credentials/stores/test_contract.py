"""What holds for every store; a new one adds a row to STORES."""

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.stores import Store
from kiroproxy.credentials.stores.file import FileStore
from kiroproxy.errors import NoCredential, StoreLocked


def file_store(place: Path, **more: Any) -> Store:
    return FileStore(place / "credentials.json", **more)


STORES: dict[str, Callable[..., Store]] = {"file": file_store}
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(kind: str, tmp_path: Path) -> Store:
    store = STORES[kind](tmp_path)
    assert store.prepare() == []
    store.edit(lambda all_: [Credential(refresh_token=f"rt-{n}", label="0") for n in (1, 2)])
    return store


def get(store: Store, credential_id: int = 1) -> Credential:
    credential = store.snapshot().get(credential_id)
    assert credential is not None
    return credential


def test_an_empty_store(kind: str, tmp_path: Path) -> None:
    """S97."""
    store = STORES[kind](tmp_path)
    assert store.snapshot().credentials == ()
    assert store.why_unwritable() is None
    with pytest.raises(NoCredential), store.refreshing(1):
        pass


def test_edits_are_seen_at_once_and_by_others(store: Store, kind: str, tmp_path: Path) -> None:
    before = store.snapshot().version
    after = store.edit(lambda all_: [replace(one, priority=one.id) for one in all_])
    assert [one.id for one in after.credentials] == [1, 2]
    assert store.snapshot() == after
    assert after.version != before
    assert STORES[kind](tmp_path).snapshot().credentials == after.credentials


def test_whoever_looks_again_sees_it_at_once(store: Store, kind: str, tmp_path: Path) -> None:
    other = STORES[kind](tmp_path)
    other.snapshot()
    store.edit(lambda all_: [replace(one, label="new") for one in all_])
    other.look_again()
    assert {one.label for one in other.snapshot().credentials} == {"new"}


def test_a_change_may_return_a_list_or_change_it(store: Store) -> None:
    store.edit(lambda all_: all_.append(Credential(refresh_token="rt-3")))
    assert [one.id for one in store.snapshot().credentials] == [1, 2, 3]
    store.edit(lambda all_: [one for one in all_ if one.id != 2])
    assert [one.id for one in store.snapshot().credentials] == [1, 3]


def test_a_failing_change_changes_nothing(store: Store) -> None:
    before = store.snapshot()

    def change(credentials: list[Credential]) -> None:
        credentials.clear()
        raise ValueError

    with pytest.raises(ValueError):
        store.edit(change)
    assert store.snapshot() == before


def test_a_commit_counts_the_generation_up(store: Store) -> None:
    with store.refreshing(1) as session:
        session.reserve()
        session.intent()
        stored = session.commit(replace(session.current, refresh_token="new", access_token="a"))
    assert (stored.generation, stored.refresh_token) == (1, "new")
    assert get(store) == stored
    with store.refreshing(1) as session:
        assert session.current == stored
        assert not session.unconfirmed


def test_a_commit_keeps_what_others_changed(store: Store, kind: str, tmp_path: Path) -> None:
    with store.refreshing(1) as session:
        session.reserve()
        other = STORES[kind](tmp_path)
        other.edit(lambda all_: [replace(one, priority=9, disabled=True) for one in all_])
        session.commit(replace(session.current, refresh_token="new"))
    stored = get(store)
    assert (stored.priority, stored.disabled, stored.refresh_token) == (9, True, "new")


def test_a_commit_keeps_a_login_made_meanwhile(store: Store) -> None:
    with store.refreshing(1) as session:
        store.edit(lambda all_: [replace(one, refresh_token=f"person-{one.id}") for one in all_])
        stored = session.commit(replace(session.current, refresh_token="new"))
    assert stored.refresh_token == "person-1"


def test_a_commit_follows_its_token_to_another_id(store: Store) -> None:
    with store.refreshing(1) as session:
        store.edit(lambda all_: [replace(one, id=3 - one.id) for one in all_])
        assert session.commit(replace(session.current, refresh_token="new")).id == 2
    assert get(store, 1).refresh_token == "rt-2"


def test_a_commit_does_not_bring_back_the_deleted(store: Store) -> None:
    with store.refreshing(1) as session:
        store.edit(lambda all_: all_[1:])
        with pytest.raises(NoCredential):
            session.commit(replace(session.current, refresh_token="new"))
    assert [one.refresh_token for one in store.snapshot().credentials] == ["rt-2"]


def test_an_intent_without_a_commit_is_unconfirmed(store: Store) -> None:
    with store.refreshing(1) as session:
        assert not session.unconfirmed
        session.intent()
    with store.refreshing(1) as session:
        assert session.unconfirmed
        session.drop_intent()
    with store.refreshing(1) as session:
        assert not session.unconfirmed
    with store.refreshing(2) as session:
        assert not session.unconfirmed


def test_the_refresh_lock_is_per_credential(kind: str, store: Store, tmp_path: Path) -> None:
    other = STORES[kind](tmp_path, refresh_lock_timeout_s=0.05)
    with store.refreshing(1):
        with other.refreshing(2):
            pass
        other.edit(lambda all_: None)  # the store lock is another
        with pytest.raises(StoreLocked), other.refreshing(1):
            pass
    with other.refreshing(1):
        pass


def test_a_snapshot_needs_no_lock(kind: str, store: Store, tmp_path: Path) -> None:
    with store.refreshing(1):
        assert len(STORES[kind](tmp_path).snapshot().credentials) == 2


def _edit_often(kind: str, place: Path, rounds: int) -> None:
    store = STORES[kind](place, lock_timeout_s=60)
    for _ in range(rounds):
        store.edit(lambda all_: [replace(one, label=str(int(one.label or 0) + 1)) for one in all_])


def test_processes_lose_no_edit(kind: str, store: Store, tmp_path: Path) -> None:
    """style: N processes × M edits lose none."""
    workers = [SPAWN.Process(target=_edit_often, args=(kind, tmp_path, 25)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    fresh = STORES[kind](tmp_path).snapshot()
    assert [one.label for one in fresh.credentials] == ["100", "100"]
