"""Spans: what they say, whose they are; and nothing without the extra."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kiroproxy import spans as module
from kiroproxy import tracing
from kiroproxy.credentials.trace import Attempt, Trace
from kiroproxy.spans import Spans
from tests.collector import Collector, values
from tests.servers import clean_environment

FRESH = "0123456789abcdef0123456789abcdee"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
FACTS = {
    "request_id": "req_1",
    "trace_id": TRACE,
    "route": "/v1/messages",
    "client": "192.0.2.1",
    "key": "laptop",
    "model": "claude-sonnet-4-5",
    "credential": 8,
    "attempts": 2,
    "status": 200,
    "ending": "end_turn",
    "first_token_s": 0.5,
    "duration_s": 2.0,
    "input_tokens": 10,
    "output_tokens": 5,
    "credits": 0.25,
    "dialect": "anthropic",
    "failed": False,
}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def told(collector: Collector, context: tracing.Context, **more: Any) -> list[Any]:
    """The spans of one request with two attempts."""
    spans = Spans(f"{collector.url}/v1/traces")
    spans.join(context)
    began = time.monotonic() - 2.0
    trace = Trace("req_1", "claude-sonnet-4.5", began=began)
    trace.attempts = [
        Attempt(7, "a", 0.1, False, 0.3, "Throttled", "a message that nobody else may see"),
        Attempt(8, "b", 0.4, True, 1.9, "ok"),
    ]
    context.hops += [tracing.Hop("a" * 16, began + 0.15), tracing.Hop("b" * 16, began + 0.45)]
    spans.tell(context, began, FACTS | more, trace)
    spans.close()
    return collector.spans


def test_a_request_and_its_attempts(collector: Collector) -> None:
    context = tracing.begin(f"00-{TRACE}-{PARENT}-01", "vendor=x", FRESH)
    request, *attempts = sorted(
        told(collector, context), key=lambda one: one.name != "POST /v1/messages"
    )
    assert {one.trace_id.hex() for one in collector.spans} == {TRACE}
    assert (request.span_id.hex(), request.parent_span_id.hex()) == (FRESH[16:], PARENT)
    assert request.trace_state == "vendor=x"
    said = values(request.attributes)
    assert said["gen_ai.request.model"] == "claude-sonnet-4-5"
    assert said["gen_ai.response.model"] == "claude-sonnet-4.5"
    assert said["http.response.status_code"] == 200
    assert said["gen_ai.usage.output_tokens"] == 5
    assert said["kiroproxy.credits"] == 0.25
    seconds = (request.end_time_unix_nano - request.start_time_unix_nano) / 1e9
    assert seconds == pytest.approx(2.0, abs=0.01)
    assert abs(request.end_time_unix_nano / 1e9 - time.time()) < 60
    [first_token] = request.events
    assert (first_token.time_unix_nano - request.start_time_unix_nano) / 1e9 == pytest.approx(
        0.5, abs=0.01
    )
    assert [one.span_id.hex() for one in attempts] == ["a" * 16, "b" * 16]
    assert {one.parent_span_id.hex() for one in attempts} == {FRESH[16:]}
    outcomes = [values(one.attributes)["kiroproxy.outcome"] for one in attempts]
    assert outcomes == ["Throttled", "ok"]
    assert [one.status.code for one in (request, *attempts)] == [0, 2, 0]
    assert collector.resources[0]["service.name"] == "kiroproxy"
    assert "nobody else may see" not in str(collector.spans)


def test_a_request_without_a_parent_begins_a_trace(collector: Collector) -> None:
    context = tracing.begin(None, None, FRESH)
    assert context.flags == 0
    spans = told(collector, context, failed=True, ending="ServerFault", status=502)
    assert context.flags == 1
    assert {one.trace_id.hex() for one in spans} == {FRESH}
    request = next(one for one in spans if one.name == "POST /v1/messages")
    assert not request.parent_span_id
    assert request.status.code == 2
    assert values(request.attributes)["error.type"] == "ServerFault"


def test_a_client_that_does_not_sample_is_followed(collector: Collector) -> None:
    context = tracing.begin(f"00-{TRACE}-{PARENT}-00", None, FRESH)
    assert told(collector, context) == []
    assert context.flags == 0


def test_the_sdk_s_own_variables_count(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "team-proxy")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=seven")
    told(collector, tracing.begin(None, None, FRESH))
    assert collector.resources[0]["service.name"] == "team-proxy"
    assert collector.resources[0]["deployment.environment"] == "test"
    assert collector.headers[0]["x-tenant"] == "seven"
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    context = tracing.begin(None, None, FRESH)
    collector.spans.clear()
    assert told(collector, context) == []


def test_whether_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.is_installed()
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    assert not module.is_installed()


def test_nothing_is_imported_without_need() -> None:
    """Its absence costs nothing, and neither does its presence."""
    script = (
        "import sys, kiroproxy.serving, kiroproxy.app\n"
        "sys.exit(any(name.startswith(('opentelemetry', 'google')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], env=clean_environment()).returncode == 0
