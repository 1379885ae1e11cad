"""Traces for OpenTelemetry (`kiroproxy[otel]`): a span for each request, one below it per attempt.

Told when a request has ended, from what was measured anyway: nothing of this is on its way. Spans
hold names, numbers and ids, never a prompt, an answer or an error's text. They are sent in batches,
by a greenlet, as the SDK's own `OTEL_…` variables say.

Without the extra none of this is imported, and nothing costs anything.
"""

import importlib.util
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import gevent

from kiroproxy import __version__
from kiroproxy.tracing import SAMPLED

if TYPE_CHECKING:
    from kiroproxy.credentials.trace import Trace
    from kiroproxy.tracing import Context

SERVICE: Final = "kiroproxy"
CLOSE_S: Final = 3.0
"""For the last spans, when a worker ends."""
MISSING: Final = (
    "traces are to go to {}, but OpenTelemetry is not installed: pip install 'kiroproxy[otel]'"
)
ATTRIBUTES: Final = {
    "route": "http.route",
    "status": "http.response.status_code",
    "client": "client.address",
    "model": "gen_ai.request.model",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "request_id": "kiroproxy.request_id",
    "dialect": "kiroproxy.dialect",
    "key": "kiroproxy.key",
    "credential": "kiroproxy.credential",
    "attempts": "kiroproxy.attempts",
    "credits": "kiroproxy.credits",
    "first_token_s": "kiroproxy.first_token_s",
    "ending": "kiroproxy.ending",
}
"""What the log's line calls it, and what a span does: the conventions' names where there is one."""


def is_installed() -> bool:
    """Whether the extra is there; nothing of it is imported."""
    try:
        names = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
        return all(importlib.util.find_spec(name) is not None for name in names)
    except ImportError:
        return False


class Spans:
    """Where the spans of this worker go: `endpoint` is the whole URL.

    Raises:
        ImportError: the extra is not installed.
    """

    def __init__(self, endpoint: str) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create({SERVICE_VERSION: __version__})
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
        self._api: Any = trace
        self._ids = _make_ids()
        self._provider = TracerProvider(
            resource=resource, id_generator=self._ids, shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer(SERVICE, __version__)

    def join(self, context: "Context") -> None:
        """Ask the sampler whether a request's trace is kept, and say so in its flags."""
        decision: Any = self._provider.sampler.should_sample(
            self._parent(context),
            int(context.trace_id, 16),
            "request",
            kind=self._api.SpanKind.SERVER,
        ).decision
        context.flags = context.flags & ~SAMPLED | (SAMPLED if decision.is_sampled() else 0)

    def tell(
        self, context: "Context", began: float, facts: dict[str, Any], trace: "Trace | None"
    ) -> None:
        """Tell of a request that has ended; `began` is monotonic, `facts` are its log's."""
        zero_ns = time.time_ns() - round(time.monotonic() * 1e9)

        def wall(at: float) -> int:
            return zero_ns + round(at * 1e9)

        attributes = {
            name: facts[key] for key, name in ATTRIBUTES.items() if facts.get(key) is not None
        }
        attributes["http.request.method"] = facts.get("method", "POST")
        if trace is not None:
            attributes["gen_ai.operation.name"] = "chat"
            attributes["gen_ai.response.model"] = trace.model
        self._ids.trace_id, self._ids.span_id = int(context.trace_id, 16), int(context.span_id, 16)
        span = self._tracer.start_span(
            f"{attributes['http.request.method']} {facts['route']}",
            context=self._parent(context),
            kind=self._api.SpanKind.SERVER,
            attributes=attributes,
            start_time=wall(began),
        )
        if facts.get("first_token_s") is not None:
            span.add_event("first token", timestamp=wall(began + facts["first_token_s"]))
        if facts.get("failed"):
            span.set_attribute("error.type", facts.get("ending", str(facts["status"])))
            span.set_status(self._api.StatusCode.ERROR)
        if trace is not None and span.is_recording():
            self._tell_attempts(context, trace, self._api.set_span_in_context(span), wall)
        span.end(end_time=wall(began + facts["duration_s"]))

    def _tell_attempts(self, context: "Context", trace: "Trace", parent: Any, wall: Any) -> None:
        for attempt in trace.attempts:
            began = trace.began + attempt.began_s
            ended = trace.began + (attempt.ended_s or trace.elapsed_s())
            hop = next((one for one in context.hops if began <= one.at <= ended), None)
            self._ids.span_id = int(hop.span_id, 16) if hop is not None else 0
            span = self._tracer.start_span(
                "attempt",
                context=parent,
                kind=self._api.SpanKind.CLIENT,
                attributes={
                    "kiroproxy.credential": attempt.credential_id,
                    "kiroproxy.outcome": attempt.outcome,
                    "kiroproxy.probe": attempt.probe,
                },
                start_time=wall(began),
            )
            if attempt.outcome not in ("ok", "undecided"):
                span.set_attribute("error.type", attempt.outcome)
                span.set_status(self._api.StatusCode.ERROR)
            span.end(end_time=wall(ended))

    def _parent(self, context: "Context") -> Any:
        """The client's span as the SDK knows it; no parent if there was none."""
        api = self._api
        if not context.parent_id:
            return api.set_span_in_context(api.INVALID_SPAN)
        remote = api.SpanContext(
            int(context.trace_id, 16),
            int(context.parent_id, 16),
            is_remote=True,
            trace_flags=api.TraceFlags(context.flags),
            trace_state=api.TraceState.from_header([context.state] if context.state else []),
        )
        return api.set_span_in_context(api.NonRecordingSpan(remote))

    def close(self) -> None:
        """Send what is left, unless that takes too long."""
        with gevent.Timeout(CLOSE_S, False):
            self._provider.shutdown()


def _make_ids() -> Any:
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    class Ids(IdGenerator):
        """Gives the ids that the request has already; others at random."""

        trace_id = 0
        span_id = 0

        def generate_trace_id(self) -> int:
            given, self.trace_id = self.trace_id, 0
            return given or secrets.randbits(128) or 1

        def generate_span_id(self) -> int:
            given, self.span_id = self.span_id, 0
            return given or secrets.randbits(64) or 1

    return Ids()
