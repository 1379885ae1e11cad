"""What the simulator remembers: recorded requests, counters, queued scripts, faults and gates."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gevent.lock import Semaphore

from kiroproxy.simulator.exchange import Request
from kiroproxy.simulator.script import Program

MAX_RECORDED = 20_000
MAX_RECORDED_BYTES = 128 * 1024 * 1024
MAX_DEPARTURES = 1000
OPEN_GATE = 1_000_000_000


class Recorder:
    """Requests in order; the oldest go when there are too many, or too many bytes."""

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.dropped = 0
        self._bytes = 0

    def add(self, request: Request) -> None:
        """Remember one."""
        self.requests.append(request)
        self._bytes += len(request.body)
        while len(self.requests) > MAX_RECORDED or self._bytes > MAX_RECORDED_BYTES:
            self._bytes -= len(self.requests.popleft().body)
            self.dropped += 1


@dataclass(slots=True)
class Queued:
    """A program that waits for a request it fits; `times` counts down, `None` is for ever."""

    make: Callable[[], Program]
    match: str | None = None
    bearer: str | None = None
    times: int | None = 1
    always: bool = False
    """Played before anything else, also for a request that would be refused."""


@dataclass(slots=True)
class Fault:
    """What a path does instead of, or after, its work."""

    path: str
    times: int | None = 1
    status: int | None = None
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    gate: str | None = None
    after: bool = False
    """Do the work first, and lose its answer."""
    end: str | None = None
    """`reset`, `close` or `hang` instead of an answer."""
    bearer: str | None = None


@dataclass(slots=True)
class Counters:
    """Chat calls and streams."""

    generate_calls: int = 0
    in_flight: int = 0
    in_flight_max: int = 0
    streams_open: int = 0
    streams_finished: int = 0
    streams_broken: int = 0
    """Ended by the script itself: close or reset."""
    streams_closed_by_client: int = 0
    departures: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAX_DEPARTURES))
    by_bearer: Counter[str] = field(default_factory=Counter)
    by_bearer_max: dict[str, int] = field(default_factory=dict)
    calls_by_bearer: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)

    def enter(self, bearer: str) -> None:
        """A chat call begins."""
        self.generate_calls += 1
        self.calls_by_bearer[bearer] += 1
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        self.by_bearer[bearer] += 1
        self.by_bearer_max[bearer] = max(self.by_bearer_max.get(bearer, 0), self.by_bearer[bearer])

    def leave(self, bearer: str) -> None:
        """A chat call is over."""
        self.in_flight -= 1
        self.by_bearer[bearer] -= 1
        if not self.by_bearer[bearer]:
            del self.by_bearer[bearer]

    def departed(self, bearer: str, *, complete: bool) -> None:
        """A client left a stream; `complete` when it had every frame."""
        self.streams_closed_by_client += 1
        self.departures.append({"time": time.time(), "bearer": bearer, "complete": complete})

    def describe(self) -> dict[str, Any]:
        """For the control API."""
        return {
            "generateCalls": self.generate_calls,
            "inFlight": self.in_flight,
            "inFlightMax": self.in_flight_max,
            "perBearer": dict(self.by_bearer),
            "perBearerMax": dict(self.by_bearer_max),
            "callsPerBearer": dict(self.calls_by_bearer),
            "streamsOpen": self.streams_open,
            "streamsFinished": self.streams_finished,
            "streamsBroken": self.streams_broken,
            "streamsClosedByClient": self.streams_closed_by_client,
            "departures": list(self.departures),
            "refusals": dict(self.refusals),
            "refused": self.refusals.total(),
        }


class State:
    """Everything that `DELETE /_sim` forgets, but for accounts and sign-ins."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.counters = Counters()
        self.queue: list[Queued] = []
        self.faults: list[Fault] = []
        self._gates: dict[str, Semaphore] = {}

    def gate(self, name: str) -> Semaphore:
        """A gate by its name; it lets through as many as were released, before or after."""
        return self._gates.setdefault(name, Semaphore(0))

    def release(self, name: str, count: int | None) -> None:
        """Let some through; `None` opens the gate for good."""
        gate = self.gate(name)
        if count is None:
            gate.counter = OPEN_GATE
            gate.release()
            return
        for _ in range(count):
            gate.release()

    def take_fault(self, path: str, bearer: str) -> Fault | None:
        """The first fault that is due on a path."""
        for fault in self.faults:
            if fault.path == path and fault.bearer in (None, bearer):
                _count_down(fault, self.faults)
                return fault
        return None


def take_queued(
    queue: list[Queued], text: str, bearer: str, *, always: bool = False
) -> Program | None:
    """Take the first queued program that fits a prompt; `always`: only such as are."""
    for entry in queue:
        if always and not entry.always:
            continue
        if (entry.match and entry.match not in text) or entry.bearer not in (None, bearer):
            continue
        _count_down(entry, queue)
        return entry.make()
    return None


def _count_down(entry: Queued | Fault, entries: list[Any]) -> None:
    if entry.times is not None:
        entry.times -= 1
        if entry.times <= 0:
            entries.remove(entry)
