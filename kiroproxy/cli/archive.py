"""`kiroproxy backup` and `kiroproxy restore`."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from kiroproxy.cli.asking import confirm
from kiroproxy.cli.base import PlainErrors, json_option, path_options, print_json, print_table
from kiroproxy.cli.texts import translated as _

FILE = click.Path(dir_okay=False, path_type=Path)


def _paths(config_path: Path | None, credentials_path: Path | None) -> dict[str, Path | None]:
    return {"config_path": config_path, "credentials_path": credentials_path}


@click.command(
    cls=PlainErrors,
    examples=["kiroproxy backup", "kiroproxy backup /var/backups/kiroproxy.tar.gz --json"],
)
@click.argument("file", type=FILE, required=False)
@path_options
@json_option
def backup(
    file: Path | None, config_path: Path | None, credentials_path: Path | None, as_json: bool
) -> None:
    """Write configuration, credentials and databases into one private archive.

    It contains secrets. The server may run meanwhile. Without FILE the name has the time in it.
    """
    from kiroproxy import archive
    from kiroproxy.config import load_config
    from kiroproxy.errors import InvalidRequest

    config = load_config(_paths(config_path, credentials_path))
    target = file or Path(f"kiroproxy-backup-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar.gz")
    if not target.parent.is_dir():
        raise click.BadParameter(_("{path} is no directory.").format(path=target.parent))
    if target.exists():
        raise click.BadParameter(_("{file} exists already.").format(file=target))
    try:
        entries = archive.write_archive(config, target)
    except InvalidRequest as error:
        raise click.ClickException(str(error)) from error
    if archive.foreign_database(config):
        text = _("Note: the database of databaseUrl is not in it: use that server's own tools.")
        click.echo(text, err=True)
    if as_json:
        print_json({"file": str(target), "files": entries})
        return
    print_table(("File", "Bytes"), [(one["name"], one["bytes"]) for one in entries])
    click.echo(_("All of it is in {file}.").format(file=target))


@click.command(
    cls=PlainErrors,
    examples=["kiroproxy restore kiroproxy-backup-20260101-120000.tar.gz"],
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Also while the server runs.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@path_options
@json_option
def restore(
    file: Path,
    force: bool,
    yes: bool,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Put back what `kiroproxy backup` has saved.

    The archive is checked as a whole first; what it replaces is kept as .bak. Tokens that were
    renewed after the backup was made may be dead: `kiroproxy credentials refresh --all` tells.
    """
    from kiroproxy import archive

    with contextlib.ExitStack() as stack:
        try:
            paths = _paths(config_path, credentials_path)
            opened = stack.enter_context(archive.open_archive(file, paths))
        except archive.BadArchive as error:
            raise click.UsageError(str(error)) from error
        if archive.server_runs(opened.config.state_dir) and not force:
            raise click.ClickException(
                _("The server runs: stop it first, or say --force and restart it afterwards.")
            )
        if not as_json or not yes:
            _announce(opened.manifest, opened.targets)
        confirm(_("Replace these?"), yes)
        kept = archive.restore(opened)
        targets = opened.targets
    if as_json:
        rows = [
            {"name": name, "path": str(targets[name]), "backup": str(old) if old else None}
            for name, old in kept.items()
        ]
        print_json({"created": opened.manifest.get("created"), "files": rows})
        return
    for name, old in kept.items():
        if old is not None:
            text = _("{path} is restored; the old one is {backup}.")
            click.echo(text.format(path=targets[name], backup=old))
        else:
            click.echo(_("{path} is restored.").format(path=targets[name]))


def _announce(manifest: Any, targets: dict[str, Path]) -> None:
    text = _("A backup of {time} by {program}:")
    click.echo(text.format(time=manifest.get("created"), program=manifest.get("program")), err=True)
    for name, path in targets.items():
        there = _("replaces") if path.exists() else _("makes")
        click.echo(f"  {name}: {there} {path}", err=True)
