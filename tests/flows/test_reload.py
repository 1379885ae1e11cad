"""F12, Q6: stopping and reloading with real signals, under load and with streams that live."""

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.flows.client import Stream, body, post
from tests.flows.conftest import credential
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

TRAILERS = [{"context": 3.5}, {"metering": 0.01}]
HELD = {"steps": [{"text": "one"}, {"gate": "go"}, {"text": "two"}, *TRAILERS]}


@contextlib.contextmanager
def serving(sim: Simulator, place: Path, grace_s: int = 20, workers: int = 1) -> Iterator[Proxy]:
    config = {"gracefulTimeoutSec": grace_s}
    credentials = [credential(maxConcurrent=100)]
    with Proxy(place, config, credentials, upstream=sim.url, workers=workers) as proxy:
        yield proxy


def workers_of(pid: int) -> set[int]:
    return {child.pid for child in psutil.Process(pid).children()}


def wait_until(true: Any, limit_s: float = 15) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


class Load:
    """Clients that keep their connections, as SDKs do, and count what was lost."""

    def __init__(self, url: str, key: str, clients: int = 6) -> None:
        self.failures: list[str] = []
        self.answered = 0
        self._url, self._key = url, key
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number % 2 == 0,)) for number in range(clients)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, stream: bool) -> None:
        value = json.dumps(body(stream=stream))
        with requests.Session() as session:
            session.trust_env = False
            while not self._over.is_set():
                try:
                    answer = session.post(
                        self._url + "/v1/messages",
                        data=value,
                        headers={"x-api-key": self._key},
                        timeout=30,
                    )
                    if answer.status_code != 200 or "end_turn" not in answer.text:
                        self.failures.append(f"{answer.status_code} {answer.text[-300:]}")
                except requests.RequestException as error:
                    self.failures.append(repr(error))
                self.answered += 1
                time.sleep(0.01)


def test_f12_reloads_under_load_lose_no_request(sim: Simulator, tmp_path: Path) -> None:
    """HUP twice, then a TERM for each worker."""
    with serving(sim, tmp_path, workers=2) as proxy, Load(proxy.url, proxy.key) as load:
        for _ in range(2):
            old = workers_of(proxy.process.pid)
            proxy.process.send_signal(signal.SIGHUP)
            wait_until(lambda old=old: all(map(gone, old)))
        for pid in workers_of(proxy.process.pid):
            with contextlib.suppress(ProcessLookupError):  # one that was on its way out
                os.kill(pid, signal.SIGTERM)
            time.sleep(0.3)
        before = load.answered
        wait_until(lambda: load.answered > before + 20)
    assert not load.failures, load.failures[:5]
    assert load.answered > 50


def test_f12_a_live_stream_outlives_a_reload(sim: Simulator, tmp_path: Path) -> None:
    with serving(sim, tmp_path) as proxy:
        sim.script(HELD)
        stream = Stream(proxy, body())
        assert stream.next("content_block_delta")["delta"]["text"] == "one"
        [old] = workers_of(proxy.process.pid)
        proxy.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(workers_of(proxy.process.pid)) == 2)
        assert post(proxy, body()).status_code == 200
        sim.gate("go", None)
        assert stream.next("message_delta")["delta"]["stop_reason"] == "end_turn"
        assert stream.response.read().endswith(b'{"type":"message_stop"}\n\n')
        stream.close()
        wait_until(lambda: gone(old))
        assert post(proxy, body()).status_code == 200


def test_f13_a_dead_worker_is_replaced_while_an_old_one_finishes(
    sim: Simulator, tmp_path: Path
) -> None:
    """F13 during F12: gunicorn itself would wait for the old worker's last stream."""
    with serving(sim, tmp_path) as proxy:
        sim.script(HELD)
        stream = Stream(proxy, body())
        stream.next("content_block_delta")
        [old] = workers_of(proxy.process.pid)
        proxy.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(workers_of(proxy.process.pid)) == 2)
        [new] = workers_of(proxy.process.pid) - {old}
        time.sleep(1.2)  # the old one has closed its listener
        os.kill(new, signal.SIGKILL)
        assert post(proxy, body()).status_code == 200
        sim.gate("go", None)
        assert stream.next("message_delta")["delta"]["stop_reason"] == "end_turn"
        stream.close()


CHAT = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "hi"}]}
RESPONSES = {"model": "claude-sonnet-4-5", "input": "hi"}


def read_rest(proxy: Proxy, path: str, value: dict[str, Any]) -> tuple[int, str]:
    """Status and all of a streamed answer; a broken connection raises."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
    with contextlib.closing(connection):
        headers = {"x-api-key": proxy.key}
        connection.request("POST", path, json.dumps(value), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


REQUESTS = [
    ("/v1/messages", body(stream=True), 200, '"type":"overloaded_error"'),
    ("/cc/v1/messages", body(stream=True), 200, '"type":"overloaded_error"'),
    ("/v1/chat/completions", CHAT | {"stream": True}, 200, '"code":"service_unavailable"'),
    ("/v1/responses", RESPONSES | {"stream": True}, 200, '"code":"service_unavailable"'),
    ("/v1/messages", body(), 529, '"type":"overloaded_error"'),
    ("/cc/v1/messages", body(), 529, '"type":"overloaded_error"'),
    ("/v1/chat/completions", CHAT, 503, '"code":"service_unavailable"'),
    ("/v1/responses", RESPONSES, 503, '"code":"service_unavailable"'),
]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_f12_what_outlives_its_grace_ends_with_an_error(
    sim: Simulator, tmp_path: Path, number: signal.Signals
) -> None:
    """Past `gracefulTimeoutSec`; at once for QUIT. Upstream is closed each time."""
    with serving(sim, tmp_path, grace_s=1) as proxy:
        sim.script({"steps": [{"text": "one"}, {"hang": None}]}, times=None)
        with ThreadPoolExecutor(len(REQUESTS)) as threads:
            answers = [threads.submit(read_rest, proxy, path, v) for path, v, _, _ in REQUESTS]
            sim.wait_for(streamsOpen=len(REQUESTS))
            time.sleep(0.3)
            [old] = workers_of(proxy.process.pid)
            began = time.monotonic()
            proxy.process.send_signal(number)
            for answer, (path, _, status, words) in zip(answers, REQUESTS, strict=True):
                told, text = answer.result()
                assert told == status, (path, text)
                assert words in text, path
                if status == 200 and not path.startswith("/cc"):
                    assert "one" in text
                assert "message_stop" not in text
                assert "[DONE]" not in text or "error" in text
            took = time.monotonic() - began
            assert took < (2.5 if number != signal.SIGQUIT else 1)
        sim.wait_for(streamsOpen=0)
        wait_until(lambda: gone(old), 4)
        if number == signal.SIGHUP:
            sim.reset()
            assert post(proxy, body()).status_code == 200
        else:
            assert proxy.process.wait(3) == 0


def test_a_stop_is_heard_while_a_reload_waits(sim: Simulator, tmp_path: Path) -> None:
    with serving(sim, tmp_path, grace_s=2) as proxy:
        sim.script({"steps": [{"text": "one"}, {"hang": None}]})
        stream = Stream(proxy, body())
        stream.next("content_block_delta")
        proxy.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(workers_of(proxy.process.pid)) == 2)
        began = time.monotonic()
        proxy.process.send_signal(signal.SIGTERM)
        assert proxy.process.wait(8) == 0
        assert time.monotonic() - began < 6
        assert stream.next("error")["error"]["type"] == "overloaded_error"
        stream.close()


def test_connections_do_not_hold_a_stop_up(sim: Simulator, tmp_path: Path) -> None:
    """Kept ones are told to close, or closed after 2 s, not 75; one that takes nothing is cut."""
    with serving(sim, tmp_path, grace_s=3) as proxy:
        idle = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
        active = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
        for connection in (idle, active):
            connection.request("GET", "/health")
            assert connection.getresponse().read()
        sim.script({"steps": [{"repeat": 2000, "steps": [{"text": "x" * 60_000}]}, *TRAILERS]})
        stream = Stream(proxy, body())
        stream.next("content_block_delta")
        began = time.monotonic()
        proxy.process.send_signal(signal.SIGTERM)
        time.sleep(1.2)
        active.request("GET", "/health")
        answer = active.getresponse()
        assert (answer.status, answer.getheader("connection")) == (200, "close")
        assert idle.sock.recv(1) == b""
        assert time.monotonic() - began < 3
        assert proxy.process.wait(12) == 0
        sim.wait_for(streamsOpen=0)
        for one in (idle, active, stream):
            one.close()


def test_an_upgrade_in_place_keeps_streams(sim: Simulator, tmp_path: Path) -> None:
    """USR2 starts a second master beside the first; TERM ends the first when it is idle."""
    with serving(sim, tmp_path) as proxy:
        sim.script(HELD)
        stream = Stream(proxy, body())
        stream.next("content_block_delta")
        [old] = workers_of(proxy.process.pid)
        proxy.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: len(workers_of(proxy.process.pid)) == 2)
        [second] = workers_of(proxy.process.pid) - {old}
        wait_until(lambda: workers_of(second))
        proxy.wait_for_log("Booting worker", count=2)
        proxy.process.send_signal(signal.SIGTERM)
        time.sleep(1.5)
        assert post(proxy, body()).status_code == 200, "by the second master"
        sim.gate("go", None)
        assert stream.next("message_delta")["delta"]["stop_reason"] == "end_turn"
        stream.close()
        proxy.process.wait(10)
        assert post(proxy, body()).status_code == 200
