"""W3C trace context: the ids by which a request is followed through several programs.

A valid `traceparent` of a client goes on: it is logged, answered, and passed to Kiro with our own
span in it. Whatever is not valid is ignored, as the recommendation demands; then the request has a
trace of its own, made of its id.

Source: W3C Trace Context, levels 1 and 2.
"""

import os
import re
import time
from contextvars import ContextVar
from typing import Final

import msgspec

_PARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_MEMBER: Final = re.compile(
    r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
MEMBERS: Final = 32
STATE_LIMIT: Final = 512
"""Characters of `tracestate` that everybody has to pass on."""
KNOWN_FLAGS: Final = 0x03
"""Sampled, and (level 2) random; all others must be sent as zero."""
SAMPLED: Final = 0x01


class Hop(msgspec.Struct, frozen=True):
    """A call to which the trace was passed on, and when (monotonic)."""

    span_id: str
    at: float


class Context(msgspec.Struct):
    """Where a request stands in its trace. `parent_id` is empty unless a client sent one."""

    trace_id: str
    span_id: str
    parent_id: str = ""
    flags: int = 0
    state: str = ""
    hops: list[Hop] = msgspec.field(default_factory=list)

    @property
    def traceparent(self) -> str:
        """The header that names this request."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def pass_on(self) -> dict[str, str]:
        """Headers for a call on behalf of this request, which gets a span of its own."""
        hop = Hop(os.urandom(8).hex(), time.monotonic())
        self.hops.append(hop)
        headers = {"traceparent": f"00-{self.trace_id}-{hop.span_id}-{self.flags:02x}"}
        if self.state:
            headers["tracestate"] = self.state
        return headers


CURRENT: Final[ContextVar[Context | None]] = ContextVar("kiroproxy_trace", default=None)
"""What calls to Kiro pass on: the running request's trace, if there is one to be passed on."""


def begin(traceparent: str | None, tracestate: str | None, fresh: str) -> Context:
    """The trace of a request; `fresh` are 32 random hexadecimal digits."""
    span_id = fresh[16:]
    found = _PARENT.fullmatch(traceparent.strip(" \t")) if traceparent else None
    if found is None or (found[1] == "00" and found[5]):
        return Context(fresh, span_id)
    flags = int(found[4], 16) & KNOWN_FLAGS
    return Context(found[2], span_id, found[3], flags, _state(tracestate or ""))


def _state(header: str) -> str:
    """The header's members; nothing of it where one is malformed, or there are too many."""
    members = [one.strip(" \t") for one in header.split(",")]
    members = [one for one in members if one]
    keys = {one.partition("=")[0] for one in members}
    sound = len(keys) == len(members) <= MEMBERS and all(map(_MEMBER.fullmatch, members))
    state = ",".join(members)
    return state if sound and len(state) <= STATE_LIMIT else ""


def outgoing() -> dict[str, str]:
    """Headers that pass the running request's trace on; mostly none."""
    context = CURRENT.get()
    return context.pass_on() if context is not None else {}
