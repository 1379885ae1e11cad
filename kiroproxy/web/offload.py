"""Slow work away from the event loop (design, Q5)."""

from collections.abc import Callable
from typing import TypeVar

import gevent

from kiroproxy.errors import InvalidRequest

T = TypeVar("T")


def off_loop(slow: bool, work: Callable[[], T]) -> T:
    """Do `work`, in a thread of the hub's pool if it is `slow`: reading a PDF takes seconds.

    Raises:
        InvalidRequest: what `work` raises; handed over, since gevent prints what threads raise.
    """
    if not slow:
        return work()

    def guarded() -> T | InvalidRequest:
        try:
            return work()
        except InvalidRequest as error:
            return error

    result: T | InvalidRequest = gevent.get_hub().threadpool.apply(guarded)
    if isinstance(result, InvalidRequest):
        raise result
    return result
