"""`kiroproxy credentials list` and `show`."""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kiroproxy.cli.asking import opened
from kiroproxy.cli.base import PlainErrors, json_option, path_options, print_json, print_table
from kiroproxy.cli.texts import marked
from kiroproxy.cli.texts import translated as _

if TYPE_CHECKING:
    from kiroproxy.credentials.overview import Overview

COLUMNS = marked(
    (
        "ID",
        "Name",
        "Kind",
        "Group",
        "Priority",
        "State",
        "In flight",
        "Uses",
        "Last use",
        "Token ends",
    )
)
SPANS = ((86400, marked("{n} d")), (3600, marked("{n} h")), (60, marked("{n} min")))
RESTS = marked(
    (
        "throttled",
        "limited by Kiro",
        "daily limit",
        "payment needed",
        "access denied",
        "server fault",
    )
)
"""Why a credential cools: what `policy.judge` says."""


@click.command(
    name="list",
    cls=PlainErrors,
    examples=["kiroproxy credentials list", "kiroproxy credentials list --group pro --json"],
)
@click.option("--group", help="Only those of this group.")
@path_options
@json_option
def list_(
    group: str | None, config_path: Path | None, credentials_path: Path | None, as_json: bool
) -> None:
    """List the credentials: state with its reason, load, last use, expiry."""
    from kiroproxy.credentials import overview as views

    with opened(config_path, credentials_path) as (parts, registry):
        found = views.overview(parts.pool)
        problems = parts.pool.store.snapshot().problems
        unreadable = bool(problems) and not found
        if group is not None:
            ids = {one.id for one in registry.in_group(group)}
            found = [one for one in found if one.credential.id in ids]
    if as_json:
        rows = [views.as_json(one) for one in found]
        available = sum(one.standing == "active" for one in found)
        print_json(
            {
                "total": len(found),
                "available": available,
                "credentials": rows,
                "problems": list(problems),
            }
        )
        if unreadable:
            raise SystemExit(1)
        return
    for problem in problems:
        click.echo(_("Warning: {problem}").format(problem=problem), err=True)
    if unreadable:  # none is what the file says only if it can be read
        raise SystemExit(1)
    if not found:
        click.echo(_("There is no credential: `kiroproxy credentials add` or `import` adds one."))
        return
    print_table(COLUMNS, [_row(one) for one in found])


def _row(seen: "Overview") -> tuple[object, ...]:
    from kiroproxy.credentials.policy import group_of
    from kiroproxy.web.groups import mask_email

    one, tally = seen.credential, seen.tally
    now = datetime.now(UTC)
    last = datetime.fromtimestamp(tally.last_used, UTC) if tally.last_used else None
    return (
        one.id,
        one.label or one.name or mask_email(one.email) or "–",
        one.auth_method,
        group_of(one),
        one.priority,
        state_words(seen),
        f"{seen.in_flight}/{seen.places}",
        tally.requests,
        _("{span} ago").format(span=span((now - last).total_seconds())) if last else _("never"),
        expiry_words(one.expires_at, now) if one.auth_method != "api_key" else "–",
    )


def state_words(seen: "Overview") -> str:
    """Standing and reason, in the user's language as far as they are ours to say."""
    from kiroproxy.credentials.policy import OFF

    if seen.standing == "cooling":
        wait = math.ceil(seen.cooling_s)
        return _("cooling {n} s: {why}").format(n=wait, why=_(seen.reason))
    if seen.standing == "disabled":
        return _("disabled: {why}").format(why=seen.reason.removeprefix(OFF))
    return _("active")


def expiry_words(end: datetime | None, now: datetime) -> str:
    """When an access token ends; one that has ended is renewed at its next use."""
    if end is None:
        return _("unknown")
    left = (end - now).total_seconds()
    return _("in {span}").format(span=span(left)) if left > 0 else _("over")


def span(seconds: float) -> str:
    """A duration in its greatest unit."""
    for size, words in SPANS:
        if seconds >= size:
            return _(words).format(n=int(seconds // size))
    return _("{n} s").format(n=max(int(seconds), 0))


@click.command(
    cls=PlainErrors,
    examples=["kiroproxy credentials show 1", "kiroproxy credentials show 1 --json"],
)
@click.argument("credential_id", metavar="ID", type=click.IntRange(1))
@path_options
@json_option
def show(
    credential_id: int, config_path: Path | None, credentials_path: Path | None, as_json: bool
) -> None:
    """Show all that is known of one credential; of secrets the last ten characters."""
    from kiroproxy.credentials import overview as views

    with opened(config_path, credentials_path) as (parts, registry):
        registry.get([credential_id])
        seen = next(one for one in views.overview(parts.pool) if one.credential.id == credential_id)
        usage = parts.balances.known().get(credential_id)
    facts: dict[str, Any] = {**views.as_json(seen), **views.details(seen.credential)}
    if usage is not None:
        facts |= {"subscription": usage[0].subscription, "remaining": usage[0].remaining}
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        if value not in (None, "", []):
            shown = ", ".join(value) if isinstance(value, list) else value
            click.echo(f"{key:<{width}}  {shown}")


COMMANDS: tuple[click.Command, ...] = (list_, show)
