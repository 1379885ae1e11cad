"""`kiroproxy version`."""

import platform

import click

from kiroproxy import __version__
from kiroproxy.cli.base import PlainErrors


@click.command(cls=PlainErrors)
def version() -> None:
    """Print the versions that a bug report needs."""
    from importlib.metadata import version as installed

    click.echo(f"kiroproxy {__version__}")
    parts = [f"{name} {installed(name)}" for name in ("gunicorn", "gevent", "flask")]
    click.echo(", ".join([f"Python {platform.python_version()}", *parts, platform.platform()]))
