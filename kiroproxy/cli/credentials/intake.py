"""`kiroproxy credentials add`, `import` and `export`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kiroproxy.cli.asking import (
    STDIN,
    ask_secret,
    confirm,
    opened,
    progress,
    read_stdin,
    wrong_usage,
)
from kiroproxy.cli.base import (
    PlainErrors,
    json_option,
    path_options,
    print_json,
    print_table,
    write_private,
)
from kiroproxy.cli.texts import marked
from kiroproxy.cli.texts import translated as _

if TYPE_CHECKING:
    from kiroproxy.config import Config
    from kiroproxy.credentials.imports import Found
    from kiroproxy.credentials.intake import Row
    from kiroproxy.credentials.model import Credential
    from kiroproxy.ledger.key_import import KeyRow

EXAMPLE = "kiroproxy credentials"
NAME_LIMIT = 100
"""Whatever is longer may be a token that was pasted in the wrong place."""
METHODS = ("social", "idc", "api_key", "external_idp")
FIELDS = (
    ("--label", "label", str, "Its name for people."),
    ("--group", "group", str, "The group that it serves."),
    ("--priority", "priority", click.IntRange(0), "The lowest goes first."),
    ("--email", "email", str, "The account's address, for you."),
    ("--region", "region", str, "AWS region."),
    ("--auth-region", "authRegion", str, "Region of the sign-in service, if another."),
    ("--api-region", "apiRegion", str, "Region of the API, if another."),
    ("--profile-arn", "profileArn", str, "The account's profile."),
    ("--client-id", "clientId", str, "Client of an idc or external_idp credential."),
    ("--token-endpoint", "tokenEndpoint", str, "Where external_idp tokens are renewed."),
    ("--machine-id", "machineId", str, "64 hex digits or a UUID."),
    ("--max-concurrent", "maxConcurrent", click.IntRange(1), "Simultaneous requests."),
    ("--proxy-url", "proxyUrl", str, "Its own way out, or `direct`."),
    ("--proxy-username", "proxyUsername", str, "User of that proxy."),
)
"""Options of `add` by the JSON keys of the credentials file; secrets are asked for instead."""


def _field_options(function: Any) -> Any:
    for name, key, kind, text in reversed(FIELDS):
        function = click.option(name, key.lower(), type=kind, help=text)(function)
    return function


@click.command(
    cls=PlainErrors,
    examples=[
        f"{EXAMPLE} add --label work",
        f"{EXAMPLE} add --method idc --client-id ID",
        f"{EXAMPLE} add - < entry.json",
        f"printf '%s' \"$TOKEN\" | {EXAMPLE} add --no-verify",
    ],
)
@click.argument("source", required=False, metavar="[-]")
@click.option("--method", type=click.Choice(METHODS), help="How it signs in.  [default: social]")
@_field_options
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Renew its token before it counts.",
)
@path_options
@json_option
def add(
    source: str | None,
    method: str | None,
    verify: bool,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Add one credential.

    On a terminal its secrets are asked for, unseen. Piped in they are one JSON object, or one
    secret a line: refresh token or API key, client secret, password of the proxy.
    """
    if source not in (None, STDIN):
        raise click.UsageError(
            _("Secrets are no arguments, since others could see them: use `-`, or answer.")
        )
    raw = {key: value for _n, key, _k, _h in FIELDS if (value := given[key.lower()]) is not None}
    if method is not None:
        raw["authMethod"] = method
    piped = source == STDIN or not sys.stdin.isatty()
    raw = _piped(raw) if piped else _asked(raw)
    from kiroproxy.credentials import registry as registries
    from kiroproxy.credentials.intake import Intake
    from kiroproxy.credentials.policy import DEFAULT_GROUP

    with opened(config_path, credentials_path) as (parts, registry):
        with wrong_usage():
            new = registries.read_entry(raw)
            registry.check_group(new.group or DEFAULT_GROUP)
        intake = Intake(parts.pool, registry, verify=verify, probe=parts.balances.fetch)
        stored = intake.admit(new)
    if as_json:
        print_json({"id": stored.id, "verified": verify})
        return
    sentence = _("{name} is added and works.") if verify else _("{name} is added.")
    click.echo(sentence.format(name=stored.display_name))


def _secret_keys(raw: dict[str, Any]) -> list[tuple[str, str]]:
    """Which secrets this kind has: JSON key and what to ask."""
    method = raw.get("authMethod", "social")
    wanted = [("refreshToken", _("Refresh token"))]
    if method == "api_key":
        wanted = [("kiroApiKey", _("Kiro API key"))]
    if method == "idc":
        wanted.append(("clientSecret", _("Client secret")))
    if raw.get("proxyUsername"):
        wanted.append(("proxyPassword", _("Password of the proxy")))
    return wanted


def _asked(raw: dict[str, Any]) -> dict[str, Any]:
    if raw.get("authMethod") == "idc" and not raw.get("clientId"):
        raw["clientId"] = click.prompt(_("Client id"), err=True)
    return raw | {key: ask_secret(label) for key, label in _secret_keys(raw)}


def _piped(raw: dict[str, Any]) -> dict[str, Any]:
    text = read_stdin().strip()
    if not text:
        raise click.UsageError(_("Nothing was piped in: a credential, or its secrets."))
    if text.startswith("{"):
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError):
            raise click.UsageError(_("What was piped in is no JSON object.")) from None
        return {**entry, **raw}
    if text.startswith("["):
        raise click.UsageError(_("That is a list: `kiroproxy credentials import -` takes lists."))
    keys = _secret_keys(raw)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > len(keys):
        raise click.UsageError(
            _("{n} lines were piped in, {m} expected.").format(n=len(lines), m=len(keys))
        )
    return raw | {key: line for (key, _label), line in zip(keys, lines, strict=False)}


# ---- import --------------------------------------------------------------------------------


@click.command(
    name="import",
    cls=PlainErrors,
    examples=[
        f"{EXAMPLE} import                      # the Kiro IDE of this machine",
        f"{EXAMPLE} import --kiro-cli --dry-run",
        f"{EXAMPLE} import accounts.json --group pro --no-verify",
        f"ssh host cat credentials.json | {EXAMPLE} import -",
    ],
)
@click.argument("sources", metavar="[SOURCE]...", nargs=-1)
@click.option("--ide", is_flag=True, help="The Kiro IDE's sign-in on this machine.")
@click.option("--kiro-cli", "cli", is_flag=True, help="kiro-cli's sign-in on this machine.")
@click.option("--env", is_flag=True, help="What KIRO_AUTH_TOKEN holds or names.")
@click.option("--group", help="Put all of them into this group.")
@click.option("--priority", type=click.IntRange(0), help="Give all of them this priority.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Renew each token; what Kiro refuses is not stored.",
)
@path_options
@json_option
def import_(
    sources: tuple[str, ...],
    ide: bool,
    cli: bool,
    env: bool,
    group: str | None,
    priority: int | None,
    dry_run: bool,
    verify: bool,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Import credentials of the Kiro IDE, kiro-cli and other programs.

    A SOURCE is a file (credentials.json, exports of kiro.rs, kiro2api, Kiro Account Manager, the
    IDE's token file, the database of kiro2api or kiro-cli), `-` for stdin, or JSON itself. Without
    any, the Kiro IDE's sign-in is taken. Exit code 1 when a row failed.
    """
    from kiroproxy.credentials import intake
    from kiroproxy.credentials.groups import check_name
    from kiroproxy.credentials.policy import DEFAULT_GROUP
    from kiroproxy.ledger.key_import import take_over

    with opened(config_path, credentials_path) as (parts, registry):
        with wrong_usage():
            group = check_name(group) if group not in (None, DEFAULT_GROUP) else group
        found = _found(parts.config, sources, ide=ide, cli=cli, env=env)
        rows = intake.preview(registry, found, group=group, priority=priority)
        for note in (note for one in found for note in one.notes):
            click.echo(_("Note: {note}").format(note=note), err=True)
        if not dry_run:
            if group is None:
                registry.adopt_groups(one for source in found for one in source.groups)
            work = intake.Intake(parts.pool, registry, verify=verify, probe=parts.balances.fetch)
            rows = _carry_out(work, rows)
        entries = [entry for one in found for entry in one.client_keys]
        keys = take_over(parts.ledger.book, entries, dry_run=dry_run)
        for key in (one for one in keys if one.status == "added"):
            after = {"name": key.name, "hint": key.hint, "imported": True}
            parts.ledger.audit.append("key.create", f"key {key.id}", who="cli", after=after)
    _report(rows, dry_run, as_json, keys)
    if any(row.failed for row in rows) or any(one.status == "failed" for one in keys):
        raise SystemExit(1)


def _found(
    config: "Config", sources: Sequence[str], *, ide: bool, cli: bool, env: bool
) -> "list[Found]":
    """What all sources hold.

    Raises:
        click.UsageError: one of them is none.
    """
    from kiroproxy.credentials import imports
    from kiroproxy.errors import ConfigError

    named = [(one, _source_name(one)) for one in sources]
    if sources.count(STDIN) > 1:
        raise click.UsageError(_("stdin can be read once."))
    if env and not config.auth_token:
        raise click.UsageError(_("KIRO_AUTH_TOKEN is not set."))
    if env:
        named.append((config.auth_token, imports.SETTING))
    if ide or not (sources or cli or env):
        named.append((imports.IDE_PLACE, imports.IDE_PLACE))
    if cli:
        places = [one for one in imports.CLI_PLACES if Path(one).expanduser().exists()]
        place = (places or imports.CLI_PLACES)[0]
        named.append((place, place))
    try:
        return [
            imports.read_source(
                *((read_stdin().strip() or "[]", "stdin") if one == STDIN else (one, name))
            )
            for one, name in named
        ]
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


def _source_name(source: str) -> str:
    """How to call it in an error: never by what may be a token."""
    return source if len(source) < NAME_LIMIT and source.lstrip()[:1] not in "{[" else "SOURCE"


def _carry_out(work: Any, rows: "list[Row]") -> "list[Row]":
    new = [row for row in rows if row.status == "new"]
    done = {row.number: row for row in rows}
    with progress(_("Importing"), len(new)) as step:
        for row in work.run(new):
            done[row.number] = row
            step()
    return [done[number] for number in sorted(done)]


def _report(
    rows: "Sequence[Row]", dry_run: bool, as_json: bool, keys: "Sequence[KeyRow]" = ()
) -> None:
    counts = {
        name: sum(row.status == name for row in rows)
        for name in ("new", "added", "duplicate", "failed")
    }
    if as_json:
        shown = [_row_object(row) for row in rows]
        report = {"dryRun": dry_run} | counts | {"total": len(rows), "rows": shown}
        if keys:
            report["clientKeys"] = [_key_object(one) for one in keys]
        print_json(report)
        return
    if rows:
        _print_rows(rows, counts, dry_run)
    elif not keys:
        click.echo(_("The source holds no credential."))
    if keys:
        _print_keys(keys)


def _key_object(row: "KeyRow") -> dict[str, Any]:
    facts = {"number": row.number, "status": row.status, "why": row.why or None}
    return facts | {"id": row.id or None, "name": row.name, "hint": row.hint}


def _print_keys(keys: "Sequence[KeyRow]") -> None:
    """What became of the client keys in the source."""
    click.echo(_("Client keys in the source (`kiroproxy keys list` shows all):"))
    words = _status_words()
    rows = [(one.number, words[one.status], one.name, one.hint, one.why) for one in keys]
    print_table(marked(("#", "Result", "Name", "Key", "Remark")), rows)


def _print_rows(rows: "Sequence[Row]", counts: dict[str, int], dry_run: bool) -> None:
    print_table(
        ("#", "Result", "Name", "Kind", "Group", "Token", "Remark"),
        [_row_cells(row) for row in rows],
    )
    if dry_run:
        text = _("Nothing was changed: {new} new, {duplicate} duplicates, {failed} unusable.")
    else:
        text = _("{added} added, {duplicate} duplicates, {failed} failed.")
    click.echo(text.format(**counts))


def _status_words() -> dict[str, str]:
    return {
        "new": _("new"),
        "added": _("added"),
        "duplicate": _("duplicate"),
        "failed": _("failed"),
    }


def _row_object(row: "Row") -> dict[str, Any]:
    from kiroproxy.credentials.overview import tail
    from kiroproxy.credentials.policy import group_of

    facts: dict[str, Any] = {"number": row.number, "status": row.status, "why": row.why or None}
    one = row.credential
    if one is not None:
        facts |= {
            "id": one.id or None,
            "label": one.label or one.name,
            "email": one.email,
            "authMethod": one.auth_method,
            "group": group_of(one),
            "priority": one.priority,
            "token": tail(one.refresh_token or one.bearer),
        }
    return facts


def _row_cells(row: "Row") -> tuple[object, ...]:
    from kiroproxy.web.groups import mask_email

    words = _status_words()
    facts, one = _row_object(row), row.credential
    if one is None:
        return (row.number, words[row.status], "", "", "", "", row.why)
    name = one.label or one.name or mask_email(one.email) or "–"
    remark = row.why or (f"#{one.id}" if one.id else "")
    kind = one.auth_method
    return (row.number, words[row.status], name, kind, facts["group"], facts["token"], remark)


# ---- export --------------------------------------------------------------------------------


@click.command(
    cls=PlainErrors,
    examples=[f"{EXAMPLE} export moved.json", f"{EXAMPLE} export pro.json --group pro --yes"],
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path, allow_dash=True))
@click.argument("ids", metavar="[ID]...", type=click.IntRange(1), nargs=-1)
@click.option("--group", help="Only those of this group.")
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@path_options
@json_option
def export(
    file: Path,
    ids: tuple[int, ...],
    group: str | None,
    force: bool,
    yes: bool,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Write credentials with their secrets into a private file.

    It has the form of credentials.json, and `import` reads it. A refresh token works in one place
    only: remove or disable the credentials here before they are used elsewhere. FILE `-` is
    stdout.
    """
    if ids and group is not None:
        raise click.UsageError(_("Name ids or a group, not both."))
    if str(file) != STDIN and file.exists() and not force:
        raise click.UsageError(_("{file} exists already; --force replaces it.").format(file=file))
    with opened(config_path, credentials_path) as (_parts, registry):
        chosen: Sequence[Credential] = registry.get(ids) if ids else registry.credentials()
        if group is not None:
            chosen = registry.in_group(group)
    if not chosen:
        raise click.ClickException(_("There is no credential to export."))
    question = _("Write {n} credentials with their secrets to {file}?")
    confirm(question.format(n=len(chosen), file=file), yes)
    content = _exported(chosen)
    if str(file) == STDIN:
        click.echo(content, nl=False)
        return
    write_private(file, content)
    if as_json:
        print_json({"file": str(file), "ids": [one.id for one in chosen]})
        return
    click.echo(_("{n} credentials are in {file}.").format(n=len(chosen), file=file))


def _exported(chosen: "Sequence[Credential]") -> str:
    """JSON for another installation: links to files of this machine stay here."""
    from dataclasses import replace

    from kiroproxy.credentials.model import build_credential

    entries = [build_credential(replace(one, linked_to=None)) for one in chosen]
    return json.dumps(entries, indent=2, ensure_ascii=False) + "\n"


COMMANDS: tuple[click.Command, ...] = (add, import_, export)
