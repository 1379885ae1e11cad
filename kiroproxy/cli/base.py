"""What all commands share: how they fail, speak and print, and where their files lie."""

import contextlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kiroproxy.cli.texts import marked, translated
from kiroproxy.cli.wide import Context, is_wide
from kiroproxy.errors import KiroProxyError, NotFound

if TYPE_CHECKING:
    from rich.console import Console

    from kiroproxy.web.services import Services

COMMENT = " # "
"""Begins what an example says of itself."""
Function = TypeVar("Function", bound=Callable[..., Any])


LISTS = {
    "credentials": marked("`kiroproxy credentials list` shows them."),
    "groups": marked("`kiroproxy groups list` shows them."),
    "keys": marked("`kiroproxy keys list` shows them."),
}
"""What to say to those who name something that is not there, by group of commands."""


class PlainErrors(click.Command):
    """Ends with one sentence on stderr and exit code 1 for every error of ours.

    Its help is in the user's language; `examples` are lines that can be pasted.
    """

    context_class = Context

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except NotFound as error:
            where = ctx.parent.info_name if ctx.parent is not None else None
            hint = translated(LISTS.get(where or "", ""))
            raise click.ClickException(f"{error} {hint}".rstrip()) from error
        except KiroProxyError as error:
            raise click.ClickException(str(error)) from error

    def get_short_help_str(self, limit: int = 45) -> str:
        """One line of a group's help."""
        self._translate()
        if self.help and is_wide(self.help):  # click looks for words, and for a full stop
            return self.help.splitlines()[0].partition("。")[0] + "。"
        return super().get_short_help_str(limit)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The whole page."""
        self._translate()
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and parameter.help:
                parameter.help = translated(parameter.help)
        super().format_help(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, as they are typed."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section(translated("Examples")):
                for line in self.examples:
                    typed, mark, comment = line.partition(COMMENT)
                    shown = typed + mark + translated(comment)
                    formatter.write(f"{'':{formatter.current_indent}}{shown}\n")

    def _translate(self) -> None:
        """A process has one language, so the texts may be replaced for good."""
        if self.help:
            self.help = translated(inspect.cleandoc(self.help))


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
            metavar="FILE",
            type=file,
            help="Credentials file.  [default: ./credentials.json]",
        ),
        click.option(
            "-c",
            "--config",
            "config_path",
            metavar="FILE",
            type=file,
            help="Configuration file.  [default: ./config.json]",
        ),
    ):
        function = option(function)
    return function


def json_option(function: Function) -> Function:
    """Add `--json` as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def print_json(value: Any) -> None:
    """What `--json` prints: indented, letters of all languages as they are."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def console(*, stderr: bool = False) -> "Console":
    """A rich console; away from a terminal, and under `NO_COLOR`, without escape codes."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 10_000
    plain = width is not None or bool(os.environ.get("NO_COLOR"))
    return Console(
        file=stream,
        width=width,
        highlight=False,
        soft_wrap=width is not None,
        color_system=None if plain else "auto",
    )


def print_table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table without borders, headed in the user's language; cells are plain text."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(translated(column))
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console().print(table)


@contextlib.contextmanager
def open_services(config_path: Path | None, credentials_path: Path | None) -> "Iterator[Services]":
    """The same parts that a worker of the server has, on the same files, beside it or without it.

    Edits of the store are seen by a running server within a second. Warnings go to stderr.

    Raises:
        ConfigError: a setting is wrong.
    """
    from kiroproxy.app import build_services
    from kiroproxy.config import load_config
    from kiroproxy.observability import configure_logging

    config = load_config({"config_path": config_path, "credentials_path": credentials_path})
    before = os.umask(0o077)  # whatever we are the first to make is nobody else's
    level = "debug" if config.log_level == "debug" else "warn"
    configure_logging(level, "console" if sys.stderr.isatty() else "auto")
    services = build_services(config)
    try:
        yield services
    finally:
        services.pool.drain(5.0)  # a refresh that was begun is written
        os.umask(before)


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner can read, whole or not at all.

    Raises:
        click.ClickException: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(temporary, flags, 0o600), "w", encoding="utf-8", newline="") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        message = translated("{path} cannot be written: {why}")
        raise click.ClickException(message.format(path=path, why=error.strerror)) from error
