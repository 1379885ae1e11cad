"""What people install: every command from a wheel, away from the repository."""

import contextlib
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kiroproxy.cli import kiro2api, main
from tests.servers import REPOSITORY, clean_environment, free_port
from tests.simulation import Simulator

pytestmark = pytest.mark.flow
SOURCE = ("kiroproxy", "pyproject.toml", "README.md", "LICENSE")
REFRESH = "refresh-token-of-the-ide-" + "x" * 100


class Installed:
    """A directory with the wheel in it, and a home in which the Kiro IDE is signed in."""

    def __init__(self, place: Path) -> None:
        self.target = place / "installed"
        self.home = place / "home"
        self.tokens = self.home / ".aws" / "sso" / "cache" / "kiro-auth-token.json"
        self.tokens.parent.mkdir(parents=True)
        (self.home / ".claude.json").write_text("{}")
        entry = {
            "accessToken": "access",
            "refreshToken": REFRESH,
            "expiresAt": "2020-01-01T00:00:00Z",
        }
        self.tokens.write_text(json.dumps(entry))

    def environ(self, **more: str) -> dict[str, str]:
        own = {"PYTHONPATH": str(self.target), "HOME": str(self.home), "LANG": "C.UTF-8"}
        return clean_environment() | own | more

    def run(self, script: str, *arguments: str, **environ: str) -> str:
        done = subprocess.run(
            [sys.executable, str(self.target / "bin" / script), *arguments],
            cwd=self.home,
            env=self.environ(**environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Built from a copy: a build leaves directories behind, and takes what it finds in them."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    source.mkdir()
    for name in SOURCE:
        if (REPOSITORY / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(REPOSITORY / name, source / name, ignore=ignored)
        else:
            shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    found = Installed(place)
    into = ["--find-links", str(place), "--target", str(found.target)]
    for command in (
        ["wheel", "-q", "--no-deps", "-w", str(place), str(source)],
        ["install", "-q", "--no-deps", "--no-index", *into, "kiroproxy"],
    ):
        done = subprocess.run([*pip, *command], cwd=place, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return found


def paths(command: click.Command, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All commands below one, groups included."""
    yield before
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from paths(inner, (*before, name))


def test_it_is_the_wheel_that_runs(installed: Installed) -> None:
    where = "import kiroproxy; print(kiroproxy.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", where],
        cwd=installed.home,
        env=installed.environ(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(installed.target))


def test_every_command_has_help(installed: Installed) -> None:
    for script, tree in (("kiroproxy", main), ("kiro2api", kiro2api.main)):
        for path in paths(tree):
            told = installed.run(script, *path, "--help")
            assert told.startswith(" ".join(("Usage:", script, *path, ""))), path


@pytest.mark.parametrize("script", ["kiroproxy", "kiro2api"])
def test_the_older_set_for_real(installed: Installed, sim: Simulator, script: str) -> None:
    token = json.loads(installed.tokens.read_text())["refreshToken"]
    sim.account(id="ide", refreshToken=token)
    upstream = {"KIROPROXY_SOCIAL_AUTH_URL": sim.url, "KIROPROXY_API_URL": sim.url}
    assert installed.run(script, "refresh", **upstream) == "Token刷新成功\n"
    access = json.loads(installed.tokens.read_text())["accessToken"]
    assert f"Access Token: {access}\n" in installed.run(script, "read")
    assert f'"{access}"\n' in installed.run(script, "export")
    assert installed.run(script, "authToken").startswith(f"AuthToken: {access}\n")
    installed.run(script, "claude")
    assert json.loads((installed.home / ".claude.json").read_text())["kiro2api"] is True
    installed.run(script, "claude", "--undo")
    assert (installed.home / ".claude.json").read_text() == "{}"
    port = free_port()
    log = installed.home / "server.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [sys.executable, str(installed.target / "bin" / script), "server", str(port), "key"],
            cwd=installed.home,
            env=installed.environ(**upstream),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        assert b'"healthy"' in health(port, server, log)
    finally:
        server.terminate()
        server.wait(20)
    assert not (installed.home / "data").exists()
    assert list((installed.home / ".kiroproxy").iterdir())


def health(port: int, server: "subprocess.Popen[bytes]", log: Path) -> bytes:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer,
        ):
            body: bytes = answer.read()
            return body
        time.sleep(0.05)
    raise AssertionError(log.read_text())
