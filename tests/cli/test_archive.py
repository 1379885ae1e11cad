"""`kiroproxy backup` and `restore`."""

import json
import stat
from pathlib import Path

import filelock
import pytest

from tests.cli.home import Home, token


def test_there_and_back(home: Home) -> None:
    home.run("groups", "create", "pro", "--cooldown-sec", "5")
    before = home.state()
    told = home.json("backup", "b.tar.gz")
    assert {one["name"] for one in told["files"]} == {
        "config.json",
        "credentials.json",
        "kiroproxy.db",
    }
    assert stat.S_IMODE((home.place / "b.tar.gz").stat().st_mode) == 0o600
    home.run("credentials", "remove", 1, 2, "--force", "--yes")
    home.run("groups", "remove", "pro")
    home.run("settings", "set", "port", "9000")
    assert "--yes" in home.refused("restore", "b.tar.gz"), "there is nobody to ask"
    told = home.json("restore", "b.tar.gz", "--yes")
    assert {Path(one["backup"]).suffix for one in told["files"]} == {".bak"}
    after = home.state()
    assert after["config.json"] == before["config.json"]
    assert after["credentials.json"] == before["credentials.json"]
    assert home.json("groups", "show", "pro")["settings"]["cooldown_sec"] == 5
    kept = json.loads((home.place / "credentials.json.bak").read_text("utf-8"))
    assert kept == []
    result = home.run("restore", "b.tar.gz", "--yes")
    assert token("one") not in result.output
    assert "is restored; the old one is" in result.stdout


def test_no_backup_that_restore_would_refuse(home: Home) -> None:
    home.credentials_path.write_text("[{", "utf-8")
    result = home.run("backup", "b.tar.gz")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not JSON" in result.stderr
    assert not (home.place / "b.tar.gz").exists()


def test_a_name_with_the_time(home: Home) -> None:
    result = home.run("backup")
    assert result.exit_code == 0
    [file] = home.place.glob("kiroproxy-backup-*.tar.gz")
    assert file.name in result.stdout


def test_not_while_the_server_runs(home: Home) -> None:
    home.run("backup", "b.tar.gz")
    with filelock.FileLock(home.place / "runtime.lock"):
        text = home.refused("restore", "b.tar.gz", "--yes", code=1)
        assert "stop it first" in text
        assert home.run("restore", "b.tar.gz", "--yes", "--force").exit_code == 0
    assert home.run("restore", "b.tar.gz", "--yes").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("backup", "config.json"),
        ("backup", "no/such/dir/b.tar.gz"),
        ("backup", "."),
        ("restore",),
        ("restore", "no-such-file"),
        ("restore", "."),
    ],
)
def test_bad_files(home: Home, arguments: tuple[str, ...]) -> None:
    home.refused(*arguments)


def test_another_file_is_no_backup(home: Home) -> None:
    assert "no backup" in home.refused("restore", "config.json", "--yes")
