"""Codex itself, headless, through the proxy on the simulator."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import credential
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = [pytest.mark.flow, pytest.mark.timeout(300)]

PACKAGE = "@openai/codex@0.169.0"
TRAILERS: list[Any] = [{"context": 3.5}, {"metering": 0.01}]
CONFIG = """
model = "{model}"
model_provider = "kiro"

[model_providers.kiro]
name = "Kiro"
base_url = "{url}/v1"
env_key = "KIRO_KEY"
wire_api = "responses"
stream_max_retries = 1
request_max_retries = 0
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def codex(tmp_path_factory: pytest.TempPathFactory) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is absent: Codex cannot be installed")
    place = tmp_path_factory.mktemp("codex")
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(place), PACKAGE]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert installed.returncode == 0, installed.stderr
    return place / "node_modules" / ".bin" / "codex"


@pytest.fixture(scope="module")
def mapping_proxy(
    running_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """Codex asks for OpenAI's models; the operator says what they mean."""
    config = {"modelMapping": {"gpt-5-codex": "claude-sonnet-4.5"}}
    place = tmp_path_factory.mktemp("mapping")
    with Proxy(place, config, [credential()], upstream=running_simulator.url) as running:
        yield running


@pytest.fixture
def run(codex: Path, mapping_proxy: Proxy, tmp_path: Path) -> Run:
    """Ask Codex in a directory of its own."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()

    def ask(prompt: str, *more: str, model: str = "gpt-5-codex") -> Any:
        config = CONFIG.format(model=model, url=mapping_proxy.url)
        (home / "config.toml").write_text(config, "utf-8")
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "CODEX_HOME": str(home),
            "KIRO_KEY": mapping_proxy.key,
        }
        options = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        return subprocess.run(
            [str(codex), "exec", *options, *more, prompt],
            cwd=work,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return ask


def steps(*given: dict[str, Any]) -> dict[str, Any]:
    return {"steps": [*given, *TRAILERS]}


SHELL = {
    "name": "exec_command",
    "input": {"cmd": "echo 'café 🚀' > out.txt; cat out.txt"},
    "fragments": 5,
}
SCRIPT = "const r = await tools.exec_command({cmd: \"echo 'café 🚀' > out.txt\"}); text(r.output);"
JAVASCRIPT = {"name": "functions__exec", "input": {"input": SCRIPT}, "fragments": 9}


@pytest.mark.parametrize(
    ("model", "call"),
    [("gpt-5-codex", SHELL), ("gpt-5.6-sol", JAVASCRIPT)],
    ids=["function", "custom tool of a namespace"],
)
def test_a_tool_turn(
    sim: Simulator, run: Run, tmp_path: Path, model: str, call: dict[str, Any]
) -> None:
    """Codex offers the tools that it believes a model to like."""
    sim.script(steps({"text": "I run it."}, {"tool": call}))
    sim.script(steps({"text": "It "}, {"text": "works."}))
    done = run("run it", model=model)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == "It works."
    assert (tmp_path / "work" / "out.txt").read_text("utf-8") == "café 🚀\n"
    first, second = sim.requests("/generateAssistantResponse")
    assert [first["refused"], second["refused"]] == [None, None]
    states = [one["body"]["conversationState"] for one in (first, second)]
    assert states[0]["conversationId"] == states[1]["conversationId"], "Codex's session"
    context = states[1]["currentMessage"]["userInputMessage"]["userInputMessageContext"]
    assert context["toolResults"][0]["status"] == "success"


def test_trap_1_a_cut_call_is_not_executed(sim: Simulator, run: Run, tmp_path: Path) -> None:
    """Codex ends its turn, as it does when the genuine API says `response.incomplete`."""
    cut = {"name": "exec_command", "input": '{"cmd": "echo no > out.txt', "stop": False}
    sim.script({"steps": [{"tool": cut}]}, times=None)
    done = run("run it")
    assert done.returncode != 0
    assert "Incomplete response returned, reason: max_output_tokens" in done.stderr
    assert not (tmp_path / "work" / "out.txt").exists()
    assert len(sim.requests("/generateAssistantResponse")) == 1, "and does not repeat it for ever"


def test_an_error_in_the_stream_is_no_answer(sim: Simulator, run: Run) -> None:
    sim.script({"steps": [{"text": "Once upon"}, {"close": True}]})
    sim.script(steps({"text": "Again, whole."}))
    done = run("say it")
    assert done.returncode == 0
    assert done.stdout.strip() == "Again, whole."


def test_an_unknown_model_says_what_to_do(sim: Simulator, run: Run) -> None:
    done = run("say it", model="gpt-4o")
    assert done.returncode != 0
    assert "modelMapping" in done.stdout + done.stderr
