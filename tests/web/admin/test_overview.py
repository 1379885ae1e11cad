"""Is it serving, and what is about to break?"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kiroproxy import errors as e
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.overview import Overview
from kiroproxy.credentials.pool import PoolStatus
from kiroproxy.ledger.usage import UsageRow
from kiroproxy.ledger.usage_query import Total
from kiroproxy.runtime import Tally
from kiroproxy.web.admin.overview import judge, minutes_of, percentile, soon
from tests.web.admin.conftest import Desk
from tests.web.conftest import BODY, KEY

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def seen(standing: str = "active", cooling_s: float = 0.0, **fields: Any) -> Overview:
    one = Credential(id=1, refresh_token="rt", **fields)
    return Overview(one, standing, "why", cooling_s, 0, 0, 8, Tally())  # type: ignore[arg-type]


def status(usable: int, *, writable: bool = True) -> PoolStatus:
    return PoolStatus(3, usable, writable, ())


OFF = {"disabled": True, "disabled_reason": "Manual"}
SPENT = {"disabled": True, "disabled_reason": "QuotaExceeded"}


@pytest.mark.parametrize(
    ("pool", "usable", "state", "words"),
    [
        ([], 0, "down", "no credential yet"),
        ([seen("disabled", **OFF)], 0, "down", "can serve"),
        ([seen()], 1, "serving", ""),
        ([seen(), seen("disabled", **OFF)], 1, "serving", ""),
        ([seen(), seen("disabled", **SPENT)], 1, "degraded", "1 of 2"),
        ([seen(), seen("cooling", 9)], 2, "degraded", "1 of 2"),
        ([seen("cooling", 9)], 1, "degraded", "rest"),
        ([seen(), seen()], 1, "degraded", "1 of 2"),
    ],
)
def test_states(pool: list[Overview], usable: int, state: str, words: str) -> None:
    found, reason = judge(pool, status(usable))
    assert found == state
    assert words in reason
    assert bool(reason) is (state != "serving")


def test_a_store_that_cannot_be_written_is_trouble() -> None:
    assert judge([seen()], status(1, writable=False))[0] == "degraded"


def test_what_comes_soon() -> None:
    pool = [
        seen("disabled", **SPENT, disabled_until=NOW + timedelta(days=9)),
        seen("cooling", 12.0, label="mine"),
        replace(seen(), credential=Credential(id=4, expires_at=NOW + timedelta(hours=1))),
        seen(expires_at=NOW + timedelta(hours=1)),
        seen("disabled", **OFF),
    ]
    found = soon(pool, NOW)
    assert [one["what"] for one in found] == ["cooling", "token", "exhausted"]
    assert (found[0]["at"], found[0]["name"]) == ("2026-11-20T00:00:12.000Z", "mine")


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [([], 0.5, None), ([3.0], 0.95, 3.0), ([1, 2, 3, 4], 0.5, 2), (range(1, 101), 0.95, 95)],
)
def test_percentiles(values: Any, share: float, found: float | None) -> None:
    assert percentile(list(values), share) == found


def test_minutes_have_percentiles_and_what_was_in_flight() -> None:
    """Three minutes of one stream count in each of the three; a minute alone has no percentile."""
    sums = {
        "input_tokens": 0,
        "output_tokens": 0,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "credits": 0.0,
        "first_event_s": 1.0,
    }
    totals = [
        Total(by={}, start=NOW, requests=1, errors=0, duration_s=30.0, **sums),
        Total(
            by={},
            start=NOW + timedelta(minutes=5),
            requests=1,
            errors=1,
            duration_s=180.0,
            **sums,
        ),
    ]
    rows = [UsageRow(time=NOW.timestamp() + 301, first_event_s=wait) for wait in (1.0, 2.0, 9.0)]
    found = minutes_of(totals, rows)
    assert [one["start"][11:16] for one in found] == ["00:00", "00:03", "00:04", "00:05"]
    assert [one["inFlight"] for one in found] == [0.5, 1.0, 1.0, 1.0]
    assert [one["requests"] for one in found] == [1, 0, 0, 1]
    assert (found[0]["firstEventP50"], found[3]["firstEventP50"]) == (None, 2.0)
    assert found[3]["firstEventP95"] == 9.0


def test_an_empty_installation(open_desk: Callable[..., Desk]) -> None:
    told = open_desk(0).get("/overview")
    assert (told["state"], told["setupNeeded"]) == ("down", True)


def test_at_a_glance(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(3)
    desk.place.kiro.scripts = [e.Throttled("429", retry_after_s=50)]
    desk.place.client.post("/v1/messages", json=BODY, headers={"x-api-key": KEY})
    desk.post("/credentials/3/disabled", {"disabled": True})
    told = desk.get("/overview")
    assert (told["state"], told["reason"]) == ("degraded", "1 of 2 credentials cannot serve")
    pool = told["pool"]
    assert (pool["total"], pool["usable"], pool["cooling"], pool["disabled"]) == (3, 1, 1, 1)
    assert told["soon"][0]["credentialId"] == 1
    assert pool["reasons"] == {"Manual": 1}
    assert told["events"][0]["action"] == "credential.disable"
    assert told["credits"]["known"] == 0
    assert told["setupNeeded"] is False
