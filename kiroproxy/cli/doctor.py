"""`kiroproxy doctor`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kiroproxy.cli.base import (
    PlainErrors,
    console,
    json_option,
    open_services,
    path_options,
    print_json,
)
from kiroproxy.cli.texts import marked
from kiroproxy.cli.texts import translated as _
from kiroproxy.cli.wide import padded

if TYPE_CHECKING:
    from rich.console import Console

    from kiroproxy.doctor import Finding

COLOURS = {marked("ok"): "green", marked("warning"): "yellow", marked("failure"): "red"}


@click.command(
    cls=PlainErrors,
    examples=(
        "kiroproxy doctor",
        "kiroproxy doctor --refresh",
        "kiroproxy doctor --json | jq '.findings[] | select(.state != \"ok\")'",
    ),
)
@path_options
@click.option("--refresh", is_flag=True, help="Consent to renewing every token, as a test.")
@json_option
@click.pass_context
def doctor(
    ctx: click.Context,
    config_path: Path | None,
    credentials_path: Path | None,
    refresh: bool,
    as_json: bool,
) -> None:
    """Look for what is wrong, and say what to do about it.

    Looks at the configuration, files, network, clock, tokens, models, Claude Code, Codex and the
    server, in at most 15 seconds. Tokens are renewed with --refresh only. Exit code: 0 all well,
    1 warnings, 2 failures.
    """
    from kiroproxy.doctor import Finding, Patient, examine
    from kiroproxy.doctor.finding import STATES, worst
    from kiroproxy.errors import ConfigError

    try:
        with open_services(config_path, credentials_path) as parts:
            patient = Patient(
                config=parts.config, pool=parts.pool, voice=parts.client.voice, refresh=refresh
            )
            findings = examine(patient)
    except ConfigError as error:
        remedy = _("correct that; everything else is looked at afterwards")
        findings = [Finding("config", "failure", "{why}", remedy, {"why": str(error)})]
    state = worst(findings)
    if as_json:
        print_json({"state": state, "findings": [one.as_json() for one in findings]})
    else:
        out = console()
        for one in findings:
            _show(one, out)
    ctx.exit(STATES.index(state))


def _show(one: "Finding", out: "Console") -> None:
    """A line for what was found, and below it the one thing to do."""
    from rich.text import Text

    facts = {key: _(value) if isinstance(value, str) else value for key, value in one.facts.items()}
    told = f" {one.check:<12} {_(one.message).format(**facts)}"
    out.print(Text.assemble((padded(_(one.state), 8), COLOURS[one.state]), told))
    if one.remedy:
        out.print(Text(f"{'':<21} → {_(one.remedy).format(**facts)}"))
