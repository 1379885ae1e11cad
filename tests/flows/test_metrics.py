"""/metrics of a running server: sums over workers, an address of its own, stalls, who may ask."""

import http.client
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
import requests

from tests.flows.client import Stream, body, post
from tests.flows.conftest import credential
from tests.scraping import scrape
from tests.servers import REPOSITORY, Proxy, free_port
from tests.simulation import Simulator

pytestmark = pytest.mark.flow
ADMIN = "sk-admin-of-a-test"
TRAILERS = [{"context": 3.5}, {"metering": 0.01}]


def wait_until(true: object, limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_metrics_are_right_whoever_answers(sim: Simulator, tmp_path: Path) -> None:
    """Counted by two workers, asked of either, after one was killed and after a reload."""
    own = f"127.0.0.1:{free_port()}"
    config = {"metricsBind": own, "adminApiKey": ADMIN}
    with Proxy(tmp_path, config, [credential()], upstream=sim.url) as proxy:
        url = f"http://{own}"
        wait_until(lambda: scrape(url).of("workers") == 2)
        for number in range(20):
            assert post(proxy, body(stream=bool(number % 2))).status_code == 200
        post(proxy, body(model="nobody-knows-" + "x" * 50))
        counted = scrape(url)
        asked = {"route": "/v1/messages", "dialect": "anthropic"}
        assert counted.of("requests_total", **asked, status="200", outcome="ok") == 20
        assert counted.of("requests_total", **asked, status="404", model="other") == 1
        assert counted.of("first_token_seconds_count") == 10, "of streamed answers"
        assert counted.of("request_duration_seconds_count") == 21
        assert counted.of("attempts_total", outcome="ok") == 20
        assert counted.of("frames_total") >= 60
        assert counted.of("requests_in_flight") == 0
        assert counted.of("credits_total") > 0

        sim.script({"steps": [{"text": "one"}, {"gate": "go"}, *TRAILERS]}, times=2)
        streams = [Stream(proxy, body()) for _ in range(2)]
        for stream in streams:
            stream.next("content_block_delta")
        assert scrape(url).of("requests_in_flight") == 2
        assert scrape(url).of("credential_in_flight", credential="1") == 2
        pids = [int(name.stem.rpartition("_")[2]) for name in metrics_files(tmp_path)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        proxy.wait_for_log("Booting worker", count=4)
        wait_until(lambda: answers(url) and scrape(url).of("workers") == 2)
        for stream in streams:
            stream.close()
        sim.gate("go", None)
        after = scrape(url)
        assert after.of("requests_in_flight") == 0, "what died is answering nothing"
        assert after.of("requests_total", **asked, status="200") == 20, "what was counted stays"

        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_for_log("Booting worker", count=6)
        wait_until(lambda: scrape(url).of("workers") == 2)
        assert post(proxy, body()).status_code == 200
        assert scrape(url).of("requests_total", **asked, status="200") == 21


def metrics_files(place: Path) -> list[Path]:
    return sorted((place / "runtime-metrics").glob("gauge_livesum_*.db"))


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def test_an_address_of_its_own_serves_nothing_else(sim: Simulator, tmp_path: Path) -> None:
    own = tmp_path / "metrics.sock"
    config = {"metricsBind": f"unix:{own}", "adminApiKey": ADMIN}
    with Proxy(tmp_path, config, [credential()], upstream=sim.url, workers=1) as proxy:

        def ask(method: str, path: str, **headers: str) -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("x", timeout=10)
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(own))
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            found = answer.status, answer.read()
            connection.close()
            return found

        status, text = ask("GET", "/metrics")
        assert status == 200
        assert b"kiroproxy_workers 1.0" in text
        assert ask("HEAD", "/metrics") == (200, b"")
        assert ask("GET", "/healthz") == (200, b"OK\n")
        key = {"x-api-key": proxy.key}
        assert ask("GET", "/v1/models", **key)[0] == 404
        assert ask("GET", "/api/admin/status", **{"x-api-key": ADMIN})[0] == 404
        assert ask("POST", "/metrics")[0] == 405
        # and the other way round: a client's address wants the admin key, whatever it calls itself
        host = {"host": f"unix:{own}"}
        for headers in ({}, key, host, host | {"x-forwarded-host": str(own)}):
            answer = requests.get(f"{proxy.url}/metrics", headers=headers, timeout=10)
            assert answer.status_code == 401
        assert scrape(proxy.url, **{"x-api-key": ADMIN}).of("workers") == 1


def test_without_an_admin_key_clients_find_no_metrics(sim: Simulator, tmp_path: Path) -> None:
    with Proxy(tmp_path, {}, [credential()], upstream=sim.url, workers=1) as proxy:
        assert requests.get(f"{proxy.url}/metrics", timeout=10).status_code == 404


HOG = """
import time
from kiroproxy import serving

def hog(environ, start_response):
    if environ["PATH_INFO"] == "/hog":
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            sum(range(1000))
        start_response("204 No Content", [])
        return []
    return app(environ, start_response)

def application():
    global app
    flask_app = serving.application()
    app = flask_app.wsgi_app
    flask_app.wsgi_app = hog
    return flask_app
"""


def test_f14_a_hog_is_counted_and_named(sim: Simulator, tmp_path: Path) -> None:
    (tmp_path / "hogging.py").write_text(HOG, "utf-8")
    own = f"127.0.0.1:{free_port()}"
    with Proxy(
        tmp_path,
        {"metricsBind": own},
        [credential()],
        upstream=sim.url,
        workers=1,
        app="hogging:application()",
        environ={"PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"},
    ) as proxy:
        before = scrape(f"http://{own}")
        assert requests.get(f"{proxy.url}/hog", timeout=10).status_code == 204
        wait_until(
            lambda: scrape(f"http://{own}").of("hub_stalls_total") > before.of("hub_stalls_total")
        )
        after = scrape(f"http://{own}")
        grown = after.of("hub_stall_seconds_total") - before.of("hub_stall_seconds_total")
        assert grown >= 0.4
        proxy.wait_for_log("the event loop stood still")
        line = next(
            json.loads(line)
            for line in proxy.log().splitlines()
            if "stood still" in line and "hogging.py" in line
        )
        assert line["seconds"] >= 0.4
        assert any(call.endswith(" hog") for call in line["stack"])
