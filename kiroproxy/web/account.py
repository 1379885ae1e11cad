"""One request's account: measured while it is answered, told to log and ledger when it ends."""

import time
from typing import TYPE_CHECKING, Any

from flask import Response, g, request
from msgspec.structs import replace

from kiroproxy import metrics
from kiroproxy.conversation import ReplyEvent, Stop, Usage
from kiroproxy.credentials.policy import DEFAULT_GROUP
from kiroproxy.dialects.anthropic.errors import status_and_type
from kiroproxy.errors import RequestError
from kiroproxy.ledger.usage import UsageRow
from kiroproxy.observability import log
from kiroproxy.web.address import client_address
from kiroproxy.web.services import services

if TYPE_CHECKING:
    from kiroproxy.credentials.trace import Trace
    from kiroproxy.ledger.keys import ClientKey
    from kiroproxy.ledger.parts import Ledger
    from kiroproxy.recording.tape import Tape
    from kiroproxy.spans import Spans
    from kiroproxy.tracing import Context
    from kiroproxy.web.replies import ReplySource

CLIENT_ROOT = "/v1/"
GONE_STATUS = 499
"""nginx's word for a client that left."""
CLIENT_GONE = "client_gone"
STOPPED = "stopped"


class Account:
    """Measures one request, and says how it ended, once.

    `entrance` is its way through the limits of its client key; `trace` and `source` are set when
    there are a dealing with the pool and a reply, `tape` if failures are recorded.
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
        context: "Context | None" = None,
        spans: "Spans | None" = None,
        began: float | None = None,
    ) -> None:
        self.key = key
        self.entrance = ledger.limits.entrance(key, group) if ledger is not None else None
        self.trace: Trace | None = None
        self.source: ReplySource | None = None
        self.listed_model = metrics.OTHER
        """The model as the metrics call it, once it is chosen."""
        self._context = context
        self._spans = spans
        self._facts: dict[str, Any] | None = None
        """What its span is to say, until that is told."""
        self.tape: Tape | None = None
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
        metrics.IN_FLIGHT.inc()

    def first_event(self) -> None:
        """The answer starts."""
        if self._first is None:
            self._first = time.monotonic() - self._began
            if self._stream:  # of others it says no more than their duration does
                metrics.FIRST_TOKEN[self._dialect, self.listed_model].observe(self._first)

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
        if self.tape is not None and ending not in (CLIENT_GONE, STOPPED):
            self.tape.end(status, ending, error)
        duration = time.monotonic() - self._began
        usage = self._used(last)
        self._count(status, ending, duration, usage, error)
        self._log(status, ending, duration, usage, error)
        if self.entrance is not None:
            self.entrance.leave(*((usage.output_tokens, usage.credits) if usage else (0, 0.0)))
        if self._ledger is not None:
            row = self._row(status, ending, duration, usage, error)
            self._ledger.usage.record(row)

    def settle(self) -> None:
        """Write what the key has used, unless the lease's return has done so.

        An exchange that failed is recorded now that its trace is whole.
        """
        if self.entrance is not None:
            self.entrance.settle()
        if self.tape is not None:
            self.tape.settle(self.trace)
        if self._facts is not None and self._spans is not None and self._context is not None:
            facts, self._facts = self._facts, None
            self._spans.tell(self._context, self._began, facts, self.trace)

    def _count(
        self,
        status: int,
        ending: str,
        duration: float,
        usage: Usage | None,
        error: BaseException | None,
    ) -> None:
        model = self.listed_model
        metrics.IN_FLIGHT.dec()
        metrics.count_request(
            self._route,
            status,
            _outcome(ending, error),
            dialect=self._dialect,
            model=model,
            stream=self._stream,
        )
        metrics.DURATION[self._dialect, model].observe(duration)
        metrics.ENDINGS[ending,].inc()
        if usage is None:
            return
        counts = (
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cache_read", usage.cache_read_tokens),
            ("cache_write", usage.cache_write_tokens),
        )
        for kind, count in counts:
            if count:
                metrics.TOKENS[model, kind].inc(count)
        if usage.credits > 0:
            metrics.CREDITS[model,].inc(usage.credits)

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

    def _log(
        self,
        status: int,
        ending: str,
        duration: float,
        usage: Usage | None,
        error: BaseException | None,
    ) -> None:
        attempts = self.trace.attempts if self.trace is not None else ()
        failed = _outcome(ending, error) == "error"
        facts: dict[str, Any] = {
            "request_id": self._request_id,
            "trace_id": self._context.trace_id if self._context is not None else None,
            "route": self._route,
            "client": self._client,
            "key": self.key.title if self.key is not None else None,
            "model": self._model,
            "credential": attempts[-1].credential_id if attempts else None,
            "attempts": len(attempts),
            "status": status,
            "ending": ending,
            "first_token_s": None if self._first is None else round(self._first, 4),
            "duration_s": round(duration, 4),
            "input_tokens": usage.input_tokens if usage else None,
            "output_tokens": usage.output_tokens if usage else None,
            "usage_source": usage.source if usage else None,
            "credits": usage.credits if usage else None,
        }
        (log.warning if failed else log.info)("request", **facts)
        if self._spans is not None:
            self._facts = facts | {"dialect": self._dialect, "failed": failed}

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


def _outcome(ending: str, error: BaseException | None) -> str:
    """Whose doing the end was."""
    if error is not None:
        return "refused" if isinstance(error, RequestError) else "error"
    if ending in ("error", "stopped"):
        return "error"
    return CLIENT_GONE if ending == CLIENT_GONE else "ok"


# ---- requests that ask no model ------------------------------------------------------------

QUIET = ("/health", "/healthz", "/readyz", "/metrics", "/")
"""Who watches asks all the time: its line is for debugging."""
_DIALECTS = {
    "messages": "anthropic",
    "chat": "openai_chat",
    "responses": "openai_responses",
}


def dialect_of(route: str) -> str:
    """The dialect of a route, such as `/<group:group>/v1/messages/count_tokens`; mostly none."""
    part = route.rpartition("/v1/")[2].partition("/")[0] if "/v1/" in route else ""
    return _DIALECTS.get(part, "")


def tell_other(response: Response) -> None:
    """Count and log a request without an account: another one, or one refused before it had one."""
    parts, rule, status = services(), request.url_rule, response.status_code
    route = str(rule) if rule is not None else metrics.OTHER
    outcome = "ok" if status < 400 else "refused" if status < 500 else "error"
    dialect = dialect_of(route)
    metrics.count_request(route, status, outcome, dialect=dialect, model="", stream=False)
    watched = status >= 400 or CLIENT_ROOT in request.path
    level = "info" if watched and request.path not in QUIET else "debug"
    caller: ClientKey | None = g.get("caller")
    context: Context = g.context
    facts = {
        "request_id": g.request_id,
        "trace_id": context.trace_id,
        "method": request.method,
        "route": route,
        "client": client_address(request, parts.config),
        "key": caller.title if caller is not None else None,
        "status": status,
        "duration_s": round(time.monotonic() - g.began, 4),
    }
    failed = outcome == "error"
    getattr(log, "warning" if failed and level == "info" else level)("request", **facts)
    if parts.spans is not None and level == "info":
        parts.spans.tell(context, g.began, facts | {"failed": failed}, None)
