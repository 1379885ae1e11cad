"""`kiroproxy replay`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kiroproxy.cli.base import PlainErrors, json_option, path_options, print_json, write_private
from kiroproxy.cli.recordings import (
    frames_of,
    opened_recording,
    print_attempts,
    print_frames,
    print_head,
    printable,
)
from kiroproxy.cli.texts import marked
from kiroproxy.cli.texts import translated as _

if TYPE_CHECKING:
    from kiroproxy.recording.document import Recording
    from kiroproxy.replay import End, Outcome

DIFFERS = 1
NOTES = {
    "neverAsked": marked("Kiro was never asked; a replay has credentials that can be used."),
    "unanswered": marked(
        "Kiro did not answer: a closed connection or a silence was played, and what is said of it "
        "may differ."
    ),
    "gap": marked("The middle of Kiro's answer was not kept; whole frames around it were played."),
    "notWhole": marked("The answer was not kept as a whole: only its end was compared."),
}
"""`Outcome.notes` in words."""


@click.command(
    cls=PlainErrors,
    examples=[
        "kiroproxy replay req_3f2a9c0e5b7d4c61a8e0d9b2",
        "kiroproxy replay recordings/20261128T213937.163730Z-req_3f2a.json --json",
        "kiroproxy replay 3f2a --frames # only what Kiro sent",
        "kiroproxy replay 3f2a --script kiro.json # for `simulate --script`",
    ],
)
@click.argument("recording", metavar="FILE")
@click.option("--frames", is_flag=True, help="Only decode what Kiro sent; send nothing.")
@click.option(
    "--script",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Only write what `simulate --script` plays as Kiro did.",
)
@path_options
@json_option
@click.pass_context
def replay(
    context: click.Context,
    recording: str,
    frames: bool,
    script: Path | None,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Let a recorded failure happen again, on this machine alone.

    FILE is a recording's file, its id (the x-kiroproxy-trace of the failed answer) or how that
    begins. A simulator plays what Kiro sent, cut as it was read; the recorded request goes through
    this version of the proxy, and the answer is compared with the recorded one. Exit code: 0 the
    same, 1 not the same or no replay possible.
    """
    if frames and script:
        raise click.UsageError(_("--frames and --script exclude each other."))
    _path, found = opened_recording(recording, config_path, credentials_path)
    if frames:
        _show_frames(found, as_json)
    elif script is not None:
        _write_script(found, script, as_json)
    else:
        _replay(context, found, as_json)


def _show_frames(found: "Recording", as_json: bool) -> None:
    import msgspec

    if as_json:
        print_json([msgspec.to_builtins(frames_of(one)) for one in found.attempts])
        return
    print_head(found)
    print_attempts(found)
    for number, attempt in enumerate(found.attempts, 1):
        print_frames(number, attempt)


def _write_script(found: "Recording", target: Path, as_json: bool) -> None:
    import json

    from kiroproxy.recording.script import simulator_script

    entries = simulator_script(found)
    if not entries:
        raise click.ClickException(_("There is nothing to play: Kiro was not asked."))
    write_private(target, json.dumps(entries) + "\n")
    if as_json:
        print_json({"script": str(target), "answers": len(entries)})
        return
    text = _("{path} is written: kiroproxy simulate --script {path}")
    click.echo(text.format(path=target))


def _replay(context: click.Context, found: "Recording", as_json: bool) -> None:
    import msgspec

    from kiroproxy.replay import run

    outcome = run(found)
    if as_json:
        told = msgspec.to_builtins(outcome)
        print_json({"id": found.id, "why": found.why} | told)
    else:
        print_head(found)
        print_attempts(found)
        _show(outcome)
    context.exit(0 if outcome.same else DIFFERS)


def _show(outcome: "Outcome") -> None:
    click.echo("\n" + _("What the client gets now:") + "\n")
    click.echo(outcome.now.text.rstrip("\n") + "\n")
    for note in outcome.notes:
        click.echo(_("Note: {note}").format(note=_(NOTES[note])))
    if outcome.kiro_request:
        click.echo(_("The request to Kiro is not the same:"))
        click.echo("\n".join(outcome.kiro_request))
    click.echo(_("Then: {end}").format(end=_ending(outcome.then)))
    click.echo(_("Now:  {end}").format(end=_ending(outcome.now)))
    if outcome.same:
        click.echo(_("The answer is the same."))
        return
    click.echo(_("The answer is not the same."))
    click.echo("\n".join(outcome.differences))


def _ending(end: "End") -> str:
    statuses = ", ".join(str(one or "–") for one in end.attempts) or "–"
    text = _("{status} {ending}, Kiro's answers: {statuses}. {message}")
    return text.format(
        status=end.status,
        ending=printable(end.ending),
        statuses=statuses,
        message=printable(end.message),
    ).rstrip()
