"""What Kiro says about an account (protocol notes 6.1, 6.4; S125c)."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from kiroproxy.credentials.model import BUILDER_ID_ARN, Credential
from kiroproxy.credentials.pool import Pool, Redeemer
from kiroproxy.credentials.stores.file import FileStore
from kiroproxy.errors import Unreachable
from kiroproxy.runtime import Runtime
from kiroproxy.transport import Route, Transport
from kiroproxy.upstream.endpoint import Identity, Voice
from kiroproxy.upstream.usage import (
    AccountClient,
    Balances,
    Person,
    Usage,
    parse_person,
    parse_usage,
)
from tests.simulation import Simulator


def breakdown(**more: Any) -> dict[str, Any]:
    return {"usageLimitWithPrecision": 1000.0, "currentUsageWithPrecision": 12.5} | more


def test_limits_of_all_buckets() -> None:
    trial = {"usageLimitWithPrecision": 500.0, "currentUsageWithPrecision": 1.0}
    bonuses = [
        {"status": "ACTIVE", "usageLimit": 100, "currentUsage": 20},
        {"status": "EXPIRED", "usageLimit": 70, "currentUsage": 0},
    ]
    said = {
        "nextDateReset": 1769904000.0,
        "subscriptionInfo": {"subscriptionTitle": "KIRO PRO"},
        "usageBreakdownList": [
            breakdown(freeTrialInfo=trial | {"freeTrialStatus": "ACTIVE"}, bonuses=bonuses)
        ],
    }
    usage = parse_usage(said)
    assert usage == Usage("KIRO PRO", 1600, 33.5, datetime(2026, 2, 1, tzinfo=UTC))
    assert usage.remaining == 1566.5
    expired = parse_usage({"usageBreakdownList": [breakdown(freeTrialInfo=trial)]})
    assert expired.limit == 1000


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"usageBreakdownList": None, "subscriptionInfo": [], "nextDateReset": "x"},
        {"usageBreakdownList": [5, {"bonuses": 5, "freeTrialInfo": []}]},
        {"usageBreakdownList": [{"usageLimit": True, "currentUsage": "many"}]},
    ],
)
def test_what_is_missing_counts_as_nothing(said: dict[str, Any]) -> None:
    assert parse_usage(said) == Usage("", 0, 0, None)


def test_more_used_than_there_is_leaves_nothing() -> None:
    assert Usage("", 10, 12, None).remaining == 0


def client(url: str) -> AccountClient:
    identity = Identity(url, "us-east-1", "", "0.8.0", "darwin#24.6.0", "22.21.1")
    return AccountClient(Voice(Transport(), identity, lambda one: Route(), lambda one: "f" * 64))


def test_of_the_simulator() -> None:
    """The placeholder ARN is left out: it causes 403 there (protocol notes 2.5)."""
    one = Credential(id=1, auth_method="idc", access_token="at-1", profile_arn=BUILDER_ID_ARN)
    with Simulator() as sim:
        sim.account(accessToken="at-1", quota=50, used=20, subscription="KIRO FREE")
        kiro = client(sim.url)
        usage = kiro.usage(one)
        assert (usage.subscription, usage.limit, usage.used) == ("KIRO FREE", 50, 20)
        assert kiro.reset_date(one) == usage.resets_at
        assert usage.resets_at is not None
        assert usage.resets_at > datetime.now(UTC)
        assert "111122223333" in (kiro.profile(one) or "")
        sim.account(id="account-1", profiles=[])
        assert kiro.profile(one) is None
        sim.account(id="account-1", fault="suspended")
        assert (kiro.profile(one), kiro.reset_date(one)) == (None, None)


@pytest.mark.parametrize(
    ("said", "person"),
    [
        ({"userInfo": {"userId": " u ", "email": "a@x"}}, Person("a@x", "u")),
        ({"userInfo": {"userId": 5, "email": None}}, Person()),
        ({"userInfo": [], "subscriptionInfo": {"subscriptionTitle": "P"}}, Person("", "", "P")),
        ({}, Person()),
    ],
)
def test_whose_account_it_is(said: dict[str, Any], person: Person) -> None:
    assert parse_person(said) == person


def test_kiro_says_who_signed_in_if_it_says_anything() -> None:
    one = Credential(id=1, access_token="at-1")
    with Simulator() as sim:
        sim.account(accessToken="at-1", email="me@example.com")
        kiro = client(sim.url)
        assert kiro.person(one) == Person("me@example.com", "simulated-me", "KIRO PRO")
        assert sim.requests("/getUsageLimits")[0]["query"]["isEmailRequired"] == "true"
        sim.account(id="account-1", fault="suspended")
        assert kiro.person(one) == Person()


class Source:
    def __init__(self) -> None:
        self.asked: list[int] = []
        self.dead: set[int] = set()

    def usage(self, credential: Credential) -> Usage:
        self.asked.append(credential.id)
        if credential.id in self.dead:
            raise Unreachable("dead")
        return Usage("KIRO FREE" if credential.id == 1 else "KIRO PRO", 10, 1, None)


def test_balances_are_shared_and_kept_for_a_while(tmp_path: Path) -> None:
    path = tmp_path / "credentials.json"
    until = str(datetime.now(UTC) + timedelta(days=1))
    path.write_text(
        json.dumps(
            [{"refreshToken": f"r{n}", "accessToken": "a", "expiresAt": until} for n in "ab"]
        )
    )
    runtime = Runtime(tmp_path / "runtime.db")
    pool = Pool(FileStore(path), cast(Redeemer, None), runtime)
    both = pool.store.snapshot().credentials
    source = Source()
    source.dead = {2}
    assert Balances(pool, source).look(both, 0) == {}
    assert Balances(pool, source).look(both, 5) == {1: Usage("KIRO FREE", 10, 1, None)}
    source.dead = set()
    assert set(Balances(pool, source).look(both, 5)) == {1, 2}
    assert sorted(source.asked) == [1, 2, 2], "what is known is not asked for again"
    pool._known.looked_at = -10
    assert pool.roster().ranking("claude-opus-4.8", "").by_id.keys() == {2}, "a tier without Opus"
    runtime.close()


def test_a_balance_that_a_person_wants(tmp_path: Path) -> None:
    """S135: at most five minutes old; upstream's refusal is told."""
    path = tmp_path / "credentials.json"
    until = str(datetime.now(UTC) + timedelta(days=1))
    path.write_text(json.dumps([{"refreshToken": "r", "accessToken": "a", "expiresAt": until}]))
    runtime = Runtime(tmp_path / "runtime.db")
    pool = Pool(FileStore(path), cast(Redeemer, None), runtime)
    [one] = pool.store.snapshot().credentials
    source = Source()
    balances = Balances(pool, source)
    first, at = balances.current(one)
    assert (first.limit, balances.current(one)[0]) == (10, first)
    assert time.time() - at < 10
    assert source.asked == [1]
    balances.current(one, fresh=True)
    assert source.asked == [1, 1]
    source.dead = {1}
    with pytest.raises(Unreachable):
        balances.current(one, fresh=True)
    assert balances.current(one)[0] == first
    runtime.close()
