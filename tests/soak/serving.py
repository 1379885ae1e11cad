"""A worker under endurance: idle streams, a slow reader, many requests, a hog, random faults."""

import contextlib
import http.client
import json
import random
import resource
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
import requests

from tests.bench import bodies
from tests.faults import Fault, FaultProxy
from tests.flows import test_faults as faulty
from tests.flows.client import body, post
from tests.flows.conftest import credential
from tests.servers import Proxy
from tests.simulation import Simulator

MB = 1024 * 1024
TRAILERS = [{"context": 3.5}, {"metering": 0.01}]
PIECE = 60_000
"""Characters of one frame of a large stream."""


def allow_open_files(count: int) -> None:
    """For us and the servers that we start."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        limit = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


@contextlib.contextmanager
def one_worker(place: Path, **config: Any) -> Iterator[tuple[Simulator, Proxy, "psutil.Process"]]:
    """A simulator, and a proxy with a single worker that has already served."""
    allow_open_files(8192)
    settings = {"logLevel": "warn", "gracefulTimeoutSec": 1} | config
    one = [credential(maxConcurrent=100_000)]
    with Simulator() as sim, Proxy(place, settings, one, upstream=sim.url, workers=1) as proxy:
        for _ in range(20):
            assert post(proxy, body()).status_code == 200
        time.sleep(4)  # until the ledger's libraries are loaded and its first rows written
        [worker] = psutil.Process(proxy.process.pid).children()
        yield sim, proxy, worker


def request_bytes(proxy: Proxy, value: dict[str, Any]) -> bytes:
    data = json.dumps(value).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Api-Key: {proxy.key}\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def begun(proxy: Proxy, value: dict[str, Any], mark: bytes) -> socket.socket:
    """A stream that has come as far as `mark`."""
    client = socket.create_connection(("127.0.0.1", proxy.port), timeout=60)
    client.sendall(request_bytes(proxy, value))
    seen = b""
    while mark not in seen:
        data = client.recv(65536)
        assert data, seen
        seen += data
    return client


# ---- idle streams ----------------------------------------------------------------------------


@dataclass
class Idle:
    """What streams cost that say nothing."""

    streams: int
    more_mb: float
    cores: float


def idle_streams(place: Path, streams: int, seconds: float) -> Idle:
    """Open streams whose model has fallen silent, and look at their worker."""
    with one_worker(place) as (sim, proxy, worker):
        sim.script({"steps": [{"text": "one"}, {"hang": None}]}, times=None)
        empty = worker.memory_info().rss
        with contextlib.ExitStack() as stack:
            with ThreadPoolExecutor(16) as threads:
                value = body(stream=True)
                for client in threads.map(lambda _: begun(proxy, value, b'"one"'), range(streams)):
                    stack.enter_context(client)
            sim.wait_for(streamsOpen=streams, timeout_s=30)
            time.sleep(1)
            before, began = sum(worker.cpu_times()[:2]), time.monotonic()
            time.sleep(seconds)
            cores = (sum(worker.cpu_times()[:2]) - before) / (time.monotonic() - began)
            more = (worker.memory_info().rss - empty) / MB
        sim.wait_for(streamsOpen=0, timeout_s=30)
        return Idle(streams, more, cores)


# ---- a slow reader ---------------------------------------------------------------------------


@dataclass
class Slow:
    """A client that takes its time."""

    sent_mb: float
    growth_mb: float
    whole: bool


def slow_reader(place: Path, megabytes: int, seconds: float) -> Slow:
    """Read a large stream slowly for a while, then to its end; memory is that of the way there."""
    pieces = megabytes * 1_000_000 // PIECE
    with one_worker(place) as (sim, proxy, worker):
        piece = [{"text": "x" * PIECE}]
        sim.script({"steps": [{"repeat": pieces, "steps": piece}, *TRAILERS]})
        base, peak = worker.memory_info().rss, 0
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60)
        headers = {"x-api-key": proxy.key, "connection": "close"}
        connection.request("POST", "/v1/messages", json.dumps(body(stream=True)), headers)
        answer = connection.getresponse()
        letters, tail = 0, b""
        until = time.monotonic() + seconds
        while data := answer.read(64 * 1024):
            letters += data.count(b"x")
            tail = (tail + data)[-200:]
            peak = max(peak, worker.memory_info().rss)
            if time.monotonic() < until:
                assert sim.state()["streamsOpen"] == 1, "it cannot all be on its way"
                time.sleep(0.1)
        connection.close()
        whole = letters >= pieces * PIECE and b"message_stop" in tail
        return Slow(letters / 1e6, (peak - base) / MB, whole)


# ---- many requests ---------------------------------------------------------------------------


@dataclass
class Many:
    """Memory after so many requests."""

    requests: int
    slope_kb: float
    """Per 1,000 requests, of the second half: by then caches are full."""
    growth_mb: float


def many_requests(place: Path, count: int, clients: int = 8) -> Many:
    """Requests, streamed and not, on kept connections."""
    rounds = 20
    each = max(count // rounds // clients, 1)
    with one_worker(place) as (_, proxy, worker):
        connections = [
            http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=60) for _ in range(clients)
        ]

        def ask(connection: http.client.HTTPConnection) -> None:
            for number in range(each):
                value = json.dumps(body(stream=number % 2 == 0))
                connection.request("POST", "/v1/messages", value, {"x-api-key": proxy.key})
                answer = connection.getresponse()
                text = answer.read()
                assert answer.status == 200, text
                assert b"end_turn" in text

        marks = []
        with ThreadPoolExecutor(clients) as threads:
            for _ in range(rounds):
                list(threads.map(ask, connections))
                marks.append(worker.memory_info().rss)
        for connection in connections:
            connection.close()
    late = marks[rounds // 2 :]
    per_round = slope(late)
    thousand = 1000 / (each * clients)
    return Many(rounds * each * clients, per_round * thousand / 1024, (late[-1] - late[0]) / MB)


def slope(values: list[int]) -> float:
    """Of the line of least squares through equidistant values."""
    middle = (len(values) - 1) / 2
    mean = sum(values) / len(values)
    over = sum((n - middle) * (value - mean) for n, value in enumerate(values))
    return over / sum((n - middle) ** 2 for n in range(len(values)))


# ---- a hog -----------------------------------------------------------------------------------


@dataclass
class Stalls:
    """Milliseconds that a stream's events came late, beside so many large requests."""

    requests: int
    p99: float
    worst: float


def hog(place: Path, seconds: float) -> Stalls:
    """A stream ticks every 10 ms while its worker reads and counts requests of 1.35 MB.

    They do not go on to the simulator: it has one process, and would be the one that stalls.
    """
    tick_s = 0.01
    with one_worker(place) as (sim, proxy, _):
        ticks = [{"each_delayed": tick_s}, {"repeat": 100_000, "steps": [{"text": "tick"}]}]
        sim.script({"steps": ticks}, match="watch me")
        late: list[float] = []
        large = bodies.large("small")
        with (
            begun(proxy, body("watch me", stream=True), b"tick") as client,
            ThreadPoolExecutor(1) as other,
        ):
            until = time.monotonic() + seconds

            def bother() -> int:
                count = 0
                while time.monotonic() < until:
                    answer = post(proxy, large, "/v1/messages/count_tokens")
                    assert answer.status_code == 200, answer.text
                    count += 1
                return count

            busy = other.submit(bother)
            last = time.monotonic()
            while time.monotonic() < until:
                assert client.recv(65536)
                now = time.monotonic()
                late.append(max(now - last - tick_s, 0) * 1000)
                last = now
            requests = busy.result()
    late.sort()
    return Stalls(requests, late[int(len(late) * 0.99)], late[-1])


# ---- random faults ---------------------------------------------------------------------------


TOKEN_S = 10
"""An access token's life: each is renewed before its end."""
HANG_S = 25
"""Six attempts may each wait for the idle limit of 1.2 s, on a busy machine."""
LOST: tuple[Literal["reset", "close"], ...] = ("reset", "close")
"""What may happen to a request before anybody has heard of it."""


@dataclass
class Faults:
    """How requests ended, and what must not have happened."""

    told: Counter[str]
    hangs: int = 0
    """No end within `HANG_S`."""
    truncated: int = 0
    """Said to be whole, or said something else, and was not."""
    disabled: int = 0
    refreshes: int = 0


def random_faults(place: Path, seconds: float, seed: int = 1) -> Faults:
    """Ask through random faults, while tokens are renewed over the same way.

    A fault of a renewal comes before the auth server hears of it: what it has rotated and nobody
    was told is lost to everybody (design 5, rule 5).
    """
    chance = random.Random(seed)
    found = Faults(Counter())
    ends = ("", "reset", "close", "hole", "corrupt")

    def fault() -> Fault:
        sliced = chance.choice([0, 0, 1, 100])
        return Fault(
            end=chance.choice(ends),  # type: ignore[arg-type]
            after=chance.choice([None, chance.randrange(8000), chance.randrange(400)]),
            latency_s=0 if sliced else chance.choice([0, 0.05]),
            slice_bytes=sliced,
        )

    with Simulator() as sim, FaultProxy(sim.url) as way, FaultProxy(sim.url) as auth:
        for one in faulty.pool():
            sim.account(id=str(one["id"]), refreshToken=one["refreshToken"], expiresIn=TOKEN_S)
        config = faulty.IMPATIENT | {"apiUrl": way.url, "socialAuthUrl": auth.url}
        due = [one | {"expiresAt": "2020-01-01T00:00:00Z"} for one in faulty.pool()]
        with Proxy(place, config | {"logLevel": "warn"}, due, upstream=sim.url) as proxy:
            sim.script(faulty.SCRIPT, times=None)
            until = time.monotonic() + seconds

            def ask(stream: bool) -> None:
                began = time.monotonic()
                try:
                    reason, text = faulty.outcome(proxy, stream)
                except (TimeoutError, requests.Timeout):
                    reason, text = "no end", ""
                found.told[reason] += 1
                found.hangs += time.monotonic() - began > HANG_S
                whole = text == faulty.WHOLE
                found.truncated += not (
                    whole if reason == "end_turn" else faulty.WHOLE.startswith(text)
                )

            with ThreadPoolExecutor(12) as threads:
                while time.monotonic() < until:
                    way.suffer(*(fault() for _ in range(60)))
                    auth.suffer(*[Fault(chance.choice(LOST), after=None)] * (chance.random() < 0.2))
                    list(threads.map(ask, [n % 2 == 0 for n in range(48)]))
            way.suffer()
            auth.suffer()
            deadline = time.monotonic() + 90
            while faulty.outcome(proxy, True) != ("end_turn", faulty.WHOLE):
                assert time.monotonic() < deadline, "it does not recover"
                time.sleep(0.5)
            found.disabled = faulty.disabled(proxy)
            found.refreshes = sim.state()["refreshes"]
            assert sim.state()["reuses"] == 0, "a token was redeemed twice"
            sim.wait_for(streamsOpen=0)
    return found
