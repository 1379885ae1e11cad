"""Backup and restore: whole archives only, and only into their own places."""

import io
import json
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kiroproxy import archive
from kiroproxy.config import Config, load_config
from kiroproxy.credentials.groups import Group, GroupBook
from kiroproxy.errors import ConfigError, InvalidRequest

CREDENTIAL = {"refreshToken": "r" * 120}


class Place:
    """An installation."""

    def __init__(self, path: Path, **config: Any) -> None:
        path.mkdir()
        self.path = path
        self.paths: dict[str, Path | None] = {
            "config_path": path / "config.json",
            "credentials_path": path / "credentials.json",
        }
        (path / "config.json").write_text(
            json.dumps({"apiKey": "k", "databasePath": str(path / "data" / "db.sqlite")} | config)
        )
        (path / "credentials.json").write_text(json.dumps([CREDENTIAL]))

    @property
    def config(self) -> Config:
        return load_config(self.paths, environ={}, cwd=self.path)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path / "home")
    GroupBook(place.config.database_path).save([Group("pro")])
    return place


def rewrite(source: Path, target: Path, **content: bytes | None) -> None:
    """A copy of an archive with other content of some members, and a manifest that fits."""
    with tarfile.open(source) as tar:
        members = {one.name: tar.extractfile(one) for one in tar.getmembers()}
        data = {name: file.read() for name, file in members.items() if file is not None}
    manifest = json.loads(data.pop("manifest.json"))
    for name, given in content.items():
        member = name.replace("_", ".")
        if given is None:
            data.pop(member)
        else:
            data[member] = given
    import hashlib

    manifest["files"] = [
        {"name": name, "bytes": len(one), "sha256": hashlib.sha256(one).hexdigest()}
        for name, one in data.items()
    ]
    pack(target, {"manifest.json": json.dumps(manifest).encode()} | data)


def pack(target: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(target, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def refusal(path: Path, place: Place) -> str:
    with pytest.raises(archive.BadArchive) as error, archive.open_archive(path, place.paths):
        pass
    return str(error.value)


def test_a_backup_while_the_database_is_written(place: Place, tmp_path: Path) -> None:
    target = tmp_path / "b.tar.gz"
    with closing(sqlite3.connect(place.config.database_path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("INSERT INTO groups VALUES ('wal', '', '{}')")  # not yet in the main file
        entries = archive.write_archive(place.config, target)
    assert [one["name"] for one in entries] == ["config.json", "credentials.json", "kiroproxy.db"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["home", "b.tar.gz"] or len(
        list(tmp_path.iterdir())
    ) == 2, "nothing is left over"
    other = Place(tmp_path / "other")
    with archive.open_archive(target, place.paths) as opened:
        assert opened.manifest["format"] == "kiroproxy-backup"
        archive.restore(opened)
    assert set(GroupBook(place.config.database_path).all()) == {"pro", "wal"}
    assert other.config.api_key == "k"


def test_restoring_keeps_what_was_there(place: Place, tmp_path: Path) -> None:
    target = tmp_path / "b.tar.gz"
    archive.write_archive(place.config, target)
    (place.path / "credentials.json").write_text(json.dumps([CREDENTIAL, {"kiroApiKey": "x"}]))
    GroupBook(place.config.database_path).save([Group("later")])
    with archive.open_archive(target, place.paths) as opened:
        kept = archive.restore(opened)
    assert json.loads((place.path / "credentials.json").read_text()) == [CREDENTIAL]
    old = kept["credentials.json"]
    assert old is not None
    assert len(json.loads(old.read_text())) == 2
    assert stat.S_IMODE(old.stat().st_mode) == 0o600
    assert set(GroupBook(place.config.database_path).all()) == {"pro"}
    database = kept["kiroproxy.db"]
    assert database is not None
    assert set(GroupBook(database).all()) == {"pro", "later"}
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_into_an_empty_place_and_over_a_broken_database(place: Place, tmp_path: Path) -> None:
    target = tmp_path / "b.tar.gz"
    archive.write_archive(place.config, target)
    database = place.config.database_path
    database.write_bytes(b"broken" * 1000)
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    (place.path / "credentials.json").unlink()
    with archive.open_archive(target, place.paths) as opened:
        kept = archive.restore(opened)
    assert kept["credentials.json"] is None
    assert set(GroupBook(database).all()) == {"pro"}
    assert kept["kiroproxy.db"] is not None
    assert kept["kiroproxy.db"].read_bytes().startswith(b"broken")


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/config.json", "config.json/..", "x"])
def test_paths_outside(place: Place, tmp_path: Path, name: str) -> None:
    path = tmp_path / "evil.tar.gz"
    pack(path, {"manifest.json": b"{}", name: b"evil"})
    assert "does not belong" in refusal(path, place)


def test_links_and_devices(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "evil.tar.gz"
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
        with tarfile.open(path, "w:gz") as tar:
            info = tarfile.TarInfo("config.json")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        assert "does not belong" in refusal(path, place)


def test_what_is_no_whole_backup(place: Place, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.tar.gz", tmp_path / "bad.tar.gz"
    archive.write_archive(place.config, good)
    data = good.read_bytes()
    for broken in (b"", b"text", data[:-20], data[: len(data) // 2], data[:30]):
        bad.write_bytes(broken)
        assert "bad.tar.gz" in refusal(bad, place)
    pack(bad, {"config.json": b"{}"})
    assert "manifest" in refusal(bad, place)
    pack(bad, {"manifest.json": b'{"format": "x", "version": 1, "files": []}'})
    assert "another program" in refusal(bad, place)
    entry = {"format": archive.FORMAT, "version": 1, "files": [{"name": "config.json"}]}
    pack(bad, {"manifest.json": json.dumps(entry).encode(), "config.json": b"{}"})
    assert "manifest" in refusal(bad, place)
    entry["files"] = [{"name": "config.json", "sha256": "0" * 64}]
    pack(bad, {"manifest.json": json.dumps(entry).encode(), "config.json": b"{}"})
    assert "damaged" in refusal(bad, place)
    for content in (
        {"config_json": b'{"port": "x"}'},
        {"config_json": b"["},
        {"credentials_json": b"5"},
        {"kiroproxy_db": b"SQLite format 3\0" + b"x" * 5000},
    ):
        rewrite(good, bad, **content)
        assert "bad.tar.gz" in refusal(bad, place)
    rewrite(good, bad, credentials_json=None)
    with archive.open_archive(bad, place.paths) as opened:
        assert set(opened.targets) == {"config.json", "kiroproxy.db"}


def test_too_large_a_member(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = tmp_path / "good.tar.gz"
    archive.write_archive(place.config, good)
    monkeypatch.setattr(archive, "LIMITS", dict(archive.LIMITS) | {"config.json": 3})
    assert "too large" in refusal(good, place)


def test_targets_that_are_none(place: Place, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="exists"):
        archive.write_archive(place.config, place.path / "config.json")
    with pytest.raises(ConfigError):
        archive.write_archive(place.config, tmp_path / "no" / "b.tar.gz")
    empty = load_config({"config_path": tmp_path / "x"}, environ={}, cwd=tmp_path)
    with pytest.raises(InvalidRequest, match="nothing"):
        archive.write_archive(empty, tmp_path / "b.tar.gz")


def test_other_databases(tmp_path: Path) -> None:
    other = Place(tmp_path / "home", databaseUrl=f"sqlite:///{tmp_path / 'ledger.db'}")
    assert archive.places(other.config)["ledger.db"] == tmp_path / "ledger.db"
    assert not archive.foreign_database(other.config)
    (other.path / "config.json").write_text('{"apiKey": "k", "databaseUrl": "postgresql://h/d"}')
    assert archive.foreign_database(other.config)
    assert "ledger.db" not in archive.places(other.config)
