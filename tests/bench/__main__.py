"""`python -m tests.bench`: measure the proxy beside the naive yardstick and print the table."""

import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console
from rich.table import Table

from tests.bench.processes import Canned, naive_server, our_server
from tests.bench.rows import ROWS, Bench, Result
from tests.servers import REPOSITORY

PAGE = REPOSITORY / "docs" / "performance.md"
BEGIN, END = "<!-- written by python -m tests.bench --write -->", "<!-- end -->"
HEADINGS = ("", "kiroproxy", "naive", "compared", "goal", "")


@click.command()
@click.option("--row", "names", multiple=True, type=click.Choice(list(ROWS)), help="Only this row.")
@click.option("--quick", is_flag=True, help="Fewer rounds: a first look, too noisy to judge by.")
@click.option("--write", is_flag=True, help="Write the table into docs/performance.md.")
def main(names: tuple[str, ...], quick: bool, write: bool) -> None:
    """Measure the proxy beside a naive one on a canned upstream, a worker each."""
    if write and (names or quick):
        raise click.UsageError("--write wants a whole run, without --row and --quick")
    began = time.monotonic()
    console = Console()
    results: list[Result] = []
    with TemporaryDirectory(prefix="kiroproxy-bench-") as directory, Canned() as canned:
        place = Path(directory)
        with naive_server(place, canned.url) as naive, our_server(place, canned.url) as ours:
            bench = Bench(ours, naive, canned.url, place, quick)
            for name in names or ROWS:
                with console.status(f"{name} …"):
                    results += ROWS[name](bench)
    console.print(rich_table(results))
    console.print(f"{machine()}; {time.monotonic() - began:.0f} s")
    if write:
        write_page(PAGE, results)


def mark(result: Result) -> str:
    """Whether the goal was reached."""
    return {None: "", True: "✓", False: "✗"}[result.met]


def cells(result: Result) -> tuple[str, ...]:
    """A line of the table."""
    shown = (result.what, result.ours, result.naive, result.compared, result.goal)
    return (*shown, mark(result))


def rich_table(results: Iterable[Result]) -> Table:
    """For the terminal."""
    table = Table(*HEADINGS)
    for result in results:
        table.add_row(*cells(result), style="red" if result.met is False else None)
    return table


def markdown_table(results: Iterable[Result]) -> str:
    """For the page."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *map(cells, results)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def machine() -> str:
    """What it was measured on, in so many words."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    python = platform.python_version()
    return f"{platform.machine()}, {os.cpu_count()} processors, Python {python}, load {load}"


def write_page(page: Path, results: Iterable[Result]) -> None:
    """Put the table between the page's two marks."""
    text = page.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    table = f"{BEGIN}\n{machine()}.\n\n{markdown_table(results)}\n{END}"
    page.write_text(before + table + after, "utf-8")


if __name__ == "__main__":
    main()
