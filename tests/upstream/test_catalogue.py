"""The live model list: in the background, fresh, stale, and never in the way."""

import threading
from typing import Any

from kiroproxy.credentials.model import Credential
from kiroproxy.errors import NoCredential, Unreachable
from kiroproxy.kiro.models import BUILT_IN, Model
from kiroproxy.transport import Route, Transport
from kiroproxy.upstream.catalogue import FRESH_S, RETRY_S, STALE_S, Catalogue, CatalogueClient
from kiroproxy.upstream.endpoint import Identity, Voice
from tests.simulation import Simulator

LIVE = [Model("claude-fable-5", "Claude Fable 5", 1_000_000)]


class Lease:
    credential = Credential(id=1, access_token="a")

    def release(self, outcome: BaseException | None = None) -> None:
        """Nothing to give back."""


class Pool:
    def __init__(self) -> None:
        self.empty = False

    def lease(self, model: str) -> Lease:
        if self.empty:
            raise NoCredential("none")
        return Lease()


class Source:
    """Gives what it is told to, and counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.models = LIVE
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def fetch(self, credential: Credential) -> list[Model]:
        self.calls += 1
        self.gate.wait(5)
        if self.error is not None:
            raise self.error
        return self.models


def made(source: Source, pool: Any = None) -> tuple[Catalogue, list[float]]:
    now = [1000.0]
    return Catalogue(pool or Pool(), source.fetch, clock=lambda: now[0]), now


def test_first_request_is_served_at_once() -> None:
    source = Source()
    source.gate.clear()
    catalogue, _ = made(source)
    assert catalogue.models() is BUILT_IN
    source.gate.set()
    assert catalogue.models(5) == LIVE
    assert source.calls == 1


def test_fresh_stale_and_lost() -> None:
    source = Source()
    catalogue, now = made(source)
    assert catalogue.models(5) == LIVE
    now[0] += FRESH_S - 1
    assert catalogue.models(5) == LIVE
    assert source.calls == 1
    source.error = Unreachable("down")
    now[0] += 2
    assert catalogue.models(5) == LIVE, "stale, but usable"
    now[0] += STALE_S
    assert catalogue.models(5) is BUILT_IN


def test_failures_are_not_repeated_at_each_request() -> None:
    source = Source()
    source.error = Unreachable("down")
    catalogue, now = made(source)
    for _ in range(5):
        assert catalogue.models(1) is BUILT_IN
    assert source.calls == 1
    source.error = None
    now[0] += RETRY_S
    assert catalogue.models(5) == LIVE


def test_no_credential_is_no_failure() -> None:
    pool = Pool()
    pool.empty = True
    catalogue, _ = made(Source(), pool)
    assert catalogue.models(1) is BUILT_IN


def voice(url: str) -> Voice:
    identity = Identity(url, "us-east-1", "", "0.8.0", "darwin#24.6.0", "22.21.1")
    return Voice(Transport(), identity, lambda _: Route(), lambda _: "0" * 64)


def test_all_pages_are_read() -> None:
    with Simulator() as simulator:
        client = CatalogueClient(voice(simulator.url))
        models = client.fetch(Credential(id=1, access_token="a"))
        assert "claude-sonnet-4.5" in {model.id for model in models}
        assert all(model.window > 0 for model in models)
        [request] = {r["path"] for r in simulator.requests("/ListAvailableModels")}
        assert request == "/ListAvailableModels"
