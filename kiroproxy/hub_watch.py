"""Notices when a worker's event loop stands still: then all of its streams do.

Each turn of the loop is timed from the moment at which it has something to do until it waits again:
two bare callbacks, 0.7 µs together, and nothing at all while nothing happens. In a long turn an
alarm goes off in the main thread and sees who is at work. A machine that has no CPU for us looks
the same from here, and is no better for a stream.

Source: design 6, Q5.
"""

import atexit
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

LIMIT_S: Final = 0.05
"""A stall is longer than this."""
STACK_AFTER_S: Final = 0.25
"""Of a stall that is longer than this the stack is told; a busy loop is interrupted so often."""
QUIET_S: Final = 10.0
"""So long after a line about a stall there is no other; they are counted."""
DEPTH: Final = 12
"""Calls that are told of a stack, innermost first."""

Count = Callable[[float], None]
Tell = Callable[[float, int, list[str]], None]


class HubWatch:
    """Watches a gevent loop; `count` gets each stall's seconds.

    `tell` is called for one now and then: its seconds, how many were not told before it, and the
    stack, if `stacks` are taken (that needs the main thread and SIGALRM) and it was long enough.
    """

    def __init__(
        self,
        loop: Any,
        count: Count,
        tell: Tell,
        *,
        stacks: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._tell = tell
        self._stacks = stacks and hasattr(signal, "setitimer")
        self._clock = clock
        # The first to run when the loop has polled, and the last before it polls: gevent itself
        # runs greenlets between the two.
        self._after_poll = loop.check(ref=False, priority=loop.MAXPRI)
        self._before_poll = loop.prepare(ref=False, priority=loop.MINPRI)
        self._began = 0.0
        """When this turn began; 0 while the loop waits."""
        self._armed = True
        self._stack: list[str] = []
        self._quiet_until = 0.0
        self._untold = 0

    def start(self) -> None:
        """Begin with the loop's next turn."""
        if self._stacks:
            signal.signal(signal.SIGALRM, self._on_alarm)
            atexit.register(self.stop)  # an alarm would kill the interpreter in its last moments
        self._armed = not self._stacks
        self._after_poll.start(self._turn_begins)
        self._before_poll.start(self._turn_ends)

    def stop(self) -> None:
        """End it."""
        self._after_poll.stop()
        self._before_poll.stop()
        if self._stacks:
            signal.setitimer(signal.ITIMER_REAL, 0)
            atexit.unregister(self.stop)

    def _turn_begins(self) -> None:
        self._began = self._clock()
        if not self._armed:
            self._armed = True
            signal.setitimer(signal.ITIMER_REAL, STACK_AFTER_S)

    def _turn_ends(self) -> None:
        began, self._began = self._began, 0.0
        if began and (seconds := self._clock() - began) > LIMIT_S:
            self._stalled(seconds)

    def _stalled(self, seconds: float) -> None:
        stack, self._stack = self._stack, []
        self._count(seconds)
        now = self._clock()
        if now < self._quiet_until:
            self._untold += 1
            return
        untold, self._untold = self._untold, 0
        self._quiet_until = now + QUIET_S
        self._tell(seconds, untold, stack)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        """See who is at work; nothing is read or written here."""
        if not self._began:
            self._armed = False  # the next turn sets it anew
            return
        left = self._began + STACK_AFTER_S - self._clock()
        if left > 0:
            signal.setitimer(signal.ITIMER_REAL, left)
        else:
            self._armed = False
            self._stack = stack_of(frame)


def stack_of(frame: FrameType | None) -> list[str]:
    """The calls that lead to a frame, innermost first, without values."""
    calls: list[str] = []
    while frame is not None and len(calls) < DEPTH:
        code = frame.f_code
        calls.append(f"{code.co_filename}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return calls


def watch_hub() -> HubWatch:
    """Watch this worker's loop, for the metrics and the log."""
    from gevent import get_hub

    from kiroproxy.metrics import STALLED, STALLS
    from kiroproxy.observability import log

    def count(seconds: float) -> None:
        STALLS.inc()
        STALLED.inc(seconds)

    def tell(seconds: float, untold: int, stack: list[str]) -> None:
        log.warning(
            "the event loop stood still", seconds=round(seconds, 3), untold=untold, stack=stack
        )

    watch = HubWatch(get_hub().loop, count, tell)
    watch.start()
    return watch
