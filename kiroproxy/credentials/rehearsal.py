"""Which credential would serve a request now, and why not the others: asked without taking it."""

from dataclasses import dataclass

from kiroproxy.credentials.policy import Choice, View, choose
from kiroproxy.credentials.pool import Pool
from kiroproxy.runtime import Demand


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What the pool would do. `following` would be next, should the chosen one fail."""

    choice: Choice
    pinned: bool
    following: tuple[int, ...]

    @property
    def credential_id(self) -> int:
        """The chosen one's, 0 for none."""
        return self.choice.credential.id if self.choice.credential is not None else 0


def rehearse(pool: Pool, model: str, group: str = "", session: str = "") -> Rehearsal:
    """Choose as for a first attempt; `model` is Kiro's id, an empty group means any.

    The group's rate is not looked at, and an access token that only proves useless when it is used
    is thought to be good.
    """
    roster = pool.roster()
    ranking = roster.ranking(model, group)
    key = f"{group} {session}" if session else ""
    shared = pool._runtime.look(Demand(session=key))
    unready = pool.renewals.unready(ranking.credential)
    view = View(roster, shared, unready, pool._used)
    choice = choose(view, model, group, key, shared.now)
    chosen = choice.credential.id if choice.credential is not None else 0
    passed = {one.id for one in choice.skips} | {chosen}
    return Rehearsal(
        choice,
        pinned=bool(chosen) and shared.pinned == chosen,
        following=tuple(one.id for one in ranking.order if one.id not in passed),
    )
