"""Commands that ask Kiro: refresh, balance, test."""

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kiroproxy.cli.asking import opened, progress
from kiroproxy.cli.base import PlainErrors, json_option, path_options, print_json, print_table
from kiroproxy.cli.texts import marked
from kiroproxy.cli.texts import translated as _

if TYPE_CHECKING:
    from kiroproxy.credentials.model import Credential
    from kiroproxy.credentials.registry import Registry

AT_ONCE = 4
"""Calls at a time, when several credentials are asked for."""


def _chosen(
    registry: "Registry", ids: Sequence[int], everything: bool, group: str | None
) -> "list[Credential]":
    """The credentials that are meant: by id, or all, or a group's; of those the enabled ones.

    Raises:
        click.UsageError: not exactly one of these was said.
    """
    if bool(ids) + everything + (group is not None) != 1:
        raise click.UsageError(_("Name one or more ids, or --all, or --group."))
    if ids:
        return registry.get(ids)
    from kiroproxy.credentials.policy import disabled_reason

    found = registry.credentials() if group is None else registry.in_group(group)
    now = datetime.now(UTC)
    return [one for one in found if not disabled_reason(one, now)]


def _each(
    label: str,
    chosen: "Sequence[Credential]",
    act: "Callable[[Credential], dict[str, Any]]",
) -> list[dict[str, Any]]:
    """The outcome of each, in order; Ctrl-C starts no more of them."""
    from kiroproxy.errors import KiroProxyError

    def one(credential: "Credential") -> dict[str, Any]:
        head = {"id": credential.id, "name": credential.display_name}
        try:
            return head | {"ok": True} | act(credential)
        except KiroProxyError as error:
            return head | {"ok": False, "error": str(error)}

    with (
        progress(label, len(chosen)) as step,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        jobs = [threads.submit(one, credential) for credential in chosen]
        pending = set(jobs)
        try:
            while pending:
                done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                for _job in done:
                    step()
        except KeyboardInterrupt:
            for job in pending:
                job.cancel()
            raise
    return [job.result() for job in jobs]


def _tell_problems(registry: "Registry") -> bool:
    """Say which entries of the file cannot be used; "all" would be a lie without them."""
    problems = registry.problems()
    for problem in problems:
        click.echo(_("Warning: {problem}").format(problem=problem), err=True)
    return bool(problems)


def _end(results: Sequence[dict[str, Any]], incomplete: bool) -> None:
    """Exit code 1 if something failed."""
    if incomplete or not all(one["ok"] for one in results):
        raise SystemExit(1)


def _tell_failures(results: Sequence[dict[str, Any]]) -> None:
    for one in results:
        if not one["ok"]:
            text = _("{name}: {why}").format(name=one["name"], why=one["error"])
            click.echo(text, err=True)


@click.command(
    cls=PlainErrors,
    examples=[
        "kiroproxy credentials refresh 1",
        "kiroproxy credentials refresh --all",
        "kiroproxy credentials refresh --group pro --json",
    ],
)
@click.argument("ids", metavar="[ID]...", type=click.IntRange(1), nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that are enabled.")
@click.option("--group", help="All of this group that are enabled.")
@path_options
@json_option
def refresh(
    ids: tuple[int, ...],
    everything: bool,
    group: str | None,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Renew access tokens now, exactly once each, also beside a running server."""
    from kiroproxy.credentials.model import build_time

    with opened(config_path, credentials_path) as (_parts, registry):
        chosen = _chosen(registry, ids, everything, group)

        def renew(one: "Credential") -> dict[str, Any]:
            end = registry.refresh(one.id).expires_at
            return {"expiresAt": build_time(end) if end is not None else None}

        if not ids:
            chosen = [one for one in chosen if one.renewable]
        incomplete = everything and _tell_problems(registry)
        results = _each(_("Refreshing"), chosen, renew)
    good = sum(one["ok"] for one in results)
    if as_json:
        print_json({"refreshed": good, "failed": len(results) - good, "results": results})
    else:
        for one in results:
            if one["ok"]:
                text = _("{name} is renewed; its access token ends at {end}.")
                click.echo(text.format(name=one["name"], end=one["expiresAt"] or "?"))
        if not results and not incomplete:
            click.echo(_("There is nothing to renew."))
        _tell_failures(results)
    _end(results, incomplete)


@click.command(
    cls=PlainErrors,
    examples=["kiroproxy credentials balance 1", "kiroproxy credentials balance --all --json"],
)
@click.argument("ids", metavar="[ID]...", type=click.IntRange(1), nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that are enabled.")
@click.option("--group", help="All of this group that are enabled.")
@click.option("--fresh", is_flag=True, help="Ask Kiro, even if it said so within five minutes.")
@path_options
@json_option
def balance(
    ids: tuple[int, ...],
    everything: bool,
    group: str | None,
    fresh: bool,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Ask Kiro for plan, credits used and left, and the next reset."""
    from kiroproxy.credentials.model import build_time

    with opened(config_path, credentials_path) as (parts, registry):
        chosen = _chosen(registry, ids, everything, group)

        def ask(one: "Credential") -> dict[str, Any]:
            usage, _at = parts.balances.current(one, fresh=fresh)
            reset = usage.resets_at
            return {
                "subscriptionTitle": usage.subscription,
                "currentUsage": usage.used,
                "usageLimit": usage.limit,
                "remaining": usage.remaining,
                "usagePercentage": round(100 * usage.used / usage.limit, 2) if usage.limit else 0,
                "nextResetAt": build_time(reset) if reset is not None else None,
            }

        incomplete = everything and _tell_problems(registry)
        results = _each(_("Asking"), chosen, ask)
    if as_json:
        print_json({"results": results})
    else:
        columns = marked(("Credential", "Plan", "Used", "Limit", "Left", "Reset"))
        keys = ("name", "subscriptionTitle", "currentUsage", "usageLimit", "remaining")
        good = [one for one in results if one["ok"]]
        if good:
            print_table(
                columns,
                [[*(_plain(one[key]) for key in keys), one["nextResetAt"]] for one in good],
            )
        if not results and not incomplete:
            click.echo(_("There is no credential to ask for."))
        _tell_failures(results)
    _end(results, incomplete)


def _plain(value: object) -> object:
    return f"{value:.15g}" if isinstance(value, float) else value


@click.command(
    cls=PlainErrors,
    examples=[
        "kiroproxy credentials test 1",
        "kiroproxy credentials test 1 --model claude-sonnet-4-5",
    ],
)
@click.argument("credential_id", metavar="ID", type=click.IntRange(1))
@click.option("--model", help="Ask this model.  [default: claude-haiku-4-5]")
@path_options
@json_option
def test(
    credential_id: int,
    model: str | None,
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
) -> None:
    """Ask Kiro one short question through this credential alone.

    It costs what such a question costs. The trace can be given to `kiroproxy explain`.
    """
    from kiroproxy.errors import NotFound
    from kiroproxy.web import trial

    with opened(config_path, credentials_path) as (parts, _registry):
        try:
            end = trial.try_credential(parts, credential_id, model or trial.MODEL)
        except NotFound as error:
            if error.code == "model_not_found":
                raise click.BadParameter(str(error), param_hint="--model") from error
            raise
    if as_json:
        print_json({"ok": True} | dataclasses.asdict(end))
        return
    click.echo(end.answer or _("(an answer without text)"))
    used = _(
        "{model}: first event after {first} s, end after {total} s; {input} tokens in, "
        "{output} out, {credits} credits; trace {trace}"
    )
    click.echo(
        used.format(
            model=end.model,
            first=end.first_event_s,
            total=end.total_s,
            input=end.input_tokens,
            output=end.output_tokens,
            credits=f"{end.credits:.4g}",
            trace=end.trace,
        )
    )


COMMANDS: tuple[click.Command, ...] = (refresh, balance, test)
