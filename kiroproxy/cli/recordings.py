"""`kiroproxy recordings …`: what the flight recorder has kept."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kiroproxy.cli.asking import confirm
from kiroproxy.cli.base import Group, json_option, path_options, print_json, print_table
from kiroproxy.cli.texts import counted, marked
from kiroproxy.cli.texts import translated as _

if TYPE_CHECKING:
    from kiroproxy.recording.document import Attempt, Recording
    from kiroproxy.recording.folder import Folder
    from kiroproxy.recording.script import Row

REASONS = {
    "error": marked("error"),
    "truncated": marked("truncated"),
    "hidden": marked("hidden by another attempt"),
}
ENDS = {
    "": marked("no answer"),
    "complete": marked("whole"),
    "eof": marked("connection closed"),
    "broken": marked("connection broken"),
    "left": marked("we left"),
}
ATTEMPT_COLUMNS = marked(
    ("Attempt", "Credential", "From s", "Status", "Reads", "Bytes", "End", "Error")
)
FRAME_COLUMNS = marked(("Read", "At ms", "Frame", "Content"))


@click.group(cls=Group)
def recordings() -> None:
    """Failed exchanges that the server has kept for a look, if `recordFailures` is set.

    They hold what was asked and answered, prompts included, and no secret of the proxy's own.
    """


@recordings.command(
    "list", examples=["kiroproxy recordings list", "kiroproxy recordings list --json"]
)
@path_options
@json_option
def list_recordings(config_path: Path | None, credentials_path: Path | None, as_json: bool) -> None:
    """List them, newest first."""
    from kiroproxy.recording.folder import row_of

    folder = folder_of(config_path, credentials_path)
    rows = [row_of(one) for one in folder.entries()]
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo(_("Nothing is recorded in {place}.").format(place=folder.path))
        return
    cells = [
        (
            row["time"],
            row["id"],
            printable(row.get("path", "")),
            printable(row.get("model", "")),
            row.get("status"),
            printable(row.get("ending") or row.get("problem", "")),
            _(REASONS.get(row.get("why", ""), "")),
            row.get("attempts"),
            row["bytes"],
        )
        for row in rows
    ]
    columns = marked(
        ("Time", "Recording", "Path", "Model", "Status", "Ending", "Why", "Attempts", "Bytes")
    )
    print_table(columns, cells)


@recordings.command(
    examples=[
        "kiroproxy recordings show req_3f2a9c0e5b7d4c61a8e0d9b2",
        "kiroproxy recordings show 3f2a --json | jq .request.body",
    ]
)
@click.argument("recording")
@path_options
@json_option
def show(
    recording: str, config_path: Path | None, credentials_path: Path | None, as_json: bool
) -> None:
    """Show one: how it ended, which credentials were tried, what Kiro sent.

    RECORDING is the x-kiroproxy-trace or request-id of the failed answer, its beginning, or a file.
    """
    import msgspec

    path, found = opened_recording(recording, config_path, credentials_path)
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    click.echo(_("File: {path}").format(path=path))
    print_head(found)
    _print_trace(found)
    print_attempts(found)
    for number, attempt in enumerate(found.attempts, 1):
        print_frames(number, attempt)


@recordings.command(
    examples=["kiroproxy recordings remove req_3f2a9c0e", "kiroproxy recordings remove --all --yes"]
)
@click.argument("recording", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@path_options
@json_option
def remove(
    recording: tuple[str, ...],
    everything: bool,
    yes: bool,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Delete recordings: they hold prompts."""
    if bool(recording) == everything:
        raise click.UsageError(_("Name recordings, or say --all."))
    folder = folder_of(config_path, credentials_path)
    chosen = folder.entries() if everything else [folder.find(one) for one in recording]
    question = counted("Delete {n} recording?", "Delete {n} recordings?", len(chosen))
    if chosen:
        confirm(question.format(n=len(chosen)), yes)
    for one in chosen:
        folder.remove(one)
    if as_json:
        print_json({"removed": [one.id for one in chosen]})
        return
    text = counted("{n} recording deleted.", "{n} recordings deleted.", len(chosen))
    click.echo(text.format(n=len(chosen)))


# ---- what `replay` needs, too --------------------------------------------------------------


def folder_of(config_path: Path | None, credentials_path: Path | None) -> "Folder":
    """Where a server with this configuration records."""
    from kiroproxy.config import load_config
    from kiroproxy.recording.folder import NAME, Folder

    config = load_config({"config_path": config_path, "credentials_path": credentials_path})
    return Folder(config.state_dir / NAME, config.record_failures)


def opened_recording(
    named: str, config_path: Path | None, credentials_path: Path | None
) -> "tuple[Path, Recording]":
    """A recording by its file, or by its id.

    Raises:
        NotFound: there is none.
        BadRecording: it cannot be read.
    """
    from kiroproxy.recording.folder import load

    path = Path(named)
    if not path.is_file():
        path = folder_of(config_path, credentials_path).find(named).path
    return path, load(path)


def printable(text: str) -> str:
    """A text without what would move a terminal's cursor: files come from anywhere."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


def print_head(found: "Recording") -> None:
    """What was asked, and how it ended."""
    click.echo(
        _("{time}, kiroproxy {version}: {method} {path}, model {model}, {n} bytes").format(
            time=f"{found.time:%Y-%m-%d %H:%M:%S}Z",
            version=printable(found.kiroproxy),
            method=printable(found.request.method),
            path=printable(found.request.path),
            model=printable(found.model) or "–",
            n=found.request.size,
        )
    )
    answer = found.answer
    text = _("It ended after {n} s with {status} {ending} ({why}). {message}")
    click.echo(
        text.format(
            n=f"{found.duration_sec:g}",
            status=answer.status,
            ending=printable(answer.ending),
            why=_(REASONS.get(found.why, "")),
            message=printable(answer.message),
        ).rstrip()
    )


def print_attempts(found: "Recording") -> None:
    """What was tried."""
    if not found.attempts:
        click.echo(_("Kiro was not asked."))
        return
    rows = [
        (
            number,
            f"#{one.credential_id}",
            f"{one.began_sec:.3f}",
            one.status or "–",
            len(one.pieces),
            sum(len(data) for _at, data in one.pieces) + one.lost,
            _(ENDS.get(one.end, "")),
            printable(f"{one.error}: {one.message}" if one.error else ""),
        )
        for number, one in enumerate(found.attempts, 1)
    ]
    print_table(ATTEMPT_COLUMNS, rows)


def print_frames(number: int, attempt: "Attempt") -> None:
    """What Kiro sent in an attempt."""
    rows = frames_of(attempt)
    if not rows:
        return
    click.echo("\n" + _("Attempt {n}:").format(n=number))
    cells = [
        (
            row.read,
            row.at_ms,
            ("! " if row.fault else "") + printable(row.what),
            printable(row.payload),
        )
        for row in rows
    ]
    print_table(FRAME_COLUMNS, cells)


def frames_of(attempt: "Attempt") -> "list[Row]":
    """Frames of a stream; the one body of another answer."""
    from kiroproxy.recording.script import SHOWN, Row, frame_rows

    if attempt.status in (0, 200):
        return list(frame_rows(attempt))
    body = b"".join(data for _at, data in attempt.pieces).decode("utf-8", "replace")
    text = " ".join(body.split())[:SHOWN]
    return [Row(1, attempt.pieces[0][0], str(attempt.status), text)] if text else []


def _print_trace(found: "Recording") -> None:
    trace = found.trace or {}
    if trace.get("skipped"):
        click.echo(_("Passed over:"))
        rows = [
            (one["attempt"], ", ".join(f"#{id_}" for id_ in one["credentials"]), one["reason"])
            for one in trace["skipped"]
        ]
        print_table(("Attempt", "Credential", "Reason"), rows)
    if trace.get("error"):
        click.echo(_("It ended with: {error}").format(error=trace["error"]))
