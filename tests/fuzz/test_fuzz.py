"""Seconds of what `make fuzz` does for minutes."""

from pathlib import Path

import pytest
import requests

from tests.flows.conftest import credential
from tests.fuzz import runs
from tests.fuzz.bodies import body_bytes, seeds
from tests.servers import Proxy
from tests.simulation import Simulator


@pytest.mark.parametrize(
    ("seed", "dialect"), [(0, ""), (1, ""), (2, ""), (3, "oai"), (4, "oai"), (5, "codex")]
)
def test_generated_bodies(seed: int, dialect: str) -> None:
    statuses = runs.fuzz_bodies(seed, count=1200, dialect=dialect)
    assert set(statuses) <= {200, 400, 404}
    assert statuses[200] > 100, "the mutations must leave some bodies good"


def test_damaged_streams() -> None:
    data = runs.recorded_stream()
    whole = runs.play(data, [])
    runs.check(whole, runs.said(whole), complete=True)
    assert runs.fuzz_stream(data, values=2) == 3 * len(data)


@pytest.mark.flow
def test_generated_bodies_against_the_real_server(tmp_path: Path) -> None:
    import random

    chance, known = random.Random(5), seeds()
    with (
        Simulator() as simulator,
        Proxy(tmp_path, {}, [credential()], upstream=simulator.url, workers=2) as proxy,
        requests.Session() as session,
    ):
        session.headers["x-api-key"] = proxy.key
        for _ in range(400):
            data = body_bytes(chance, known)
            answer = session.post(proxy.url + "/v1/messages", data=data, timeout=20)
            assert answer.status_code in (200, 400, 404), (answer.text, data)
        refused = {one["refused"] for one in simulator.requests("/generateAssistantResponse")}
        assert refused <= {None}
