"""Which credential, and what an outcome means for it (pure: `now` and chance are arguments).

Source: design 5, "Choosing a credential"; protocol 5.5 and 8; S95, S101, S106 to S114.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Final, Literal

import msgspec

from kiroproxy.credentials.model import Credential, unknown_endpoint
from kiroproxy.errors import (
    AccessDenied,
    BearerRejected,
    ModelUnavailable,
    Overloaded,
    QuotaExhausted,
    ServerFault,
    Suspended,
    Throttled,
)
from kiroproxy.runtime import Note, Shared, State

Mode = Literal["priority", "balanced", "sequential"]

DUE: Final = timedelta(minutes=5)
"""So long before its end a token is refreshed before use (S101)."""
AHEAD: Final = timedelta(minutes=10)
"""So long before its end a token is refreshed in the background (S101)."""
LOGIN_NEEDED: Final = frozenset({"InvalidRefreshToken", "InvalidConfig"})
"""Reasons that only a new login mends."""

DEFAULT_GROUP: Final = "default"
OFF: Final = "disabled: "
"""How the reason for that begins."""
RANKINGS_KEPT: Final = 1000
"""Per roster: models come from clients, in any number."""
PROBE_EVERY_S: Final = 1.0
THROTTLED: Final = "throttled"
FAULTY: Final = "server fault"
BUSY: Final = "busy"
PROBED: Final = frozenset({THROTTLED, FAULTY})
"""Rests that a probe may end early; the others last as long as they were given."""
MAX_FAILURES: Final = 3
"""Refusals in a row that disable (S108)."""
FAULT_CAP_S: Final = 60.0
PAYMENT_REST_S: Final = 3600.0
COOLDOWN_JITTER: Final = 0.1
"""Those that were throttled together do not return together."""


class Freshness(IntEnum):
    """How urgently a token wants a refresh."""

    FRESH = 0
    AHEAD = 1
    DUE = 2
    EXPIRED = 3


def freshness(credential: Credential, now: datetime) -> Freshness:
    """Judge a token's age.

    The margins shrink to a quarter and half of the token's whole life where that is known and
    short: a server that gives tokens of five minutes must not be asked at every request.
    """
    if credential.auth_method == "api_key":
        return Freshness.FRESH
    if credential.access_token is None or credential.expires_at is None:
        return Freshness.EXPIRED
    left = credential.expires_at - now
    life = credential.expires_at - (credential.refreshed_at or credential.expires_at)
    due, ahead = (min(DUE, life / 4), min(AHEAD, life / 2)) if life else (DUE, AHEAD)
    if left <= timedelta(0):
        return Freshness.EXPIRED
    if left <= due:
        return Freshness.DUE
    return Freshness.AHEAD if left <= ahead else Freshness.FRESH


# ---- who may be chosen at all --------------------------------------------------------------


class Skip(msgspec.Struct, frozen=True):
    """Why a credential was passed over, in words for the operator."""

    id: int
    reason: str


class Candidate(msgspec.Struct, frozen=True):
    """A credential that may serve, its rank (lower goes first) and its number of places."""

    credential: Credential
    id: int
    rank: tuple[int, ...]
    places: int


class Ranking(msgspec.Struct, frozen=True):
    """The candidates for one model and group, best first, and why the others are none."""

    order: tuple[Candidate, ...]
    by_id: Mapping[int, Candidate]
    skips: tuple[Skip, ...]
    places: int
    """How many requests they can serve at once."""

    def credential(self, credential_id: int) -> Credential | None:
        """The candidate's credential, if it is one."""
        one = self.by_id.get(credential_id)
        return one.credential if one is not None else None


class Capabilities(msgspec.Struct, frozen=True):
    """What is known of models: pairs that upstream refused, and credentials without Opus."""

    lacks: Collection[tuple[int, str]] = frozenset()
    no_opus: Collection[int] = frozenset()


NOTHING_KNOWN = Capabilities()


class Roster:
    """The credentials of a moment, arranged for choosing. Does not change once it is made."""

    def __init__(
        self,
        credentials: Iterable[Credential],
        now: datetime,
        *,
        mode: Mode = "priority",
        max_concurrent: int = 8,
        group_priority: Mapping[str, int] | None = None,
        capabilities: Capabilities = NOTHING_KNOWN,
    ) -> None:
        self.credentials = tuple(credentials)
        self.mode = mode
        self.groups = frozenset(group_of(one) for one in self.credentials)
        self._now = now
        self._max_concurrent = max_concurrent
        self._group_priority = group_priority or {}
        self._capabilities = capabilities
        self._rankings: dict[tuple[str, str], Ranking] = {}
        ends = [one.disabled_until for one in self.credentials if one.disabled]
        self.valid_until = min((end for end in ends if end and end > now), default=None)
        """When a rest ends, and another roster is needed."""

    def ranking(self, model: str, group: str) -> Ranking:
        """Who may serve a model for a group; an empty group means any."""
        key = (model, group)
        found = self._rankings.get(key)
        if found is None:
            if len(self._rankings) >= RANKINGS_KEPT:
                self._rankings.clear()
            found = self._rankings[key] = self._rank(model, group)
        return found

    def _rank(self, model: str, group: str) -> Ranking:
        candidates = []
        skips = []
        for one in self.credentials:
            reason = self._unfit(one, model, group)
            if reason:
                skips.append(Skip(one.id, reason))
                continue
            rank = (self._group_priority.get(group_of(one), 0), one.priority)
            places = one.max_concurrent or self._max_concurrent
            candidates.append(Candidate(one, one.id, rank, places))
        if self.mode != "sequential":
            candidates.sort(key=_rank_of)  # stable: S95
        by_id = {one.id: one for one in candidates}
        places = sum(one.places for one in candidates)
        return Ranking(tuple(candidates), by_id, tuple(skips), places)

    def _unfit(self, credential: Credential, model: str, group: str) -> str:
        own = group_of(credential)
        if group and own != group:
            return f"group {own} only"
        if reason := disabled_reason(credential, self._now):
            return reason
        if "opus" in model and credential.id in self._capabilities.no_opus:
            return "no opus"
        lacks = (credential.id, model) in self._capabilities.lacks
        return f"no {model}" if lacks else ""


def _rank_of(candidate: Candidate) -> tuple[int, ...]:
    return candidate.rank


def group_of(credential: Credential) -> str:
    """S121: `default` unless it says another."""
    return credential.group or DEFAULT_GROUP


def disabled_reason(credential: Credential, now: datetime) -> str:
    """Why it is off, in words; empty if it is on, or its rest is over."""
    if not credential.disabled:
        return ""
    until = credential.disabled_until
    if until is not None and until <= now:
        return ""
    reason = credential.disabled_reason or "Manual"
    if until is not None:
        return f"{OFF}{reason} until {until:%Y-%m-%d %H:%M} UTC"
    if why := unknown_endpoint(credential):
        return f"{OFF}{reason} (endpoint {why})"
    return f"{OFF}{reason}" + (" (log in again)" if reason in LOGIN_NEEDED else "")


# ---- choosing ------------------------------------------------------------------------------


class View(msgspec.Struct, frozen=True):
    """What is known at the moment of a choice.

    `unready` are those whose token is unusable, with the reason; `used` tells when each was used
    last, on any scale; `cost` is what another attempt takes from a retry budget.
    """

    roster: Roster
    shared: Shared = Shared()
    unready: Mapping[int, str] = msgspec.field(default_factory=dict)
    used: Mapping[int, float] = msgspec.field(default_factory=dict)
    cost: float = 0.0


class Choice(msgspec.Struct, frozen=True):
    """The chosen credential, or None, and those that were passed over.

    `pin`: the conversation stays with it, unless its own one is only busy for now.
    `wait`: a place will come free. `probe`: it rests, and is tried whether it still has to.
    `rest_s`: until the first of those that rest returns; `why` is what it rests for.
    """

    credential: Credential | None
    skips: tuple[Skip, ...]
    pin: bool = True
    wait: bool = False
    probe: bool = False
    rest_s: float | None = None
    why: str = ""


def choose(
    view: View,
    model: str,
    group: str,
    session: str,
    now: float,
    *,
    exclude: Collection[int] = (),
    only: int | None = None,
) -> Choice:
    """The pinned credential of a session while it is usable, else the best one by the policy.

    A resting one is chosen only as the request's own next attempt (`only`), or as a probe: one a
    second in all, on that which returns first. A session that has no pin, or is empty, is chosen
    for afresh.
    """
    ranking = view.roster.ranking(model, group)
    if only is not None:
        return _choose_only(view, ranking, only)
    spoilt = _spoilt(view, ranking, now, exclude)
    if view.shared.ahead or view.shared.rate_wait_s:
        reason = "others wait" if view.shared.ahead else "the group's rate is reached"
        skips = tuple(Skip(one.id, spoilt.get(one.id) or reason) for one in ranking.order)
        return Choice(None, skips + ranking.skips, wait=bool(ranking.order), why=BUSY)
    pinned = ranking.by_id.get(view.shared.pinned or 0) if session else None
    if pinned is not None and pinned.id not in spoilt:
        return Choice(pinned.credential, ranking.skips)
    best = _best(view, ranking, spoilt)
    if best is None:
        return _none_fits(view, ranking, spoilt, now)
    if not spoilt:
        return Choice(best.credential, ranking.skips)
    pin = spoilt.get(view.shared.pinned or 0) != BUSY
    passed = tuple(
        Skip(one.id, spoilt[one.id])
        for one in (ranking.by_id[id_] for id_ in spoilt)
        if view.roster.mode == "sequential" or one.rank <= best.rank
    )
    return Choice(best.credential, passed + ranking.skips, pin=pin)


def _choose_only(view: View, ranking: Ranking, only: int) -> Choice:
    """A request's own next attempt: cooling does not matter, all else does."""
    one = ranking.by_id.get(only)
    if one is None:
        return Choice(None, tuple(skip for skip in ranking.skips if skip.id == only))
    state = view.shared.states.get(only)
    if reason := view.unready.get(only):
        return Choice(None, (Skip(only, reason),))
    if state is not None and state.budget < view.cost:
        return Choice(None, (Skip(only, "retry budget spent"),))
    if view.shared.in_flight.get(only, 0) >= one.places:
        return Choice(None, (Skip(only, BUSY),), wait=True, why=BUSY)
    return Choice(one.credential, ())


def _spoilt(view: View, ranking: Ranking, now: float, exclude: Collection[int]) -> dict[int, str]:
    """Which candidates cannot be taken now, and why: only exceptions are looked at."""
    by_id = ranking.by_id
    spoilt = {}
    for id_, count in view.shared.in_flight.items():
        if (one := by_id.get(id_)) is not None and count >= one.places:
            spoilt[id_] = BUSY
    for id_, state in view.shared.states.items():
        if id_ not in by_id:
            continue
        if state.cooling_until > now:
            left_s = math.ceil(state.cooling_until - now)
            spoilt[id_] = f"cooling {left_s} s ({state.why})"
        elif state.budget < view.cost:
            spoilt[id_] = "retry budget spent"
    spoilt |= {id_: reason for id_, reason in view.unready.items() if id_ in by_id}
    return spoilt | {id_: "already tried" for id_ in exclude if id_ in by_id}


def _best(view: View, ranking: Ranking, spoilt: Mapping[int, str]) -> Candidate | None:
    if view.roster.mode != "balanced":
        return next((one for one in ranking.order if one.id not in spoilt), None)
    fit = [one for one in ranking.order if one.id not in spoilt]
    if not fit:
        return None
    rank = fit[0].rank
    equal = fit if fit[-1].rank == rank else (one for one in fit if one.rank == rank)
    used = view.used
    return min(equal, key=lambda one: used.get(one.id, 0.0))


def _none_fits(view: View, ranking: Ranking, spoilt: Mapping[int, str], now: float) -> Choice:
    """Wait for a place, or probe, or say when the first one returns."""
    skips = tuple(Skip(one.id, spoilt[one.id]) for one in ranking.order) + ranking.skips
    if BUSY in spoilt.values():
        return Choice(None, skips, wait=True, why=BUSY)
    resting = [
        (state.cooling_until, one, state)
        for one in ranking.order
        if (state := view.shared.states.get(one.id)) is not None
        and spoilt[one.id].startswith("cooling")
    ]
    if not resting:
        return Choice(None, skips)
    until, _, state = min(resting, key=lambda row: (row[0], row[1].rank))
    probes = [row for row in resting if row[2].why in PROBED]
    last = max((row[2].probed_at for row in probes), default=0.0)
    if probes and now - last >= PROBE_EVERY_S:
        probed = min(probes, key=lambda row: (row[0], row[1].rank))[1]
        if view.shared.in_flight.get(probed.id, 0) < probed.places:
            left = tuple(one for one in skips if one.id != probed.id)
            return Choice(probed.credential, left, probe=True)
    return Choice(None, skips, rest_s=until - now, why=state.why)


# ---- judging -------------------------------------------------------------------------------


class Verdict(msgspec.Struct, frozen=True):
    """What an outcome means for its credential.

    `disable` is the reason to switch it off, `until` the end of that if it has one. `lacks_model`:
    it does not have the model that was asked for.
    """

    note: Note = Note()
    disable: str = ""
    until: datetime | None = None
    lacks_model: bool = False

    @property
    def failed(self) -> bool | None:
        """Whether it adds to the credential's failures in a row, ends them, or neither."""
        return self.note.failed


def judge(
    outcome: BaseException | None,
    now: datetime,
    state: State = State(),  # noqa: B008 - a constant
    *,
    cooldown_s: float = 30.0,
    chance: float = 0.5,
) -> Verdict:
    """Judge by kind: what is not named here is nobody's fault, or the caller's (protocol 8).

    `state` is the credential's before this; `chance` in 0…1 is the jitter.
    """
    match outcome:
        case None:
            return Verdict(Note(failed=False))
        case Suspended():
            return Verdict(Note(failed=True), disable="Suspended")
        case QuotaExhausted(payment=False):
            return Verdict(disable="QuotaExceeded", until=next_month(now))
        case QuotaExhausted():
            return Verdict(Note(cooldown_s=PAYMENT_REST_S, why="payment needed"))
        case BearerRejected() | AccessDenied():
            return _judge_refusal(outcome, state, cooldown_s)
        case Throttled(scope="day"):
            return Verdict(Note(cooldown_s=_until_tomorrow_s(now), why="daily limit"))
        case Throttled():
            rest_s = cooldown_s if outcome.retry_after_s is None else outcome.retry_after_s
            why = "limited by Kiro" if outcome.scope == "account" else THROTTLED
            return Verdict(Note(cooldown_s=rest_s * (1 + COOLDOWN_JITTER * chance), why=why))
        case Overloaded() | ServerFault():
            rest_s = min(2.0 ** min(state.faults, 6), FAULT_CAP_S) * chance
            return Verdict(Note(fault=True, cooldown_s=rest_s, why=FAULTY))
        case ModelUnavailable():
            return Verdict(lacks_model=True)
        case _:
            return Verdict()


def _judge_refusal(
    outcome: BearerRejected | AccessDenied, state: State, cooldown_s: float
) -> Verdict:
    """S108; a refusal without a clear cause rests after the second, too (protocol 8)."""
    count = state.failures + 1
    disable = "TooManyFailures" if count >= MAX_FAILURES else ""
    if isinstance(outcome, AccessDenied) and count >= 2:
        return Verdict(Note(failed=True, cooldown_s=cooldown_s, why="access denied"), disable)
    return Verdict(Note(failed=True), disable)


def next_month(now: datetime) -> datetime:
    """When a monthly quota returns if upstream does not say (protocol 6.1)."""
    first = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def _until_tomorrow_s(now: datetime) -> float:
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (today + timedelta(days=1) - now).total_seconds()
