"""How often Kiro is called, and on whose behalf (design 5)."""

from pathlib import Path
from typing import Any

import pytest

from tests.flows.client import body, post
from tests.flows.conftest import LONG_TOKEN, credential
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow


def pool_of(size: int) -> list[dict[str, Any]]:
    return [
        credential(id=n, refreshToken=LONG_TOKEN + str(n), accessToken=f"access-{n}", priority=n)
        for n in range(1, size + 1)
    ]


def bearers(sim: Simulator) -> list[str]:
    return [request["bearer"] for request in sim.requests("/generateAssistantResponse")]


REFUSALS: list[tuple[str, dict[str, Any]]] = [
    ("401", {"status": 401, "body": {"message": "no"}}),
    (
        "403",
        {
            "status": 403,
            "body": {"message": "The bearer token included in the request is invalid"},
        },
    ),
    ("429", {"status": 429, "body": {"message": "slow"}}),
    ("500", {"status": 500, "body": {"message": "boom"}}),
    ("503", {"status": 503, "body": {"message": "boom"}}),
]


@pytest.mark.parametrize(("size", "calls"), [(1, 3), (2, 6), (5, 9)])
@pytest.mark.parametrize("refusal", [row[1] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_s107_every_call_refused(
    sim: Simulator, tmp_path: Path, size: int, calls: int, refusal: dict[str, Any]
) -> None:
    with Proxy(tmp_path, {}, pool_of(size), upstream=sim.url, workers=1) as proxy:
        sim.script(refusal, times=None)
        assert post(proxy, body()).status_code in (429, 502, 503, 529)
        assert len(bearers(sim)) == calls


@pytest.mark.parametrize("size", [1, 2])
def test_s110_bad_request_is_called_once(sim: Simulator, tmp_path: Path, size: int) -> None:
    with Proxy(tmp_path, {}, pool_of(size), upstream=sim.url, workers=1) as proxy:
        sim.script({"status": 400, "body": {"message": "Improperly formed request."}}, times=None)
        assert post(proxy, body()).status_code == 400
        assert len(bearers(sim)) == 1


@pytest.mark.parametrize(
    ("size", "expected"), [(1, ["access-1", "access-1"]), (2, ["access-1", "access-2"])]
)
def test_first_fails_once(sim: Simulator, tmp_path: Path, size: int, expected: list[str]) -> None:
    with Proxy(tmp_path, {}, pool_of(size), upstream=sim.url, workers=1) as proxy:
        sim.script({"status": 500, "body": {"message": "boom"}})
        assert post(proxy, body()).status_code == 200
        assert bearers(sim) == expected


def test_s102_refused_token_is_renewed_once_and_tried_again(sim: Simulator, tmp_path: Path) -> None:
    with Proxy(tmp_path, {}, pool_of(2), upstream=sim.url, workers=1) as proxy:
        sim.script(
            {"status": 403, "body": {"message": "The bearer token is expired. ExpiredToken"}}
        )
        assert post(proxy, body()).status_code == 200
        first, second = bearers(sim)
        assert first == "access-1"
        assert second not in ("access-1", "access-2"), "the same credential, its new token"
        assert len(sim.requests("/refreshToken")) == 1
