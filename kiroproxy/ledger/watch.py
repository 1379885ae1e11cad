"""Soft budgets that have just been exceeded: told once, in the log and the audit log."""

import logging
from datetime import UTC
from typing import Final

from kiroproxy.ledger.audit import AuditLog
from kiroproxy.ledger.budgets import Standing
from kiroproxy.ledger.keys import Snapshot
from kiroproxy.ledger.limits import Limits

log = logging.getLogger(__name__)

LONGER_THAN_A_MONTH_S: Final = 40 * 86400.0
WHO: Final = "kiroproxy"


def tell_exceeded(snapshot: Snapshot, limits: Limits, audit: AuditLog) -> list[str]:
    """Tell of each soft budget that is exceeded and was not told of in its period; the sentences.

    One worker of the host tells; after a restart of the server it is told again.
    """
    told = []
    for scope, name, title, standing in _exceeded(snapshot, limits):
        period = f"{standing.resets_at.astimezone(UTC):%Y-%m-%d}"
        mark = f"soft budget {scope} {name} {standing.kind} {period}"
        if not limits.runtime.claim(mark, LONGER_THAN_A_MONTH_S):
            continue
        sentence = (
            f"{title} has spent {standing.spent:.2f} credits this {standing.kind}, "
            f"more than its soft budget of {standing.soft:g}"
        )
        log.warning("%s", sentence)
        audit.append(
            "budget.soft",
            f"{scope} {name}",
            who=WHO,
            after={"kind": standing.kind, "spent": standing.spent, "soft": standing.soft},
        )
        told.append(sentence)
    return told


def _exceeded(snapshot: Snapshot, limits: Limits) -> list[tuple[str, str, str, Standing]]:
    found = []
    for key in snapshot.keys:
        if key.budgets.day_soft or key.budgets.month_soft:
            standings = limits.standings(key, "")["key"]
            found += [("key", key.id, f"client key {key.title}", one) for one in standings]
    for group, budgets in snapshot.group_budgets.items():
        if budgets.day_soft or budgets.month_soft:
            standings = limits.standings(None, group)["group"]
            found += [("group", group, f"group {group}", one) for one in standings]
    return [one for one in found if one[3].is_warned]
