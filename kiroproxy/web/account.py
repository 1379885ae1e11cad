"""One request's account: measured while it is answered, told to log and ledger when it ends."""

import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from kiroproxy import observability as obs
from kiroproxy.conversation import ReplyEvent, Stop, Usage
from kiroproxy.credentials.policy import DEFAULT_GROUP
from kiroproxy.dialects.anthropic.errors import status_and_type
from kiroproxy.ledger.usage import UsageRow

if TYPE_CHECKING:
    from kiroproxy.credentials.trace import Trace
    from kiroproxy.ledger.keys import ClientKey
    from kiroproxy.ledger.parts import Ledger
    from kiroproxy.web.replies import ReplySource

GONE_STATUS = 499
"""nginx's word for a client that left."""
CLIENT_GONE = "client_gone"


class Account:
    """Measures one request, and says how it ended, once.

    `entrance` is its way through the limits of its client key; `trace` and `source` are set when
    there are a dealing with the pool and a reply.
    """

    def __init__(
        self,
        route: str,
        *,
        stream: bool,
        model: str,
        dialect: str = "",
        client: str = "",
        group: str = DEFAULT_GROUP,
        key: "ClientKey | None" = None,
        ledger: "Ledger | None" = None,
        request_id: str = "",
        began: float | None = None,
    ) -> None:
        self.key = key
        self.entrance = ledger.limits.entrance(key, group) if ledger is not None else None
        self.trace: Trace | None = None
        self.source: ReplySource | None = None
        self._ledger = ledger
        self._route = route
        self._dialect = dialect
        self._client = client
        self._group = group
        self._stream = stream
        self._model = model
        self._request_id = request_id
        self._began = time.monotonic() if began is None else began
        self._first: float | None = None
        self._lost_credits = 0.0
        self._ended = False
        obs.IN_FLIGHT.inc()

    def first_event(self) -> None:
        """The answer starts."""
        if self._first is None:
            self._first = time.monotonic() - self._began
            obs.FIRST_EVENT.labels(self._route).observe(self._first)

    def lost(self, usage: Usage) -> None:
        """An attempt that failed before its answer began had come to this."""
        self._lost_credits += usage.credits

    def end(
        self,
        status: int,
        ending: str,
        last: ReplyEvent | None = None,
        error: BaseException | None = None,
    ) -> None:
        """The answer is over; `ending` is a stop reason, an error's type or `client_gone`.

        Call it before the reply is closed, whose transaction then carries what was used, and
        `settle` afterwards.
        """
        if self._ended:
            return
        self._ended = True
        duration = time.monotonic() - self._began
        obs.IN_FLIGHT.dec()
        obs.REQUESTS.labels(self._route, str(status), str(self._stream).lower()).inc()
        obs.DURATION.labels(self._route).observe(duration)
        obs.ENDINGS.labels(ending).inc()
        usage = self._used(last)
        self._log(status, ending, duration, usage)
        if self.entrance is not None:
            self.entrance.leave(*((usage.output_tokens, usage.credits) if usage else (0, 0.0)))
        if self._ledger is not None:
            row = self._row(status, ending, duration, usage, error)
            self._ledger.usage.record(row)

    def settle(self) -> None:
        """Write what the key has used, unless the lease's return has done so."""
        if self.entrance is not None:
            self.entrance.settle()

    def _used(self, last: ReplyEvent | None) -> Usage | None:
        """What the reply came to; of one that broke off, what it had come to."""
        if type(last) is Stop:
            usage: Usage | None = last.usage
        else:
            usage = self.source.usage() if self.source is not None else None
        if not self._lost_credits:
            return usage
        usage = usage or Usage(0, 0)
        return replace(usage, credits=usage.credits + self._lost_credits)

    def _log(self, status: int, ending: str, duration: float, usage: Usage | None) -> None:
        attempts = self.trace.attempts if self.trace is not None else ()
        obs.log.info(
            "request",
            request_id=self._request_id,
            route=self._route,
            client=self._client,
            key=self.key.title if self.key is not None else None,
            model=self._model,
            credential=attempts[-1].credential_id if attempts else None,
            attempts=len(attempts),
            status=status,
            ending=ending,
            first_event_s=None if self._first is None else round(self._first, 4),
            duration_s=round(duration, 4),
            input_count=usage.input_tokens if usage else None,
            output_count=usage.output_tokens if usage else None,
            usage_source=usage.source if usage else None,
            credits=usage.credits if usage else None,
        )

    def _row(
        self,
        status: int,
        ending: str,
        duration: float,
        usage: Usage | None,
        error: BaseException | None,
    ) -> UsageRow:
        trace = self.trace
        attempts = trace.attempts if trace is not None else ()
        if isinstance(error, Exception) and status == 200:
            status = status_and_type(error)[0]  # it came inside the stream
        elif ending == CLIENT_GONE:
            status = GONE_STATUS
        failed = error is not None or status == GONE_STATUS
        used = usage or Usage(0, 0)
        return UsageRow(
            trace_id=self._request_id,
            key_id=self.key.id if self.key is not None else "",
            group=self._group,
            credential_id=attempts[-1].credential_id if attempts else 0,
            dialect=self._dialect,
            model_asked=self._model,
            model=trace.model if trace is not None else "",
            status=status,
            attempts=len(attempts),
            first_event_s=self._first,
            duration_s=duration,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            cache_read_tokens=used.cache_read_tokens or 0,
            cache_write_tokens=used.cache_write_tokens or 0,
            usage_source=used.source if usage is not None else "",
            credits=used.credits,
            stop_reason="" if failed else ending,
            streamed=self._stream,
            client=self._client,
            error_type=ending if failed else "",
        )
