"""Changing config.json."""

import json
from pathlib import Path

import pytest

from kiroproxy.config_file import change, find, parse, why_not
from kiroproxy.errors import ConfigError, InvalidRequest


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path | None]:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"apiKey": "k" * 20, "odd": 1}), "utf-8")
    return {"config_path": path, "credentials_path": tmp_path / "credentials.json"}


def test_settings_by_all_their_names() -> None:
    for name in ("port", "PORT", "KIROPROXY_PORT", " Port "):
        assert find(name).key == "port"
    assert find("cooldown_sec").key == "cooldownSec"
    with pytest.raises(InvalidRequest, match="nothing"):
        find("nothing")


def test_values_as_json() -> None:
    assert parse(find("port"), "80") == 80
    assert parse(find("noProxy"), "a,b") == ["a", "b"]
    with pytest.raises(InvalidRequest, match="machineId"):
        parse(find("machineId"), "no hex")


def test_an_edit(paths: dict[str, Path | None]) -> None:
    path = paths["config_path"]
    assert path is not None
    edit = change("port", "9000", paths)
    assert (edit.changed, edit.config.port, edit.overridden_by) == (True, 9000, "")
    assert json.loads(path.read_text("utf-8")) == {"apiKey": "k" * 20, "odd": 1, "port": 9000}
    assert not change("port", 9000, paths).changed
    assert change("port", None, paths).config.port == 8080
    with pytest.raises(ConfigError, match="apiKey"):
        change("apiKey", None, paths)


def test_a_link_stays_a_link(paths: dict[str, Path | None], tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    target = paths["config_path"]
    assert target is not None
    link.symlink_to(target)
    change("port", "9000", paths | {"config_path": link})
    assert link.is_symlink()
    assert json.loads(target.read_text("utf-8"))["port"] == 9000


def test_why_a_server_would_not_start(paths: dict[str, Path | None]) -> None:
    assert why_not({"apiKey": "k"}, paths) is None
    for broken in ({}, {"apiKey": "k", "port": 0}, {"apiKey": "k", "adminApiKey": "k"}):
        assert why_not(broken, paths) is not None


def test_a_place_that_cannot_be_written(paths: dict[str, Path | None], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file"):
        change("apiKey", "k" * 9, paths | {"config_path": tmp_path / "file" / "config.json"})


def test_a_broken_file_is_mended_step_by_step(paths: dict[str, Path | None]) -> None:
    path = paths["config_path"]
    assert path is not None
    path.write_text('{"port": "x", "workers": 0}', "utf-8")
    change("port", 9000, paths)
    change("workers", 1, paths)
    with pytest.raises(ConfigError, match="adminApiKey"):
        change("adminApiKey", "k", paths | {}) if change("apiKey", "k", paths) else None
