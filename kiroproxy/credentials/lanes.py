"""The order among the waiting requests of one process.

Across processes the queue is in `runtime.db`; so that a thousand who wait do not all ask it, only
the first of each lane does, and the others sleep until they are the first.
"""

import threading
import time
from collections import deque
from typing import Final

POLL_S: Final = 0.05
"""How often the first of a lane looks whether another process has freed a place."""


class Lanes:
    """One lane per kind of request that waits for the same credentials."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[str, deque[threading.Event]] = {}

    def join(self, lane: str) -> threading.Event:
        """Go to the end of a lane; `leave` it on every path."""
        mine = threading.Event()
        with self._lock:
            self._lanes.setdefault(lane, deque()).append(mine)
        return mine

    def leave(self, lane: str, mine: threading.Event) -> None:
        """Let the next one ask."""
        with self._lock:
            waiting = self._lanes[lane]
            waiting.remove(mine)
            if waiting:
                waiting[0].set()
            else:
                del self._lanes[lane]

    def wait(self, lane: str, mine: threading.Event, limit_s: float) -> None:
        """Wait to be the first, and then for a free place, or until it is time to ask again."""
        deadline = time.monotonic() + limit_s
        while not self._is_first(lane, mine):
            if not mine.wait(max(deadline - time.monotonic(), 0.0)):
                return
            mine.clear()
        mine.wait(max(min(POLL_S, deadline - time.monotonic()), 0.0))
        mine.clear()

    def _is_first(self, lane: str, mine: threading.Event) -> bool:
        with self._lock:
            return self._lanes[lane][0] is mine

    def wake(self) -> None:
        """A place has come free in this process."""
        if self._lanes:
            with self._lock:
                for waiting in self._lanes.values():
                    waiting[0].set()
