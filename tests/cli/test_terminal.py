"""Commands on a terminal: prompts, progress, Ctrl-C, NO_COLOR."""

import json
import re
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.cli.home import Home, entry, token
from tests.servers import clean_environment
from tests.simulation import Simulator

ESCAPE = "\x1b"


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(self, home: Home, *arguments: str, **environment: str) -> None:
        env = clean_environment(TERM="xterm", HOME=str(home.place), COLUMNS="120", LANG="C.UTF-8")
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "kiroproxy", *arguments],
            cwd=str(home.place),
            env=env | environment,
            encoding="utf-8",
            timeout=20,
            dimensions=(40, 120),
        )
        self.shown = ""

    def expect(self, text: str) -> None:
        """Wait until it is shown."""
        self.child.expect_exact(text)
        self.shown += str(self.child.before) + text

    def send(self, line: str) -> None:
        """Type a line, once the command listens."""
        self.child.sendline(line)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.child.sendintr()

    def end(self) -> int:
        """Wait for the end; the exit code. Whatever was switched off is on again."""
        self.child.expect(pexpect.EOF)
        self.shown += str(self.child.before)
        flags: Any = termios.tcgetattr(self.child.child_fd)[3]
        assert flags & termios.ECHO, "what is typed is seen again"
        assert flags & termios.ICANON
        self.child.close()
        assert self.shown.count(f"{ESCAPE}[?25l") == self.shown.count(f"{ESCAPE}[?25h"), "cursor"
        assert "Traceback" not in self.shown
        assert self.child.exitstatus is not None, "it was killed"
        return int(self.child.exitstatus)


@pytest.fixture
def slow(kiro: Simulator) -> Iterator[Simulator]:
    """Renewals take their time."""
    kiro.fault("/refreshToken", delay=0.4, times=None)
    yield kiro
    kiro.reset()


def test_secrets_are_asked_for_unseen(kiro: Simulator, tmp_path: Path) -> None:
    home = Home(tmp_path, upstream=kiro.url)
    terminal = Terminal(home, "credentials", "add", "--method", "idc")
    terminal.expect("Client id: ")
    terminal.send("client")
    terminal.expect("Refresh token: ")
    terminal.send(token("typed"))
    terminal.expect("Client secret: ")
    terminal.send("very-secret")
    terminal.expect("is added and works")
    assert terminal.end() == 0
    assert "client" in terminal.shown
    assert token("typed") not in terminal.shown
    assert "very-secret" not in terminal.shown
    assert home.stored()[0]["clientSecret"] == "very-secret"


def test_ctrl_c_at_a_prompt(home: Home) -> None:
    before = home.state()
    terminal = Terminal(home, "credentials", "add")
    terminal.expect("Refresh token: ")
    terminal.interrupt()
    assert terminal.end() == 1
    assert "Aborted!" in terminal.shown
    assert home.state() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("credentials", "remove", "1", "--force"),
        ("credentials", "export", "out.json"),
        ("restore", "b.tar.gz"),
        ("groups", "remove", "pro"),
    ],
)
def test_questions(home: Home, arguments: tuple[str, ...]) -> None:
    home.run("credentials", "group", 2, "--to", "pro")
    home.run("groups", "create", "other")
    home.run("backup", "b.tar.gz")
    before = home.state()
    for answer in ("n", ""):
        terminal = Terminal(home, *arguments)
        terminal.expect("[y/N]: ")
        terminal.send(answer)
        assert terminal.end() == 1
        assert home.state() == before
    terminal = Terminal(home, *arguments)
    terminal.expect("[y/N]: ")
    terminal.send("y")
    assert terminal.end() == 0


def test_a_secret_setting_is_asked_for(home: Home) -> None:
    terminal = Terminal(home, "settings", "set", "adminApiKey")
    terminal.expect("adminApiKey: ")
    terminal.send("sk-admin-of-a-test")
    assert terminal.end() == 0
    assert "sk-admin-of" not in terminal.shown
    assert json.loads(home.config_path.read_text("utf-8"))["adminApiKey"] == "sk-admin-of-a-test"


def test_progress_goes_when_it_is_done(slow: Simulator, tmp_path: Path) -> None:
    home = Home(tmp_path, upstream=slow.url)
    (tmp_path / "many.json").write_text(json.dumps([entry(str(n)) for n in range(6)]), "utf-8")
    terminal = Terminal(home, "credentials", "import", "many.json")
    terminal.expect("Importing")
    terminal.expect("4/6")
    assert terminal.end() == 0
    assert "6 added, 0 duplicates, 0 failed." in terminal.shown


def test_ctrl_c_ends_an_import_between_rows(slow: Simulator, tmp_path: Path) -> None:
    """What was begun is finished and told; the rest is not begun; no token is lost."""
    home = Home(tmp_path, upstream=slow.url)
    (tmp_path / "many.json").write_text(json.dumps([entry(str(n)) for n in range(30)]), "utf-8")
    terminal = Terminal(home, "credentials", "import", "many.json")
    terminal.expect("4/30")
    terminal.interrupt()
    assert terminal.end() == 1
    assert "was not begun" in terminal.shown
    stored = home.stored()
    assert 4 <= len(stored) < 30
    assert not [one for one in stored if one.get("disabled")]
    assert len(slow.requests("/refreshToken")) == len(stored)
    added = re.search(r"(\d+) added", terminal.shown)
    assert added is not None
    assert int(added[1]) == len(stored)


def test_ctrl_c_ends_a_refresh(slow: Simulator, tmp_path: Path) -> None:
    home = Home(tmp_path, *(entry(str(n)) for n in range(20)), upstream=slow.url)
    terminal = Terminal(home, "credentials", "refresh", "--all")
    terminal.expect("4/20")
    terminal.interrupt()
    began = time.monotonic()
    assert terminal.end() == 1
    assert time.monotonic() - began < 5
    renewed = sum(one.get("generation", 0) for one in home.stored())
    assert len(slow.requests("/refreshToken")) == renewed < 20, "each that was begun is stored"


@pytest.mark.parametrize(
    "arguments",
    [
        ("credentials", "list"),
        ("credentials", "refresh", "--all"),
        ("credentials", "import", "more.json"),
        ("settings", "list"),
        ("groups", "list"),
        ("login", "--method", "builder-id", "--no-browser"),
    ],
)
def test_no_color_means_no_escape_codes(
    kiro: Simulator, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    home = Home(tmp_path, entry("a"), entry("b"), upstream=kiro.url)
    (tmp_path / "more.json").write_text(json.dumps([entry("c"), entry("d")]), "utf-8")
    terminal = Terminal(home, *arguments, NO_COLOR="1")
    assert terminal.end() == 0
    assert ESCAPE not in terminal.shown
    result = home.run(*arguments)
    assert ESCAPE not in result.output, "nor away from a terminal"


def test_a_table_on_a_terminal(home: Home) -> None:
    terminal = Terminal(home, "credentials", "list")
    assert terminal.end() == 0
    assert f"{ESCAPE}[1m" in terminal.shown
