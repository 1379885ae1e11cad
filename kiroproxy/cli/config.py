"""`kiroproxy config …`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kiroproxy.cli.base import Group, json_option, path_options, print_json
from kiroproxy.cli.texts import translated as _

if TYPE_CHECKING:
    from kiroproxy.config import Config


@click.group(cls=Group)
def config() -> None:
    """Look at the configuration."""


@config.command(examples=["kiroproxy config show --origin", "kiroproxy config show --json"])
@path_options
@click.option("--origin", is_flag=True, help="Tell where each value comes from.")
@json_option
def show(
    config_path: Path | None, credentials_path: Path | None, origin: bool, as_json: bool
) -> None:
    """Print every setting as it counts now, secrets masked."""
    loaded = _load(config_path, credentials_path)
    rows = _rows(loaded)
    if as_json:
        settings = {
            key: {"value": value, "origin": source} if origin else value
            for key, (value, source) in rows.items()
        }
        print_json(settings)
        return
    width = max(map(len, rows))
    for key, (value, source) in rows.items():
        line = f"{key:<{width}}  {value}"
        click.echo(f"{line}  ({source})" if origin else line.rstrip())


@config.command(examples=["kiroproxy config check && kiroproxy serve"])
@path_options
@json_option
def check(config_path: Path | None, credentials_path: Path | None, as_json: bool) -> None:
    """Say whether the server would start with this configuration."""
    from kiroproxy.config import read_json, require_client_key
    from kiroproxy.credentials.stores.document import parse_document
    from kiroproxy.errors import ConfigError

    loaded = _load(config_path, credentials_path)
    require_client_key(loaded)
    credentials = read_json(loaded.credentials_path, missing=[])
    if not isinstance(credentials, list | dict):
        raise ConfigError(str(loaded.credentials_path), "must hold an object or a list")
    document = parse_document(json.dumps(credentials).encode())
    count = len(document.entries)
    warnings = [*loaded.warnings, *document.problems]
    for warning in warnings:
        click.echo(_("Warning: {problem}").format(problem=warning), err=True)
    if as_json:
        print_json(
            {
                "config": str(loaded.config_path),
                "credentials": str(loaded.credentials_path),
                "count": count,
                "warnings": warnings,
            }
        )
        return
    text = _("{config}: good; {n} credentials in {credentials}")
    paths = {"config": loaded.config_path, "credentials": loaded.credentials_path}
    click.echo(text.format(n=count, **paths))


def _load(config_path: Path | None, credentials_path: Path | None) -> "Config":
    from kiroproxy.config import load_config

    return load_config({"config_path": config_path, "credentials_path": credentials_path})


def _rows(loaded: "Config") -> dict[str, tuple[str, str]]:
    from kiroproxy.config import SETTINGS, shown

    rows = {
        "config": (str(loaded.config_path), loaded.origins["config_path"]),
        "credentials": (str(loaded.credentials_path), loaded.origins["credentials_path"]),
    }
    for row in SETTINGS:
        value = shown(getattr(loaded, row.attribute))
        rows[row.key] = (row.show(value) if row.show else value, loaded.origins[row.attribute])
    return rows
