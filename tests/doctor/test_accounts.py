"""Tokens, renewing and entitlement, on the simulator."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.doctor import accounts
from tests.doctor.helpers import REFRESH, credential, make, only, states
from tests.simulation import Simulator

ACCESS = "access-token-of-a-test"


@pytest.fixture(scope="module")
def running() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def sim(running: Simulator) -> Simulator:
    running.reset()
    running.account(id="a", refreshToken=REFRESH, accessToken=ACCESS)
    return running


def in_(**span: float) -> str:
    return (datetime.now(UTC) + timedelta(**span)).isoformat()


@pytest.mark.parametrize(
    ("fields", "state", "words"),
    [
        ({}, "ok", "lives for"),
        ({"expiresAt": in_(hours=2, minutes=30)}, "ok", " 2 h "),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "ok", "to be renewed"),
        ({"disabled": True, "disabledReason": "QuotaExceeded"}, "warning", "QuotaExceeded"),
        ({"refreshToken": "short..."}, "failure", "truncated"),
        ({"refreshToken": None}, "warning", "cannot be renewed"),
        (
            {"refreshToken": None, "expiresAt": "2020-01-01T00:00:00Z"},
            "failure",
            "cannot be renewed",
        ),
        ({"authMethod": "api_key", "kiroApiKey": "ksk_secret"}, "ok", "API key"),
    ],
)
def test_the_age_of_tokens(tmp_path: Path, fields: dict[str, Any], state: str, words: str) -> None:
    found = only(accounts.check_tokens(make(tmp_path, {}, [credential(**fields)])), state)
    assert words in found["message"]
    assert "ksk_secret" not in str(found)


# ---- renewing ------------------------------------------------------------------------------


def test_without_consent_nothing_is_renewed(tmp_path: Path, sim: Simulator) -> None:
    found = only(accounts.check_refreshes(make(tmp_path, upstream=sim.url)), "ok")
    assert "not tried" in found["message"]
    assert sim.requests("/refreshToken") == []


def test_with_consent_the_token_rotates_and_is_stored(tmp_path: Path, sim: Simulator) -> None:
    for fields in ({}, {"accessToken": None}):
        sim.reset()
        sim.account(id="a", refreshToken=REFRESH, accessToken=ACCESS)
        patient = make(tmp_path, {}, [credential(**fields)], upstream=sim.url, refresh=True)
        assert only(accounts.check_refreshes(patient), "ok")
        (stored,) = json.loads(patient.config.credentials_path.read_text())
        assert stored["refreshToken"] != REFRESH
        assert len(sim.requests("/refreshToken")) == 1


def test_a_refused_token(tmp_path: Path, sim: Simulator) -> None:
    sim.account(id="a", revoked=True)
    found = only(
        accounts.check_refreshes(make(tmp_path, upstream=sim.url, refresh=True)), "failure"
    )
    assert "kiroproxy login" in found["remedy"]


def test_an_auth_server_that_is_down(tmp_path: Path, sim: Simulator) -> None:
    sim.fault("/refreshToken", status=503)
    found = only(
        accounts.check_refreshes(make(tmp_path, upstream=sim.url, refresh=True)), "failure"
    )
    assert "503" in found["message"]


def test_no_place_to_store_a_token(
    tmp_path: Path, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = make(tmp_path, upstream=sim.url)
    monkeypatch.setattr(patient.pool.store, "why_unwritable", lambda: "it is full")
    assert "it is full" in only(accounts.check_refreshes(patient), "failure")["message"]


def test_nothing_to_renew(tmp_path: Path) -> None:
    assert only(accounts.check_refreshes(make(tmp_path, {}, [])), "ok")


def test_many_credentials_are_sampled(tmp_path: Path, sim: Simulator) -> None:
    many = [credential(id=n, refreshToken=f"{n:03}" * 50) for n in range(1, 12)]
    patient = make(tmp_path, {}, many, upstream=sim.url, refresh=True)
    found = list(accounts.check_refreshes(patient))
    assert len(found) == accounts.MOST + 1
    assert "3 more" in found[-1].text


def test_an_answer_that_does_not_come(
    tmp_path: Path, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "WAIT_S", 0.3)
    sim.fault("/ListAvailableModels", delay=2)
    found = only(accounts.check_entitlement(make(tmp_path, upstream=sim.url)), "warning")
    assert "no answer" in found["message"]


# ---- entitlement ---------------------------------------------------------------------------


def test_what_an_account_may_use(tmp_path: Path, sim: Simulator) -> None:
    sim.account(id="a", quota=1000, used=250)
    found = only(accounts.check_entitlement(make(tmp_path, upstream=sim.url)), "ok")
    assert "KIRO PRO" in found["message"]
    assert "750 of 1000" in found["message"]


def test_no_credits(tmp_path: Path, sim: Simulator) -> None:
    sim.account(id="a", quota=1000, used=1000)
    found = only(accounts.check_entitlement(make(tmp_path, upstream=sim.url)), "warning")
    assert "no credits" in found["message"]


def test_a_plan_without_the_usual_models(tmp_path: Path, sim: Simulator) -> None:
    sim.account(id="a", models=["claude-haiku-4.5"])
    found = only(accounts.check_entitlement(make(tmp_path, upstream=sim.url)), "warning")
    assert "claude-sonnet-4.5" in found["message"]
    assert "claude-haiku" not in found["message"]
    mapped = make(tmp_path, {"modelMapping": {"*sonnet*": "claude-haiku-4.5"}}, upstream=sim.url)
    assert only(accounts.check_entitlement(mapped), "ok")


def test_an_access_token_that_kiro_refuses(tmp_path: Path, sim: Simulator) -> None:
    refused = {"message": "The bearer token included in the request is invalid."}
    sim.fault("/ListAvailableModels", status=403, body=refused)
    found = only(accounts.check_entitlement(make(tmp_path, upstream=sim.url)), "failure")
    assert "--refresh" in found["remedy"]


def test_kiro_is_down(tmp_path: Path, sim: Simulator) -> None:
    sim.fault("/ListAvailableModels", status=500)
    assert states(accounts.check_entitlement(make(tmp_path, upstream=sim.url))) == ["warning"]


def test_tokens_that_do_not_live_are_not_asked_about(tmp_path: Path, sim: Simulator) -> None:
    old = [credential(expiresAt="2020-01-01T00:00:00Z")]
    found = only(accounts.check_entitlement(make(tmp_path, {}, old, upstream=sim.url)), "ok")
    assert "not asked" in found["message"]
    assert sim.requests("/ListAvailableModels") == []
