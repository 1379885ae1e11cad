"""Commands that change credentials which are there: all of those named, or none."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kiroproxy.cli.asking import confirm, opened, wrong_usage
from kiroproxy.cli.base import PlainErrors, json_option, path_options, print_json
from kiroproxy.cli.texts import translated as _

if TYPE_CHECKING:
    from kiroproxy.credentials.model import Credential
    from kiroproxy.credentials.registry import Registry

Function = TypeVar("Function", bound=Callable[..., Any])
EXAMPLE = "kiroproxy credentials"


def ids_argument(function: Function) -> Function:
    """Add one or more ids as `ids`."""
    return click.argument("ids", metavar="ID...", type=click.IntRange(1), nargs=-1, required=True)(
        function
    )


def _report(changed: Sequence["Credential"], sentence: str, as_json: bool) -> None:
    """One line for each credential; `sentence` says `{name}` and `{group}`."""
    from kiroproxy.credentials.policy import group_of

    if as_json:
        rows = [
            {
                "id": one.id,
                "disabled": one.disabled,
                "priority": one.priority,
                "group": group_of(one),
            }
            for one in changed
        ]
        print_json({"changed": rows})
        return
    for one in changed:
        click.echo(
            sentence.format(name=one.display_name, group=group_of(one), priority=one.priority)
        )


def _change(
    paths: tuple[Path | None, Path | None],
    act: "Callable[[Registry], Sequence[Credential]]",
    sentence: str,
    as_json: bool,
) -> None:
    with opened(*paths) as (_parts, registry):
        changed = act(registry)
    _report(changed, sentence, as_json)


@click.command(cls=PlainErrors, examples=[f"{EXAMPLE} enable 1", f"{EXAMPLE} enable 2 3"])
@ids_argument
@path_options
@json_option
def enable(
    ids: tuple[int, ...], config_path: Path | None, credentials_path: Path | None, as_json: bool
) -> None:
    """Switch credentials on; failures and rests are forgotten."""
    sentence = _("{name} is enabled.")
    _change((config_path, credentials_path), lambda it: it.enable(ids), sentence, as_json)


@click.command(cls=PlainErrors, examples=[f"{EXAMPLE} disable 1", f"{EXAMPLE} disable 2 3"])
@ids_argument
@path_options
@json_option
def disable(
    ids: tuple[int, ...], config_path: Path | None, credentials_path: Path | None, as_json: bool
) -> None:
    """Switch credentials off; requests that run on them end as they would have."""
    sentence = _("{name} is disabled.")
    _change((config_path, credentials_path), lambda it: it.disable(ids), sentence, as_json)


@click.command(cls=PlainErrors, examples=[f"{EXAMPLE} reset 1"])
@ids_argument
@path_options
@json_option
def reset(
    ids: tuple[int, ...], config_path: Path | None, credentials_path: Path | None, as_json: bool
) -> None:
    """Forget failures and rests, and switch on again what they switched off.

    What is disabled for InvalidConfig needs a new login or a corrected entry first.
    """
    sentence = _("{name} starts afresh.")
    _change((config_path, credentials_path), lambda it: it.reset(ids), sentence, as_json)


@click.command(cls=PlainErrors, examples=[f"{EXAMPLE} priority 2 --to 0"])
@ids_argument
@click.option(
    "--to", "value", type=click.IntRange(0), required=True, help="The lowest number goes first."
)
@path_options
@json_option
def priority(
    ids: tuple[int, ...],
    value: int,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Say in which order credentials serve."""
    sentence = _("{name} has priority {priority}.")
    paths = (config_path, credentials_path)
    _change(paths, lambda it: it.prioritise(ids, value), sentence, as_json)


@click.command(
    cls=PlainErrors,
    examples=[f"{EXAMPLE} group 2 3 --to pro", f"{EXAMPLE} group 2 --to default"],
)
@ids_argument
@click.option("--to", "name", required=True, help="The group; a new name makes a group.")
@path_options
@json_option
def group(
    ids: tuple[int, ...],
    name: str,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Put credentials into a group: it serves the paths that begin with its name."""
    sentence = _("{name} is in group {group}.")

    def move(registry: "Registry") -> "Sequence[Credential]":
        with wrong_usage():
            return registry.move_all(ids, name.strip())

    _change((config_path, credentials_path), move, sentence, as_json)


@click.command(
    cls=PlainErrors,
    examples=[f"{EXAMPLE} disable 4 && {EXAMPLE} remove 4", f"{EXAMPLE} remove 4 --force --yes"],
)
@ids_argument
@click.option("--force", is_flag=True, help="Also those that are enabled.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@path_options
@json_option
def remove(
    ids: tuple[int, ...],
    force: bool,
    yes: bool,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Delete credentials that are disabled.

    Their tokens cannot be brought back, save from a backup.
    """
    with opened(config_path, credentials_path) as (_parts, registry):
        found = registry.get(ids)
        names = ", ".join(one.display_name for one in found)
        if force or all(one.disabled for one in found):  # else it is refused in words below
            confirm(_("Delete {names} with their tokens?").format(names=names), yes)
        changed = registry.remove_all(ids, force=force)
    if as_json:
        print_json({"removed": [one.id for one in changed]})
        return
    for one in changed:
        click.echo(_("{name} is removed.").format(name=one.display_name))


COMMANDS: tuple[click.Command, ...] = (enable, disable, priority, group, reset, remove)
