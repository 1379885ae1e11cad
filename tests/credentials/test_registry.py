"""Changing the set of credentials and groups (S104, S121, S123, S132)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kiroproxy import errors as e
from kiroproxy.credentials.groups import Group, GroupBook, GroupSettings
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.registry import Duplicate, Registry, read_entry
from tests.credentials.bench import HOUR, Bench

TOKEN = "refresh-token-" + "x" * 100


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


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ({"refreshToken": "short"}, "truncated"),
        ({"refreshToken": TOKEN + "..."}, "truncated"),
        ({}, "refreshToken"),
        ([], "object"),
        ({"refreshToken": TOKEN, "authMethod": "idc"}, "clientId"),
        ({"refreshToken": TOKEN, "authMethod": "magic"}, "authMethod"),
        ({"refreshToken": TOKEN, "endpoint": "desktop"}, "endpoint: must be ide or cli"),
    ],
)
def test_what_cannot_be_a_credential(raw: Any, why: str) -> None:
    with pytest.raises(e.InvalidRequest, match=why):
        read_entry(raw)


def test_adding_and_finding_again(bench: Bench, registry: Registry) -> None:
    added = registry.add({"refreshToken": TOKEN, "group": "pro", "name": "mine", "odd": 1})
    assert (added.id, added.group, added.extra) == (1, "pro", {"odd": 1})
    with pytest.raises(Duplicate) as error:
        registry.add({"refreshToken": TOKEN})
    assert error.value.existing.id == 1
    assert TOKEN not in str(error.value)
    bench.bearer()
    with pytest.raises(Duplicate):
        registry.add({"refreshToken": TOKEN})  # its token has rotated since


def test_switching_off_and_on_forgets_what_was_wrong(bench: Bench, registry: Registry) -> None:
    bench.add(HOUR)
    bench.pool.lease("m").release(e.Throttled("429"))
    assert registry.set_disabled(1, True).disabled_reason == "Manual"
    assert not registry.set_disabled(1, False).disabled
    assert bench.runtime.states() == {}
    bench.pool.lease("m")
    with pytest.raises(e.NotFound):
        registry.set_disabled(9, True)


def test_moving_and_removing(bench: Bench, registry: Registry) -> None:
    bench.add(HOUR)
    bench.add(HOUR)
    assert registry.move(1, "pro").group == "pro"
    assert registry.move(1, "default").group is None
    with pytest.raises(e.InvalidRequest):
        registry.move(1, "banned")
    registry.remove(1)
    assert [one.id for one in bench.store.snapshot().credentials] == [2]
    with pytest.raises(e.NotFound):
        registry.remove(1)


def test_groups(bench: Bench, registry: Registry) -> None:
    bench.add(HOUR, group="pro")
    bench.add(HOUR, disabled=True)
    registry.create_group(Group("team", "Team", GroupSettings(cooldown_sec=5)))
    told = [(info.group.name, info.total, info.active) for info in registry.groups()]
    assert told == [("default", 1, 0), ("pro", 1, 1), ("team", 0, 0)]
    for name in ("team", "pro", "default", "v1", "banned"):
        with pytest.raises(e.InvalidRequest):
            registry.create_group(Group(name))
    assert registry.rename_group("pro", "best") == "best"
    assert bench.stored(1).group == "best"
    with pytest.raises(e.InvalidRequest):
        registry.rename_group("default", "x")
    with pytest.raises(e.InvalidRequest):
        registry.rename_group("best", "team")
    registry.change_group(Group("team", "A", GroupSettings(cooldown_sec=1)))
    assert registry.group("team").group.settings.cooldown_sec == 1
    registry.remove_group("best")
    assert bench.stored(1).group is None, "S123: its credentials go to default"
    with pytest.raises(e.InvalidRequest):
        registry.remove_group("default")
    with pytest.raises(e.NotFound):
        registry.remove_group("best")


def test_finding_one(bench: Bench, registry: Registry) -> None:
    bench.add(HOUR, label="mine")
    assert registry.credential(1).label == "mine"
    assert [one.id for one in registry.credentials()] == [1]
    with pytest.raises(e.NotFound):
        registry.credential(2)


def test_signing_in_again_forgets_what_was_wrong(bench: Bench, registry: Registry) -> None:
    bench.add(HOUR, disabled=True, disabled_reason="InvalidRefreshToken", label="mine")
    before = registry.credential(1)
    new = Credential(refresh_token=TOKEN, access_token="at", expires_at=bench.now + HOUR)
    stored = registry.sign_in_again(1, new)
    assert (stored.id, stored.label, stored.disabled) == (1, "mine", False)
    assert (stored.refresh_token, stored.generation) == (TOKEN, before.generation + 1)
    assert bench.pool.lease("m").credential.access_token == "at"
    with pytest.raises(e.NotFound):
        registry.sign_in_again(9, new)


def test_a_store_that_cannot_be_written_says_so(bench: Bench, registry: Registry) -> None:
    registry.check_writable()
    bench.store.why_unwritable = lambda: "it is full"  # type: ignore[method-assign]
    with pytest.raises(e.StoreUnwritable, match="it is full"):
        registry.check_writable()


def test_s121_groups_of_the_file_are_changed_there(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    file = {
        "default_group": "pro",
        "groups": {"pro": {"display_name": "Pro", "settings": {"cooldown_sec": 5}}},
        "tokens": [{"refreshToken": TOKEN, "priority": 1}],
    }
    path.write_text(json.dumps(file))
    path.chmod(0o600)
    book = GroupBook(tmp_path / "db.sqlite", lambda: bench.store.snapshot().groups)
    bench = Bench(tmp_path, groups=book)
    registry = Registry(bench.pool, book)
    told = [(info.group.name, info.group.display_name, info.total) for info in registry.groups()]
    assert told == [("default", "", 0), ("pro", "Pro", 1)]
    assert bench.pool.group_settings("pro").cooldown_sec == 5
    for act in (lambda: registry.remove_group("pro"), lambda: registry.rename_group("pro", "x")):
        with pytest.raises(e.InvalidRequest, match="the credentials file defines the group pro"):
            act()
    assert json.loads(path.read_text())["tokens"] == file["tokens"], "nothing was changed"
    registry.change_group(Group("pro", "Best", GroupSettings(cooldown_sec=9)))
    assert bench.pool.group_settings("pro").cooldown_sec == 9
    added = registry.add({"refreshToken": TOKEN + "new"})
    assert added.group == "default"
    assert registry.move(1, "default").group == "default"
    written = json.loads(path.read_text())
    assert [one["group"] for one in written["tokens"]] == ["default", "default"]
    assert written["groups"] == file["groups"]
    bench.runtime.close()


def test_bulk_changes_happen_whole_or_not_at_all(bench: Bench, registry: Registry) -> None:
    for _ in range(3):
        bench.add(HOUR)
    assert [one.priority for one in registry.prioritise([3, 1, 3], 7)] == [7, 7]
    assert [one.priority for one in registry.credentials()] == [7, 0, 7]
    for act in (registry.disable, registry.enable, registry.reset, registry.get):
        with pytest.raises(e.NotFound, match="8, 9"):
            act([1, 8, 9])
    with pytest.raises(e.InvalidRequest):
        registry.prioritise([1], -1)
    assert [one.id for one in registry.disable([1, 2])] == [1, 2]
    with pytest.raises(e.InvalidRequest, match="#3: disable first"):
        registry.remove_all([1, 3])
    assert [one.id for one in registry.remove_all([1, 2])] == [1, 2]
    assert [one.id for one in registry.remove_all([3], force=True)] == [3]


def test_s134_what_a_reset_mends(bench: Bench, registry: Registry) -> None:
    bench.add(HOUR, disabled=True, disabled_reason="TooManyFailures")
    bench.add(HOUR, disabled=True, disabled_reason="InvalidConfig")
    with pytest.raises(e.InvalidRequest, match="InvalidConfig"):
        registry.reset([1, 2])
    assert bench.stored(1).disabled
    assert not registry.reset([1])[0].disabled
    assert not registry.enable([2])[0].disabled, "a person says that it is mended"


def test_a_refresh_that_a_person_wants(bench: Bench, registry: Registry) -> None:
    bench.add(HOUR)
    assert registry.refresh(1).access_token == "at-1"
    registry.disable([1])
    assert registry.refresh(1).access_token == "at-2"
    assert bench.stored(1).disabled
    with pytest.raises(e.NotFound):
        registry.refresh(2)


def test_groups_of_a_file(bench: Bench, registry: Registry) -> None:
    registry.create_group(Group("pro", "Mine"))
    assert registry.adopt_groups([Group("pro", "Theirs"), Group("new")]) == ["new"]
    assert registry.group("pro").group.display_name == "Mine"
    bench.add(HOUR, group="new")
    assert [one.id for one in registry.in_group("new")] == [1]
    with pytest.raises(e.NotFound):
        registry.in_group("nobody")


def test_many_are_added_in_one_edit(registry: Registry) -> None:
    there = registry.add({"refreshToken": TOKEN})
    new = [read_entry({"refreshToken": f"{TOKEN}{n}"}) for n in (1, 2, 1)]
    known = read_entry({"refreshToken": TOKEN})
    first, old, second, twice = registry.insert_all([new[0], known, new[1], new[2]])
    assert isinstance(first, Credential)
    assert isinstance(second, Credential)
    assert [one.id for one in registry.credentials()] == [there.id, first.id, second.id]
    assert first.refresh_token == f"{TOKEN}1"
    assert isinstance(old, Duplicate)
    assert old.existing.id == there.id
    assert isinstance(twice, Duplicate)
    assert registry.insert_all([]) == []
