"""Arithmetic of credits: exact under any order of requests and any step of the clock."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.ledger.budgets import (
    HORIZON,
    NANO,
    Account,
    Budgets,
    Purse,
    Standing,
    burn_per_day,
    day_end,
    day_of,
    kept_periods,
    month_after,
    month_end,
    month_of,
    month_start,
    outlook,
    stand,
    to_nano,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
times = st.integers(1704067200 * 10**6, 1830297600 * 10**6).map(
    lambda us: datetime.fromtimestamp(us // 10**6, UTC) + timedelta(microseconds=us % 10**6)
)
"""From 2024 to 2027."""
credits = st.decimals(0, 100, places=6)


# ---- periods -------------------------------------------------------------------------------


@given(times)
def test_periods(now: datetime) -> None:
    assert day_of(now) == day_of(day_end(now) - timedelta(microseconds=1)) != day_of(day_end(now))
    last = month_end(now) - timedelta(microseconds=1)
    assert month_of(now) == month_of(last) != month_of(month_end(now))
    assert month_of(month_start(now)) == month_of(now)
    assert month_of(month_start(now) - timedelta(microseconds=1)) != month_of(now)
    assert {day_of(now), month_of(now), day_of(now - DAY), day_of(now + DAY)} <= {
        *kept_periods(now)
    }


def test_periods_are_utc() -> None:
    there = timezone(timedelta(hours=9))
    assert day_of(datetime(2026, 12, 1, 8, tzinfo=there)) == "2026-11-30"
    assert month_of(datetime(2026, 12, 1, 8, tzinfo=there)) == "2026-11"
    assert month_end(datetime(2026, 12, 31, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)


# ---- spending ------------------------------------------------------------------------------


@given(st.lists(st.tuples(credits, times)), times)
def test_what_is_spent_is_exact_whatever_the_clock_does(
    spent: list[tuple[Decimal, datetime]], now: datetime
) -> None:
    """Times in any order: a clock that is set back counts on where it had been."""
    purse, budgets = Purse(), Budgets(day_hard=1, month_hard=1)
    for amount, at in spent:
        purse.spend(float(amount), at)
    month, day = purse.stand(budgets, now)
    assert Decimal(str(day.spent)) == sum(a for a, at in spent if day_of(at) == day_of(now))
    assert Decimal(str(month.spent)) == sum(a for a, at in spent if month_of(at) == month_of(now))
    assert day.spent <= month.spent


@given(
    st.lists(st.tuples(credits, st.floats(-3 * 86400, 3 * 86400)), max_size=40),
    credits.filter(bool),
    credits.filter(bool),
)
def test_a_hard_budget_is_exceeded_by_one_request_at_most(
    wanted: list[tuple[Decimal, float]], day: Decimal, month: Decimal
) -> None:
    """One after the other; in flight at once, it is by those in flight."""
    purse, now = Purse(), NOW
    budgets = Budgets(day_hard=float(day), month_hard=float(month))
    largest = max((amount for amount, _ in wanted), default=Decimal(0))
    for amount, step in wanted:
        now += timedelta(seconds=step)
        standings = purse.stand(budgets, now)
        if not any(one.is_spent for one in standings):
            purse.spend(float(amount), now)
        for one in purse.stand(budgets, now):
            assert one.spent < one.hard + float(largest) + 1e-9
            assert now < one.resets_at


@given(times)
def test_it_goes_on_at_the_reset_and_not_before(now: datetime) -> None:
    purse, budgets = Purse(), Budgets(day_hard=1)
    purse.spend(1, now)
    (day,) = purse.stand(budgets, now)
    assert day.is_spent
    before = day.resets_at - timedelta(microseconds=1)
    assert [one.is_spent for one in purse.stand(budgets, before)] == [True]
    assert [one.is_spent for one in purse.stand(budgets, day.resets_at)] == [False]


def test_soft_and_hard() -> None:
    assert stand(Budgets(), 9, 9, NOW) == []
    (month,) = stand(Budgets(month_soft=5), 1, 6, NOW)
    assert month == Standing("month", 6, 5, 0, datetime(2026, 12, 1, tzinfo=UTC))
    assert (month.is_warned, month.is_spent, month.limit) == (True, False, 5)
    month, day = stand(Budgets(1, 2, 3, 4), 2, 2, NOW)
    assert (month.is_warned, month.is_spent) == (False, False)
    assert (day.is_warned, day.is_spent, day.limit) == (True, True, 2)


@pytest.mark.parametrize(
    ("credits", "nano"),
    [(0.1, NANO // 10), (0, 0), (-1, 0), (float("nan"), 0), (float("inf"), 0), (1e-10, 0)],
)
def test_billionths(credits: float, nano: int) -> None:
    assert to_nano(credits) == nano


# ---- forecast ------------------------------------------------------------------------------


def test_burn() -> None:
    assert burn_per_day(10, 5 * 86400) == 2
    assert burn_per_day(1, 1) == 24, "an hour at least"
    assert burn_per_day(-1, 86400) == 0


def test_each_credential_and_the_pool() -> None:
    reset = NOW + 10 * DAY
    result = outlook(
        [
            Account(1, left=50, quota=1000, resets_at=reset, per_day=10),
            Account(2, left=500, quota=1000, resets_at=reset, per_day=10),
            Account(3, left=0),
        ],
        NOW,
    )
    assert result.credentials[1].dry_at == NOW + 5 * DAY
    assert result.credentials[2].dry_at is None, "renewed before"
    assert result.credentials[3].dry_at == NOW
    assert (result.pool.left, result.pool.per_day, result.pool.dry_at) == (550, 20, None)


def test_a_pool_that_burns_more_than_it_gets() -> None:
    """1000 now, 1000 more each month, 50 a day: 10 days to the reset leave 500, plus 1000."""
    account = Account(1, left=1000, quota=1000, resets_at=NOW + 10 * DAY, per_day=50)
    assert outlook([account], NOW).pool.dry_at == NOW + 30 * DAY, "a reset brings no more than that"
    forever = Account(1, left=1000, quota=1000, resets_at=NOW + 10 * DAY, per_day=1)
    assert outlook([forever], NOW).pool.dry_at is None


def test_nothing_at_all() -> None:
    assert outlook([], NOW).pool.dry_at == NOW
    assert outlook([Account(1, 10)], NOW).pool.dry_at is None


def credits_up_to(most: float) -> st.SearchStrategy[float]:
    """Kiro's have nine decimals at most."""
    return st.floats(0, most).map(lambda one: round(one, 9))


accounts = st.lists(
    st.builds(
        Account,
        id=st.integers(1, 99),
        left=credits_up_to(1e4),
        quota=credits_up_to(1e4),
        resets_at=st.none() | st.integers(-99, 999).map(lambda h: NOW + h * HOUR),
        per_day=credits_up_to(1e3),
    ),
    max_size=6,
)


def walk(pool: list[Account]) -> datetime | None:
    """The same, hour by hour and without cleverness."""
    left, resets = [one.left for one in pool], [one.resets_at for one in pool]
    per_hour, at = sum(one.per_day for one in pool) / 24, NOW
    while at <= NOW + HORIZON:
        total = sum(left)
        if total <= 0:
            return at
        left = [one * max(1 - per_hour / total, 0) for one in left]
        at += HOUR
        for n, one in enumerate(pool):
            reset = resets[n]
            if reset is not None and NOW < reset <= at and one.quota > 0 and sum(left) > 0:
                left[n] = one.quota
                resets[n] = month_after(reset)
    return None


@given(accounts)
def test_the_pools_forecast_agrees_with_a_walk(pool: list[Account]) -> None:
    """Somewhat more burn runs dry no later, somewhat less no sooner: edges may fall either way."""

    def dry_at(factor: float) -> datetime:
        burning = [replace(one, per_day=one.per_day * factor) for one in pool]
        return outlook(burning, NOW).pool.dry_at or NOW + 2 * HORIZON

    walked = walk(pool) or NOW + 2 * HORIZON
    assert walked >= dry_at(1.02) - 2 * HOUR
    if dry_at(0.98) < NOW + HORIZON - 2 * HOUR:
        assert walked <= dry_at(0.98) + 2 * HOUR


@given(accounts, st.floats(1, 1e4))
def test_more_credits_last_no_shorter(pool: list[Account], more: float) -> None:
    less = outlook(pool, NOW).pool.dry_at
    longer = outlook([*pool, Account(100, more)], NOW).pool.dry_at
    assert longer is None or (less is not None and less <= longer)


@pytest.mark.parametrize(
    ("at", "after"),
    [((2026, 1, 31), (2026, 2, 28)), ((2026, 12, 5), (2027, 1, 5)), ((2028, 1, 30), (2028, 2, 29))],
)
def test_the_same_day_of_the_next_month(
    at: tuple[int, int, int], after: tuple[int, int, int]
) -> None:
    assert month_after(datetime(*at, tzinfo=UTC)) == datetime(*after, tzinfo=UTC)
