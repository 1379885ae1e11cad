"""`kiroproxy usage …`: who used what, and when credits run out."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kiroproxy.cli.asking import opened, wrong_usage
from kiroproxy.cli.base import (
    Function,
    Group,
    json_option,
    path_options,
    print_json,
    print_table,
)
from kiroproxy.cli.texts import marked
from kiroproxy.cli.texts import translated as _

if TYPE_CHECKING:
    from kiroproxy.ledger.usage import UsageRow
    from kiroproxy.ledger.usage_query import Asked, Total
    from kiroproxy.upstream.forecast import PoolForecast
    from kiroproxy.web.services import Services

BY: Mapping[str, str] = {
    "key": "key_id",
    "group": "group",
    "credential": "credential_id",
    "model": "model",
    "dialect": "dialect",
    "status": "status",
    "client": "client",
}
"""What people say → how the ledger calls it. Beside them `day`, `hour`, `minute`: roll-ups."""
PERIODS = ("day", "hour", "minute")
HEADS = dict(
    zip(
        (*BY, *PERIODS),
        marked(
            (
                "Key",
                "Group",
                "Credential",
                "Model",
                "Dialect",
                "Status",
                "Client",
                "Day",
                "Hour",
                "Minute",
            )
        ),
        strict=True,
    )
)
ROOT = "(apiKey)"
FILTERS = (
    ("--key", "Only this client key, by id or name; `root` is the apiKey."),
    ("--group", "Only this group."),
    ("--credential", "Only this credential, by id."),
    ("--model", "Only this model, as Kiro calls it."),
    ("--status", "Only this HTTP status."),
    ("--trace", "Only this request, by the id that its answer had."),
)
FIELDS: Mapping[str, str] = {
    "group": "group",
    "credential": "credential_id",
    "model": "model",
    "status": "status",
    "trace": "trace_id",
}


class DefaultGroup(Group):
    """A group whose first command is meant when none is named."""

    default = "totals"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command's name before its options, unless help on the group is wanted."""
        wanted = args[0] if args else ""
        if wanted not in self.commands and wanted not in ("--help", "-h"):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


def filter_options(function: Function) -> Function:
    """Add the filters as `filters_<name>`, each several times."""
    for option, text in reversed(FILTERS):
        name = option.removeprefix("--")
        function = click.option(option, f"only_{name}", multiple=True, help=text)(function)
    return function


@click.group(cls=DefaultGroup)
def usage() -> None:
    """Look at what was used, and when credits run out.

    `kiroproxy usage` alone, or with options, is `kiroproxy usage totals`.
    """


@usage.command(
    examples=[
        "kiroproxy usage totals",
        "kiroproxy usage totals --by key --by model --since 30d",
        "kiroproxy usage totals --by day --group pro --since 2026-11-01",
        "kiroproxy usage totals --requests --status 429 --since 1h",
        "kiroproxy usage totals --requests --since 31d --csv > requests.csv",
    ]
)
@click.option(
    "--by",
    multiple=True,
    type=click.Choice((*BY, *PERIODS)),
    help="Add up by this; may be repeated.  [default: key]",
)
@click.option("--since", default="7d", show_default=True, help="From: 2026-11-20, or 24h, 7d ago.")
@click.option("--until", help="Up to, likewise.")
@filter_options
@click.option("--requests", is_flag=True, help="List the requests instead of adding them up.")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), help="At most so many requests.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@path_options
@json_option
def totals(
    by: tuple[str, ...],
    since: str,
    until: str | None,
    requests: bool,
    limit: int | None,
    as_csv: bool,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
    **only: tuple[str, ...],
) -> None:
    """Add up requests, tokens and credits; or list requests.

    Days, hours and minutes are UTC's. With --requests, --csv and --json export all of them unless
    --limit is given.
    """
    if as_csv and as_json:
        raise click.UsageError(_("--csv or --json, not both."))
    if requests and by:
        raise click.UsageError(_("--by adds requests up: it does not go with --requests."))
    if limit is not None and not requests:
        raise click.UsageError(_("--limit goes with --requests."))
    with opened(config_path, credentials_path) as (parts, _registry):
        with wrong_usage():
            asked = parse_filters(parts, since, until, only)
        if requests:
            _list(parts, asked, limit, as_csv, as_json)
        else:
            with wrong_usage():
                found, names = _totals(parts, asked, by or ("key",))
            _print_totals(parts, found, names, as_csv, as_json)


def parse_filters(
    parts: "Services", since: str | None, until: str | None, only: Mapping[str, tuple[str, ...]]
) -> "Asked":
    """The question that options ask.

    Raises:
        InvalidRequest: names what cannot be used.
    """
    from kiroproxy.errors import InvalidRequest
    from kiroproxy.ledger.usage_query import parse_asked

    given: dict[str, str | Sequence[str]] = {
        field: list(only[f"only_{name}"]) for name, field in FIELDS.items() if only[f"only_{name}"]
    }
    if only["only_key"]:
        given["key_id"] = [_key_id(parts, one) for one in only["only_key"]]
    for name, value in (("since", since), ("until", until)):
        if value is not None:
            given[name] = value
    asked = parse_asked(given)
    if asked.since is not None and asked.until is not None and asked.since >= asked.until:
        raise InvalidRequest("until: must be later than since", param="until")
    return asked


def _key_id(parts: "Services", reference: str) -> str:
    """A key's id; one that was deleted is still in the ledger by its id."""
    from kiroproxy.errors import NotFound

    if reference in ("root", ROOT):
        return ""
    try:
        return parts.ledger.book.get(reference).id
    except NotFound:
        if len(reference) == 12 and all(one in "0123456789abcdef" for one in reference):
            return reference
        raise


def _totals(
    parts: "Services", asked: "Asked", by: Sequence[str]
) -> "tuple[list[Total], tuple[str, ...]]":
    """The sums, and what their columns are called."""
    from kiroproxy.errors import InvalidRequest

    periods = [one for one in by if one in PERIODS]
    fields = list(dict.fromkeys(BY[one] for one in by if one not in PERIODS))
    names = tuple(dict.fromkeys(by))
    if not periods:
        return parts.ledger.reader.totals(asked, fields), names
    if len(periods) > 1:
        raise InvalidRequest("by: only one of day, hour, minute", param="by")
    return parts.ledger.reader.series(periods[0], asked, fields), names


def _print_totals(
    parts: "Services",
    found: "list[Total]",
    names: Sequence[str],
    as_csv: bool,
    as_json: bool,
) -> None:
    from kiroproxy.ledger.usage_query import build_total

    if as_json:
        print_json([build_total(one) for one in found])
        return
    if as_csv:
        _print_csv([build_total(one) for one in found])
        return
    if not found:
        click.echo(_("Nothing was used in that time."))
        return
    say = namer(parts)
    columns = [HEADS[one] for one in names]
    heads = marked(
        ("Requests", "Errors", "Input", "Output", "Cache read", "Credits", "First s", "Mean s")
    )
    rows = [[*_labels(one, names, say), *_amounts(one)] for one in found]
    if len(found) > 1:
        rows.append([_("total"), *[""] * (len(names) - 1), *_sum(found)])
    print_table((*columns, *heads), rows)


def _labels(one: "Total", names: Sequence[str], say: "Callable[[str, Any], str]") -> list[str]:
    cells = []
    for name in names:
        if name in PERIODS:
            cells.append(f"{one.start:%Y-%m-%d}" if name == "day" else f"{one.start:%m-%d %H:%M}")
        else:
            cells.append(say(BY[name], one.by[BY[name]]))
    return cells


def _amounts(one: "Total") -> list[str]:
    mean = one.duration_s / one.requests if one.requests else 0.0
    first = "–" if one.first_event_s is None else f"{one.first_event_s:.2f}"
    counts = (one.requests, one.errors, one.input_tokens, one.output_tokens, one.cache_read_tokens)
    return [*(f"{count:,}" for count in counts), f"{one.credits:.3f}", first, f"{mean:.2f}"]


def _sum(found: "list[Total]") -> list[str]:
    counts = ("requests", "errors", "input_tokens", "output_tokens", "cache_read_tokens")
    credits = sum(one.credits for one in found)
    return [f"{sum(getattr(one, name) for one in found):,}" for name in counts] + [f"{credits:.3f}"]


def namer(parts: "Services") -> "Callable[[str, Any], str]":
    """What people call the ids in the ledger."""
    keys = {one.id: one.title for one in parts.ledger.book.all()} | {"": ROOT}
    credentials = {one.id: one.display_name for one in parts.pool.store.snapshot().credentials}

    def say(field: str, value: Any) -> str:
        if field == "key_id":
            return keys.get(value, str(value))
        if field == "credential_id":
            return credentials.get(value, f"#{value}") if value else "–"
        return str(value) if value != "" else "–"

    return say


def _print_csv(rows: list[dict[str, Any]]) -> None:
    import csv
    import io

    from kiroproxy.ledger.usage_query import cell

    out = io.StringIO()
    if rows:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([[cell(value) for value in row.values()] for row in rows])
    click.echo(out.getvalue(), nl=False)


def _list(
    parts: "Services", asked: "Asked", limit: int | None, as_csv: bool, as_json: bool
) -> None:
    from kiroproxy.ledger.usage_query import build_row

    reader = parts.ledger.reader
    if (as_csv or as_json) and limit is None:
        for piece in reader.export(asked, "csv" if as_csv else "json"):
            click.echo(piece.replace("\r\n", "\n"), nl=False)
        return
    page = reader.rows(asked, page_size=limit or 50)
    if as_json:
        print_json([build_row(one) for one in page.rows])
    elif as_csv:
        _print_csv([build_row(one) for one in page.rows])
    elif not page.rows:
        click.echo(_("There was no request in that time."))
    else:
        say = namer(parts)
        print_table(REQUEST_COLUMNS, [request_cells(one, say) for one in reversed(page.rows)])
        if page.total > len(page.rows):
            text = _("The last {n} of {total}; --limit shows more, --csv exports all.")
            click.echo(text.format(n=len(page.rows), total=page.total))


REQUEST_COLUMNS = marked(
    (
        "Time",
        "Key",
        "Group",
        "Credential",
        "Model",
        "Status",
        "Tries",
        "First s",
        "Total s",
        "Input",
        "Output",
        "Credits",
        "End",
    )
)


def request_cells(row: "UsageRow", say: "Callable[[str, Any], str]") -> tuple[str, ...]:
    """A request as a line of a table; times are this machine's."""
    at = datetime.fromtimestamp(row.time, UTC).astimezone()
    first = "–" if row.first_event_s is None else f"{row.first_event_s:.2f}"
    return (
        f"{at:%m-%d %H:%M:%S}",
        say("key_id", row.key_id),
        row.group,
        say("credential_id", row.credential_id),
        row.model or row.model_asked or "–",
        str(row.status),
        str(row.attempts),
        first,
        f"{row.duration_s:.2f}",
        str(row.input_tokens),
        str(row.output_tokens),
        f"{row.credits:.3f}",
        row.error_type or row.stop_reason or "–",
    )


# ---- forecast ------------------------------------------------------------------------------


@usage.command(
    examples=["kiroproxy usage forecast", "kiroproxy usage forecast --group pro --days 3 --json"]
)
@click.option("--group", help="Only this group's credentials.")
@click.option(
    "--days", type=click.IntRange(1, 90), default=7, show_default=True, help="Rate of so many days."
)
@path_options
@json_option
def forecast(
    group: str | None,
    days: int,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Say when the credits run out, of each credential and of the pool.

    From what Kiro says is left and what was used a day, taking into account when credits come
    back. What others use of the same accounts is not known here.
    """
    from kiroproxy.upstream import forecast as forecasts

    now = datetime.now(UTC)
    with opened(config_path, credentials_path) as (parts, registry):
        chosen = registry.credentials() if group is None else registry.in_group(group)
        found = forecasts.forecast(
            parts.balances, parts.ledger.reader, chosen, now, days=days, wait_s=8.0
        )
        names = {one.id: one.display_name for one in chosen}
    if as_json:
        print_json(forecasts.build_forecast(found))
        return
    _print_forecast(found, names)


def _print_forecast(found: "PoolForecast", names: Mapping[int, str]) -> None:
    if not found.accounts:
        click.echo(_("Kiro has told no balance: `kiroproxy credentials balance --all` says why."))
        return
    rows = []
    for id_, account in found.accounts.items():
        one = found.outlook.credentials[id_]
        anew = f"{account.resets_at:%Y-%m-%d}" if account.resets_at is not None else "–"
        rows.append(
            (names[id_], f"{one.left:.2f}", f"{one.per_day:.2f}", anew, _dry(one.dry_at, one.left))
        )
    pool = found.outlook.pool
    if len(rows) > 1:
        total = (f"{pool.left:.2f}", f"{pool.per_day:.2f}", "", _dry(pool.dry_at, pool.left))
        rows.append((_("the pool"), *total))
    print_table(marked(("Credential", "Left", "A day", "Anew on", "Runs out")), rows)
    for missing in found.unknown:
        click.echo(_("{name}: its balance is not known.").format(name=missing.display_name))


def _dry(at: datetime | None, left: float) -> str:
    if left <= 0:
        return _("has run out")
    return f"{at:%Y-%m-%d %H:%M}" if at is not None else _("not before they come back")
