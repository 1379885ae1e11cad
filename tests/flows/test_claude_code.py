"""Claude Code itself, headless, through the proxy on the simulator."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = [pytest.mark.flow, pytest.mark.timeout(300)]

PACKAGE = "@anthropic-ai/claude-code@2.1.197"
TRAILERS = [{"context": 3.5}, {"metering": 0.01}]
Run = Callable[[str], str]


@pytest.fixture(scope="module")
def claude(tmp_path_factory: pytest.TempPathFactory) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is absent: Claude Code cannot be installed")
    place = tmp_path_factory.mktemp("claude-code")
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(place), PACKAGE]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert installed.returncode == 0, installed.stderr
    return place / "node_modules" / ".bin" / "claude"


@pytest.fixture
def run(claude: Path, proxy: Proxy, tmp_path: Path) -> Run:
    """Ask Claude Code in a directory of its own; returns what it prints."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": proxy.url,
        "ANTHROPIC_AUTH_TOKEN": proxy.key,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }

    def ask(prompt: str) -> str:
        done = subprocess.run(
            [str(claude), "-p", prompt, "--allowedTools", "Write", "Bash"],
            cwd=work,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return ask


def test_write_and_bash(sim: Simulator, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "work" / "hello.py"
    text = "print('café 🚀 ok')\n"
    write = {"name": "Write", "input": {"file_path": str(file), "content": text}, "fragments": 9}
    bash = {
        "name": "Bash",
        "input": {"command": "python3 hello.py > out.txt", "description": "run"},
    }
    sim.script({"steps": [{"text": "I will write the file."}, {"tool": write}, *TRAILERS]})
    sim.script({"steps": [{"text": "Now I run it."}, {"tool": bash}, *TRAILERS]})
    sim.script({"steps": [{"text": "It "}, {"text": "works."}, *TRAILERS]})
    assert run("Please write a file and run it").strip() == "It works."
    assert file.read_text("utf-8") == text
    assert (tmp_path / "work" / "out.txt").read_text("utf-8") == "café 🚀 ok\n"
    assert [r["refused"] for r in sim.requests("/generateAssistantResponse")] == [None] * 3


def test_trap_1_cut_write_does_not_loop(sim: Simulator, run: Run, tmp_path: Path) -> None:
    """A call that Kiro cut is not executed; the next attempt succeeds."""
    file = tmp_path / "work" / "long.txt"
    whole = json.dumps({"file_path": str(file), "content": "x" * 500})
    cut = {"name": "Write", "input": whole[:200], "fragments": 5, "stop": False}
    sim.script({"steps": [{"tool": cut}]})
    sim.script({"steps": [{"tool": {"name": "Write", "input": whole, "fragments": 5}}, *TRAILERS]})
    sim.script({"steps": [{"text": "Done."}, *TRAILERS]})
    assert run("Please write a long file").strip() == "Done."
    assert file.read_text() == "x" * 500
    requests = sim.requests("/generateAssistantResponse")
    assert len(requests) == 3
    assert [request["refused"] for request in requests] == [None] * 3
