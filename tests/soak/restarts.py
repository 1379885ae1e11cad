"""Hundreds of requests in flight behind nginx while workers, masters and hosts are replaced."""

import contextlib
import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.flows.client import body
from tests.flows.conftest import credential
from tests.flows.test_nginx import DEPLOY, Nginx, nginx, replaced
from tests.servers import Proxy
from tests.simulation import Simulator
from tests.soak.serving import allow_open_files

SCRIPT = {
    "steps": [{"each_delayed": 0.15}, *({"text": f"word{n} "} for n in range(6)), {"context": 3.5}]
}
SHIPPED = "server 127.0.0.1:8990 max_fails=3 fail_timeout=5s;"
REST_S = 6.0
"""Until nginx tries a host again that had gone (`fail_timeout`), and a little more."""


@dataclass
class Restarts:
    """What became of the requests meanwhile."""

    in_flight: int = 0
    """At most, by the simulator's count."""
    answered: int = 0
    told: Counter[str] = field(default_factory=Counter)
    """What was no whole answer."""


class Clients:
    """Keep their connections, half of them stream, and pause for a moment between requests."""

    def __init__(self, port: int, key: str, count: int) -> None:
        self.outcome = Restarts()
        self._port, self._key = port, key
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(n % 2 == 0,)) for n in range(count)
        ]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, stream: bool) -> None:
        value = json.dumps(body(stream=stream))
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._over.is_set():
            time.sleep(random.uniform(0, 0.5))
            try:
                connection.request("POST", "/v1/messages", value, {"x-api-key": self._key})
                answer = connection.getresponse()
                text = answer.read()
                whole = answer.status == 200 and b"end_turn" in text
                told = "" if whole else f"{answer.status} {text[-100:]!r}"
            except (OSError, http.client.HTTPException) as error:
                told = repr(error)
                connection.close()
            with self._lock:
                self.outcome.answered += 1
                if told:
                    self.outcome.told[told] += 1
        connection.close()


@contextlib.contextmanager
def hosts_behind_nginx(place: Path, sim: Simulator) -> Iterator[tuple[list[Proxy], Nginx]]:
    """Two hosts of two workers each."""
    hosts = []
    for name in ("one", "two"):
        (place / name).mkdir()
        config = {"gracefulTimeoutSec": 30, "logLevel": "warn", "trustedProxies": ["127.0.0.1"]}
        pool = [credential(maxConcurrent=10_000)]
        hosts.append(Proxy(place / name, config, pool, upstream=sim.url))
    servers = "\n".join(SHIPPED.replace("8990", str(host.port)) for host in hosts)
    upstream = replaced((DEPLOY / "nginx/upstream-tcp.conf").read_text(), SHIPPED, servers)
    with hosts[0], hosts[1], nginx(place, upstream) as front:
        yield hosts, front


def replace_everything(place: Path, clients: int, rounds: int) -> Restarts:
    """In each round and on each host: HUP, TERM for a worker, then the host stops and starts."""
    allow_open_files(8192)
    with Simulator() as sim, hosts_behind_nginx(place, sim) as (hosts, front):
        sim.script(SCRIPT, times=None)
        with Clients(front.port, hosts[0].key, clients) as load:
            time.sleep(3)
            for _ in range(rounds):
                for host in hosts:
                    load.outcome.in_flight = max(load.outcome.in_flight, sim.state()["streamsOpen"])
                    host.process.send_signal(signal.SIGHUP)
                    time.sleep(4)
                    for worker in psutil.Process(host.process.pid).children()[:1]:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(worker.pid, signal.SIGTERM)
                    time.sleep(3)
                    host.process.send_signal(signal.SIGTERM)
                    host.process.wait(40)
                    host.__enter__()
                    time.sleep(REST_S)
        return load.outcome
