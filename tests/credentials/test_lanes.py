"""The order among the waiting requests of one process."""

import threading
import time

from kiroproxy.credentials.lanes import Lanes


def test_only_the_first_asks_and_the_next_follows_at_once() -> None:
    lanes = Lanes()
    first, second = lanes.join("a"), lanes.join("a")
    other = lanes.join("b")
    began = time.monotonic()
    lanes.wait("a", second, 0.1)
    assert time.monotonic() - began >= 0.09, "it is not its turn"
    lanes.wait("b", other, 0.01)
    threading.Timer(0.02, lanes.leave, ("a", first)).start()
    began = time.monotonic()
    lanes.wait("a", second, 5)
    assert time.monotonic() - began < 1
    lanes.leave("a", second)
    lanes.leave("b", other)
    assert lanes._lanes == {}


def test_a_place_that_comes_free_wakes_the_first() -> None:
    lanes = Lanes()
    lanes.wake()
    mine = lanes.join("a")
    lanes.wake()
    began = time.monotonic()
    lanes.wait("a", mine, 5)
    assert time.monotonic() - began < 0.04
    lanes.leave("a", mine)
