"""Soft budgets are told of once."""

from pathlib import Path
from typing import Any, cast

from kiroproxy.ledger.budgets import Budgets
from kiroproxy.ledger.keys import ClientKey, Snapshot
from kiroproxy.ledger.limits import Limits
from kiroproxy.ledger.watch import tell_exceeded
from kiroproxy.runtime import Runtime


class Audit:
    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []

    def append(self, action: str, target: str, **more: Any) -> bool:
        self.entries.append((action, target))
        return True


def test_told_once_in_a_period(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path / "runtime.db")
    key = ClientKey("k1", "0" * 64, "agent", budgets=Budgets(day_soft=1, month_soft=5))
    snapshot = Snapshot(1, (key, ClientKey("k2", "1" * 64)), {"pro": Budgets(month_soft=2)})
    limits = Limits(
        runtime, group_budgets=lambda group: snapshot.group_budgets.get(group, Budgets())
    )
    audit = Audit()

    def tell() -> list[str]:
        return tell_exceeded(snapshot, limits, cast(Any, audit))

    assert tell() == []
    entrance = limits.entrance(key, "pro")
    entrance.enter()
    entrance.leave(10, 1.5)
    entrance.settle()
    (sentence,) = tell()
    assert sentence.startswith("client key agent has spent 1.50 credits this day")
    assert tell() == [], "not again"
    entrance = limits.entrance(key, "pro")
    entrance.enter()
    entrance.leave(10, 4)
    entrance.settle()
    assert len(tell()) == 2, "the key's month and the group's"
    assert audit.entries == [
        ("budget.soft", "key k1"),
        ("budget.soft", "key k1"),
        ("budget.soft", "group pro"),
    ]
    runtime.close()
