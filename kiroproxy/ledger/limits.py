"""Limits of client keys: one entrance per request, passed along with the first lease.

What all workers count lies in `runtime.db` (`kiroproxy.gate`): requests of the last minute and
requests at once are exact; output tokens and credits are counted when a request ends, so that the
streams in flight may exceed a limit. A broken `runtime.db` lets everyone pass.

A request: `entrance = limits.entrance(key, group)`; give it to the borrower as its `turnstile`, or
call `enter()` where nothing is leased; at the end, on every path, `leave(…)`, close the stream
(whose transaction carries it), `settle()`.
"""

import functools
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from kiroproxy.errors import LimitExceeded
from kiroproxy.gate import REQUESTS, STREAMS, Counter, Gate, Passage
from kiroproxy.ledger.budgets import (
    NANO,
    NO_BUDGETS,
    Budgets,
    Standing,
    day_end,
    day_of,
    kept_periods,
    month_start,
    stand,
    to_nano,
)
from kiroproxy.ledger.keys import NO_LIMITS, ClientKey
from kiroproxy.runtime import Runtime

log = logging.getLogger(__name__)

STREAM_RETRY_S: Final = 1.0
Totals = Callable[[datetime, datetime], Mapping[Counter, int]]
"""What the ledger knows of counters: those that `names` makes, from a time up to another."""


def tokens_counter(key_id: str, now: datetime) -> Counter:
    """Output tokens of a key, today."""
    return f"tokens key {key_id}", day_of(now)


def credit_counters(scope: str, name: str, now: datetime) -> tuple[Counter, Counter]:
    """Credits of a key or a group, of this month and today."""
    return _credit_counters(scope, name, now.astimezone(UTC).date())


@functools.lru_cache(maxsize=4096)
def _credit_counters(scope: str, name: str, day: date) -> tuple[Counter, Counter]:
    counter = f"credits {scope} {name}"
    return (counter, f"{day:%Y-%m}"), (counter, f"{day:%Y-%m-%d}")


@dataclass(frozen=True, slots=True)
class Quota:
    """A limit as headers tell it; `reset_s` until all of it may be used again."""

    limit: int
    remaining: int
    reset_s: float


class Limits:
    """The limits of all keys on this host. `clock` gives the time of day in UTC."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        group_budgets: Callable[[str], Budgets] = lambda group: NO_BUDGETS,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.runtime = runtime
        self.group_budgets = group_budgets
        self.clock = clock
        self._began: float | None = None
        self._caught_up = False

    def entrance(self, key: ClientKey | None, group: str) -> "Entrance":
        """For one request; without a key (the root key's) only the group's budgets hold."""
        self.begin()
        return Entrance(self, key, group)

    def begin(self) -> None:
        """Note when counting began: before the first request of the first worker."""
        if self._began is None:
            self._began, self._caught_up = self.runtime.begin_counting(self.clock().timestamp())

    def catch_up(self, totals: Totals) -> None:
        """Once after the master's start, add what the ledger knows of this day and month.

        Raises:
            DatabaseError: it is worth trying again later.
        """
        self.begin()
        if self._caught_up or self._began is None:
            return
        began = datetime.fromtimestamp(self._began, UTC)
        now = self.clock()
        earlier = totals(month_start(began), began)
        kept = kept_periods(now)
        self.runtime.add_earlier(
            {one: amount for one, amount in earlier.items() if one[1] in kept}, kept
        )
        self._caught_up = True

    def tidy(self) -> None:
        """Forget counters of days and months that are long over; once in a while."""
        self.runtime.write_counts()
        self.runtime.drop_counters(kept_periods(self.clock()))

    def standings(self, key: ClientKey | None, group: str) -> dict[str, list[Standing]]:
        """How the budgets of a key and of a group stand, by `key` and `group`."""
        now = self.clock()
        scopes = _scopes(key, group)
        counters = [one for pair in scopes for one in credit_counters(*pair, now)]
        amounts = self.runtime.counters(counters)
        return {
            scope: _stand(_budgets(self, key, group)[scope], scope, name, amounts, now)
            for scope, name in scopes
        }

    def load(self, key_id: str) -> tuple[int, int]:
        """Requests of the last minute and requests at once of a key that is limited in them."""
        return self.runtime.gate_load(key_id)

    def output_tokens_today(self, key_id: str) -> int:
        """What a key has used of its output tokens."""
        counter = tokens_counter(key_id, self.clock())
        return self.runtime.counters([counter]).get(counter, 0)


def _scopes(key: ClientKey | None, group: str) -> list[tuple[str, str]]:
    return [*([("key", key.id)] if key is not None else []), ("group", group)]


def _budgets(limits: Limits, key: ClientKey | None, group: str) -> dict[str, Budgets]:
    own = key.budgets if key is not None else NO_BUDGETS
    return {"key": own, "group": limits.group_budgets(group)}


def _stand(
    budgets: Budgets, scope: str, name: str, amounts: Mapping[Counter, int], now: datetime
) -> list[Standing]:
    month, day = (amounts.get(one, 0) / NANO for one in credit_counters(scope, name, now))
    return stand(budgets, day, month, now)


class Entrance:
    """One request's way through its key's limits. A `Turnstile` of the pool's borrower."""

    def __init__(self, limits: Limits, key: ClientKey | None, group: str) -> None:
        self.passage: Passage | None = None
        """What the limits stood at; None if there are none, or they could not be read."""
        self._limits = limits
        self._key = key
        self._group = group
        self._passed = False
        self._left = False
        self._now = limits.clock()
        self._budgets = _budgets(limits, key, group)
        self._is_free = (key is None or key.limits == NO_LIMITS) and all(
            one == NO_BUDGETS for one in self._budgets.values()
        )
        """Nothing is limited: what is used decides about no request."""

    def next_gate(self) -> Gate | None:
        """What to pass; None if nothing is limited, or it was passed."""
        if self._passed or self._left:
            return None
        gate = self._gate()
        self._passed = gate is None
        return gate

    def _gate(self) -> Gate | None:
        if self._is_free:
            return None
        limits = self._key.limits if self._key is not None else NO_LIMITS
        ceilings: dict[Counter, int] = {}
        watched: list[Counter] = []
        for scope, name in _scopes(self._key, self._group):
            budgets = self._budgets[scope]
            hard = (budgets.month_hard, budgets.day_hard)
            soft = (budgets.month_soft, budgets.day_soft)
            counters = credit_counters(scope, name, self._now)
            for counter, ceiling, warning in zip(counters, hard, soft, strict=True):
                if ceiling:
                    ceilings[counter] = to_nano(ceiling)
                elif warning:
                    watched.append(counter)
        if limits.output_tokens_per_day and self._key is not None:
            counter = tokens_counter(self._key.id, self._now)
            ceilings[counter] = limits.output_tokens_per_day
        if not (ceilings or watched or limits.requests_per_minute or limits.concurrent):
            return None
        return Gate(
            self._key.id if self._key is not None else "",
            limits.requests_per_minute,
            limits.concurrent,
            ceilings,
            tuple(watched),
        )

    def passed(self, passage: Passage | None) -> None:
        """Take note of what became of it; None means that the database did not say.

        Raises:
            LimitExceeded: it was refused, and nothing was taken.
        """
        self.passage = passage
        if passage is not None and passage.refused:
            self._left = True
            raise self._refusal(passage)
        self._passed = True

    def enter(self) -> None:
        """Pass without taking a credential.

        Raises:
            LimitExceeded: it was refused, and nothing was taken.
        """
        gate = self.next_gate()
        if gate is not None:
            self.passed(self._limits.runtime.enter(gate))

    def look(self) -> None:
        """Take note of what the limits stand at, for a request that does not come to its gate."""
        gate = self._gate() if self.passage is None and not self._passed else None
        if gate is not None:
            self.passage = self._limits.runtime.look_at(gate)

    def leave(self, output_tokens: int = 0, credits: float = 0.0) -> None:
        """The request is over, with what it has used; later calls do nothing.

        It is written along with the next transaction on `runtime.db`, which is the lease's return;
        a fraction of a second later if no limit depends on it.
        """
        if self._left:
            return
        self._left = True
        now = self._limits.clock()
        counts: dict[Counter, int] = {}
        nano = to_nano(credits)
        if self._key is not None and output_tokens > 0:
            counts[tokens_counter(self._key.id, now)] = output_tokens
        if nano:
            for scope, name in _scopes(self._key, self._group):
                counts.update(dict.fromkeys(credit_counters(scope, name, now), nano))
        slot = self.passage.slot if self.passage else 0
        self._limits.runtime.leave(slot, counts, hurried=not self._is_free)

    def settle(self) -> None:
        """Write it now, unless it is written."""
        self._limits.runtime.settle()

    # ---- what it is told -------------------------------------------------------------------

    def warnings(self) -> list[str]:
        """Soft budgets that are exceeded, in words for a header."""
        if self.passage is None:
            return []
        return [
            f"{title} has spent {one.spent:.2f} of {one.limit:g} credits this {one.kind}"
            for scope, title in self._titles()
            for one in self._standings(scope)
            if one.is_warned
        ]

    def requests(self) -> Quota | None:
        """Requests a minute, if they are limited."""
        limit = self._key.limits.requests_per_minute if self._key is not None else 0
        if not limit or self.passage is None:
            return None
        remaining = max(limit - self.passage.requests, 0)
        return Quota(limit, remaining, self.passage.full_s)

    def streams(self) -> Quota | None:
        """Requests at once, if they are limited."""
        limit = self._key.limits.concurrent if self._key is not None else 0
        if not limit or self.passage is None:
            return None
        return Quota(limit, max(limit - self.passage.streams, 0), 0.0)

    def output_tokens(self) -> Quota | None:
        """Output tokens of today, if they are limited; as at the request's beginning."""
        limit = self._key.limits.output_tokens_per_day if self._key is not None else 0
        if not limit or self.passage is None or self._key is None:
            return None
        used = self.passage.amounts.get(tokens_counter(self._key.id, self._now), 0)
        reset_s = (day_end(self._now) - self._now).total_seconds()
        return Quota(limit, max(limit - used, 0), reset_s)

    def _titles(self) -> list[tuple[str, str]]:
        own = [("key", f"client key {self._key.title}")] if self._key is not None else []
        return [*own, ("group", f"group {self._group}")]

    def _standings(self, scope: str) -> list[Standing]:
        name = self._key.id if scope == "key" and self._key is not None else self._group
        amounts = self.passage.amounts if self.passage is not None else {}
        return _stand(self._budgets[scope], scope, name, amounts, self._now)

    def _refusal(self, passage: Passage) -> LimitExceeded:
        title = f"Client key {self._key.title}" if self._key is not None else "This proxy"
        limits = self._key.limits if self._key is not None else NO_LIMITS
        if passage.refused == REQUESTS:
            many = limits.requests_per_minute
            return LimitExceeded(
                f"{title} is limited to {many} requests a minute.", retry_after_s=passage.room_s
            )
        if passage.refused == STREAMS:
            return LimitExceeded(
                f"{title} is limited to {limits.concurrent} requests at once.",
                retry_after_s=STREAM_RETRY_S,
            )
        for scope, whose in self._titles():
            for one in self._standings(scope):
                if one.is_spent:
                    return LimitExceeded(
                        f"{whose[0].upper()}{whose[1:]} has spent its {one.hard:g} credits of this "
                        f"{one.kind}; it goes on at {one.resets_at:%Y-%m-%d %H:%M} UTC.",
                        retry_after_s=(one.resets_at - self._now).total_seconds(),
                    )
        resets_at = day_end(self._now)
        return LimitExceeded(
            f"{title} is limited to {limits.output_tokens_per_day} output tokens a day; it goes on "
            f"at {resets_at:%Y-%m-%d %H:%M} UTC.",
            retry_after_s=(resets_at - self._now).total_seconds(),
        )


# ---- headers -------------------------------------------------------------------------------


def anthropic_headers(entrance: Entrance, now: datetime) -> dict[str, str]:
    """The limits as the Anthropic API tells them."""
    headers = {}
    for name, quota in (
        ("requests", entrance.requests()),
        ("output-tokens", entrance.output_tokens()),
    ):
        if quota is not None:
            prefix = f"anthropic-ratelimit-{name}"
            reset = now.astimezone(UTC) + timedelta(seconds=math.ceil(quota.reset_s))
            headers[f"{prefix}-limit"] = str(quota.limit)
            headers[f"{prefix}-remaining"] = str(quota.remaining)
            headers[f"{prefix}-reset"] = f"{reset:%Y-%m-%dT%H:%M:%SZ}"
    return headers


def openai_headers(entrance: Entrance) -> dict[str, str]:
    """The limits as the OpenAI API tells them."""
    headers = {}
    for name, quota in (("requests", entrance.requests()), ("tokens", entrance.output_tokens())):
        if quota is not None:
            headers[f"x-ratelimit-limit-{name}"] = str(quota.limit)
            headers[f"x-ratelimit-remaining-{name}"] = str(quota.remaining)
            headers[f"x-ratelimit-reset-{name}"] = duration(quota.reset_s)
    return headers


def duration(seconds: float) -> str:
    """As OpenAI writes it: 1h2m3s."""
    minutes, rest = divmod(math.ceil(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"
    )
