"""How each credential stands."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kiroproxy import errors as e
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.overview import as_json, details, overview, tail
from tests.credentials.bench import HOUR, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.settle()
    bench.runtime.close()


def test_states_and_their_reasons(bench: Bench) -> None:
    bench.add(HOUR, priority=5, max_concurrent=3)
    bench.add(HOUR, disabled=True, disabled_reason="InvalidRefreshToken")
    until = datetime.now(UTC) + timedelta(days=2)
    bench.add(HOUR, disabled=True, disabled_reason="QuotaExceeded", disabled_until=until)
    bench.pool.lease("m").release(e.Throttled("429", retry_after_s=12))
    lease = bench.pool.lease("m", only=1)
    second, third, first = overview(bench.pool)
    assert (first.standing, first.reason, first.in_flight, first.places) == (
        "cooling",
        "throttled",
        1,
        3,
    )
    assert 10 < first.cooling_s < 15
    assert first.words.startswith("cooling 1")
    assert second.words == "disabled: InvalidRefreshToken (log in again)"
    assert third.words == f"disabled: QuotaExceeded until {until:%Y-%m-%d %H:%M} UTC"
    lease.release()
    assert overview(bench.pool)[2].words == "active"
    told = as_json(overview(bench.pool)[2])
    assert (told["requests"], told["successes"], told["state"]) == (2, 1, "active")


def test_a_rest_that_is_over_is_none(bench: Bench) -> None:
    past = datetime.now(UTC) - timedelta(hours=1)
    bench.add(HOUR, disabled=True, disabled_reason="QuotaExceeded", disabled_until=past)
    assert overview(bench.pool)[0].standing == "active"


def test_no_more_than_ten_characters_of_a_secret() -> None:
    assert (tail(None), tail(""), tail("short"), tail("x" * 30 + "1234567890")) == (
        None,
        None,
        "…",
        "…1234567890",
    )
    secrets = {
        name: name * 10 + "-" * 40 + "end"
        for name in ("refresh_token", "access_token", "client_secret", "kiro_api_key")
    }
    one = Credential(id=1, **secrets, extra={"password": "hidden"})
    shown = str(details(one))
    assert not [name for name in secrets if name in shown]
    assert "hidden" not in shown
    assert details(one)["otherKeys"] == ["password"]
