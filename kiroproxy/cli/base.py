"""What all commands share: how they fail, and where configuration and credentials lie."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from kiroproxy.errors import KiroProxyError

Function = TypeVar("Function", bound=Callable[..., Any])


class PlainErrors(click.Command):
    """Ends with one sentence on stderr and exit code 1 for every error of ours."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KiroProxyError as error:
            raise click.ClickException(str(error)) from error


class Group(PlainErrors, click.Group):
    """A group whose commands fail plainly too, also when flask's script calls them."""

    command_class = PlainErrors


def path_options(function: Function) -> Function:
    """Add `-c/--config` and `--credentials` (S87) as `config_path` and `credentials_path`."""
    file = click.Path(dir_okay=False, path_type=Path)
    for option in (
        click.option(
            "--credentials",
            "credentials_path",
            type=file,
            help="Credentials file.  [default: ./credentials.json]",
        ),
        click.option(
            "-c",
            "--config",
            "config_path",
            type=file,
            help="Configuration file.  [default: ./config.json]",
        ),
    ):
        function = option(function)
    return function
