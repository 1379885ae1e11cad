"""Budgets in credits, and when the pool runs dry. Pure arithmetic: `now` is an argument."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Budgets:
    """Credits a key or a group may spend by day and month (UTC); 0 is no limit.

    Beyond a soft one there is a warning, beyond a hard one nothing goes until the reset.
    """

    day_soft: float = 0.0
    day_hard: float = 0.0
    month_soft: float = 0.0
    month_hard: float = 0.0


NO_BUDGETS: Final = Budgets()
