"""`kiroproxy health`: what a container's health check runs."""

import json
import socket
from pathlib import Path
from typing import Any

import click

from kiroproxy.cli.base import PlainErrors, json_option, path_options, print_json
from kiroproxy.cli.texts import translated as _

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - listening there is not our doing
WAIT_S = 3.0


@click.command(
    cls=PlainErrors, examples=("kiroproxy health", "kiroproxy health -c /etc/kiroproxy/config.json")
)
@path_options
@json_option
def health(config_path: Path | None, credentials_path: Path | None, as_json: bool) -> None:
    """Ask the server of this configuration whether it is alive.

    Exit code 0 if it is, 1 if not.
    """
    from http.client import HTTPException

    from kiroproxy.config import load_config

    config = load_config({"config_path": config_path, "credentials_path": credentials_path})
    where = config.host if config.host.startswith("unix:") else f"{config.host}:{config.port}"
    try:
        answer = _ask(config.host, config.port)
    except (OSError, HTTPException, ValueError) as error:
        message = _("no answer at {where}: {why}. Is the server running?")
        raise click.ClickException(
            message.format(where=where, why=" ".join(str(error).split()))
        ) from error
    if as_json:
        print_json(answer)
    else:
        message = _("kiroproxy {version} answers at {where}")
        click.echo(message.format(version=answer.get("version"), where=where))


def _ask(host: str, port: int) -> dict[str, Any]:
    from http.client import HTTPConnection

    connection = HTTPConnection(
        EVERYWHERE.get(host.strip("[]"), host.strip("[]")), port, timeout=WAIT_S
    )
    try:
        if host.startswith("unix:"):
            connection.sock = _connected(host.removeprefix("unix:"))
        connection.request("GET", "/health", headers={"host": "localhost"})
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise ValueError(f"status {response.status}")
        answer = json.loads(body)
        if not isinstance(answer, dict):
            raise ValueError("that is another server")
        return answer
    finally:
        connection.close()


def _connected(path: str) -> socket.socket:
    family = getattr(socket, "AF_UNIX", None)
    if family is None:
        raise OSError(_("this system has no unix sockets"))
    peer = socket.socket(family)
    peer.settimeout(WAIT_S)
    try:
        peer.connect(path)
    except OSError:
        peer.close()
        raise
    return peer
