"""Lease a credential that is ready, wait in order where all are busy, report the outcome.

Who is chosen is `policy`'s business, tokens are `renewal`'s, what the workers share is in
`runtime.db`. Choosing happens inside the transaction that takes the place.

Source: design 5, "Choosing a credential"; S106 to S121.
"""

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Protocol, cast

import msgspec

from kiroproxy.credentials import failpoints
from kiroproxy.credentials.borrowing import Borrower
from kiroproxy.credentials.borrowing import Lease as Lease
from kiroproxy.credentials.groups import GroupBook, GroupSettings
from kiroproxy.credentials.lanes import Lanes
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.policy import (
    DEFAULT_GROUP,
    Capabilities,
    Freshness,
    Mode,
    Roster,
    Verdict,
    disabled_reason,
    freshness,
    group_of,
    judge,
)
from kiroproxy.credentials.renewal import Links, Redeemer, Renewals
from kiroproxy.credentials.stores import Snapshot, Store
from kiroproxy.credentials.trace import Trace, Traces
from kiroproxy.errors import (
    ConfigError,
    CredentialError,
    NotFound,
)
from kiroproxy.runtime import Note, Runtime, State, Tally

log = logging.getLogger(__name__)

HEAL_EVERY_S: Final = 60.0
"""Credentials that failed too often come back at most this often (S115)."""
LACK_S: Final = 3600.0
"""So long is remembered that a credential does not have a model: plans change."""
CAPABILITIES_AGE_S: Final = 1.0
PROFILE_EVERY_S: Final = 600.0
"""A profile that was not found is looked for again no sooner."""
HOUSEKEEPING_S: Final = 20.0
RECENT_S: Final = 3600.0
"""Tokens of credentials that were used so recently are renewed ahead of need."""
MODE: Final = "load balancing mode"
"""Name of the shared note that holds the configured mode and the one that counts instead."""
USAGE: Final = "usage "
"""Prefix of the shared notes that hold a credential's usage limits, by its id."""


class Inquiries(Protocol):
    """What the pool asks Kiro about an account; None means that it did not say."""

    def reset_date(self, credential: Credential) -> datetime | None:
        """When its quota returns."""

    def profile(self, credential: Credential) -> str | None:
        """The ARN of its profile."""


class PoolStatus(msgspec.Struct, frozen=True):
    """For `/readyz` and the metrics; `problems` are words for the operator without secrets.

    `groups` tells how many of each are usable.
    """

    total: int
    usable: int
    store_writable: bool
    problems: tuple[str, ...]
    groups: Mapping[str, int] = msgspec.field(default_factory=dict)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Pool:
    """The credentials of a store, ready for use. `clock` gives the time of day, in UTC."""

    def __init__(
        self,
        store: Store,
        refresher: Redeemer,
        runtime: Runtime,
        *,
        max_concurrent: int = 8,
        queue_limit: int = 0,
        queue_wait_s: float = 30.0,
        cooldown_s: float = 30.0,
        mode: Mode = "priority",
        groups: GroupBook | None = None,
        inquiries: Inquiries | None = None,
        links: Links | None = None,
        clock: Callable[[], datetime] = _utc_now,
        failpoint: failpoints.Failpoint = failpoints.no_failpoint,
    ) -> None:
        self.store = store
        self.groups = groups
        self.traces = Traces(runtime)
        self.renewals = Renewals(store, refresher, clock=clock, failpoint=failpoint, links=links)
        self._runtime = runtime
        self._inquiries = inquiries
        self.max_concurrent = max_concurrent
        self._queue_wait_s = queue_wait_s
        self._queue_limit = queue_limit
        self._cooldown_s = cooldown_s
        self._mode: Mode = mode
        self._configured: Mode = mode
        self._clock = clock
        self._lanes = Lanes()
        self._known = _Known()
        self._used: dict[int, float] = {}
        self._sought_profile: dict[int, float] = {}

    # ---- leasing ---------------------------------------------------------------------------

    def borrower(
        self,
        group: str = "",
        session: str = "",
        *,
        resumes: bool = True,
        trace: Trace | None = None,
    ) -> Borrower:
        """One request's dealings with the pool; an empty group means any.

        Not `resumes`: it begins the conversation `session`, and may go anywhere.
        """
        return Borrower(self, group, session, resumes, trace or Trace(""))

    def lease(self, model: str, exclude: Collection[int] = (), only: int | None = None) -> Lease:
        """A credential of any group, for a call that is no client's.

        Raises:
            NoCredential: none is usable now.
        """
        return self.borrower().lease(model, exclude, only)

    def force_refresh(self, credential: Credential, rejected_access_token: str) -> Credential:
        """Another access token than the one that upstream refused (S102).

        Raises:
            CredentialError: there is none.
        """
        return self.renewals.force(credential, rejected_access_token)

    def drain(self, timeout_s: float) -> bool:
        """Wait for the refreshes in flight, before the process ends; whether all have landed."""
        self.traces.flush()
        return self.renewals.drain(timeout_s)

    # ---- what is known ---------------------------------------------------------------------

    def roster(self) -> Roster:
        """The credentials, arranged for choosing; made anew when something has changed."""
        snapshot = self.store.snapshot()
        self._look_around()
        known, now = self._known, self._clock()
        changes = self.renewals.changes
        key = (snapshot, changes, known.capabilities, known.group_priority, self._mode)
        stale = known.roster is None or known.key != key
        if known.roster is not None and not stale:
            ends = known.roster.valid_until
            stale = ends is not None and now >= ends
        if stale:
            known.key = key
            known.roster = Roster(
                self.renewals.known(snapshot.credentials),
                now,
                mode=self._mode,
                max_concurrent=self.max_concurrent,
                group_priority=dict(known.group_priority),
                capabilities=known.capabilities,
            )
        assert known.roster is not None  # noqa: S101 - made just now
        return known.roster

    def _look_around(self) -> None:
        """Once a second: what other workers have learnt, and the groups' settings."""
        now = time.monotonic()
        known, groups = self._known, self.groups.changes if self.groups is not None else 0
        if now - known.looked_at < CAPABILITIES_AGE_S and groups == known.groups:
            return
        known.looked_at, known.groups = now, groups
        self._mode = self._agreed_mode()
        lacks = self._runtime.lacks()
        no_opus = frozenset(
            one.id for one in self.store.snapshot().credentials if _is_free(one.subscription)
        ) | {
            int(name.removeprefix(USAGE))
            for name, (usage, _) in self._runtime.recall(USAGE).items()
            if _is_free(msgspec.json.decode(usage).get("subscription"))
        }
        known.capabilities = Capabilities(lacks, no_opus)
        if self.groups is not None:
            known.group_priority = frozenset(
                (one.name, one.settings.priority) for one in self.groups.all().values()
            )
        if self._mode == "balanced":
            for id_, tally in self._runtime.tallies().items():
                self._used[id_] = max(self._used.get(id_, 0.0), tally.last_used)

    def look_again(self) -> None:
        """Whatever another worker has changed counts from now on, not in a second."""
        self.store.look_again()
        if self.groups is not None:
            self.groups.look_again()
        self._known.looked_at = -CAPABILITIES_AGE_S

    @property
    def mode(self) -> Mode:
        """How credentials are chosen."""
        self._look_around()
        return self._mode

    def set_mode(self, mode: Mode) -> None:
        """Choose otherwise, in all workers, until the configuration says another (S140)."""
        self._runtime.remember(MODE, f"{self._configured} {mode}")
        self._known.looked_at = -CAPABILITIES_AGE_S

    def _agreed_mode(self) -> Mode:
        """The configured one, unless it was changed since: then a reload brings the new one."""
        said, _ = self._runtime.recall(MODE).get(MODE, ("", 0.0))
        configured, _, mode = said.partition(" ")
        return cast(Mode, mode) if configured == self._configured else self._configured

    def recall(self, prefix: str) -> dict[str, tuple[str, float]]:
        """Texts that workers have kept for each other, and when (time of day)."""
        return self._runtime.recall(prefix)

    def remember(self, name: str, value: str) -> None:
        """Keep a text for all workers."""
        self._runtime.remember(name, value)

    def activity(self) -> tuple[dict[int, Tally], dict[int, int], dict[int, State]]:
        """How the credentials were used, what is in flight, and what is wrong with them."""
        look = self._runtime.look()
        return self._runtime.tallies(), dict(look.in_flight), dict(look.states)

    def moment(self) -> float:
        """Now, on the clock of `State.cooling_until`."""
        return self._runtime.now()

    def forget(self, credential_id: int) -> None:
        """Whatever was wrong with a credential is over: a person says so."""
        self._runtime.forget([credential_id])
        self.renewals.forget(credential_id)
        self._sought_profile.pop(credential_id, None)
        self._known.looked_at = -CAPABILITIES_AGE_S

    def check_group(self, name: str) -> None:
        """Make sure that there is such a group (S120).

        Raises:
            NotFound: names it.
        """
        created = self.groups.all() if self.groups is not None else {}
        if name not in created and name != DEFAULT_GROUP and name not in self.roster().groups:
            raise NotFound(f"There is no group {name}.", code="group_not_found")

    def group_settings(self, name: str) -> GroupSettings:
        """Its settings; the defaults if it has none."""
        return self.groups.settings(name) if self.groups is not None else GroupSettings()

    # ---- after a call ----------------------------------------------------------------------

    def _judge(self, credential: Credential, outcome: BaseException | None) -> "_Judge":
        own = self.group_settings(group_of(credential)).cooldown_sec
        return _Judge(outcome, self._clock(), self._cooldown_s if own is None else own)

    def _learn(self, credential: Credential, verdict: Verdict, model: str) -> None:
        if verdict.lacks_model and model:
            self._runtime.note_lack(credential.id, model, LACK_S)
            self._known.looked_at = -CAPABILITIES_AGE_S
        if not verdict.disable:
            return
        self.renewals.disable(credential, verdict.disable, verdict.until)
        self._runtime.forget([credential.id])  # whoever enables it again starts afresh
        if verdict.until is not None and self._inquiries is not None:
            threading.Thread(
                target=self._ask_reset_date, args=(credential,), name="quota", daemon=True
            ).start()

    def _ask_reset_date(self, credential: Credential) -> None:
        """A spent quota rests until upstream's own date, where it says one (S109)."""
        assert self._inquiries is not None  # noqa: S101 - the caller looked
        until = self._inquiries.reset_date(credential)
        if until is None or until <= self._clock():
            return

        def change(credentials: list[Credential]) -> None:
            for at, one in enumerate(credentials):
                if one.id == credential.id and one.disabled_reason == "QuotaExceeded":
                    credentials[at] = replace(one, disabled_until=until)

        try:
            self.store.edit(change)
        except (CredentialError, ConfigError) as error:
            log.warning("the reset date of credential #%d was not stored: %s", credential.id, error)

    def resolve_profile(self, credential: Credential) -> bool:
        """Ask Kiro for the account's profile; whether there is another one now (protocol 6.4)."""
        if self._inquiries is None or credential.auth_method == "api_key":
            return False
        now = time.monotonic()
        if now - self._sought_profile.get(credential.id, -PROFILE_EVERY_S) < PROFILE_EVERY_S:
            return False
        self._sought_profile[credential.id] = now
        arn = self._inquiries.profile(credential)
        stored = self.store.snapshot().get(credential.id)
        if not arn or stored is None or arn == credential.profile_arn:
            return False

        def change(credentials: list[Credential]) -> None:
            for at, one in enumerate(credentials):
                if one.id == credential.id:
                    credentials[at] = replace(one, profile_arn=arn)

        try:
            self.store.edit(change)
        except (CredentialError, ConfigError) as error:
            log.warning("the profile of credential #%d was not stored: %s", credential.id, error)
            return False
        return True

    def heal(self, group: str) -> bool:
        """Bring back those that were disabled for failures in a row, if no other is left (S115)."""
        now = self._clock()
        own = [one for one in self.roster().credentials if group in ("", group_of(one))]
        if not all(disabled_reason(one, now) for one in own):
            return False
        ids = {one.id for one in own if one.disabled_reason == "TooManyFailures"}
        if not ids or not self._runtime.claim(f"heal {group}", HEAL_EVERY_S):
            return False

        def change(credentials: list[Credential]) -> None:
            for at, one in enumerate(credentials):
                if one.id in ids and one.disabled_reason == "TooManyFailures":
                    credentials[at] = enabled(one)

        try:
            self.store.edit(change)
        except (CredentialError, ConfigError) as error:
            log.error("credentials %s could not be enabled again: %s", sorted(ids), error)
            return False
        self._runtime.forget(ids)
        log.warning("all credentials had failed: %s are enabled again", sorted(ids))
        return True

    def housekeep(self) -> None:
        """Renew ageing tokens of credentials in use; one worker of the host does it at a time."""
        if not self._runtime.claim("housekeeping", HOUSEKEEPING_S):
            return
        since = time.time() - RECENT_S
        used = {id_ for id_, one in self._runtime.tallies().items() if one.last_used > since}
        now = self._clock()
        self.renewals.refresh_ahead(
            one
            for one in self.roster().credentials
            if one.id in used and not disabled_reason(one, now)
        )

    # ---- health ----------------------------------------------------------------------------

    def status(self) -> PoolStatus:
        """How many credentials could serve a request now, and what stands in the way."""
        snapshot: Snapshot = self.store.snapshot()
        credentials = self.renewals.known(snapshot.credentials)
        now = self._clock()
        unwritable = self.store.why_unwritable()
        problems = [*snapshot.problems]
        if unwritable:
            problems.append(f"refreshed tokens cannot be stored: {unwritable}")
        if not credentials and not problems:
            problems.append("no credential is configured")
        usable = Counter({DEFAULT_GROUP: 0})
        for one in credentials:
            off = disabled_reason(one, now)
            reason = off or self.renewals.hindrance(one, now, unwritable)
            expired = freshness(one, now) is Freshness.EXPIRED
            usable[group_of(one)] += not off and not (reason and expired)
            if reason:
                problems.append(f"#{one.id} {reason}")
        if self._runtime.faults:
            problems.append(f"the runtime database failed {self._runtime.faults} times")
        return PoolStatus(
            len(credentials), usable.total(), unwritable is None, tuple(problems), dict(usable)
        )


def enabled(credential: Credential) -> Credential:
    """The credential, switched on."""
    return replace(credential, disabled=False, disabled_reason=None, disabled_until=None)


def _is_free(subscription: str | None) -> bool:
    """Whether a plan lacks Opus (protocol 6.1)."""
    return "FREE" in (subscription or "").upper()


class _Known(msgspec.Struct):
    """What a pool keeps between requests."""

    roster: Roster | None = None
    key: object = None
    capabilities: Capabilities = msgspec.field(default_factory=Capabilities)
    group_priority: frozenset[tuple[str, int]] = frozenset()
    groups: int = 0
    looked_at: float = -CAPABILITIES_AGE_S


class _Judge:
    """Judges an outcome when the credential's state is known; keeps the verdict."""

    def __init__(self, outcome: BaseException | None, now: datetime, cooldown_s: float) -> None:
        self.verdict = Verdict()
        self._outcome = outcome
        self._now = now
        self._cooldown_s = cooldown_s
        self._chance = random.random()  # noqa: S311 - jitter is no secret

    def __call__(self, state: State) -> Note:
        self.verdict = judge(
            self._outcome, self._now, state, cooldown_s=self._cooldown_s, chance=self._chance
        )
        return self.verdict.note
