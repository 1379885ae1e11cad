"""How commands fail."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from kiroproxy.cli.base import (
    Group,
    PlainErrors,
    json_option,
    open_services,
    path_options,
    print_json,
    print_table,
    write_private,
)
from kiroproxy.errors import ConfigError, NotFound, StoreLocked


def test_errors_of_ours_are_one_sentence() -> None:
    @click.group(cls=Group)
    def group() -> None:
        pass

    @group.command()
    def breaks() -> None:
        raise ConfigError("port", "is wrong")

    @click.command(cls=PlainErrors)
    def alone() -> None:
        raise StoreLocked("locked")

    for command, arguments, message in (
        (group, ["breaks"], "Error: port: is wrong\n"),
        (alone, [], "Error: locked\n"),
    ):
        result = CliRunner().invoke(command, arguments)
        assert (result.exit_code, result.stderr, result.stdout) == (1, message, "")


def test_path_options() -> None:
    """S87."""

    @click.command(cls=PlainErrors)
    @path_options
    def shows(**options: object) -> None:
        click.echo(f"{options['config_path']} {options['credentials_path']}")

    result = CliRunner().invoke(shows, ["-c", "a", "--credentials", "b"])
    assert result.stdout == "a b\n"
    assert CliRunner().invoke(shows, ["--config", "a"]).stdout == "a None\n"


def test_examples_stand_below_the_help() -> None:
    @click.command(cls=PlainErrors, examples=["kiroproxy shows --json"])
    @json_option
    def shows(as_json: bool) -> None:
        """Show."""
        print_json({"名": 1} if as_json else {})

    result = CliRunner().invoke(shows, ["--help"])
    assert result.stdout.endswith("Examples:\n  kiroproxy shows --json\n")
    assert CliRunner().invoke(shows, ["--json"]).stdout == '{\n  "名": 1\n}\n'


def test_tables_away_from_a_terminal_are_plain_and_whole() -> None:
    @click.command(cls=PlainErrors)
    def shows() -> None:
        print_table(("id", "reason"), [(1, "x" * 300), (None, "[bold]as it is")])

    result = CliRunner().invoke(shows)
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["id", "reason"],
        ["1", "x" * 300],
        ["[bold]as", "it", "is"],
    ]


def test_private_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "export.json"
    target.write_text("old")
    write_private(target, "new")
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(click.ClickException, match="cannot be written"):
        write_private(tmp_path / "missing" / "export.json", "new")
    assert [one.name for one in tmp_path.iterdir()] == ["export.json"]


def test_commands_get_the_parts_of_a_worker(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"apiKey": "sk-test"}')
    (tmp_path / "credentials.json").write_text('[{"refreshToken": "%s"}]' % ("r" * 120))
    with open_services(tmp_path / "config.json", tmp_path / "credentials.json") as services:
        assert [one.id for one in services.pool.roster().credentials] == [1]


def test_what_is_not_there_is_told_with_where_to_look() -> None:
    @click.group(cls=Group)
    def credentials() -> None:
        pass

    @credentials.command()
    def show() -> None:
        raise NotFound("There is no credential 9.")

    result = CliRunner().invoke(credentials, ["show"], prog_name="credentials")
    told = "Error: There is no credential 9. `kiroproxy credentials list` shows them.\n"
    assert (result.exit_code, result.stderr) == (1, told)
