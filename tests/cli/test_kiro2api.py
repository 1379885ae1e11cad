"""The commands of kiro2api, as processes on a home of their own (S148 to S156, S161)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.cli import kiro2api, main
from tests.servers import REPOSITORY, clean_environment
from tests.simulation import Simulator

GOLDEN = REPOSITORY / "tests" / "data" / "kiro2api"
TOKEN = "aoaAAAAAG-an_access.token/of+a=test"
SCRIPT = "import sys; from kiroproxy.cli.kiro2api import main; main(prog_name='kiro2api')"


class Home:
    """A home directory with a token file, and the two scripts run in it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.tokens = place / ".aws" / "sso" / "cache" / "kiro-auth-token.json"
        self.tokens.parent.mkdir(parents=True)
        self.settings = place / ".claude" / "settings.json"
        self.claude = place / ".claude.json"
        self.environ: dict[str, str] = {}
        self.write({"accessToken": TOKEN, "refreshToken": "r" * 120})

    def write(self, entry: Any) -> None:
        self.tokens.write_text(json.dumps(entry))

    def run(self, *arguments: str, script: bool = False) -> "subprocess.CompletedProcess[str]":
        start = ["-c", SCRIPT] if script else ["-m", "kiroproxy"]
        return subprocess.run(
            [sys.executable, *start, *arguments],
            cwd=self.place,
            env=clean_environment(**{"HOME": str(self.place), "LANG": "C.UTF-8"} | self.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )

    def files(self) -> dict[str, bytes]:
        return {str(one): one.read_bytes() for one in self.place.rglob("*") if one.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


# ---- S148 ----------------------------------------------------------------------------------


def test_the_old_script_without_a_command(home: Home) -> None:
    done = home.run(script=True)
    assert done.returncode == 1
    for name in ("read", "refresh", "export", "authToken", "claude", "server"):
        assert f"\n  {name} " in done.stdout


def test_the_old_script_with_an_unknown_command(home: Home) -> None:
    done = home.run("fly", script=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "No such command 'fly'" in done.stderr
    assert home.run("--help", script=True).returncode == 0


def test_kiroproxy_keeps_clicks_habits(home: Home) -> None:
    assert home.run("fly").returncode == 2


def test_both_scripts_have_the_same_commands() -> None:
    assert set(kiro2api.main.commands) <= set(main.commands)
    for name, command in kiro2api.main.commands.items():
        assert main.commands[name] is command


# ---- golden outputs ------------------------------------------------------------------------


@pytest.mark.parametrize("script", [False, True])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("read", ["read"]),
        ("export", ["export"]),
        ("export-cmd", ["export", "--shell", "cmd"]),
        ("export-powershell", ["export", "--shell", "powershell"]),
        ("export-fish", ["export", "--shell", "fish", "--port", "9000"]),
        ("authToken", ["authToken"]),
    ],
)
def test_golden_outputs(home: Home, name: str, arguments: list[str], script: bool) -> None:
    done = home.run(*arguments, script=script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (GOLDEN / f"{name}.txt").read_text("utf-8")


def test_read_shows_the_end_where_there_is_one(home: Home) -> None:
    """S149; the words are the old program's in every language."""
    entry = {"accessToken": "a", "refreshToken": "r", "expiresAt": "2024-01-01T00:00:00Z"}
    home.write(entry)
    home.environ["LANG"] = "en_GB.UTF-8"
    assert home.run("read").stdout == (
        "Token信息:\nAccess Token: a\nRefresh Token: r\n过期时间: 2024-01-01T00:00:00Z\n"
    )
    assert json.loads(home.run("read", "--json").stdout) == entry


@pytest.mark.parametrize("command", ["read", "export", "authToken", "refresh", "server"])
@pytest.mark.parametrize("content", [None, "no json", "{}"])
def test_a_missing_or_broken_file(home: Home, command: str, content: str | None) -> None:
    """S149, S153: its path, exit 1, and nothing on stdout that a shell could run."""
    home.tokens.unlink() if content is None else home.tokens.write_text(content)
    before = home.files()
    done = home.run(command)
    assert (done.returncode, done.stdout) == (1, "")
    assert str(home.tokens) in done.stderr
    assert done.stderr.count("\n") == 1
    assert home.files() == before


def test_no_access_token_to_hand_out(home: Home) -> None:
    home.write({"refreshToken": "r"})
    for command in ("export", "authToken"):
        done = home.run(command)
        assert (done.returncode, done.stdout) == (1, "")
        assert "kiroproxy refresh" in done.stderr
    home.write({"accessToken": "a\nexport EVIL=1"})
    assert home.run("export").returncode == 1


@pytest.mark.parametrize("place", ["option", "environment"])
def test_another_file(home: Home, place: str) -> None:
    other = home.place / "other file.json"
    home.tokens.replace(other)
    if place == "environment":
        home.environ["KIROPROXY_TOKEN_FILE"] = str(other)
    option = ["--token-file", str(other)] if place == "option" else []
    assert TOKEN in home.run("read", *option).stdout


@pytest.mark.parametrize("form", ['eval "$(%s export)"', "eval $(%s export)"])
@pytest.mark.parametrize("token", [TOKEN, "a$b`c\"d'e\\f!g;h&i|j*k"])
def test_bash_takes_the_export(home: Home, form: str, token: str) -> None:
    """S151, also as the documents write it, without quotes."""
    home.write({"accessToken": token, "refreshToken": "r"})
    command = f'"{sys.executable}" -m kiroproxy'
    script = (form % command) + '; printf "%s %s" "$ANTHROPIC_BASE_URL" "$ANTHROPIC_AUTH_TOKEN"'
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=home.place,
        env=clean_environment(HOME=str(home.place)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"http://localhost:8080 {token}"


def test_windows_gets_both_blocks(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """S152, S161."""
    import filelock  # noqa: F401 - on a pretended Windows it cannot be imported any more
    from click.testing import CliRunner

    monkeypatch.setattr(sys, "platform", "win32")
    option = ["--token-file", str(home.tokens)]
    expected = (GOLDEN / "export-windows.txt").read_text("utf-8")
    result = CliRunner().invoke(main, ["export", *option])
    assert (result.exit_code, result.stdout) == (0, expected)
    assert CliRunner().invoke(main, ["authToken", *option]).stdout.endswith(expected)
    refused = CliRunner().invoke(main, ["server", *option])
    assert refused.exit_code == 1
    assert "WSL" in refused.stderr


def test_server_with_a_key_wants_a_token_file_too(home: Home) -> None:
    home.tokens.write_text("{}")
    before = home.files()
    assert home.run("server", "9000", "tok").returncode == 1
    assert home.files() == before


# ---- refresh -------------------------------------------------------------------------------


def test_refresh_rewrites_the_file(home: Home, simulator: Simulator) -> None:
    """S150."""
    simulator.reset()
    simulator.account(id="a", refreshToken="r" * 120)
    home.environ["KIROPROXY_SOCIAL_AUTH_URL"] = simulator.url
    home.write({"accessToken": "old", "refreshToken": "r" * 120, "provider": "Google", "x": [1]})
    done = home.run("refresh")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Token刷新成功\n", "")
    entry = json.loads(home.tokens.read_text())
    assert entry["x"] == [1]
    assert entry["accessToken"] != "old"
    assert entry["refreshToken"] != "r" * 120
    assert home.tokens.read_text() == json.dumps(entry, indent=2)
    assert home.tokens.stat().st_mode & 0o777 == 0o600
    (call,) = simulator.requests("/refreshToken")
    assert call["body"] == {"refreshToken": "r" * 120}


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 302])
def test_a_refresh_that_is_refused(home: Home, simulator: Simulator, status: int) -> None:
    simulator.reset()
    simulator.fault("/refreshToken", status=status, body={"error": "nope"})
    home.environ["KIROPROXY_SOCIAL_AUTH_URL"] = simulator.url
    before = home.tokens.read_bytes(), home.tokens.stat().st_mtime_ns
    done = home.run("refresh")
    assert (done.returncode, done.stdout) == (1, "")
    assert str(status) in done.stderr
    assert "r" * 100 not in done.stderr
    assert (home.tokens.read_bytes(), home.tokens.stat().st_mtime_ns) == before


def test_a_refresh_without_a_network(home: Home) -> None:
    home.environ["KIROPROXY_SOCIAL_AUTH_URL"] = "http://127.0.0.1:9"
    before = home.tokens.read_bytes()
    assert home.run("refresh").returncode == 1
    assert home.tokens.read_bytes() == before


# ---- claude --------------------------------------------------------------------------------


def test_claude_needs_claude_code(home: Home) -> None:
    """S155."""
    done = home.run("claude")
    assert done.returncode == 1
    assert "npm install -g @anthropic-ai/claude-code" in done.stderr


def test_claude_marks_keeps_a_backup_and_takes_it_back(home: Home) -> None:
    old = '{"projects":{"/x":{"名":1}},"numStartups":3}'
    home.claude.write_text(old, "utf-8")
    assert home.run("claude").returncode == 0
    expected = json.loads(old) | {"hasCompletedOnboarding": True, "kiro2api": True}
    assert home.claude.read_text("utf-8") == json.dumps(expected, indent=2, ensure_ascii=False)
    backup = home.claude.with_name(".claude.json.bak")
    assert backup.read_text("utf-8") == old
    before = home.files()
    assert "nothing to change" in home.run("claude").stdout
    assert home.files() == before
    assert not home.settings.exists()
    assert home.run("claude", "--undo").returncode == 0
    assert home.claude.read_text("utf-8") == old
    assert "nothing to take back" in home.run("claude", "--undo").stdout


def test_claude_writes_the_settings_when_asked(home: Home) -> None:
    home.claude.write_text("{}")
    done = home.run("claude", "--settings", "--json")
    assert json.loads(done.stdout) == {"changed": [str(home.claude), str(home.settings)]}
    assert json.loads(home.settings.read_text()) == {
        "env": {"ANTHROPIC_BASE_URL": "http://localhost:8080", "ANTHROPIC_AUTH_TOKEN": TOKEN}
    }
    (home.place / "config.json").write_text('{"port": 8990, "apiKey": "sk-mine"}')
    home.run("claude", "--settings")
    assert json.loads(home.settings.read_text())["env"] == {
        "ANTHROPIC_BASE_URL": "http://localhost:8990",
        "ANTHROPIC_AUTH_TOKEN": "sk-mine",
    }
    home.run("claude", "--base-url", "https://kiro.example/", "--key", "k")
    assert json.loads(home.settings.read_text())["env"] == {
        "ANTHROPIC_BASE_URL": "https://kiro.example",
        "ANTHROPIC_AUTH_TOKEN": "k",
    }
    assert home.run("claude", "--undo").returncode == 0
    assert not home.settings.exists()


def test_claude_offers_the_settings_on_a_terminal(home: Home) -> None:
    import pexpect

    home.claude.write_text("{}")
    environ = clean_environment(HOME=str(home.place), LANG="C.UTF-8")
    arguments = ["-m", "kiroproxy", "claude"]
    for answer, written in (("n", False), ("y", True)):
        terminal = pexpect.spawn(
            sys.executable, arguments, cwd=str(home.place), env=environ, timeout=20
        )
        terminal.expect("settings.json too")
        terminal.sendline(answer)
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert (terminal.exitstatus, home.settings.exists()) == (0, written)


def test_one_broken_file_changes_neither(home: Home) -> None:
    home.claude.write_text("{}")
    home.settings.parent.mkdir()
    home.settings.write_text("{broken")
    before = home.files()
    assert home.run("claude", "--settings").returncode == 1
    assert home.files() == before


# ---- bad input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["read", "extra"],
        ["read", "--token-file", "."],
        ["refresh", "extra"],
        ["export", "--shell", "tcsh"],
        ["export", "--port", "0"],
        ["authToken", "extra"],
        ["claude", "--base-url", "localhost:8080"],
        ["claude", "--key", ""],
        ["claude", "--key", "a\nb"],
        ["claude", "--undo", "--settings"],
        ["server", "no-port"],
        ["server", "0"],
        ["server", "65536"],
        ["server", "8080", ""],
        ["server", "8080", "a\tb"],
        ["server", "8080", "tok", "more"],
        ["server", "--upstream-proxy", "ftp://x"],
    ],
)
def test_bad_input_is_2_and_changes_nothing(home: Home, arguments: list[str]) -> None:
    home.claude.write_text("{}")
    before = home.files()
    for script in (False, True):
        done = home.run(*arguments, script=script)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Error: " in done.stderr
    assert home.files() == before


# ---- what `server` becomes -----------------------------------------------------------------


@pytest.fixture
def become(home: Home, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `server` up to the point where gunicorn takes over; gives its environment."""
    from click.testing import CliRunner

    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home.place))
    monkeypatch.chdir(home.place)
    seen: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execve", lambda path, command, environ: seen.append(environ))

    def run(*arguments: str) -> dict[str, str]:
        result = CliRunner().invoke(main, ["server", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.stderr
        return seen.pop()

    return run


def test_server_arguments(home: Home, become: Any) -> None:
    """S156, X14."""
    assert become()["KIROPROXY_PORT"] == "8080"
    assert become("9000")["KIROPROXY_PORT"] == "9000"
    environ = become("8080", "tok", "--upstream-proxy", "socks5://127.0.0.1:9", "--host", "::1")
    assert environ["KIROPROXY_API_KEY"] == "tok"
    assert environ["KIROPROXY_PROXY_URL"] == "socks5://127.0.0.1:9"
    assert environ["KIROPROXY_HOST"] == "::1"
    assert become()["KIROPROXY_API_KEY"] == TOKEN
    (home.place / "config.json").write_text('{"apiKey": "sk-mine"}')
    assert become()["KIROPROXY_API_KEY"] == "sk-mine"


def test_server_serves_the_token_file_and_nothing_else(
    home: Home, become: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S157."""
    from kiroproxy.config import load_config
    from kiroproxy.credentials.imports import read_auth_token

    monkeypatch.setenv("KIRO_AUTH_TOKEN", '[{"refreshToken": "%s"}]' % ("x" * 120))
    (home.place / "credentials.json").write_text('[{"refreshToken": "%s"}]' % ("y" * 120))
    environ = become("9000", "tok")
    config = load_config(environ=environ)
    assert read_auth_token(config.auth_token).credentials == ()
    (entry,) = json.loads(config.credentials_path.read_text())
    assert entry["linkedTo"] == str(home.tokens)
    assert entry["refreshToken"] == "r" * 120
    assert config.credentials_path.stat().st_mode & 0o777 == 0o600
    assert config.credentials_path.is_relative_to(home.place / ".kiroproxy")
    assert config.database_path.parent == config.state_dir == config.credentials_path.parent
    again = load_config(environ=become("9001", "tok"))
    assert again.credentials_path == config.credentials_path


def test_server_honours_a_state_directory(
    home: Home, become: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIROPROXY_STATE_DIR", str(home.place / "mine"))
    assert Path(become()["KIROPROXY_CREDENTIALS"]).parents[1] == home.place / "mine"
