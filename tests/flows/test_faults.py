"""F7 to F17: what a fault on the way to Kiro, or here, comes to for a client.

0 hangs, 0 silent truncations, 0 credentials disabled by the network. Elsewhere: endings that the
simulator itself plays (test_endings.py), clients that leave or read slowly (F10, F11:
test_streaming.py), reloads (F12: test_reload.py), hogs (F14: tests/soak), storms and recovery (F16,
F17: test_pool.py). Each bears its number in its name.
"""

import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults import Fault, FaultProxy
from tests.flows.client import Stream, assemble, body, events_of, post, text_of
from tests.flows.conftest import LONG_TOKEN, credential
from tests.servers import Proxy
from tests.simulation import Simulator
from tests.wire import Wire

pytestmark = pytest.mark.flow

WORDS = [f"word{n} " for n in range(40)]
WHOLE = "".join(WORDS)
SCRIPT = {"steps": [*({"text": word} for word in WORDS), {"context": 3.5}, {"metering": 0.01}]}
IDLE_S = 1.2
IMPATIENT = {"idleTimeoutSec": IDLE_S, "pingIntervalSec": 0.3, "firstFrameWaitSec": 0.4}


def pool() -> list[dict[str, Any]]:
    return [
        credential(id=n, refreshToken=LONG_TOKEN + str(n), accessToken=f"access-{n}")
        for n in (1, 2)
    ]


def disabled(proxy: Proxy) -> int:
    stored = json.loads(proxy.credentials_path.read_text("utf-8"))
    return sum(bool(one.get("disabled")) for one in stored)


def assert_nobody_is_blamed(proxy: Proxy) -> None:
    assert not disabled(proxy)


@pytest.fixture(scope="module")
def faults(running_simulator: Simulator) -> Iterator[FaultProxy]:
    with FaultProxy(running_simulator.url) as running:
        yield running


@pytest.fixture(scope="module")
def behind(
    running_simulator: Simulator, faults: FaultProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """A proxy whose way to Kiro leads through the faults."""
    place = tmp_path_factory.mktemp("behind")
    config = IMPATIENT | {"apiUrl": faults.url}
    with Proxy(place, config, pool(), upstream=running_simulator.url) as proxy:
        yield proxy
        assert_nobody_is_blamed(proxy)


def outcome(proxy: Proxy, stream: bool) -> tuple[str, str]:
    """How a request ended (a stop reason, `error:<type>` or a status), and its text."""
    if not stream:
        answer = post(proxy, body())
        if answer.status_code != 200:
            return str(answer.status_code), ""
        return str(answer.json()["stop_reason"]), text_of(answer.json())
    opened = Stream(proxy, body())
    if opened.status != 200:
        return str(opened.status), ""
    message = assemble([event for event in opened if event["type"] != "ping"])
    opened.close()
    return str(message["stop_reason"]), text_of(message)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("end", ["hole", "reset", "close"])
def test_f7_nothing_of_an_answer_fails_over(
    sim: Simulator, faults: FaultProxy, behind: Proxy, end: Any, stream: bool
) -> None:
    sim.script(SCRIPT, times=None)
    faults.suffer(Fault(end, after=None))
    began = time.monotonic()
    assert outcome(behind, stream) == ("end_turn", WHOLE)
    assert time.monotonic() - began < (IDLE_S if end == "hole" else 0) + 0.5


def test_f8_silence_midway_is_filled_and_then_named(
    sim: Simulator, faults: FaultProxy, behind: Proxy
) -> None:
    sim.script(SCRIPT, times=None)
    faults.suffer(Fault("hole", after=1500))
    began = time.monotonic()
    stream = Stream(behind, body())
    events = list(stream)
    stream.close()
    kinds = [event["type"] for event in events]
    assert kinds.count("ping") >= 3
    assert events[-1]["error"]["type"] == "timeout_error"
    assert "message_stop" not in kinds
    assert IDLE_S <= time.monotonic() - began < IDLE_S + 0.7
    sim.wait_for(streamsOpen=0)


def test_slices_and_latency_change_nothing(
    sim: Simulator, faults: FaultProxy, behind: Proxy
) -> None:
    sim.script(SCRIPT, times=None)
    for fault in (Fault(slice_bytes=1), Fault(slice_bytes=7), Fault(latency_s=0.2)):
        for stream in (True, False):
            faults.suffer(fault)
            assert outcome(behind, stream) == ("end_turn", WHOLE)


@pytest.mark.parametrize("stream", [True, False])
def test_f9_no_damage_goes_unseen(
    sim: Simulator, faults: FaultProxy, behind: Proxy, stream: bool
) -> None:
    """Whatever byte is wrong or the last one, in the HTTP head, a chunk's size or a frame."""
    sim.script(SCRIPT, times=None)
    size = 7500  # of the answer, about
    places = [*range(3, size, 149), *range(120, 160)]  # with the end of the head
    hurt = [Fault("corrupt", after=place) for place in places]
    hurt += [
        Fault(end, after=place)  # type: ignore[arg-type]
        for end in ("close", "reset", "hole")
        for place in range(11, size, 751)
    ]
    before = faults.suffer(*hurt)
    with ThreadPoolExecutor(20) as threads:
        outcomes = list(threads.map(lambda _: outcome(behind, stream), range(len(hurt))))
    assert faults.suffer() - before >= len(hurt), "every fault was met"
    told = {reason for reason, _ in outcomes}
    for reason, text in outcomes:
        assert WHOLE.startswith(text), "nothing is changed"
        assert reason != "end_turn" or text == WHOLE, "nothing is missing"
    assert told <= {
        "end_turn",
        "max_tokens",  # cut so that its HTTP body seems to have ended well
        "error:api_error",
        "error:timeout_error",
        "502",
        "504",
    }
    assert len(told) > 1 or not stream, "what is not streamed may fail over to the end"
    assert outcome(behind, stream) == ("end_turn", WHOLE), "and all is well afterwards"
    sim.wait_for(streamsOpen=0)


def test_f13_a_killed_worker_takes_only_its_own_streams(sim: Simulator, tmp_path: Path) -> None:
    """No stream of it ends as if it were whole; its place in the queue is free again."""
    one = [credential(maxConcurrent=1)]
    with Proxy(tmp_path, {}, one, upstream=sim.url, workers=1) as proxy:
        sim.script({"steps": [{"text": "one"}, {"hang": None}]})
        stream = Stream(proxy, body())
        stream.next("content_block_delta")
        [worker] = psutil.Process(proxy.process.pid).children()
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            stream.response.read()
        stream.close()
        sim.wait_for(streamsOpen=0)
        began = time.monotonic()
        assert assemble(events_of(proxy, body()))["stop_reason"] == "end_turn"
        assert time.monotonic() - began < 5


def test_f13_a_killed_master_takes_its_workers_along(sim: Simulator, tmp_path: Path) -> None:
    """Their streams break without looking whole, and the next server finds the port free."""
    with Proxy(tmp_path, {}, [credential(maxConcurrent=1)], upstream=sim.url) as proxy:
        sim.script({"steps": [{"text": "one"}, {"hang": None}]})
        stream = Stream(proxy, body())
        stream.next("content_block_delta")
        workers = psutil.Process(proxy.process.pid).children()
        proxy.process.kill()
        proxy.process.wait()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            stream.response.read()
        stream.close()
        psutil.wait_procs(workers, timeout=5)
        assert not any(worker.is_running() for worker in workers)
        sim.wait_for(streamsOpen=0)
        with proxy:
            assert post(proxy, body()).status_code == 200


@pytest.mark.parametrize(
    ("way", "word"),
    [
        ("http://no-such-host.invalid", "resolve"),
        ("https://127.0.0.1:{plain}", "TLS"),
        ("https://127.0.0.1:{tls}", "TLS"),
    ],
    ids=["name", "no TLS", "unknown certificate"],
)
def test_f15_a_fault_of_the_way_is_named_and_not_the_credentials(
    sim: Simulator, tmp_path: Path, way: str, word: str
) -> None:
    with Wire(tls=True) as wire:
        url = way.format(plain=sim.url.rpartition(":")[2], tls=wire.port)
        config = {"apiUrl": url}
        with Proxy(tmp_path, config, pool()[:1], upstream=sim.url, workers=1) as proxy:
            answer = post(proxy, body(stream=True))
            assert answer.status_code == 502
            error = answer.json()["error"]
            assert error["type"] == "api_error"
            assert word.lower() in error["message"].lower(), error
            assert_nobody_is_blamed(proxy)


PROXIES = {
    "refused": "http://127.0.0.1:1",
    "unknown": "http://no-such-host.invalid:3128",
    "socks": "socks5h://127.0.0.1:1",
    "no-proxy": "http://127.0.0.1:{simulator}",
    "dead": "http://127.0.0.1:{dead}",
}


def test_f15_a_fault_of_a_proxy_is_named_and_not_the_credentials(
    sim: Simulator, tmp_path: Path
) -> None:
    """Nobody there, no such name, no SOCKS, another server, one that hangs up."""
    with Wire() as dead:  # it closes each connection
        facts = {"simulator": sim.url.rpartition(":")[2], "dead": dead.port}
        credentials = [
            credential(
                id=number,
                group=name,
                proxyUrl=url.format(**facts),
                refreshToken=LONG_TOKEN + name,
                accessToken=f"access-{name}",
            )
            for number, (name, url) in enumerate(PROXIES.items(), 1)
        ]
        config = {"apiUrl": "https://q.us-east-1.amazonaws.com"}
        with Proxy(tmp_path, config, credentials, upstream=sim.url, workers=1) as proxy:

            def ask(group: str) -> tuple[int, str]:
                answer = post(proxy, body(), f"/{group}/v1/messages")
                return answer.status_code, answer.json()["error"]["message"]

            with ThreadPoolExecutor(len(PROXIES)) as threads:
                told = dict(zip(PROXIES, threads.map(ask, PROXIES), strict=True))
            for name, (status, message) in told.items():
                assert (status, "the proxy on the way" in message) == (502, True), (name, message)
            assert_nobody_is_blamed(proxy)


def test_f15_a_refresh_that_does_not_get_through_blames_nobody(
    sim: Simulator, faults: FaultProxy, tmp_path: Path
) -> None:
    """Nothing was redeemed: when the way is free again, the same token is."""
    expired = [credential(id=1, expiresAt="2020-01-01T00:00:00Z")]
    config = {"socialAuthUrl": faults.url}
    with Proxy(tmp_path, config, expired, upstream=sim.url, workers=1) as proxy:
        faults.suffer(*[Fault(end, after=None) for end in ("reset", "close") * 10])
        answer = post(proxy, body())
        assert answer.status_code in (502, 503), answer.text
        assert "closed the connection" in answer.json()["error"]["message"], answer.text
        assert_nobody_is_blamed(proxy)
        faults.suffer()
        deadline = time.monotonic() + 20
        while post(proxy, body()).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert sim.state()["reuses"] == 0
