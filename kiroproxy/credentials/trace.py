"""What happened to a request in the pool, for the operator: attempts, and who was passed over.

A trace is written off the request's path, a few times a second, for all workers to read
(`x-kiroproxy-trace`, `GET /api/admin/explain/<id>`).
"""

import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from kiroproxy.credentials.policy import Skip
from kiroproxy.runtime import Runtime

FLUSH_S: Final = 0.2
"""So often traces are written."""
BACKLOG: Final = 2000
"""Traces that wait to be written; with a broken database the oldest are dropped."""
PATIENCE_S: Final = 1.0
"""So long an answer about a trace waits for another worker to write it."""


class Attempt(msgspec.Struct):
    """One call on behalf of a credential; times in seconds since the request began."""

    credential_id: int
    name: str
    began_s: float
    probe: bool
    ended_s: float | None = None
    outcome: str = "in progress"
    message: str = ""


class Trace(msgspec.Struct):
    """The story of one request."""

    id: str
    model: str = ""
    group: str = ""
    session: str = ""
    at: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))
    began: float = msgspec.field(default_factory=time.monotonic)
    waited_s: float = 0.0
    attempts: list[Attempt] = msgspec.field(default_factory=list)
    skips: list[tuple[int, tuple[Skip, ...]]] = msgspec.field(default_factory=list)
    """Each with the number of the attempt that was sought."""
    error: str = ""
    usage: str = ""
    """Who counted the tokens: upstream, or an estimate."""

    def elapsed_s(self) -> float:
        """Since the request began."""
        return round(time.monotonic() - self.began, 4)

    def skipped(self, skips: tuple[Skip, ...]) -> None:
        """Note who was passed over; the same again is noted once."""
        entry = (len(self.attempts) + 1, skips)
        if skips and (not self.skips or self.skips[-1] != entry):
            self.skips.append(entry)

    def encode(self) -> bytes:
        """As JSON; credentials of one reason share an entry."""
        return msgspec.json.encode(
            {
                "id": self.id,
                "time": self.at,
                "model": self.model,
                "group": self.group,
                "session": self.session,
                "waited_s": round(self.waited_s, 4),
                "attempts": self.attempts,
                "skipped": [
                    {"attempt": number, "reason": reason, "credentials": ids}
                    for number, skips in self.skips
                    for reason, ids in _by_reason(skips).items()
                ],
                "error": self.error,
                "usage": self.usage,
            }
        )


def _by_reason(skips: Iterable[Skip]) -> dict[str, list[int]]:
    grouped: dict[str, list[int]] = {}
    for skip in skips:
        grouped.setdefault(skip.reason, []).append(skip.id)
    return grouped


def explain(encoded: str | bytes) -> dict[str, Any]:
    """A trace for people: one entry for each credential that was passed over."""
    trace: dict[str, Any] = msgspec.json.decode(encoded)
    trace["skipped"] = [
        {"attempt": entry["attempt"], "credential_id": id_, "reason": entry["reason"]}
        for entry in trace["skipped"]
        for id_ in entry["credentials"]
    ]
    return trace


class Traces:
    """The traces of this process on their way to the shared file."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: dict[str, Trace] = {}
        self._lock = threading.Lock()
        self._flushing = False

    def keep(self, trace: Trace) -> None:
        """Write it soon, as it is then."""
        with self._lock:
            self._waiting[trace.id] = trace
            if len(self._waiting) > BACKLOG:
                self._waiting.pop(next(iter(self._waiting)))
            if self._flushing:
                return
            self._flushing = True
        try:
            threading.Thread(target=self._flush_later, name="traces", daemon=True).start()
        except RuntimeError:  # no more threads: the next one may get one
            self._flushing = False

    def _flush_later(self) -> None:
        time.sleep(FLUSH_S)
        self._flushing = False  # before it looks: what comes from now on starts another
        self.flush()

    def flush(self) -> None:
        """Write what waits, and what was counted meanwhile."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        if not waiting:
            self._runtime.write_counts()
            return
        rows = {id_: trace.encode().decode() for id_, trace in waiting.items()}
        if not self._runtime.keep_traces(rows):
            with self._lock:
                self._waiting = waiting | self._waiting

    def find(self, trace_id: str, patience_s: float = PATIENCE_S) -> dict[str, Any] | None:
        """A trace of any worker of this host; waits a moment for one that is just written."""
        deadline = time.monotonic() + patience_s
        while True:
            own = self._waiting.get(trace_id)
            found = own.encode() if own is not None else self._runtime.trace(trace_id)
            if found is not None:
                return explain(found)
            if time.monotonic() >= deadline:
                return None
            time.sleep(FLUSH_S / 4)
