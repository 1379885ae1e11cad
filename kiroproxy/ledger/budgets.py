"""Budgets in credits, and when the pool runs dry. Pure arithmetic: `now` is an argument.

Days and months are UTC's. What is spent is counted by the period's name, so that no step of the
clock loses or doubles it: a clock that goes back counts on in the period before.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

DAY_S: Final = 86400.0
HORIZON: Final = timedelta(days=92)
"""Nobody forecasts further than a quarter."""
NANO: Final = 10**9
"""Credits are counted in billionths: whole numbers add up exactly in any order."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """Credits a key or a group may spend by day and month (UTC); 0 is no limit.

    Beyond a soft one there is a warning, at a hard one nothing goes until the reset.
    """

    day_soft: float = 0.0
    day_hard: float = 0.0
    month_soft: float = 0.0
    month_hard: float = 0.0


NO_BUDGETS: Final = Budgets()


@dataclass(frozen=True, slots=True)
class Standing:
    """How a budget stands: what is spent of it, and what follows.

    `kind` is `day` or `month`; `limit` is the hard one, or the soft one where there is no other.
    """

    kind: str
    spent: float
    soft: float
    hard: float
    resets_at: datetime

    @property
    def is_spent(self) -> bool:
        """Whether nothing goes any more."""
        return bool(self.hard) and self.spent >= self.hard

    @property
    def is_warned(self) -> bool:
        """Whether it is time for a warning."""
        return bool(self.soft) and self.spent >= self.soft

    @property
    def limit(self) -> float:
        """What it is measured by."""
        return self.hard or self.soft


# ---- periods -------------------------------------------------------------------------------


def day_of(now: datetime) -> str:
    """The name of a day, such as 2026-11-20."""
    return f"{now.astimezone(UTC):%Y-%m-%d}"


def month_of(now: datetime) -> str:
    """The name of a month, such as 2026-11."""
    return f"{now.astimezone(UTC):%Y-%m}"


def day_end(now: datetime) -> datetime:
    """When the next day begins."""
    return _midnight(now) + timedelta(days=1)


def month_start(now: datetime) -> datetime:
    """When this month began."""
    return _midnight(now).replace(day=1)


def month_end(now: datetime) -> datetime:
    """When the next month begins."""
    return (month_start(now) + timedelta(days=32)).replace(day=1)


def kept_periods(now: datetime) -> tuple[str, ...]:
    """Whose counts may still matter: also those before, should the clock be set back."""
    return (
        day_of(now),
        day_of(now - timedelta(days=1)),
        day_of(now + timedelta(days=1)),
        month_of(now),
        month_of(month_start(now) - timedelta(days=1)),
        month_of(month_end(now)),
    )


def _midnight(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


# ---- budgets -------------------------------------------------------------------------------


def to_nano(credits: float) -> int:
    """Credits in billionths; what is no number, or less than nothing, is nothing."""
    return max(round(credits * NANO), 0) if abs(credits) <= 1e9 else 0


def stand(budgets: Budgets, spent_day: float, spent_month: float, now: datetime) -> list[Standing]:
    """How the budgets that are set stand; the longer period first."""
    month = Standing("month", spent_month, budgets.month_soft, budgets.month_hard, month_end(now))
    day = Standing("day", spent_day, budgets.day_soft, budgets.day_hard, day_end(now))
    return [one for one in (month, day) if one.limit]


class Purse:
    """What was spent, by period: the same arithmetic as `runtime.db`'s, in memory."""

    def __init__(self) -> None:
        self._spent: dict[str, int] = {}

    def spend(self, credits: float, now: datetime) -> None:
        """Count it for its day and its month."""
        for period in (day_of(now), month_of(now)):
            self._spent[period] = self._spent.get(period, 0) + to_nano(credits)

    def stand(self, budgets: Budgets, now: datetime) -> list[Standing]:
        """How the budgets stand."""
        day, month = (self._spent.get(one, 0) / NANO for one in (day_of(now), month_of(now)))
        return stand(budgets, day, month, now)


# ---- forecast ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Account:
    """A credential's balance: credits left, what it has again after a reset, and its burn."""

    id: int
    left: float
    quota: float = 0.0
    resets_at: datetime | None = None
    per_day: float = 0.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """When credits run out at this rate; `dry_at` None means not before they are renewed."""

    left: float
    per_day: float
    dry_at: datetime | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """The forecasts of the credentials by id, and of the pool."""

    pool: Forecast
    credentials: Mapping[int, Forecast] = field(default_factory=dict)


def burn_per_day(spent: float, over_s: float) -> float:
    """Credits a day, from what was spent in a while; less than an hour says too little."""
    return max(spent, 0.0) / max(over_s, 3600.0) * DAY_S


def outlook(accounts: Sequence[Account], now: datetime) -> Outlook:
    """When each credential, and when the pool as a whole, runs dry.

    A credential is forecast by its own burn up to its reset. The pool burns the sum, spread over
    what is left, and gets each credential's quota back at its resets.
    """
    each = {one.id: _forecast_one(one, now) for one in accounts}
    left = sum(max(one.left, 0.0) for one in accounts)
    per_day = sum(max(one.per_day, 0.0) for one in accounts)
    return Outlook(Forecast(left, per_day, _pool_dry_at(accounts, per_day, now)), each)


def _forecast_one(account: Account, now: datetime) -> Forecast:
    left = max(account.left, 0.0)
    dry_at = _after(left, account.per_day, now)
    if dry_at is not None and account.resets_at is not None and account.resets_at <= dry_at:
        dry_at = None
    return Forecast(left, account.per_day, dry_at)


def _after(left: float, per_day: float, now: datetime) -> datetime | None:
    if left <= 0:
        return now
    if per_day <= 0 or left / per_day > HORIZON.days:
        return None
    return now + timedelta(days=left / per_day)


def _pool_dry_at(accounts: Iterable[Account], per_day: float, now: datetime) -> datetime | None:
    """Go from reset to reset. All balances shrink by one factor, which is kept apart from them."""
    shares = [max(one.left, 0.0) for one in accounts]
    resets = [
        (one.resets_at, n, one.quota)
        for n, one in enumerate(accounts)
        if one.resets_at is not None and one.resets_at > now and one.quota > 0
    ]
    heapq.heapify(resets)
    total, scale, at, end = sum(shares), 1.0, now, now + HORIZON
    while True:
        dry_at = _after(total, per_day, at)
        if not resets or resets[0][0] > end:
            return dry_at if dry_at is not None and dry_at <= end else None
        reset_at, n, quota = resets[0]
        if dry_at is not None and dry_at <= reset_at:
            return dry_at
        burnt = per_day * (reset_at - at).total_seconds() / DAY_S
        remaining = max(total - burnt, 0.0)
        scale = scale * remaining / total
        if scale < 1e-9:  # before precision is lost, the factor goes into the balances
            shares, scale = [one * scale for one in shares], 1.0
        total = remaining - shares[n] * scale + quota
        shares[n] = quota / scale
        at = reset_at
        heapq.heapreplace(resets, (month_after(reset_at), n, quota))


def month_after(at: datetime) -> datetime:
    """The same day of the next month, or its last one."""
    following = (at.replace(day=1) + timedelta(days=32)).replace(day=1)
    last = (following + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    return following.replace(day=min(at.day, last.day))
