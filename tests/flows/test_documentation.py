"""Our own documentation's lines, run as they stand (S173): curl, the SDKs, moving here."""

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from kiroproxy.cli import main as kiroproxy
from kiroproxy.cli.kiro2api import main as kiro2api
from kiroproxy.observability import configure_logging
from tests.credentials.test_kiro2api_db import SCHEMA
from tests.flows import curl
from tests.flows.conftest import LONG_TOKEN
from tests.markdown import PAGES, code_blocks, read
from tests.servers import CLIENT_KEY, REPOSITORY, Proxy, clean_environment
from tests.simulation import Simulator

pytestmark = pytest.mark.flow


def scripts(word: str) -> list[object]:
    """The shell blocks with a word in them, of all pages in English."""
    return [
        pytest.param(code, id=f"{page.name}-{number}")
        for page in PAGES
        if ".zh-CN" not in page.name
        for number, code in enumerate(code_blocks(read(page), "bash"), 1)
        if word in code
    ]


@pytest.mark.parametrize("script", scripts("curl "))
def test_curl_lines(script: str, proxy: Proxy, sim: Simulator, tmp_path: Path) -> None:
    answers = curl.run(script, proxy, tmp_path, KIRO_KEY=CLIENT_KEY)
    assert len(answers) == len(re.findall(r"^curl ", script, re.MULTILINE))
    for answer in answers:
        assert answer.status == 200, answer.body
        assert answer.body


@pytest.mark.parametrize("script", scripts("python -c"))
def test_sdk_lines(script: str, proxy: Proxy, sim: Simulator, tmp_path: Path) -> None:
    """Only the port is another: the SDKs cannot be told as curl can."""
    done = subprocess.run(
        ["bash", "-euc", script.replace(":8990", f":{proxy.port}")],
        cwd=tmp_path,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(tmp_path),
            "KIRO_KEY": CLIENT_KEY,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "simulated answer" in done.stdout


def test_codex_lines() -> None:
    [text] = code_blocks(read(REPOSITORY / "README.md"), "toml")
    document = tomllib.loads(text)
    provider = document["model_providers"][document["model_provider"]]
    assert provider["base_url"] == "http://127.0.0.1:8990/v1"
    assert (provider["wire_api"], provider["env_key"]) == ("responses", "KIRO_KEY")


# ---- docs/migration.md ---------------------------------------------------------------------


def token(letter: str) -> str:
    return LONG_TOKEN + letter


def write(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2), "utf-8")
    path.chmod(0o600)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home in which all the other programs have left their files."""
    config = {"host": "127.0.0.1", "port": 8990, "apiKey": "sk-kiro-rs-qazWSXedcRFV123456"}
    due = {"expiresAt": "2025-12-31T02:32:45.144Z", "authMethod": "social"}
    idc = due | {"authMethod": "idc", "clientId": "id", "clientSecret": "secret"}
    write(tmp_path / "kiro.rs/config.json", config | {"defaultEndpoint": "ide"})
    write(
        tmp_path / "kiro.rs/credentials.json",
        [due | {"refreshToken": token("a")}, idc | {"refreshToken": token("b"), "priority": 1}],
    )
    write(tmp_path / "kiro-gateway/config.json", config)
    write(tmp_path / "kiro-gateway/credentials.json", due | {"refreshToken": token("c")})
    write(
        tmp_path / "kiro2api/auth_config.json",
        [{"auth": "Social", "refreshToken": token("d")}],
    )
    write(
        tmp_path / ".aws/sso/cache/kiro-auth-token.json",
        due | {"accessToken": "stale", "refreshToken": token("e"), "provider": "Google"},
    )
    write(tmp_path / ".claude.json", {"theme": "dark"})
    databases = {
        "kiro2api/backend/data/kiro2api.db": SCHEMA,
        ".local/share/kiro-cli/data.sqlite3": "CREATE TABLE auth_kv (key TEXT, value TEXT);",
    }
    for name, schema in databases.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path)) as db, db:
            db.executescript(schema)
            if "kiro2api" in name:
                insert = "INSERT INTO tokens (auth_type, refresh_token, group_name) VALUES "
                db.execute(insert + "('Social', ?, 'pro'), ('Social', ?, 'default')", "fg")
                db.execute("UPDATE tokens SET refresh_token = ? || refresh_token", [LONG_TOKEN])
                db.execute("INSERT INTO groups (name, display_name) VALUES ('pro', 'Pro')")
                db.execute("INSERT INTO api_keys VALUES ('kp_of-a-team', 'team', '[\"pro\"]')")
            else:
                entry = {"access_token": "stale", "refresh_token": token("h")}
                db.execute(
                    "INSERT INTO auth_kv VALUES (?, ?)",
                    ("kirocli:social:token", json.dumps(entry)),
                )
    return tmp_path


NOTE = """
note() {
    { printf '%s\\x1f' "$PWD" "${KIRO_CLIENT_TOKEN:-}" "${KIRO_AUTH_TOKEN:-}" "$@"
      printf '\\x1e'; } >>"$CALLS"
}
kiroproxy() { note kiroproxy "$@"; }
kiro2api() { note kiro2api "$@"; }
"""
"""A shell that notes how it would call our programs: a start of Python each takes too long."""


@dataclass(frozen=True)
class Call:
    """Where, with which variables, and with which words one of the programs is called."""

    place: Path
    environ: dict[str, str]
    program: str
    words: tuple[str, ...]

    def run(self, home: Path, upstream: str) -> str:
        """What it says, to stdout and stderr; `serve` only looks whether it could start."""
        words = self.words
        if words[0] in ("serve", "server"):
            words = ("config", "check", *(words[1:] if "-c" in words else ()))
        settings = ("API_URL", "SOCIAL_AUTH_URL", "OIDC_URL")
        environ = {f"KIROPROXY_{one}": upstream for one in settings} | {"HOME": str(home)}
        silenced = dict.fromkeys(set(os.environ) - set(clean_environment()))
        runner = CliRunner(env={**silenced, **environ, **self.environ})
        with contextlib.chdir(self.place):
            result = runner.invoke(kiroproxy, words)
        configure_logging("info")  # not to the runner's stream, which is gone
        assert result.exit_code == 0, (self, result.output)
        return str(result.output)


def calls(block: str, home: Path) -> list[Call]:
    """What a block calls, with the shell's own reading of it."""
    noted = home / "calls"
    noted.unlink(missing_ok=True)
    subprocess.run(
        ["bash", "-euc", NOTE + block],
        cwd=home / "kiroproxy",
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "CALLS": str(noted)},
        check=True,
    )
    found = []
    for line in noted.read_text("utf-8").split("\x1e")[:-1]:
        place, key, tokens, program, *words = line.split("\x1f")[:-1]
        given = {"KIRO_CLIENT_TOKEN": key, "KIRO_AUTH_TOKEN": tokens}
        environ = {name: value for name, value in given.items() if value}
        found.append(Call(Path(place), environ, program, tuple(words)))
    return found


def test_moving_here(home: Path, sim: Simulator) -> None:
    """Every block of the page, one after the other, in one home."""
    (home / "kiroproxy").mkdir()
    said = []
    for block in code_blocks(read(REPOSITORY / "docs/migration.md"), "bash"):
        made = calls(block, home)
        assert all(one.words[0] in kiro2api.commands for one in made if one.program == "kiro2api")
        said.append("".join(one.run(home, sim.url) for one in made if one.words[0] != "server"))
    rs, groups, environment, older, gateway, others, back = said
    assert "defaultEndpoint is not a setting" in rs
    assert "2 credentials in" in rs
    assert "2 added, 0 duplicates, 0 failed" in groups
    assert re.search(r"pro +Pro +1", groups)
    assert re.search(r"team .* active +pro", groups)
    assert "config.json: good" in environment
    assert "Token刷新成功" in older
    assert "export ANTHROPIC_AUTH_TOKEN=" in older
    assert json.loads((home / ".claude.json").read_text())["theme"] == "dark"
    assert "1 credentials in" in gateway
    assert "1 added" in others
    assert "Nothing was changed: 1 new" in others
    assert "3 credentials are in" in back
    exported = json.loads((home / "credentials.json").read_text())
    assert [one.get("group") for one in exported] == ["pro", "default", None]
    assert (home / "credentials.json").stat().st_mode & 0o777 == 0o600
