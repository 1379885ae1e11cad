"""Logs and traces of a running server: one line a request, no secrets, ids that go on."""

import json
import os
import pty
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from kiroproxy import __version__
from tests.collector import Collector, values
from tests.flows.client import Stream, body, post
from tests.flows.conftest import LONG_TOKEN, credential
from tests.servers import REPOSITORY, Proxy, gunicorn_command
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
TEXT, TRAILERS = {"text": "hi"}, [{"context": 3.5}, {"metering": 0.01}]


ON_STDERR = """
import os, sys
os.dup2(int(sys.argv[1]), 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


def lines(proxy: Proxy) -> list[dict[str, Any]]:
    """Every line is an object, whoever wrote it."""
    return [json.loads(line) for line in proxy.log().splitlines()]


def requests_of(proxy: Proxy) -> list[dict[str, Any]]:
    return [line for line in lines(proxy) if line["event"] == "request"]


def test_one_line_for_each_request(sim: Simulator, tmp_path: Path) -> None:
    due = {"expiresAt": "2020-01-01T00:00:00Z", "accessToken": "of-long-ago-0123456789"}
    pool = [credential(), credential(refreshToken=f"second-{LONG_TOKEN}", priority=1, **due)]
    config = {"logLevel": "info", "proxyPassword": "hunter2-hunter2"}
    with Proxy(tmp_path, config, pool, upstream=sim.url, workers=1) as proxy:
        sim.script({"status": 429, "body": {"message": "slow down"}})
        answer = post(proxy, body())
        assert answer.status_code == 200
        sim.script({"steps": [TEXT, {"corrupt": "crc"}, TEXT, *TRAILERS]})
        stream = Stream(proxy, body())
        list(stream)
        stream.close()
        headers = {"authorization": "Bearer of-a-stranger"}
        requests.post(f"{proxy.url}/v1/messages", json=body(), headers=headers, timeout=10)
        requests.get(f"{proxy.url}/health", timeout=10)
        proxy.wait_for_log('"status":401')
        good, broken, refused = requests_of(proxy)
        assert good["request_id"] == answer.headers["request-id"]
        assert re.fullmatch(r"[0-9a-f]{32}", good["trace_id"])
        assert good["trace_id"].startswith(good["request_id"].removeprefix("req_"))
        assert "traceparent" not in answer.headers
        facts = {name: good[name] for name in ("model", "credential", "attempts", "status")}
        assert facts == {
            "model": "claude-sonnet-4-5",
            "credential": 2,
            "attempts": 2,
            "status": 200,
        }
        assert (good["route"], good["ending"], good["level"]) == (
            "/v1/messages",
            "end_turn",
            "info",
        )
        assert 0 < good["first_token_s"] <= good["duration_s"]
        assert good["input_tokens"] > 0
        assert good["output_tokens"] > 0
        assert good["credits"] > 0
        assert (broken["ending"], broken["level"]) == ("BadChecksum", "warning")
        assert (refused["status"], refused["level"]) == (401, "info")
        log = proxy.log()
        for secret in (proxy.key, LONG_TOKEN, "of-long-ago-0123456789", "hunter2", "of-a-stranger"):
            assert secret not in log
        assert "hello" not in log.lower(), "no prompts"


def test_secrets_are_masked_at_the_lowest_level_too(sim: Simulator, tmp_path: Path) -> None:
    """A person puts a key where it does not belong; everything is said at `debug`."""
    config = {"logLevel": "debug"}
    with Proxy(tmp_path, config, [credential()], upstream=sim.url, workers=1) as proxy:
        wrong = body(model=f"claude {proxy.key} {LONG_TOKEN}")
        assert post(proxy, wrong).status_code == 404
        path = f"/v1/models/{proxy.key}"
        assert post(proxy, body(), path).status_code == 405
        requests.get(f"{proxy.url}/health?api_key={proxy.key}", timeout=10)
        proxy.wait_for_log('"status":405')
        assert proxy.key not in proxy.log()
        assert LONG_TOKEN not in proxy.log()


@pytest.mark.parametrize(
    ("environ", "levels"),
    [
        ({"LOG_LEVEL": "warn"}, {"warning"}),
        ({"RUST_LOG": "hyper=trace,error"}, set()),
        ({"LOG_LEVEL": "debug", "RUST_LOG": "error"}, {"debug", "info", "warning"}),
        ({"GIN_MODE": "debug"}, {"debug", "info", "warning"}),
        ({"RUST_LOG": "info", "GIN_MODE": "debug"}, {"info", "warning"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_s88_s89_levels_of_the_environment(
    sim: Simulator, tmp_path: Path, environ: dict[str, str], levels: set[str]
) -> None:
    """For our lines and gunicorn's."""
    with Proxy(tmp_path, {}, [credential()], upstream=sim.url, workers=1, environ=environ) as proxy:
        sim.script({"status": 400, "body": {"message": "Improperly formed request."}})
        post(proxy, body())
        sim.script({"steps": [TEXT, {"corrupt": "crc"}, TEXT, *TRAILERS]})
        stream = Stream(proxy, body())
        list(stream)
        stream.close()
        deadline = time.monotonic() + 5
        while {line["level"] for line in requests_of(proxy)} < levels:
            assert time.monotonic() < deadline, proxy.log()
            time.sleep(0.05)
        assert {line["level"] for line in requests_of(proxy)} == levels
        others = {line["level"] for line in lines(proxy) if line.get("logger") == "gunicorn"}
        assert others <= levels | {"error"}


def test_readable_on_a_terminal(sim: Simulator, tmp_path: Path) -> None:
    """Whoever starts it by hand reads words; `logFormat` says otherwise."""
    for log_format, readable in (("auto", True), ("json", False)):
        ours, theirs = pty.openpty()
        place = tmp_path / log_format
        place.mkdir()
        config = {"logFormat": log_format, "logLevel": "info"}
        proxy = Proxy(place, config, [credential()], upstream=sim.url, workers=1)
        proxy._command = [sys.executable, "-c", ON_STDERR, str(theirs), *gunicorn_command()]
        proxy.popen = {"pass_fds": (theirs,)}
        with proxy:
            post(proxy, body())
        os.close(theirs)
        told = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:
                break
            if not data:
                break
            told += data
        os.close(ours)
        rows = [row for row in told.decode().replace("\r", "").splitlines() if row]
        assert any("request" in row for row in rows)
        assert any("Booting worker" in row for row in rows)
        assert all(row.startswith("{") for row in rows) is not readable
        assert any(row.startswith("{") for row in rows) is not readable


# ---- traces ----------------------------------------------------------------------------------


def test_traceparent_is_accepted_passed_on_and_logged(sim: Simulator, tmp_path: Path) -> None:
    headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=x"}
    with Proxy(tmp_path, {}, [credential()], upstream=sim.url, workers=1) as proxy:
        answer = post(proxy, body(), headers=headers)
        post(proxy, body())
        post(proxy, body(), headers={"traceparent": f"00-{'0' * 32}-{PARENT}-01"})
        own = re.fullmatch(rf"00-{TRACE}-([0-9a-f]{{16}})-01", answer.headers["traceparent"])
        assert own is not None
        first, *others = sim.requests("/generateAssistantResponse")
        passed = re.fullmatch(rf"00-{TRACE}-([0-9a-f]{{16}})-01", first["headers"]["traceparent"])
        assert passed is not None
        assert len({PARENT, own[1], passed[1]}) == 3
        assert first["headers"]["tracestate"] == "vendor=x"
        for one in others:
            assert "traceparent" not in one["headers"], "Kiro's own clients send none"
        proxy.wait_for_log('"event":"request"', count=4)
        told = [line["trace_id"] for line in requests_of(proxy) if line.get("model")]
        assert told[0] == TRACE
        assert len(set(told)) == 3


def test_one_connection_does_not_mix_traces_up(sim: Simulator, tmp_path: Path) -> None:
    """A kept connection is served by one greenlet, whose context lives on."""
    with Proxy(tmp_path, {}, [credential()], upstream=sim.url, workers=1) as proxy:
        with requests.Session() as session:
            for headers in ({"traceparent": TRACEPARENT}, {}):
                session.post(
                    f"{proxy.url}/v1/messages",
                    json=body(),
                    headers={"x-api-key": proxy.key} | headers,
                    timeout=10,
                )
        first, second = sim.requests("/generateAssistantResponse")
        assert "traceparent" in first["headers"]
        assert "traceparent" not in second["headers"]


def test_it_can_be_kept_from_kiro(sim: Simulator, tmp_path: Path) -> None:
    config = {"passTraceparent": False}
    with Proxy(tmp_path, config, [credential()], upstream=sim.url, workers=1) as proxy:
        answer = post(proxy, body(), headers={"traceparent": TRACEPARENT})
        assert TRACE in answer.headers["traceparent"]
        [request] = sim.requests("/generateAssistantResponse")
        assert "traceparent" not in request["headers"]


def test_spans_reach_a_collector(sim: Simulator, tmp_path: Path) -> None:
    """Under gunicorn and gevent, by OpenTelemetry's own variables; the last ones at the end."""
    pool = [credential(), credential(refreshToken=f"second-{LONG_TOKEN}", priority=1)]
    with Collector() as collector:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_SERVICE_NAME": "team-proxy",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with Proxy(tmp_path, {}, pool, upstream=sim.url, environ=environ) as proxy:
            sim.script({"status": 429, "body": {"message": "slow down"}})
            post(proxy, body("a secret prompt"), headers={"traceparent": TRACEPARENT})
            spans = {one.name: one for one in collector.wait_for(3)}
            kinds = sorted(one.name for one in collector.spans)
            assert kinds == ["POST /v1/messages", "attempt", "attempt"]
            request = spans["POST /v1/messages"]
            assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
            attempts = [one for one in collector.spans if one.name == "attempt"]
            assert {one.parent_span_id for one in attempts} == {request.span_id}
            calls = sim.requests("/generateAssistantResponse")
            sent = [one["headers"]["traceparent"][36:52] for one in calls]
            assert {one.span_id.hex() for one in attempts} == set(sent)
            assert values(request.attributes)["kiroproxy.attempts"] == 2
            answer = post(proxy, body())
            assert answer.headers["traceparent"].endswith("-01"), "a trace of its own"
            assert "traceparent" not in sim.requests("/generateAssistantResponse")[-1]["headers"]
            before = len(collector.spans)
            post(proxy, body("the last one"))
        assert len(collector.wait_for(before + 2)) >= before + 2
        assert collector.resources[0]["service.name"] == "team-proxy"
        assert collector.resources[0]["service.version"] == __version__
        assert "secret prompt" not in str(collector.spans)
        assert set(collector.paths) == {"/v1/traces"}


def test_a_collector_that_is_away_costs_its_spans_alone(sim: Simulator, tmp_path: Path) -> None:
    with Collector() as gone:
        pass
    config = {"otelEndpoint": gone.url}
    with Proxy(tmp_path, config, [credential()], upstream=sim.url, workers=1) as proxy:
        for _ in range(5):
            assert post(proxy, body()).status_code == 200
        began = time.monotonic()
        proxy.stop()
        assert time.monotonic() - began < 8


def test_without_the_extra_a_line_says_so(sim: Simulator, tmp_path: Path) -> None:
    """A platform may set the variables for everybody: it serves all the same."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nsys.modules['opentelemetry.sdk'] = None\n", "utf-8"
    )
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:pw@127.0.0.1:9",
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}",
    }
    with Proxy(tmp_path, {}, [credential()], upstream=sim.url, workers=1, environ=environ) as proxy:
        proxy.wait_for_log("pip install 'kiroproxy[otel]'")
        assert "me:pw" not in proxy.log()
        assert post(proxy, body()).status_code == 200
