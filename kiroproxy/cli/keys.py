"""`kiroproxy keys …`: client keys."""

import contextlib
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kiroproxy.cli.asking import ask_secret, confirm, opened, read_stdin, wrong_usage
from kiroproxy.cli.base import (
    Function,
    Group,
    json_option,
    path_options,
    print_json,
    print_table,
)
from kiroproxy.cli.budgets import (
    STANDING_COLUMNS,
    budget_options,
    build_standing,
    given_budgets,
    standing_rows,
)
from kiroproxy.cli.client_lines import base_url, client_lines, default_shell
from kiroproxy.cli.shells import SHELLS
from kiroproxy.cli.texts import marked
from kiroproxy.cli.texts import translated as _

if TYPE_CHECKING:
    from kiroproxy.ledger.key_book import NewKey
    from kiroproxy.ledger.keys import ClientKey
    from kiroproxy.ledger.parts import Ledger
    from kiroproxy.web.services import Services

COUNT = click.IntRange(0, 10**9)
LIMITS = (
    ("--requests-per-minute", "requests_per_minute", "Requests a minute; 0: no limit."),
    ("--concurrent", "concurrent", "Requests at once; 0: no limit."),
    ("--output-tokens-per-day", "output_tokens_per_day", "Output tokens a day; 0: no limit."),
)
UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN = re.compile(r"(\d{1,9})([mhdw])")


def _settings_options(function: Function) -> Function:
    function = budget_options(function)
    for option, name, text in reversed(LIMITS):
        function = click.option(option, name, type=COUNT, help=text)(function)
    for option, name, text in (
        ("--model", "models", "Only this model, or glob; may be repeated."),
        ("--group", "allowed_groups", "Only this group of credentials; may be repeated."),
    ):
        function = click.option(option, name, multiple=True, help=text)(function)
    function = click.option(
        "--expires", help="When it ends: 2027-01-31, or in 12h, 30d, 8w; `never`."
    )(function)
    return click.option("--owner", help="Whose it is, for you.")(function)


def _lines_options(function: Function) -> Function:
    function = click.option(
        "--shell", type=click.Choice(tuple(SHELLS)), help="Whose lines to print."
    )(function)
    return click.option("--url", default="", help="How clients reach this server, for the lines.")(
        function
    )


@click.group(cls=Group)
def keys() -> None:
    """Give each person or tool a client key of its own, with limits and budgets.

    The `apiKey` of the configuration stays the root key, which has no limits. A change counts
    within a second, also for a running server.
    """


@contextlib.contextmanager
def _ledger(
    config_path: Path | None, credentials_path: Path | None
) -> "Iterator[tuple[Services, Ledger]]":
    with opened(config_path, credentials_path) as (parts, _registry):
        yield parts, parts.ledger


def _warn_of_groups(parts: "Services", key: "ClientKey") -> None:
    """A name that no group has may be a mistake, or a group to come."""
    from kiroproxy.credentials.registry import Registry

    known = {one.group.name for one in Registry(parts.pool, parts.groups).groups()}
    for name in key.allowed_groups:
        if name not in known:
            click.echo(_("Note: there is no group {name} yet.").format(name=name), err=True)


@keys.command(name="list", examples=["kiroproxy keys list", "kiroproxy keys list --json"])
@path_options
@json_option
def list_(config_path: Path | None, credentials_path: Path | None, as_json: bool) -> None:
    """List the client keys; never a secret."""
    from kiroproxy.ledger.key_book import build_key

    with _ledger(config_path, credentials_path) as (_parts, ledger):
        found = ledger.book.all()
    now = datetime.now(UTC)
    if as_json:
        print_json({"keys": [build_key(one, now) for one in found], "total": len(found)})
        return
    if not found:
        click.echo(_("There is no client key yet: `kiroproxy keys create NAME` makes one."))
        return
    columns = marked(
        ("Id", "Name", "Owner", "Key", "State", "Groups", "Models", "Last use", "Expiry")
    )
    print_table(
        columns,
        [
            (
                one.id,
                one.name,
                one.owner,
                one.hint,
                _state(one, now),
                ", ".join(one.allowed_groups) or "–",
                ", ".join(one.models) or "–",
                _at(one.last_used_at),
                _at(one.expires_at),
            )
            for one in found
        ],
    )


def _find(ledger: "Ledger", key: str) -> "ClientKey":
    with wrong_usage():
        return ledger.book.get(key)


def _state(key: "ClientKey", now: datetime) -> str:
    if key.disabled:
        return _("disabled")
    if key.expires_at is not None and now >= key.expires_at:
        return _("expired")
    if key.old_until is not None and now < key.old_until:
        return _("active; the old key until {time}").format(time=_at(key.old_until))
    return _("active")


def _at(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at is not None else "–"


@keys.command(examples=["kiroproxy keys show ci", "kiroproxy keys show ci --json"])
@click.argument("key")
@path_options
@json_option
def show(key: str, config_path: Path | None, credentials_path: Path | None, as_json: bool) -> None:
    """Show a key: settings, and what it has used of its limits.

    KEY is its id, or its name where only one is called so.
    """
    from kiroproxy.ledger.key_book import build_key

    with _ledger(config_path, credentials_path) as (_parts, ledger):
        found = _find(ledger, key)
        standings = ledger.limits.standings(found, "")["key"]
        tokens = ledger.limits.output_tokens_today(found.id)
    facts = build_key(found, datetime.now(UTC))
    if as_json:
        budgets = [build_standing(one) for one in standings]
        print_json(facts | {"output_tokens_today": tokens, "standing": budgets})
        return
    rows = {name: value for name, value in facts.items() if name not in ("limits", "budgets")}
    rows |= {name: value or None for name, value in facts["limits"].items()}
    rows["output_tokens_today"] = tokens
    width = max(map(len, rows))
    for name, value in rows.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        if shown not in (None, ""):
            click.echo(f"{name:<{width}}  {shown}")
    if standings:
        print_table(STANDING_COLUMNS, standing_rows(standings))


# ---- making and changing -------------------------------------------------------------------


@keys.command(
    examples=[
        "kiroproxy keys create ci --requests-per-minute 30 --concurrent 4",
        "kiroproxy keys create anna --owner team-a --group pro --model 'claude-*' --expires 90d",
        "kiroproxy keys create agent --credits-per-day 20 --warn-per-day 15",
        "pass show old-key | kiroproxy keys create moved --own-secret",
    ]
)
@click.argument("name")
@_settings_options
@click.option("--own-secret", is_flag=True, help="Take a secret of yours, asked for or piped in.")
@_lines_options
@path_options
@json_option
def create(
    name: str,
    own_secret: bool,
    url: str,
    shell: str | None,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make a client key, and show it once, with lines to paste."""
    from kiroproxy.ledger.key_book import parse_settings

    with wrong_usage():
        settings = parse_settings(_given(options) | {"name": name})
    if not settings["name"]:
        raise click.UsageError(_("Say how the key is to be called."))
    secret = _own_secret() if own_secret else ""
    with _ledger(config_path, credentials_path) as (parts, ledger):
        if any(one.name == settings["name"] for one in ledger.book.all()):
            text = _("There is a client key {name} already; `kiroproxy keys set` changes it.")
            raise click.UsageError(text.format(name=settings["name"]))
        with wrong_usage():
            new = ledger.book.create(settings, secret=secret)
        _note(ledger, "key.create", new.key)
        _warn_of_groups(parts, new.key)
    sentence = _("Client key {name} is made. This is the only time it is shown:")
    _print_new(parts, new, sentence, url, shell, as_json)


def _own_secret() -> str:
    secret = ask_secret(_("Client key")) if sys.stdin.isatty() else read_stdin().strip()
    if not secret:
        raise click.UsageError(_("Nothing was piped in: the key."))
    return secret


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON, of what was named on the command line."""
    budgets = given_budgets(options)
    limits = {
        name: value for _o, name, _h in LIMITS if (value := options.pop(name, None)) is not None
    }
    given: dict[str, Any] = {}
    if limits:
        given["limits"] = limits
    if budgets:
        given["budgets"] = budgets
    for name in ("allowed_groups", "models"):
        if options[name]:
            given[name] = list(options[name])
    if options["owner"] is not None:
        given["owner"] = options["owner"]
    if options["expires"] is not None:
        given["expires_at"] = _expiry(options["expires"], datetime.now(UTC))
    return given


def _expiry(text: str, now: datetime) -> str | None:
    """A time as JSON has it; None for never.

    Raises:
        click.UsageError: it is none, or is over.
    """
    if text.strip().lower() == "never":
        return None
    span = _SPAN.fullmatch(text.strip())
    try:
        if span:
            at = now + timedelta(seconds=int(span[1]) * UNITS[span[2]])
        else:
            at = datetime.fromisoformat(text.strip())
            at = at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        words = _("--expires: must be a time such as 2027-01-31, in 12h, 30d or 8w, or `never`")
        raise click.UsageError(words) from None
    if at <= now:
        raise click.UsageError(_("--expires: must lie in the future; `keys disable` ends it now"))
    return at.isoformat()


@keys.command(
    name="set",
    examples=[
        "kiroproxy keys set ci --requests-per-minute 60",
        "kiroproxy keys set ci --credits-per-month 500 --warn-per-month 400",
        "kiroproxy keys set ci --all-groups --expires never",
    ],
)
@click.argument("key")
@click.option("--name", help="Call it otherwise.")
@_settings_options
@click.option("--all-groups", is_flag=True, help="Let it use every group.")
@click.option("--all-models", is_flag=True, help="Let it use every model.")
@path_options
@json_option
def set_(
    key: str,
    name: str | None,
    all_groups: bool,
    all_models: bool,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Change a key's settings, limits and budgets; what is not named stays, 0 removes a limit."""
    given = _given(options)
    for everything, field in ((all_groups, "allowed_groups"), (all_models, "models")):
        if everything and field in given:
            raise click.UsageError(_("Name some, or say all, not both."))
        if everything:
            given[field] = []
    if name is not None:
        given["name"] = name
    if not given:
        raise click.UsageError(_("Say what to set: see `kiroproxy keys set --help`."))
    with _ledger(config_path, credentials_path) as (parts, ledger):
        before = _find(ledger, key)
        with wrong_usage():
            changed = ledger.book.patch(before.id, given)
        _note(ledger, "key.edit", changed, before)
        _warn_of_groups(parts, changed)
    _report(changed, _("Client key {name} is changed."), as_json)


@keys.command(examples=["kiroproxy keys rotate ci", "kiroproxy keys rotate ci --overlap 0"])
@click.argument("key")
@click.option("--overlap", default="24h", show_default=True, help="How long the old one lasts.")
@_lines_options
@path_options
@json_option
def rotate(
    key: str,
    overlap: str,
    url: str,
    shell: str | None,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Give a key a new secret, and show it once; the old one is good for a while yet."""
    span = _SPAN.fullmatch(overlap.strip())
    if not span and overlap.strip() != "0":
        raise click.UsageError(_("--overlap: must be 0, or a length such as 30m, 24h, 7d"))
    seconds = int(span[1]) * UNITS[span[2]] if span else 0
    with _ledger(config_path, credentials_path) as (parts, ledger):
        with wrong_usage():
            new = ledger.book.rotate(key, seconds)
        _note(ledger, "key.rotate", new.key)
    sentence = _("Client key {name} has a new secret. This is the only time it is shown:")
    _print_new(parts, new, sentence, url, shell, as_json)


def _print_new(
    parts: "Services", new: "NewKey", sentence: str, url: str, shell: str | None, as_json: bool
) -> None:
    from kiroproxy.ledger.key_book import build_key

    allowed = new.key.allowed_groups
    group = "default" if not allowed or "default" in allowed else allowed[0]
    place = base_url(parts.config, group, url)
    lines = client_lines(place, new.secret, shell or default_shell())
    if as_json:
        facts = build_key(new.key, datetime.now(UTC))
        print_json(facts | {"key": new.secret, "base_url": place, "lines": lines})
        return
    click.echo(sentence.format(name=new.key.title))
    click.echo(f"\n  {new.secret}\n")
    for client, of_client in lines.items():
        click.echo(f"{client}:\n")
        click.echo("".join(f"  {line}".rstrip() + "\n" for line in of_client))


# ---- on, off, away -------------------------------------------------------------------------


@keys.command(examples=["kiroproxy keys enable ci"])
@click.argument("key")
@path_options
@json_option
def enable(
    key: str, config_path: Path | None, credentials_path: Path | None, as_json: bool
) -> None:
    """Let a key be used again."""
    _switch(key, False, config_path, credentials_path, as_json)


@keys.command(examples=["kiroproxy keys disable ci"])
@click.argument("key")
@path_options
@json_option
def disable(
    key: str, config_path: Path | None, credentials_path: Path | None, as_json: bool
) -> None:
    """Refuse a key from now on; what runs goes on to its end."""
    _switch(key, True, config_path, credentials_path, as_json)


def _switch(
    key: str,
    disabled: bool,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    with _ledger(config_path, credentials_path) as (_parts, ledger):
        changed = ledger.book.change(_find(ledger, key).id, {"disabled": disabled})
        _note(ledger, "key.disable" if disabled else "key.enable", changed)
    text = _("Client key {name} is disabled.") if disabled else _("Client key {name} is enabled.")
    _report(changed, text, as_json)


@keys.command(examples=["kiroproxy keys remove ci --yes"])
@click.argument("key")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@path_options
@json_option
def remove(
    key: str, yes: bool, config_path: Path | None, credentials_path: Path | None, as_json: bool
) -> None:
    """Delete a key; what it did stays in the ledger."""
    with _ledger(config_path, credentials_path) as (_parts, ledger):
        found = _find(ledger, key)
        text = _("Delete client key {name} ({hint})? Whoever uses it is shut out.")
        confirm(text.format(name=found.title, hint=found.hint), yes)
        ledger.book.delete(found.id)
        _note(ledger, "key.delete", None, found)
    if as_json:
        print_json({"removed": found.id, "name": found.name})
        return
    click.echo(_("Client key {name} is removed.").format(name=found.title))


def _report(key: "ClientKey", sentence: str, as_json: bool) -> None:
    from kiroproxy.ledger.key_book import build_key

    if as_json:
        print_json(build_key(key, datetime.now(UTC)))
        return
    click.echo(sentence.format(name=key.title))


def _note(
    ledger: "Ledger", action: str, after: "ClientKey | None", before: "ClientKey | None" = None
) -> None:
    """Into the audit log."""
    from kiroproxy.ledger.key_book import build_key

    now = datetime.now(UTC)
    known = after or before
    ledger.audit.append(
        action,
        f"key {known.id}" if known is not None else "",
        who="cli",
        before=build_key(before, now) if before is not None else None,
        after=build_key(after, now) if after is not None else None,
    )
