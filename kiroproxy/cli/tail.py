"""`kiroproxy tail`: requests as they end."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kiroproxy.cli.asking import opened, wrong_usage
from kiroproxy.cli.base import PlainErrors, json_option, path_options
from kiroproxy.cli.texts import translated as _
from kiroproxy.cli.usage import REQUEST_COLUMNS, filter_options, namer, parse_filters, request_cells

if TYPE_CHECKING:
    from kiroproxy.ledger.usage import UsageRow
    from kiroproxy.ledger.usage_query import Asked, UsageReader
    from kiroproxy.web.services import Services

OVERLAP = timedelta(seconds=30)
"""Rows are dated by their end and written later, by several workers: so far back each look goes."""
WIDTHS = (14, 14, 10, 14, 20, 6, 5, 7, 7, 7, 6, 8, 12)
"""Of `REQUEST_COLUMNS`; what is longer moves the rest of its line."""
NAMES_S = 10.0


class Follower:
    """Rows that have come since the last look, each once, oldest first."""

    def __init__(self, reader: "UsageReader", asked: "Asked") -> None:
        self._reader = reader
        self._asked = asked
        self._seen: dict[str, float] = {}

    def first(self, count: int, now: datetime) -> "list[UsageRow]":
        """The last `count` rows that are there; those that are left out are known from now on."""
        recent = replace(self._asked, since=now - OVERLAP)
        self._fresh(self._all(recent))
        rows = self._reader.rows(self._asked, page_size=count).rows if count else []
        self._fresh(iter(rows))  # one may have come in between
        return rows[::-1]

    def look(self, now: datetime) -> "list[UsageRow]":
        """What is new."""
        since = now - OVERLAP
        for id_ in [id_ for id_, at in self._seen.items() if at < since.timestamp() - 60]:
            del self._seen[id_]
        return self._fresh(self._all(replace(self._asked, since=since)))

    def _all(self, asked: "Asked") -> "Iterator[UsageRow]":
        last: UsageRow | None = None
        while rows := self._reader.after(last, asked):
            yield from rows
            last = rows[-1]

    def _fresh(self, rows: "Iterator[UsageRow]") -> "list[UsageRow]":
        fresh = [one for one in rows if one.id not in self._seen]
        self._seen.update((one.id, one.time) for one in fresh)
        return fresh


@click.command(
    cls=PlainErrors,
    examples=[
        "kiroproxy tail",
        "kiroproxy tail -n 100 --key ci",
        "kiroproxy tail --status 429 --json | jq .trace_id",
        "kiroproxy tail -n 20 --no-follow",
    ],
)
@click.option(
    "-n", "--lines", type=click.IntRange(0, 1000), default=10, show_default=True, help="Begin with."
)
@click.option("--follow/--no-follow", default=True, show_default=True, help="Wait for more.")
@click.option(
    "--every",
    type=click.FloatRange(0.1, 60),
    default=1.0,
    show_default=True,
    help="Seconds between looks.",
)
@filter_options
@path_options
@json_option
def tail(
    lines: int,
    follow: bool,
    every: float,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
    **only: tuple[str, ...],
) -> None:
    """Show requests as they end, until Ctrl-C; with --json one object a line.

    A running server writes them within some two seconds.
    """
    with opened(config_path, credentials_path) as (parts, _registry):
        with wrong_usage():
            asked = parse_filters(parts, None, None, only)
        follower = Follower(parts.ledger.reader, asked)
        show = _printer(parts, as_json)
        try:
            show(follower.first(lines, datetime.now(UTC)))
            while follow:
                time.sleep(every)
                show(_patiently(follower))
        except KeyboardInterrupt:
            click.echo(err=True)  # after the ^C


def _patiently(follower: Follower) -> "list[UsageRow]":
    """What is new; a database that is ill for a while brings it later."""
    from kiroproxy.errors import DatabaseError

    try:
        return follower.look(datetime.now(UTC))
    except DatabaseError as error:
        click.echo(_("Note: {note}").format(note=error), err=True)
        return []


def _printer(parts: "Services", as_json: bool) -> "Callable[[list[UsageRow]], None]":
    if as_json:
        return _print_lines
    click.echo(_aligned(tuple(_(one) for one in REQUEST_COLUMNS)))
    names: Mapping[str, Any] = {}
    asked_at = 0.0

    def show(rows: "list[UsageRow]") -> None:
        nonlocal names, asked_at
        if not names or (rows and time.monotonic() - asked_at > NAMES_S):
            names = {"say": namer(parts)}
            asked_at = time.monotonic()
        for row in rows:
            click.echo(_aligned(request_cells(row, names["say"])))

    return show


def _print_lines(rows: "list[UsageRow]") -> None:
    import json

    from kiroproxy.ledger.usage_query import build_row

    for row in rows:
        click.echo(json.dumps(build_row(row), ensure_ascii=False))


def _aligned(cells: tuple[str, ...]) -> str:
    from rich.cells import cell_len  # Chinese letters are two columns wide

    parts = [
        cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, WIDTHS, strict=True)
    ]
    return " ".join(parts).rstrip()
