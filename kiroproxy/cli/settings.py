"""`kiroproxy settings …`: one setting at a time in config.json."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kiroproxy.cli.asking import STDIN, ask_secret, read_stdin, wrong_usage
from kiroproxy.cli.base import Group, json_option, path_options, print_json, print_table
from kiroproxy.cli.texts import translated as _

if TYPE_CHECKING:
    from kiroproxy.config import Config, Setting
    from kiroproxy.config_file import Edit


@click.group(cls=Group)
def settings() -> None:
    """Read settings, and change them in config.json.

    The server takes a change at its next restart or reload (SIGHUP).
    """


def _paths(config_path: Path | None, credentials_path: Path | None) -> dict[str, Path | None]:
    return {"config_path": config_path, "credentials_path": credentials_path}


def _entry(config: "Config", row: "Setting") -> dict[str, Any]:
    from kiroproxy.config import shown

    value = shown(getattr(config, row.attribute))
    return {
        "key": row.key,
        "value": row.show(value) if row.show else value,
        "origin": config.origins[row.attribute],
        "default": row.default,
        "help": row.help,
    }


@settings.command(
    name="list", examples=["kiroproxy settings list", "kiroproxy settings list --set"]
)
@click.option("--set", "only_set", is_flag=True, help="Only those that are not at their default.")
@path_options
@json_option
def list_(
    only_set: bool, config_path: Path | None, credentials_path: Path | None, as_json: bool
) -> None:
    """List the settings with value, origin and meaning; secrets are masked."""
    from kiroproxy.config import SETTINGS, load_config

    config = load_config(_paths(config_path, credentials_path))
    rows = [_entry(config, row) for row in SETTINGS]
    if only_set:
        rows = [row for row in rows if row["origin"] != "default"]
    if as_json:
        print_json(rows)
        return
    keys = ("key", "value", "origin")
    print_table(
        ("Setting", "Value", "Origin", "Meaning"),
        [[*(row[key] for key in keys), _(row["help"])] for row in rows],
    )


@settings.command(examples=["kiroproxy settings get port", "kiroproxy settings get region --json"])
@click.argument("key")
@path_options
@json_option
def get(key: str, config_path: Path | None, credentials_path: Path | None, as_json: bool) -> None:
    """Print a setting's value as it counts now; a secret is masked."""
    from kiroproxy import config_file
    from kiroproxy.config import load_config

    with wrong_usage():
        row = config_file.find(key)
    entry = _entry(load_config(_paths(config_path, credentials_path)), row)
    if as_json:
        print_json(entry)
        return
    click.echo(entry["value"])


@settings.command(
    name="set",
    context_settings={"ignore_unknown_options": True},  # a value may begin with a hyphen
    examples=[
        "kiroproxy settings set port 8990",
        "kiroproxy settings set noProxy localhost,10.0.0.1",
        "kiroproxy settings set adminApiKey      # asks, unseen",
        "openssl rand -hex 24 | kiroproxy settings set apiKey -",
    ],
)
@click.argument("key")
@click.argument("value", required=False)
@path_options
@json_option
def set_(
    key: str,
    value: str | None,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Change a setting; a value with which the server would not start is refused.

    Lists are written with commas, objects as JSON. VALUE `-` is read from stdin; of a secret it is
    asked for when it is left out.
    """
    from kiroproxy import config_file

    with wrong_usage():
        row = config_file.find(key)
    if value is None and row.secret and sys.stdin.isatty():
        value = ask_secret(row.key)
    if value is None:
        raise click.UsageError(_("Say the value, or `-` and pipe it in."))
    if value == STDIN:
        value = read_stdin().strip()
    if not value.strip():
        text = _("The value is empty: `kiroproxy settings unset {key}` takes the setting out.")
        raise click.UsageError(text.format(key=row.key))
    with wrong_usage():
        edit = _change(row.key, value, _paths(config_path, credentials_path))
    _report(edit, as_json)


@settings.command(examples=["kiroproxy settings unset proxyUrl"])
@click.argument("key")
@path_options
@json_option
def unset(key: str, config_path: Path | None, credentials_path: Path | None, as_json: bool) -> None:
    """Take a setting out of config.json, so that its default counts."""
    with wrong_usage():
        edit = _change(key, None, _paths(config_path, credentials_path))
    _report(edit, as_json)


def _change(key: str, value: str | None, paths: dict[str, Path | None]) -> "Edit":
    """The edit; what the server would not start with is wrong usage of this argument.

    Raises:
        click.UsageError: the server would not start with it.
    """
    from kiroproxy import config_file
    from kiroproxy.errors import ConfigError

    try:
        return config_file.change(key, value, paths)
    except ConfigError as error:
        text = _("The server would not start with that: {why}")
        if config_file.is_setting(error.setting):
            raise click.UsageError(text.format(why=error)) from error
        raise


def _report(edit: "Edit", as_json: bool) -> None:
    entry = _entry(edit.config, edit.row)
    path = edit.config.config_path
    if edit.comments_lost:
        text = _("Note: the comments of {path} are lost; the old file is {backup}.")
        click.echo(text.format(path=path, backup=edit.backup), err=True)
    if edit.overridden_by:
        text = _("Note: {origin} precedes the file: there it has to be changed.")
        click.echo(text.format(origin=edit.overridden_by), err=True)
    if as_json:
        print_json(entry | {"changed": edit.changed, "backup": edit.backup})
        return
    if not edit.changed:
        click.echo(_("{path} says so already.").format(path=path))
        return
    text = _("{key} is {value} now, from the next restart or reload (SIGHUP) of the server on.")
    click.echo(text.format(key=entry["key"], value=entry["value"] or "–"))
