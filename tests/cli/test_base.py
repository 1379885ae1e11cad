"""How commands fail."""

import click
from click.testing import CliRunner

from kiroproxy.cli.base import Group, PlainErrors, path_options
from kiroproxy.errors import ConfigError, StoreLocked


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
