"""One request's dealings with the pool: leases, waiting in order, and what it is told otherwise.

Source: design 5, "Choosing a credential"; S106 to S116.
"""

import threading
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from msgspec.structs import replace

from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.policy import (
    DEFAULT_GROUP,
    FAULTY,
    THROTTLED,
    Choice,
    Ranking,
    Roster,
    Skip,
    View,
    choose,
    group_of,
)
from kiroproxy.credentials.trace import Attempt, Trace
from kiroproxy.errors import (
    CredentialError,
    Exhausted,
    KiroProxyError,
    NoCapacity,
    NoCredential,
)
from kiroproxy.gate import Gate, Passage
from kiroproxy.runtime import Admission, Decision, Demand, Rate, Shared, Ticket

if TYPE_CHECKING:
    from kiroproxy.credentials.pool import Pool

SHORT_REST_S: Final = 2.0
"""A request waits for a credential that rests no longer than this, rather than be refused."""
LONGEST_RETRY_S: Final = 120.0
RENEWING_S: Final = 30.0
"""So long a request goes on to renew one token after the other: an auth server that hangs takes its
time for each of them."""
RETRY_COST: Final = 10.0
"""Of 500 per credential: half a retry for each request of a storm, whatever its size."""
TOLD: Final = 6
"""So many credentials an error message names."""
REST_ERRORS: Final[Mapping[str, type[NoCredential]]] = {
    FAULTY: NoCapacity,
    THROTTLED: Exhausted,
    "limited by Kiro": Exhausted,
    "daily limit": Exhausted,
}


class Limits(msgspec.Struct, frozen=True):
    """How many requests a group can serve at once, how many more now, and when more can."""

    places: int
    free: int
    reset_s: float


class Turnstile(Protocol):
    """A client key's limits, which a request passes when it is first admitted."""

    def next_gate(self) -> Gate | None:
        """What to pass; None if there is nothing, or it was passed."""

    def passed(self, passage: Passage | None) -> None:
        """Take note of what became of it; raises if it was refused."""


class Lease:
    """The right to make one call with `credential`, whose `bearer` is usable; release it once."""

    def __init__(self, borrower: "Borrower", credential: Credential, ticket: Ticket) -> None:
        self.credential = credential
        self._borrower = borrower
        self._ticket: Ticket | None = ticket
        self._attempt = borrower._begin(credential, ticket)

    def release(self, outcome: BaseException | None = None) -> None:
        """Give it back with what the call came to; later calls do nothing."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            try:
                self._borrower._end(self._attempt, outcome)
            finally:  # a client that leaves may end us anywhere
                self._borrower._returned(self.credential, ticket, outcome)


class Borrower:
    """One request's dealings with the pool."""

    def __init__(self, pool: "Pool", group: str, session: str, resumes: bool, trace: Trace) -> None:
        self.trace = trace
        self.group = group
        self._pool = pool
        self.turnstile: Turnstile | None = None
        """To be passed along with the first lease."""
        self.client = ""
        """Id of the client key: keys share alike what is scarce."""
        self._session = f"{group} {session}" if session else ""
        self._resumes = resumes
        self._model = ""
        self._latest: Ticket | None = None
        self._seen: tuple[Shared, Ranking] | None = None
        trace.group = group
        trace.session = session

    def lease(self, model: str, exclude: Collection[int] = (), only: int | None = None) -> Lease:
        """A credential with a usable bearer; waits for a place among its concurrent calls.

        With `exclude` or `only` it is another attempt of the same request.

        Raises:
            NoCredential: none is usable now; says why, and when one may be.
        """
        self._model = model
        self.trace.model = model or self.trace.model
        search = _Search(self, self._pool, model, exclude, only)
        try:
            credential, ticket = search.run()
        except NoCredential as error:
            self.trace.skipped(search.skips)
            self.trace.error = str(error)
            self._keep_trace()
            raise
        try:
            self.trace.skipped(search.skips)
            return Lease(self, credential, ticket)
        except BaseException:  # a client that leaves may end us anywhere
            self._pool._runtime.give_back(ticket, None)
            raise

    def force_refresh(self, credential: Credential, rejected_access_token: str) -> Credential:
        """Another access token than the one that upstream refused."""
        return self._pool.force_refresh(credential, rejected_access_token)

    def resolve_profile(self, credential: Credential) -> bool:
        """Ask Kiro for the account's profile; whether there is another one now."""
        return self._pool.resolve_profile(credential)

    def answered(self) -> None:
        """The answer has started: the credential works, whatever it rested for."""
        if self._latest is not None:
            self._pool._runtime.proved(self._latest)

    def limits(self, *, afresh: bool = False) -> Limits | None:
        """What the pool's state was when this request was admitted or refused, or is now."""
        if self._seen is None:
            return None
        shared, ranking = self._seen
        if afresh:
            shared = self._pool._runtime.look()
        taken = sum(
            min(count, ranking.by_id[id_].places)
            for id_, count in shared.in_flight.items()
            if id_ in ranking.by_id
        )
        resting = [
            (state.cooling_until - shared.now, ranking.by_id[id_].places)
            for id_, state in shared.states.items()
            if id_ in ranking.by_id and state.cooling_until > shared.now
        ]
        free = max(ranking.places - taken - sum(places for _, places in resting), 0)
        return Limits(ranking.places, free, min((rest for rest, _ in resting), default=0.0))

    def _begin(self, credential: Credential, ticket: Ticket) -> Attempt:
        self._latest = ticket
        attempt = Attempt(
            credential.id,
            credential.label or credential.name or "",
            self.trace.elapsed_s(),
            probe=ticket.cooling,
        )
        self.trace.attempts.append(attempt)
        self._keep_trace()
        return attempt

    def _end(self, attempt: Attempt, outcome: BaseException | None) -> None:
        attempt.ended_s = self.trace.elapsed_s()
        attempt.outcome = "ok"
        if outcome is not None:
            ours = isinstance(outcome, KiroProxyError)
            attempt.outcome = type(outcome).__name__ if ours else "undecided"
            attempt.message = str(outcome)
        if self.trace.id:  # a client's
            self._pool.counts.attempt(attempt.outcome)
        self._keep_trace()

    def _keep_trace(self) -> None:
        if self.trace.id:
            self._pool.traces.keep(self.trace)

    def _returned(
        self, credential: Credential, ticket: Ticket, outcome: BaseException | None
    ) -> None:
        pool = self._pool
        if outcome is not None and not isinstance(outcome, KiroProxyError):
            pool._runtime.give_back(ticket, None)
        else:
            judging = pool._judge(credential, outcome)
            pool._runtime.give_back(ticket, judging)
            if judging.verdict.note.cooldown_s > 0:
                pool.counts.cooldown(judging.verdict.note.why)
            pool._learn(credential, judging.verdict, self._model)
        pool._lanes.wake()


class _Search:
    """The search for one attempt's credential: tries, waits, tries again."""

    def __init__(
        self,
        borrower: Borrower,
        pool: "Pool",
        model: str,
        exclude: Collection[int],
        only: int | None,
    ) -> None:
        self.skips: tuple[Skip, ...] = ()
        self._borrower = borrower
        self._pool = pool
        self._runtime = pool._runtime
        self._model = model
        self._exclude = frozenset(exclude)
        self._only = only
        self._first = only is None and not exclude
        self._unready: dict[int, str] = {}
        self._choice = Choice(None, ())
        self._shared = Shared()
        self._roster: Roster | None = None
        self._began = time.monotonic()
        self._demand = self._make_demand()

    def _make_demand(self) -> Demand:
        rate = None
        group = self._borrower.group
        session = self._borrower._session
        if not self._first or not group:
            return Demand(session, client=self._borrower.client)
        settings = self._pool.group_settings(group)
        if settings.rate_limit_qps > 0:
            rate = Rate(group, settings.rate_limit_qps, settings.rate_limit_burst)
        lane = f"{group} opus" if "opus" in self._model else group
        until = self._runtime.now() + self._pool._queue_wait_s
        return Demand(session, lane, 0, until, rate, client=self._borrower.client)

    def run(self) -> tuple[Credential, Ticket]:
        """Until there is a credential, or none to be had in time."""
        place: threading.Event | None = None
        lanes, lane = self._pool._lanes, self._demand.lane or "again"
        lane = f"{lane}\n{self._demand.client}"  # each key's first one asks whose turn it is
        healed = False
        try:
            while True:
                found = self._try()
                if found is not None:
                    return found
                left_s = self._began + self._pool._queue_wait_s - time.monotonic()
                rest_s = self._choice.rest_s
                if self._choice.wait and left_s > 0 and not self._queue_is_full():
                    place = place or lanes.join(lane)
                    lanes.wait(lane, place, left_s)
                elif rest_s is not None and self._first and rest_s <= min(SHORT_REST_S, left_s):
                    time.sleep(rest_s + 0.001)
                elif self._first and not healed and self._pool.heal(self._borrower.group):
                    healed = True
                else:
                    raise self._none_usable()
        finally:
            self._borrower.trace.waited_s += time.monotonic() - self._began
            if place is not None:
                lanes.leave(lane, place)
            if self._demand.waiter:
                self._runtime.leave_queue(self._demand.waiter)

    def _queue_is_full(self) -> bool:
        limit, waiting = self._pool._queue_limit, self._shared.waiting
        return self._first and not self._demand.waiter and 0 < limit <= waiting

    def _try(self) -> tuple[Credential, Ticket] | None:
        """One look; a credential that proves not to be ready is given back and left out."""
        while True:
            admission = self._admit()
            self._demand = replace(self._demand, waiter=admission.waiter)
            ticket = admission.ticket
            if ticket is None:
                return None
            chosen = self._choice.credential
            assert chosen is not None  # noqa: S101 - there is a ticket for it
            try:
                ready = self._pool.renewals.ready(chosen)
            except CredentialError as error:
                self._runtime.give_back(ticket, None)
                self._unready[chosen.id] = str(error)
                if time.monotonic() - self._began >= RENEWING_S:
                    raise self._not_renewed(error) from error
                continue
            except BaseException:
                self._runtime.give_back(ticket, None)
                raise
            self._pool._used[chosen.id] = time.time()
            return ready, ticket

    def _admit(self) -> Admission:
        roster = self._roster = self._pool.roster()
        ranking = roster.ranking(self._model, self._borrower.group)
        unready = self._pool.renewals.unready(ranking.credential) | self._unready
        cost = 0.0 if self._first else RETRY_COST
        session = self._borrower._session if self._borrower._resumes else ""

        def decide(shared: Shared) -> Decision:
            view = View(roster, shared, unready, self._pool._used, cost)
            choice = self._choice = choose(
                view,
                self._model,
                self._borrower.group,
                session,
                shared.now,
                exclude=self._exclude,
                only=self._only,
            )
            self._shared = shared
            if choice.credential is None:
                return Decision(wait=choice.wait and not self._queue_is_full())
            return Decision(choice.credential.id, pin=choice.pin, probe=choice.probe, cost=cost)

        turnstile = self._borrower.turnstile
        gate = turnstile.next_gate() if turnstile is not None else None
        admission = self._runtime.admit(decide, replace(self._demand, gate=gate))
        if gate is not None and turnstile is not None:
            self._passed(turnstile, admission)
        self._borrower._seen = admission.shared, ranking
        self.skips = self._choice.skips
        return admission

    def _passed(self, turnstile: Turnstile, admission: Admission) -> None:
        try:
            turnstile.passed(admission.passage)
        except BaseException:
            if admission.ticket is not None:
                self._runtime.give_back(admission.ticket, None)
            raise

    def _queue_s(self) -> float:
        """When those who wait now will have had their turn, as requests have taken of late."""
        tallies = self._pool.activity()[0].values()
        requests = sum(one.requests for one in tallies)
        each_s = sum(one.seconds for one in tallies) / requests if requests else 1.0
        seen = self._borrower._seen
        places = max(seen[1].places if seen is not None else 1, 1)
        return min(max(each_s * (self._shared.waiting + 1) / places, 1.0), LONGEST_RETRY_S)

    def _not_renewed(self, last: CredentialError) -> NoCredential:
        many = len(self._unready)
        return NoCredential(
            f"the tokens of {many} Kiro credentials could not be renewed: {last}",
            retry_after_s=SHORT_REST_S,
        )

    def _none_usable(self) -> NoCredential:
        """The error that says why, and when it is worth asking again (S116)."""
        choice, group = self._choice, self._borrower.group
        name = f" of group {group}" if group and group != DEFAULT_GROUP else ""
        told = "; ".join(f"#{one.id} {one.reason}" for one in choice.skips[:TOLD])
        if len(choice.skips) > TOLD:
            told += f"; and {len(choice.skips) - TOLD} more"
        if choice.wait:
            full = "; the queue is full" if self._queue_is_full() else ""
            message = f"all Kiro credentials{name} are busy{full}"
            return Exhausted(message, retry_after_s=self._queue_s())
        assert self._roster is not None  # noqa: S101 - it was looked at
        own = [one for one in self._roster.credentials if group in ("", group_of(one))]
        if not own:
            return NoCredential(
                f"group {group} has no credential"
                if name and self._roster.credentials
                else "no Kiro credential is configured"
            )
        message = f"no Kiro credential{name} is usable: {told}"
        if choice.rest_s is not None:
            kind = REST_ERRORS.get(choice.why, NoCredential)
            return kind(message, retry_after_s=choice.rest_s)
        now = self._pool._clock()
        spent = [one.disabled_until for one in own if one.disabled and one.disabled_until]
        ends = [(until - now).total_seconds() for until in spent if until > now]
        if ends and len(ends) == len(own):
            return Exhausted(message, retry_after_s=min(ends))
        return NoCredential(message, retry_after_s=self._pool.renewals.soonest_s())
