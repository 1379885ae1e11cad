"""Whose turn it is: fair between keys, in order within one."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.turns import places_ahead


def order(waiting: list[tuple[int, str]], running: dict[str, int]) -> list[int]:
    """The numbers in the order in which they are served."""
    ahead = {n: places_ahead(waiting, running, client, n) for n, client in waiting}
    return sorted(ahead, key=lambda number: ahead[number])


def test_one_key_is_served_in_order() -> None:
    assert order([(1, ""), (2, ""), (5, "")], {"": 7}) == [1, 2, 5]


def test_keys_take_turns() -> None:
    waiting = [(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "b")]
    assert order(waiting, {}) == [1, 4, 2, 5, 3]
    assert order(waiting, {"a": 2}) == [4, 5, 1, 2, 3], "the one that has less comes first"


def test_a_single_place_goes_from_key_to_key() -> None:
    """Nobody holds it when it comes free: who had it last comes last."""
    waiting = [(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "b")]
    served: dict[str, int] = {}
    got = ""
    for turn in range(1, 6):
        first = next(
            one for one in waiting if not places_ahead(waiting, {}, one[1], one[0], served)
        )
        waiting.remove(first)
        served[first[1]] = turn
        got += first[1]
    assert got == "ababa"


def test_a_newcomer_comes_after_its_own_and_before_those_who_have_more() -> None:
    waiting = [(1, "a"), (2, "a"), (3, "a")]
    assert places_ahead(waiting, {"a": 1}, "a") == 3
    assert places_ahead(waiting, {"a": 1}, "b") == 0
    assert places_ahead(waiting, {}, "b") == 1, "who came first among equals"
    assert places_ahead([], {"b": 9}, "b") == 0


@given(st.lists(st.sampled_from("abc")), st.dictionaries(st.sampled_from("abc"), st.integers(0, 5)))
def test_everybody_has_a_turn_of_their_own(clients: list[str], running: dict[str, int]) -> None:
    waiting = list(enumerate(clients, 1))
    served = order(waiting, running)
    assert sorted(places_ahead(waiting, running, c, n) for n, c in waiting) == list(
        range(len(clients))
    )
    for client in "abc":
        own = [n for n in served if clients[n - 1] == client]
        assert own == sorted(own), "in order within a key"
    got: Counter[str] = Counter(running)
    for number in served:
        client = clients[number - 1]
        left = Counter(clients[n - 1] for n in served[served.index(number) :])
        assert got[client] == min(got[one] for one in left), "the one that has least"
        got[client] += 1
