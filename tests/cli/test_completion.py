"""Shell completion."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kiroproxy.cli import main
from tests.servers import clean_environment


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_lines(shell: str) -> None:
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0
    assert f"_KIROPROXY_COMPLETE={shell}_complete" in result.stdout


def test_other_shells_are_wrong_usage() -> None:
    assert CliRunner().invoke(main, ["completion", "tcsh"]).exit_code == 2
    assert CliRunner().invoke(main, ["completion"]).exit_code == 2


def test_bash_completes(tmp_path: Path) -> None:
    """What the lines do, in a real bash: commands and options."""
    program = tmp_path / "kiroproxy"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kiroproxy "$@"\n')
    program.chmod(0o755)
    script = """
        PATH="$PWD:$PATH"
        eval "$(kiroproxy completion bash)"
        COMP_WORDS=(kiroproxy do); COMP_CWORD=1
        _kiroproxy_completion kiroproxy; echo "${COMPREPLY[@]}"
        COMPREPLY=(); COMP_WORDS=(kiroproxy export --sh); COMP_CWORD=2
        _kiroproxy_completion kiroproxy; echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["doctor", "--shell"]
