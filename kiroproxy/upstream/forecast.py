"""When credits run out: balances as Kiro tells them, and how fast the ledger says they go."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.policy import disabled_reason
from kiroproxy.ledger.budgets import Account, Forecast, Outlook, outlook
from kiroproxy.ledger.usage_query import UsageReader
from kiroproxy.upstream.usage import Balances

RESTING = "QuotaExceeded"
"""Of the disabled ones those that come back by themselves, when their credits do."""


@dataclass(frozen=True, slots=True)
class PoolForecast:
    """The outlook of those credentials whose balance is known; `unknown` are the others."""

    outlook: Outlook
    accounts: dict[int, Account]
    unknown: list[Credential]


def forecast(
    balances: Balances,
    reader: UsageReader,
    credentials: Sequence[Credential],
    now: datetime,
    *,
    days: int = 7,
    wait_s: float = 5.0,
) -> PoolForecast:
    """Ask, and reckon. Credentials that a person has disabled are left out.

    Raises:
        DatabaseError: the ledger cannot be read.
    """
    counted = [one for one in credentials if _counts(one, now)]
    usages = balances.look(counted, wait_s)
    rates = reader.burn_rates(now, days)
    accounts = {
        id_: Account(id_, usage.remaining, usage.limit, usage.resets_at, rates.get(id_, 0.0))
        for id_, usage in usages.items()
    }
    unknown = [one for one in counted if one.id not in accounts]
    return PoolForecast(outlook(list(accounts.values()), now), accounts, unknown)


def _counts(one: Credential, now: datetime) -> bool:
    return not disabled_reason(one, now) or one.disabled_reason == RESTING


def build_forecast(found: PoolForecast) -> dict[str, Any]:
    """As JSON."""
    rows = [
        {
            "id": id_,
            **_build(found.outlook.credentials[id_]),
            "quota": account.quota,
            "resets_at": _time(account.resets_at),
        }
        for id_, account in found.accounts.items()
    ]
    unknown = [one.id for one in found.unknown]
    return {"pool": _build(found.outlook.pool), "credentials": rows, "unknown": unknown}


def _build(one: Forecast) -> dict[str, Any]:
    return {"left": one.left, "per_day": one.per_day, "dry_at": _time(one.dry_at)}


def _time(at: datetime | None) -> str | None:
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
