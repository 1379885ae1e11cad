"""Confirmation, secrets, progress, and what is piped in; on a terminal in test_terminal.py."""

import click
import pytest
from click.testing import CliRunner

from kiroproxy.cli import asking
from kiroproxy.errors import InvalidRequest


def test_nobody_to_ask() -> None:
    @click.command()
    @click.option("--yes", is_flag=True)
    def command(yes: bool) -> None:
        asking.confirm("Really?", yes)
        click.echo("done")

    result = CliRunner().invoke(command, input="y\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--yes" in result.stderr
    assert CliRunner().invoke(command, ["--yes"]).stdout == "done\n"


def test_arguments_of_no_use() -> None:
    with pytest.raises(click.UsageError, match="name"), asking.wrong_usage():
        raise InvalidRequest("name: is reserved", param="name")


def test_what_is_piped_in(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def command() -> None:
        click.echo(asking.read_stdin().strip())

    assert CliRunner().invoke(command, input=b"\xef\xbb\xbftext").stdout == "text\n"
    assert CliRunner().invoke(command, input=b"\xff").exit_code == 2
    monkeypatch.setattr(asking, "INPUT_LIMIT", 3)
    assert "too large" in CliRunner().invoke(command, input="text").stderr


def test_no_bar_away_from_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with asking.progress("Working", 10) as step:
        step()
    assert capfd.readouterr() == ("", "")
