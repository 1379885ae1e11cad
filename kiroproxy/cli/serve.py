"""`kiroproxy serve`."""

import os
import sys
from typing import Any

import click

from kiroproxy.cli.base import PlainErrors, json_option, path_options
from kiroproxy.cli.texts import marked
from kiroproxy.cli.texts import translated as _

OBSTACLES = {
    "taken": marked(
        "{address} is taken, another program listens there. Stop it, or choose another port with"
        " --port."
    ),
    "absent": marked(
        "{address} is no address of this machine. Take --host 127.0.0.1, or 0.0.0.0 for all of its"
        " addresses."
    ),
    "forbidden": marked("{address} is not for this user. Choose a port above 1023 with --port."),
    "no socket": marked("{address} cannot be a socket. Choose a path in a directory of its own."),
}
"""Why it cannot listen, by `listening.Obstacle`."""


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
    from gunicorn import systemd

    from kiroproxy.config import child_environment, load_config, require_client_key
    from kiroproxy.listening import obstacle
    from kiroproxy.serving import bind_address, command_line

    if sys.platform == "win32":
        raise click.ClickException(
            _("the server runs on Linux and macOS; use WSL or a container on Windows")
        )
    options["log_format"] = "json" if as_json else None
    config = load_config(options)
    require_client_key(config)  # fatal here already, and not once per worker
    inherited = systemd.listen_fds(unset_environment=False)  # a socket unit's
    if not inherited and (found := obstacle(config.host, config.port)):
        address = bind_address(config)
        raise click.ClickException(_(OBSTACLES[found]).format(address=address))
    command = command_line()
    os.execve(command[0], command, child_environment(options))  # noqa: S606 - our own interpreter
