"""/metrics: pool and credits as they stand, and an address of their own."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from kiroproxy.config import Config
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.pool import USAGE
from kiroproxy.ledger.budgets import Account
from kiroproxy.upstream.usage import Usage
from kiroproxy.web.scrape import MetricsDoor, PoolCollector, came_to, exposition
from tests.scraping import Scrape
from tests.web.conftest import ADMIN, Place


def scraped(place: Place) -> Scrape:
    """With a balance that is new enough, so that nobody is asked."""
    place.services.runtime.claim("balances for metrics", 60)
    body, kind = exposition(place.services)
    assert kind.startswith("text/plain")
    return Scrape(body.decode())


def test_the_pool_as_it_stands(make: Callable[..., Place]) -> None:
    place = make(credentials=4)

    def change(credentials: list[Credential]) -> None:
        credentials[1] = replace(credentials[1], disabled=True, disabled_reason="Manual")
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        credentials[2] = replace(
            credentials[2],
            disabled=True,
            disabled_reason="QuotaExceeded",
            disabled_until=tomorrow,
        )

    place.services.pool.store.edit(change)
    found = scraped(place)
    states = {state: found.of("credentials", state=state) for state in ("active", "cooling")}
    states |= {state: found.of("credentials", state=state) for state in ("exhausted", "disabled")}
    assert states == {"active": 2, "cooling": 0, "exhausted": 1, "disabled": 1}
    assert found.of("credentials_usable") == 2
    assert found.of("places") == 16
    assert found.of("store_writable") == 1
    assert found.of("queue_waiting") == 0
    lease = place.services.pool.lease("")
    assert scraped(place).of("credential_in_flight", credential=str(lease.credential.id)) == 1
    lease.release(None)


def test_credits_of_those_whose_balance_is_known(make: Callable[..., Place]) -> None:
    place = make(credentials=2)
    none = scraped(place)
    assert "kiroproxy_credits_left" not in none.names()
    assert math.isnan(none.of("days_to_dry"))
    reset = datetime.now(UTC) + timedelta(days=20)
    usage = Usage("KIRO PRO", 1000.0, 400.0, reset)
    place.services.runtime.remember(f"{USAGE}1", msgspec.json.encode(usage).decode())
    found = scraped(place)
    assert found.of("credits_left", credential="1") == 600
    assert found.of("credits_limit", credential="1") == 1000
    assert found.values("kiroproxy_credits_left", "credential") == {"1"}
    assert found.of("days_to_dry") == math.inf, "nothing is spent"


@pytest.mark.parametrize(("per_day", "days"), [(100.0, 6.0), (10.0, math.inf)])
def test_days_until_dry(
    place: Place, monkeypatch: pytest.MonkeyPatch, per_day: float, days: float
) -> None:
    reset = datetime.now(UTC) + timedelta(days=20)
    accounts = [Account(1, 600.0, 1000.0, reset, per_day)]
    monkeypatch.setattr(PoolCollector, "_accounts", lambda *_: accounts)
    found = scraped(place)
    for name in ("credential_days_to_dry", "days_to_dry"):
        assert found.of(name) == pytest.approx(days, abs=0.01)


def test_balances_are_asked_for_by_one_worker_now_and_then(place: Place) -> None:
    asked: list[tuple[list[int], float]] = []

    class Balances:
        def known(self) -> dict[int, Any]:
            return {}

        def look(self, wanted: list[Credential], wait_s: float) -> None:
            asked.append(([one.id for one in wanted], wait_s))

    place.services.balances = Balances()  # type: ignore[assignment]
    for _ in range(3):
        exposition(place.services)
    deadline = time.monotonic() + 5
    while not asked and time.monotonic() < deadline:
        time.sleep(0.01)
    assert asked == [([1], 10.0)]


def test_an_ill_ledger_costs_the_credits_alone(make: Callable[..., Place], tmp_path: Any) -> None:
    (tmp_path / "ill").mkdir()
    place = make(database_path=str(tmp_path / "ill"))
    usage = Usage("KIRO PRO", 1000.0, 400.0, None)
    place.services.runtime.remember(f"{USAGE}1", msgspec.json.encode(usage).decode())
    found = scraped(place)
    assert found.of("credentials_usable") == 1
    assert "kiroproxy_credits_left" not in found.names()


class Connection:
    def __init__(self, name: Any) -> None:
        self._name = name

    def getsockname(self) -> Any:
        if isinstance(self._name, OSError):
            raise self._name
        return self._name


@pytest.mark.parametrize(
    ("bound", "name", "own"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464), True),
        ("0.0.0.0:9464", ("10.1.2.3", 9464), True),
        ("[::1]:9464", ("::1", 9464, 0, 0), True),
        ("127.0.0.1:9464", ("127.0.0.1", 8080), False),
        ("127.0.0.1:9464", "/run/x.sock", False),
        ("unix:/run/m.sock", "/run/m.sock", True),
        ("unix:/run/m.sock", "/run/x.sock", False),
        ("unix:/run/m.sock", ("127.0.0.1", 9464), False),
        ("unix:/run/m.sock", OSError(9, "gone"), False),
    ],
)
def test_where_a_connection_came_to(bound: str, name: Any, own: bool) -> None:
    assert came_to(Connection(name), bound) is own
    assert came_to(None, bound) is False


def test_the_door_hands_clients_on(place: Place) -> None:
    place.services.config = Config(metrics_bind="127.0.0.1:9464")
    door = MetricsDoor(lambda environ, start: [b"a client's"], place.services)
    client = {"gunicorn.socket": Connection(("127.0.0.1", 8080)), "PATH_INFO": "/metrics"}
    assert list(door(client, lambda *_: None)) == [b"a client's"]  # type: ignore[arg-type,return-value]


def test_a_scrape_at_the_clients_address_wants_the_admin_key(place: Place) -> None:
    assert place.client.get("/metrics").status_code == 401
    answer = place.client.get("/metrics", headers={"authorization": f"Bearer {ADMIN}"})
    assert Scrape(answer.text).of("credentials_usable") == 1
