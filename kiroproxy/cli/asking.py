"""What commands ask of people, and how they keep them informed: confirmation, secrets, progress."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from kiroproxy.cli.base import console
from kiroproxy.cli.texts import translated as _
from kiroproxy.errors import InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path

    from kiroproxy.credentials.registry import Registry
    from kiroproxy.web.services import Services

STDIN = "-"
INPUT_LIMIT = 64 * 1024 * 1024


@contextlib.contextmanager
def opened(
    config_path: "Path | None", credentials_path: "Path | None"
) -> "Iterator[tuple[Services, Registry]]":
    """A worker's parts and the registry of their pool; only what is critical is logged.

    What a command finds out it says itself, once.
    """
    import logging

    from kiroproxy.cli.base import open_services
    from kiroproxy.credentials.registry import Registry

    with open_services(config_path, credentials_path) as parts:
        before = logging.root.manager.disable
        logging.disable(logging.NOTSET if parts.config.log_level == "debug" else logging.ERROR)
        try:
            yield parts, Registry(parts.pool, parts.groups)
        finally:
            logging.disable(before)


@contextlib.contextmanager
def wrong_usage() -> Iterator[None]:
    """What an argument says cannot be: exit code 2."""
    try:
        yield
    except InvalidRequest as error:
        raise click.UsageError(str(error)) from error


def confirm(question: str, yes: bool) -> None:
    """Go on only if a person says so, or `--yes` was given.

    Raises:
        click.Abort: the answer is no.
        click.UsageError: there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(_("There is nobody to ask here: --yes confirms it."))
    click.confirm(question, abort=True, err=True)


def ask_secret(label: str) -> str:
    """Something that must not be seen; only on a terminal."""
    answer: str = click.prompt(label, hide_input=True, err=True)
    return answer.strip()


def read_stdin() -> str:
    """All that is piped in.

    Raises:
        click.UsageError: it is no text, or far too long.
    """
    data = sys.stdin.buffer.read(INPUT_LIMIT + 1)
    if len(data) > INPUT_LIMIT:
        raise click.UsageError(_("The input is too large."))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.UsageError(_("The input is no text in UTF-8.")) from None


@contextlib.contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr, if that is a terminal; yields what to call after each step."""
    if total < 2 or not sys.stderr.isatty() or os.environ.get("NO_COLOR"):
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda: bar.advance(task)
