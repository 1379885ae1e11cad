"""Whose turn it is among requests that wait for the same credentials (pure).

Client keys share alike: the one that has the fewest requests running or ahead of this one comes
first, among equals the one whose last turn is longer ago, then the one that has waited for longer.
So a key that sends ten times as much as another has as many places as the other while both have
something to do, and all of them while it is alone.
"""

from collections.abc import Iterable, Mapping

Waiting = tuple[int, str]
"""A place's number, which grows with time, and the client key that holds it."""


def places_ahead(
    waiting: Iterable[Waiting],
    running: Mapping[str, int],
    client: str,
    place: int = 0,
    served: Mapping[str, int] | None = None,
) -> int:
    """How many of those who wait come before a request of `client`.

    Args:
        waiting: all of one lane, by number.
        running: how many requests of each client are being served.
        client: whose request it is.
        place: its number, if it waits already; else it comes after all others of its client.
        served: when each client had its last turn, as a number that grows. Without it a single
            place, which nobody holds when it comes free, would go by age alone.
    """
    served = served or {}
    ranks = dict(running)
    ranked = []
    own: tuple[int, int, int] | None = None
    for number, other in waiting:
        rank = (ranks.get(other, 0), served.get(other, 0), number)
        ranks[other] = rank[0] + 1
        if number == place:
            own = rank
        ranked.append(rank)
    mine = own or (ranks.get(client, 0), served.get(client, 0), place or 1 << 62)
    return sum(rank < mine for rank in ranked)
