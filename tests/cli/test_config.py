"""`kiroproxy config show` and `config check`."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kiroproxy.cli import main
from kiroproxy.config import SETTINGS
from tests.servers import clean_environment


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    document = {"apiKey": "sk-kiroproxy-secret1234", "port": 8990, "typo": 1}
    (tmp_path / "config.json").write_text(json.dumps(document), "utf-8")
    return tmp_path


def run(*arguments: str) -> Result:
    silenced = dict.fromkeys(set(os.environ) - set(clean_environment()))
    return CliRunner(env=silenced).invoke(main, ["config", *arguments])


def test_show_masks_secrets(home: Path) -> None:
    result = run("show")
    assert result.exit_code == 0
    assert "sk-kiroproxy-secret" not in result.stdout
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if " " in line)
    assert (lines["apiKey"], lines["port"]) == ("***1234", "8990")
    assert len(result.stdout.splitlines()) == len(SETTINGS) + 2


def test_show_tells_origins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Design 8."""
    (home / ".env").write_text("KIROPROXY_HOST=::1\n", "utf-8")
    result = run("show", "--origin", "--json")
    rows = json.loads(result.stdout)
    assert rows["port"] == {"value": "8990", "origin": "config.json port"}
    assert rows["host"] == {"value": "::1", "origin": ".env KIROPROXY_HOST"}
    assert rows["workers"] == {"value": "2", "origin": "default"}
    assert rows["config"]["origin"] == "default"
    assert "(config.json port)" in run("show", "--origin").stdout
    assert json.loads(run("show", "--json").stdout)["host"] == "::1"


def test_check_says_yes(home: Path) -> None:
    (home / "credentials.json").write_text('{"refreshToken": "x"}', "utf-8")
    result = run("check")
    assert result.exit_code == 0
    assert "1 credentials" in result.stdout
    assert "typo is not a setting" in result.stderr


@pytest.mark.parametrize(
    ("config", "credentials", "message"),
    [
        ("{}", "[]", "kiroproxy init"),
        ('{"apiKey": "k", "port": "x"}', "[]", "port:"),
        ('{"apiKey": "k"}', "{", "credentials.json"),
        ('{"apiKey": "k"}', "5", "must hold an object or a list"),
        ("{", "[]", "config.json"),
    ],
)
def test_check_says_no(home: Path, config: str, credentials: str, message: str) -> None:
    (home / "config.json").write_text(config, "utf-8")
    (home / "credentials.json").write_text(credentials, "utf-8")
    result = run("check")
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stdout == ""


def test_other_files(home: Path) -> None:
    """S87."""
    (home / "other.json").write_text('{"apiKey": "k"}', "utf-8")
    result = run("check", "-c", "other.json", "--credentials", "none.json")
    assert result.exit_code == 0
    assert "0 credentials" in result.stdout


def test_check_counts_and_names_what_cannot_be_used(home: Path) -> None:
    """Also in a file of kiro2api's form (S121)."""
    tokens = [{"auth": "Social", "refreshToken": "x"}, {"auth": "IdC", "refreshToken": "y"}]
    document = {"default_group": "pro", "tokens": tokens}
    (home / "credentials.json").write_text(json.dumps(document), "utf-8")
    result = run("check")
    assert result.exit_code == 0
    assert "2 credentials" in result.stdout
    assert "credentials[1].clientId: is missing" in result.stderr


def test_check_for_scripts(home: Path) -> None:
    told = json.loads(run("check", "--json").stdout)
    assert (told["config"], told["count"]) == (str(home / "config.json"), 0)
    assert "typo" in told["warnings"][0]
