"""`kiroproxy serve`."""

import os
import sys
from typing import Any

import click

from kiroproxy.cli.base import PlainErrors, json_option, path_options
from kiroproxy.cli.texts import translated as _


@click.command(
    cls=PlainErrors,
    examples=["kiroproxy serve", "kiroproxy serve -c /etc/kiroproxy/config.json --json"],
)
@path_options
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--workers", type=click.IntRange(1), help="Number of worker processes.")
@json_option
def serve(as_json: bool, **options: Any) -> None:
    """Run the server until it is stopped.

    That is gunicorn with gevent workers; see `kiroproxy/serving.py`. With --json its log is JSON,
    one object a line.
    """
    from kiroproxy.config import child_environment, load_config, require_client_key
    from kiroproxy.serving import command_line

    if sys.platform == "win32":
        raise click.ClickException(
            _("the server runs on Linux and macOS; use WSL or a container on Windows")
        )
    options["log_format"] = "json" if as_json else None
    require_client_key(load_config(options))  # fatal here already, and not once per worker
    command = command_line()
    os.execve(command[0], command, child_environment(options))  # noqa: S606 - our own interpreter
