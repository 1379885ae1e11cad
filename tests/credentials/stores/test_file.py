"""The credentials file: design 5, rules 1 to 7."""

import json
import os
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.stores import file as module
from kiroproxy.credentials.stores.file import FileStore
from kiroproxy.errors import ConfigError, StoreLocked, StoreUnwritable

SOCIAL: dict[str, Any] = {"id": 1, "refreshToken": "rt-0", "authMethod": "social", "x": {"y": 1}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "credentials.json"
    write(path, [SOCIAL])
    return path


def write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))
    path.chmod(0o600)


def rotate(store: FileStore, token: str) -> Credential:
    with store.refreshing(1) as session:
        session.reserve()
        session.intent()
        return session.commit(replace(session.current, refresh_token=token))


def tokens(store: FileStore) -> list[str | None]:
    return [one.refresh_token for one in store.snapshot().credentials]


def names(path: Path) -> set[str]:
    return {one.name for one in path.parent.iterdir() if not one.name.endswith(".lock")}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_rotation_is_written_back(path: Path) -> None:
    """S94, S96: unknown fields survive; 0600; nothing temporary stays."""
    path.chmod(0o644)
    store = FileStore(path)
    rotate(store, "rt-1")
    (entry,) = json.loads(path.read_text())
    assert entry == {**SOCIAL, "refreshToken": "rt-1", "generation": 1}
    assert mode(path) == 0o600
    assert names(path) == {path.name, f"{path.name}.bak.1", f"{path.name}.bak.2"}
    assert all(mode(one) == 0o600 for one in path.parent.iterdir())


def test_a_single_object_keeps_its_shape(path: Path) -> None:
    """S96."""
    write(path, SOCIAL)
    rotate(FileStore(path), "rt-1")
    assert json.loads(path.read_text())["refreshToken"] == "rt-1"


def test_preparing_gives_ids(tmp_path: Path) -> None:
    path = tmp_path / "new" / "credentials.json"
    store = FileStore(path)
    assert store.prepare() == []
    assert mode(path.parent) == 0o700
    assert not path.exists()
    write(path, [{"refreshToken": "a"}, {"refreshToken": "b"}])
    assert store.prepare() == []
    assert [one["id"] for one in json.loads(path.read_text())] == [1, 2]
    before = path.stat()
    assert store.prepare() == []
    assert path.stat().st_ino == before.st_ino, "nothing to do, nothing written"


def test_preparing_warns(path: Path) -> None:
    write(path, [SOCIAL, {"authMethod": "idc", "refreshToken": "x"}])
    path.chmod(0o644)
    with FileStore(path).refreshing(1) as session:
        session.intent()
    warnings = FileStore(path).prepare()
    assert any("chmod 600" in one for one in warnings)
    assert any("credentials[1].clientId" in one for one in warnings)
    assert any("credential #1 broke off" in one for one in warnings)
    path.unlink()
    FileStore(path).edit(lambda all_: [Credential(refresh_token="a")])
    path.unlink()
    assert any("backups" in one for one in FileStore(path).prepare())


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "credentials.json"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(ConfigError):
        FileStore(path).prepare()
    assert FileStore(path).snapshot().problems


def test_a_persons_edit_is_seen_within_a_second(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore(path)
    assert tokens(store) == ["rt-0"]
    write(path, [{**SOCIAL, "refreshToken": "edit"}])
    assert tokens(store) == ["rt-0"], "cached"
    clock = time.monotonic() + module.SNAPSHOT_AGE_S
    monkeypatch.setattr(module.time, "monotonic", lambda: clock)
    assert tokens(store) == ["edit"]


def test_an_unchanged_file_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_AGE_S", 0)
    os.utime(path, (1, 1))
    store = FileStore(path)
    time.sleep(module.RACY_S * 2)  # the change time, too, must be old
    first = store.snapshot()
    reads: list[Path] = []
    real = module.durable.read_private
    monkeypatch.setattr(
        module.durable, "read_private", lambda path: (reads.append(path), real(path))[1]
    )
    store.snapshot()
    reads.clear()
    assert store.snapshot() == first
    assert reads == []


def test_same_size_within_the_same_tick_is_noticed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_AGE_S", 0)
    store = FileStore(path)
    for n in range(30):
        with path.open("r+") as file:
            file.write(json.dumps([{**SOCIAL, "refreshToken": f"r-{n:02}"}]))
        assert tokens(store) == [f"r-{n:02}"]


def test_an_unreadable_file_leaves_the_last_good_state(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_AGE_S", 0)
    store = FileStore(path)
    store.snapshot()
    path.write_text("[{")
    assert tokens(store) == ["rt-0"]
    assert "not JSON" in store.snapshot().problems[0]
    assert path.read_text() == "[{", "reading repairs nothing: a person may be typing"
    write(path, [{**SOCIAL, "refreshToken": "edit"}])
    assert (tokens(store), store.snapshot().problems) == (["edit"], ())


def test_a_missing_file_is_believed_the_second_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Editors that save by removing and creating."""
    monkeypatch.setattr(module, "SNAPSHOT_AGE_S", 0)
    store = FileStore(path)
    store.snapshot()
    path.unlink()
    assert tokens(store) == ["rt-0"]
    assert tokens(store) == []
    write(path, [SOCIAL])
    assert tokens(store) == ["rt-0"]


@pytest.mark.parametrize("damage", [b"", b"[{", b"\0" * 300, b"\xff"])
def test_a_damaged_file_costs_nothing(path: Path, damage: bytes) -> None:
    """Rule 6: it is kept aside and the newest good backup, the very last state, is loaded."""
    rotate(FileStore(path), "rt-1")
    rotate(FileStore(path), "rt-2")
    path.write_bytes(damage)
    store = FileStore(path)
    assert tokens(store) == ["rt-2"]
    assert store.prepare() == []
    assert tokens(FileStore(path)) == ["rt-2"]
    (aside,) = path.parent.glob("*.corrupt-*")
    assert aside.read_bytes() == damage
    assert mode(aside) == 0o600


def test_the_newest_good_backup(path: Path) -> None:
    for n in range(1, 6):
        rotate(FileStore(path), f"rt-{n}")
    backups = [path.with_name(f"{path.name}.bak.{n}") for n in (1, 2, 3)]
    assert [json.loads(one.read_text())[0]["refreshToken"] for one in backups] == [
        "rt-5",
        "rt-4",
        "rt-3",
    ]
    path.write_text("{")
    backups[0].write_text("{")
    assert tokens(FileStore(path)) == ["rt-4"]


def test_what_a_person_wrote_is_a_generation(path: Path) -> None:
    rotate(FileStore(path), "rt-1")
    write(path, [{**SOCIAL, "refreshToken": "person"}])
    rotate(FileStore(path), "rt-2")
    second = json.loads(path.with_name(f"{path.name}.bak.2").read_text())
    assert second[0]["refreshToken"] == "person"


def test_unreadable_without_a_backup_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("[{")
    with pytest.raises(ConfigError, match="not JSON"):
        FileStore(path).prepare()
    assert path.read_text() == "[{"


@pytest.mark.parametrize("damage", [None, b"[{", b""])
def test_a_redeemed_token_is_stored_whatever_happened_to_the_file(
    path: Path, damage: bytes | None
) -> None:
    store = FileStore(path)
    with store.refreshing(1) as session:
        session.reserve()
        session.intent()
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
        session.commit(replace(session.current, refresh_token="rt-1"))
    (entry,) = json.loads(path.read_text())
    assert (entry["refreshToken"], entry["x"]) == ("rt-1", {"y": 1})


def test_a_reservation_that_vanished_is_made_anew(path: Path) -> None:
    with FileStore(path).refreshing(1) as session:
        session.reserve()
        (temp,) = path.parent.glob(".*.tmp-*")
        temp.unlink()
        session.commit(replace(session.current, refresh_token="rt-1"))
    assert tokens(FileStore(path)) == ["rt-1"]


def test_a_symlink_is_resolved_once(path: Path, tmp_path: Path) -> None:
    """Rule 6."""
    link = tmp_path / "elsewhere" / "link.json"
    link.parent.mkdir()
    link.symlink_to(path)
    store = FileStore(link)
    link.unlink()
    link.symlink_to("/dev/null")
    rotate(store, "rt-1")
    assert json.loads(path.read_text())[0]["refreshToken"] == "rt-1"
    path.unlink()
    path.symlink_to("/dev/null")
    assert FileStore.snapshot(store).credentials  # the last good state, not another's file


def test_dead_processes_temporary_files_are_swept(path: Path) -> None:
    old, young = (path.with_name(f".{path.name}.tmp-1-{n}") for n in ("old", "young"))
    old.touch()
    young.touch()
    os.utime(old, (1, 1))
    FileStore(path).prepare()
    assert (old.exists(), young.exists()) == (False, True)


def test_an_intent_of_an_earlier_generation_is_settled(path: Path) -> None:
    """Killed between the rename and the removal of the intent."""
    store = FileStore(path)
    with store.refreshing(1) as session:
        session.intent()
    (intent,) = path.parent.glob(".*.intent")
    note = json.loads(intent.read_text())
    assert (note["id"], note["generation"]) == (1, 0)
    assert "startedAt" in note
    rotate(store, "rt-1")
    intent.write_text(json.dumps(note))
    with store.refreshing(1) as session:
        assert not session.unconfirmed
    assert not intent.exists()
    intent.write_text('{"gen')  # torn
    with store.refreshing(1) as session:
        assert session.unconfirmed


def test_a_held_store_lock_is_named(path: Path) -> None:
    holder = FileStore(path)
    with (
        holder._locked(".lock", 1),
        pytest.raises(StoreLocked, match=r"\.lock"),
    ):
        FileStore(path, lock_timeout_s=0.05).edit(lambda all_: all_.clear())
    assert tokens(FileStore(path)) == ["rt-0"]


def test_a_lock_file_that_is_a_symlink_is_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.with_name(f".{path.name}.lock").symlink_to(victim)
    with pytest.raises(StoreUnwritable):
        FileStore(path).edit(lambda all_: all_.clear())
    assert victim.read_text() == "precious"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_truncated_or_flipped_it_loads_or_falls_back(tmp_path_factory: Any, data: Any) -> None:
    """issue 2: whatever one damage does, the store starts and takes edits."""
    path = tmp_path_factory.mktemp("store") / "credentials.json"
    write(path, [SOCIAL, {**SOCIAL, "id": 2, "refreshToken": "rt-b"}])
    rotate(FileStore(path), "rt-1")
    whole = path.read_bytes()
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        at, bit = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7))
        damaged = whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
    path.write_bytes(damaged)
    store = FileStore(path)
    before = store.snapshot()
    try:
        json.loads(damaged)
    except ValueError:
        assert tokens(store) == ["rt-1", "rt-b"]
    store.prepare()
    after = store.edit(lambda all_: all_.append(Credential(refresh_token="added")))
    assert len(after.credentials) == len(before.credentials) + 1
    assert FileStore(path).snapshot().credentials == after.credentials


def test_what_was_put_in_place_is_backed_up_at_start(path: Path) -> None:
    """Even if there is nothing to write: it may be damaged before anything is."""
    FileStore(path).prepare()
    content = path.read_bytes()
    for number in (1, 2, 3):
        path.with_name(f"{path.name}.bak.{number}").unlink(missing_ok=True)
    FileStore(path).prepare()
    assert path.with_name(f"{path.name}.bak.1").read_bytes() == content
    FileStore(path).prepare()
    assert not path.with_name(f"{path.name}.bak.2").exists(), "once is enough"
    path.write_bytes(content[:40])
    store = FileStore(path)
    store.prepare()
    assert json.loads(path.read_bytes()) == json.loads(content)
    assert store.snapshot().credentials


def test_a_backup_takes_the_whole_files_place(path: Path) -> None:
    store = FileStore(path)
    assert tokens(store) == ["rt-0"]
    data = json.dumps({"credentials": [{"refreshToken": "rt-9"}], "other": 1}).encode()
    store.put(data)
    assert (path.read_bytes(), tokens(store), tokens(FileStore(path))) == (data, ["rt-9"], ["rt-9"])
    assert json.loads(path.with_name("credentials.json.bak.2").read_text()) == [SOCIAL]
    with pytest.raises(ConfigError):
        store.put(b"5")
    path.write_text("broken")
    store.put(data)
    assert path.read_bytes() == data


def test_a_write_that_fails_is_told_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one amid a refresh, which holds two locks."""
    write(path, {"refreshToken": "rt-0", "authMethod": "social"})
    store = FileStore(path)
    store.prepare()
    told: list[int] = []
    store.on_error = lambda: told.append(1)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kiroproxy.credentials.stores.durable._allocate", full)
    with pytest.raises(StoreUnwritable):
        store.edit(lambda credentials: [replace(credentials[0], priority=7)])
    assert told == [1]
    with pytest.raises(StoreUnwritable):
        rotate(store, "rt-1")
    assert told == [1, 1]
