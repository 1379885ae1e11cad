"""The credentials: how old their tokens are, whether they can be renewed, what they may use."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from datetime import timedelta
from typing import Final, TypeVar

from kiroproxy.credentials.model import Credential, check_refresh_token
from kiroproxy.credentials.policy import OFF, Freshness, disabled_reason, freshness
from kiroproxy.doctor.finding import Finding, _, failure, ok, warning
from kiroproxy.doctor.network import auth_url
from kiroproxy.doctor.patient import Patient
from kiroproxy.errors import (
    AccessDenied,
    BearerRejected,
    KiroProxyError,
    NotFound,
    RefreshTokenInvalid,
)
from kiroproxy.kiro.models import Model, choose_model
from kiroproxy.upstream.catalogue import CatalogueClient
from kiroproxy.upstream.usage import AccountClient, Usage

MOST: Final = 8
"""So many credentials are asked about; the rest is counted."""
WAIT_S: Final = 9.0
T = TypeVar("T")
WANTED: Final = ("claude-sonnet-4.5", "claude-haiku-4.5")
"""What Claude Code needs at least: its work, and its small talk."""


def check_tokens(patient: Patient) -> Iterator[Finding]:
    """The state and age of each credential's tokens."""
    now = patient.now()
    for one in patient.pool.roster().credentials:
        facts = {"name": one.display_name, "id": one.id}
        if reason := disabled_reason(one, now):
            remedy = _("see to the reason, then run `kiroproxy credentials enable {id}`")
            facts["why"] = reason.removeprefix(OFF)
            yield warning("tokens", _("{name} is off: {why}"), remedy, **facts)
            continue
        why = check_refresh_token(one.refresh_token) if one.refresh_token else None
        if why:
            remedy = _("import it again, whole, or log in")
            yield failure("tokens", "{name}: {why}", remedy, **facts, why=why)
            continue
        yield _age(one, patient, facts)


def _age(one: Credential, patient: Patient, facts: dict[str, object]) -> Finding:
    now = patient.now()
    if one.auth_method == "api_key":
        return ok("tokens", _("{name} is an API key, which does not expire"), **facts)
    if freshness(one, now) is Freshness.EXPIRED:
        if one.renewable:
            return ok("tokens", _("{name}: to be renewed when first used"), **facts)
        message = _("{name} has expired and cannot be renewed")
        return failure("tokens", message, _("log in again: `kiroproxy login`"), **facts)
    left = (one.expires_at or now) - now
    facts |= {"left": _duration(left)}
    if one.renewable:
        return ok("tokens", _("{name}: the access token lives for {left}"), **facts)
    message = _("{name}: the access token ends in {left} and cannot be renewed")
    return warning("tokens", message, _("log in: `kiroproxy login`"), **facts)


def _duration(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    days, minutes = divmod(minutes, 24 * 60)
    return f"{days} d" if days else f"{minutes // 60} h {minutes % 60} min"


# ---- renewing ------------------------------------------------------------------------------


def check_refreshes(patient: Patient) -> Iterator[Finding]:
    """Renew each token, with consent; else say what would be asked."""
    wanted = [one for one in patient.credentials() if one.renewable]
    if not wanted:
        yield ok("refresh", _("there is nothing to renew"))
    elif patient.refresh:
        yield from _ask_each(wanted, lambda one: _renew(patient, one), "refresh")
    elif why := patient.pool.store.why_unwritable():
        message = _("nothing is renewed, since it could not be stored: {why}")
        yield failure("refresh", message, _("make that directory writable"), why=why)
    else:
        hosts = sorted({auth_url(patient.config, one) for one in wanted})
        message = _("not tried: with --refresh, {count} tokens are renewed at {hosts}")
        yield ok("refresh", message, count=len(wanted), hosts=", ".join(hosts))


def _renew(patient: Patient, one: Credential) -> Finding:
    name = one.display_name
    try:
        if one.access_token:
            patient.pool.force_refresh(one, one.access_token)
        else:
            patient.pool.renewals.ready(one)
    except RefreshTokenInvalid as error:
        remedy = _("log in again: `kiroproxy login`")
        return failure("refresh", "{name}: {why}", remedy, name=name, why=str(error))
    except KiroProxyError as error:
        remedy = _("look again later; if it stays, log in again")
        return failure("refresh", "{name}: {why}", remedy, name=name, why=str(error))
    return ok("refresh", _("{name} was renewed"), name=name)


def _ask_each(
    wanted: list[Credential], ask: Callable[[Credential], Finding], check: str
) -> Iterator[Finding]:
    """Ask about the first few at the same time."""
    asked = wanted[:MOST]
    for one, answer in zip(asked, _together(ask, asked), strict=True):
        slow = warning(check, _("{name}: no answer"), _("look again"), name=one.display_name)
        yield answer or slow
    if rest := wanted[MOST:]:
        yield ok(check, _("{count} more were not asked about"), count=len(rest))


def _together(ask: Callable[[Credential], T], about: Iterable[Credential]) -> list[T | None]:
    """The answers, in order; None for those that do not come in time."""
    deadline = time.monotonic() + WAIT_S
    futures: list[Future[T]] = []
    for one in about:
        future: Future[T] = Future()
        futures.append(future)
        threading.Thread(target=_answer, args=(future, ask, one), daemon=True).start()
    answers: list[T | None] = []
    for future in futures:
        try:
            answers.append(future.result(max(deadline - time.monotonic(), 0.0)))
        except TimeoutError:
            answers.append(None)
    return answers


def _answer(future: "Future[T]", ask: Callable[[Credential], T], one: Credential) -> None:
    try:
        future.set_result(ask(one))
    except BaseException as error:  # noqa: BLE001 - raised again by the one who waits
        future.set_exception(error)


# ---- what they may use ---------------------------------------------------------------------


def check_entitlement(patient: Patient) -> Iterator[Finding]:
    """Whether Kiro accepts the tokens, offers the usual models, and has credits left."""
    now = patient.now()
    living = [one for one in patient.credentials() if freshness(one, now) is not Freshness.EXPIRED]
    if not living:
        yield ok("models", _("not asked: no access token lives; --refresh renews them"))
        return
    yield from _ask_each(living, lambda one: _entitlement(patient, one), "models")


def _entitlement(patient: Patient, one: Credential) -> Finding:
    facts: dict[str, object] = {"name": one.display_name}
    try:
        models = CatalogueClient(patient.voice).fetch(one)
        usage = AccountClient(patient.voice).usage(one)
    except (BearerRejected, AccessDenied):
        message = _("Kiro refuses the access token of {name}")
        remedy = _("run `kiroproxy doctor --refresh`; if that fails, log in again")
        return failure("models", message, remedy, **facts)
    except KiroProxyError as error:
        remedy = _("look at the network lines above; Kiro may be down")
        return warning("models", "{name}: {why}", remedy, **facts, why=str(error))
    return _judge(patient, models, usage, facts)


def _judge(
    patient: Patient, models: list[Model], usage: Usage, facts: dict[str, object]
) -> Finding:
    offered = {one.id for one in models}
    missing = sorted(set(_needed(patient)) - offered)
    facts |= {
        "plan": usage.subscription or "?",
        "left": f"{usage.remaining:g}",
        "limit": f"{usage.limit:g}",
        "count": len(offered),
    }
    if usage.limit and not usage.remaining:
        message = _("{name} ({plan}) has no credits left of {limit}")
        return warning("models", message, _("wait for the reset, or add another"), **facts)
    if offered and missing:
        message = _("{name} ({plan}) may not use {missing}")
        remedy = _("map them with modelMapping to a model that it has, or change the plan")
        return warning("models", message, remedy, **facts, missing=", ".join(missing))
    return ok("models", _("{name} ({plan}): {count} models, {left} of {limit} credits"), **facts)


def _needed(patient: Patient) -> Iterator[str]:
    """Kiro's ids of the models that are sure to be asked for."""
    for name in WANTED:
        try:
            yield choose_model(name, patient.models).model.id
        except NotFound:
            continue
