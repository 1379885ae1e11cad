"""`kiroproxy init` (X1, X19, S141)."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from kiroproxy.cli import main
from kiroproxy.config import load_config, require_client_key


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_writes_a_configuration_that_serves(home: Path) -> None:
    result = CliRunner().invoke(main, ["init"])
    assert result.exit_code == 0
    config = load_config(environ={}, cwd=home)
    require_client_key(config)
    assert (config.host, config.port, config.region) == ("127.0.0.1", 8990, "us-east-1")
    assert config.api_key.startswith("sk-kiroproxy-")
    assert len(config.api_key) > 40
    assert json.loads((home / "credentials.json").read_text("utf-8")) == []
    for name in ("config.json", "credentials.json"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    for line in (
        "export ANTHROPIC_BASE_URL=http://127.0.0.1:8990\n",
        f"export ANTHROPIC_AUTH_TOKEN={config.api_key}\n",
        "kiroproxy login\n",
        "kiroproxy credentials import\n",  # S174
    ):
        assert line in result.stdout


def test_keys_are_random(home: Path) -> None:
    for name in ("a.json", "b.json"):
        CliRunner().invoke(main, ["init", "-c", name])
    assert (home / "a.json").read_text("utf-8") != (home / "b.json").read_text("utf-8")


def test_never_overwrites_unasked(home: Path) -> None:
    (home / "config.json").write_text("mine", "utf-8")
    (home / "credentials.json").write_text("tokens", "utf-8")
    result = CliRunner().invoke(main, ["init"])
    assert result.exit_code == 1
    assert "--force" in result.stderr
    assert (home / "config.json").read_text("utf-8") == "mine"
    assert CliRunner().invoke(main, ["init", "--force"]).exit_code == 0
    assert (home / "config.json.bak").read_text("utf-8") == "mine"
    assert (home / "credentials.json").read_text("utf-8") == "tokens"


def test_other_places(home: Path) -> None:
    arguments = ["init", "-c", "new/config.json", "--credentials", "new/tokens.json"]
    result = CliRunner().invoke(main, [*arguments, "--host", "0.0.0.0", "--port", "9000"])
    assert result.exit_code == 0
    document = json.loads((home / "new/config.json").read_text("utf-8"))
    assert (document["host"], document["port"]) == ("0.0.0.0", 9000)
    assert "kiroproxy serve -c new/config.json --credentials new/tokens.json" in result.stdout
    assert "ANTHROPIC_BASE_URL=http://127.0.0.1:9000" in result.stdout


def test_a_place_that_cannot_be_written(home: Path) -> None:
    (home / "file").touch()
    result = CliRunner().invoke(main, ["init", "-c", "file/config.json"])
    assert result.exit_code == 1
    assert "file/config.json" in result.stderr


def test_for_scripts(home: Path) -> None:
    result = CliRunner().invoke(main, ["init", "--json"])
    told = json.loads(result.stdout)
    document = json.loads((home / "config.json").read_text("utf-8"))
    assert told == {"config": "config.json", "credentials": "credentials.json"} | document
