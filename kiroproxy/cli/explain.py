"""`kiroproxy explain`."""

from pathlib import Path
from typing import Any

import click

from kiroproxy.cli.asking import opened
from kiroproxy.cli.base import PlainErrors, json_option, path_options, print_json, print_table
from kiroproxy.cli.texts import marked
from kiroproxy.cli.texts import translated as _


@click.command(
    cls=PlainErrors,
    examples=[
        "kiroproxy explain 3f2a9c0e5b7d4c61a8e0d9b2c4f6a1e3",
        "kiroproxy explain \"$(curl -si … | sed -n 's/^x-kiroproxy-trace: //p')\"",
    ],
)
@click.argument("trace")
@path_options
@json_option
def explain(
    trace: str, config_path: Path | None, credentials_path: Path | None, as_json: bool
) -> None:
    """Say why a request went where it went.

    TRACE is what the header x-kiroproxy-trace of its answer said. The last 4,000 requests are
    kept until the server starts again.
    """
    with opened(config_path, credentials_path) as (parts, _registry):
        found = parts.pool.traces.find(trace.strip())
        names = {one.id: one.display_name for one in parts.pool.store.snapshot().credentials}
        recorded = _recording(parts.config.state_dir, trace.strip())
    if found is None:
        text = _("There is no trace {trace}: it is too old, or never reached the pool.")
        raise click.ClickException(text.format(trace=trace))
    if as_json:
        print_json(found | ({"recording": str(recorded)} if recorded else {}))
        return
    _show(found, names)
    if recorded:
        click.echo(_("It is recorded: kiroproxy recordings show {id}").format(id=trace.strip()))


def _recording(state_dir: Path, trace: str) -> Path | None:
    """The file of the recording, if there is one."""
    from kiroproxy.recording.folder import NAME, Folder

    entries = Folder(state_dir / NAME, 0).entries()
    return next((one.path for one in entries if one.id == trace), None)


def _show(found: dict[str, Any], names: dict[int, str]) -> None:
    click.echo(
        _("{time}: model {model}, group {group}").format(
            time=found["time"], model=found["model"] or "–", group=found["group"] or "–"
        )
    )
    if found["waited_s"] >= 0.001:
        click.echo(_("It waited {n} s for a credential.").format(n=f"{found['waited_s']:.3f}"))
    if found["skipped"]:
        click.echo(_("Passed over:"))
        rows = [(one["attempt"], _name(one, names), one["reason"]) for one in found["skipped"]]
        print_table(("Attempt", "Credential", "Reason"), rows)
    if found["attempts"]:
        click.echo(_("Attempts:"))
        calls = [
            (
                number,
                _name(one, names) + (_(" (probe)") if one["probe"] else ""),
                f"{one['began_s']:.3f}",
                "–" if one["ended_s"] is None else f"{one['ended_s']:.3f}",
                one["outcome"],
                one["message"],
            )
            for number, one in enumerate(found["attempts"], 1)
        ]
        columns = marked(("Attempt", "Credential", "From s", "To s", "Outcome", "Remark"))
        print_table(columns, calls)
    if found["error"]:
        click.echo(_("It ended with: {error}").format(error=found["error"]))
    if found["usage"]:
        click.echo(_("Tokens were counted by: {usage}").format(usage=found["usage"]))


def _name(entry: dict[str, Any], names: dict[int, str]) -> str:
    id_ = entry["credential_id"]
    return names.get(id_) or f"#{id_} {entry.get('name', '')}".rstrip()
