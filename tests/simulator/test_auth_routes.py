"""Refreshing and signing in over real HTTP."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.simulation import Simulator
from tests.simulator.conftest import Caller
from tests.simulator.test_logins import CHALLENGE, QUERY, VERIFIER, code_of

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
CLIENT = {"clientId": "c", "clientSecret": "s"}


def refresh(caller: Caller, token: str, kind: str = "social") -> tuple[int, dict[str, Any]]:
    if kind == "social":
        return caller.call("POST", "/refreshToken", {"refreshToken": token})
    fields = {**CLIENT, "refreshToken": token, "grantType": "refresh_token"}
    return caller.call("POST", "/token", fields)


@pytest.mark.parametrize("kind", ["social", "idc"])
def test_tokens_rotate_and_reuse_is_counted(sim: Simulator, caller: Caller, kind: str) -> None:
    """protocol.md 5.2 to 5.4."""
    status, tokens = refresh(caller, "first", kind)
    assert status == 200
    assert caller.chat("hi", bearer=tokens["accessToken"])[0] == 200
    assert refresh(caller, tokens["refreshToken"], kind)[0] == 200
    status, error = refresh(caller, "first", kind)
    assert (status, error["error"]) == (400, "invalid_grant")
    assert error["error_description"] == "Invalid refresh token provided"
    state = sim.state()
    assert (state["refreshes"], state["reuses"]) == (2, 1)
    assert caller.chat("hi", bearer=tokens["accessToken"])[0] == 200


def test_a_registered_account_expires_as_told(sim: Simulator, caller: Caller) -> None:
    sim.account(id="a", refreshToken="r", expiresIn=0)
    status, tokens = refresh(caller, "r")
    assert (status, tokens["expiresIn"]) == (200, 0)
    assert caller.chat("hi", bearer=tokens["accessToken"])[0] == 403


def test_one_of_many_at_once_wins(sim: Simulator, caller: Caller) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: refresh(caller, "shared")[0], range(8)))
    assert sorted(statuses) == [200] + [400] * 7
    assert sim.state()["reuses"] == 7


def test_reuse_kills_the_family_with_the_option() -> None:
    with Simulator("--revoke-on-reuse") as simulator:
        caller = Caller(simulator)
        _, tokens = refresh(caller, "first")
        assert refresh(caller, "first")[0] == 400
        assert refresh(caller, tokens["refreshToken"])[0] == 400
        assert caller.chat("hi", bearer=tokens["accessToken"])[0] == 403
        assert simulator.state()["accounts"]["account-1"]["revoked"] is True
        caller.close()


def test_a_fault_may_strike_before_or_after_the_rotation(sim: Simulator, caller: Caller) -> None:
    sim.fault("/refreshToken", status=503, body="down", headers={"x-y": "z"})
    assert refresh(caller, "r") == (503, b"down")
    sim.fault("/refreshToken", status=500, after=True)
    assert refresh(caller, "r")[0] == 500
    assert refresh(caller, "r")[0] == 400  # the answer was lost, the token is spent
    assert sim.state()["reuses"] == 1
    sim.fault("/refreshToken", end="reset")
    with pytest.raises(ConnectionResetError):
        refresh(caller, "other")
    assert refresh(caller, "other")[0] == 200


def test_a_refresh_may_wait_at_a_gate(sim: Simulator, caller: Caller) -> None:
    sim.fault("/refreshToken", gate="refresh")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(refresh, caller, "r")
        sim.wait_for(faults=0)
        assert sim.state()["refreshes"] == 0
        sim.gate("refresh")
        assert waiting.result()[0] == 200


def start_device(caller: Caller) -> dict[str, Any]:
    registration = {
        "clientName": "test",
        "clientType": "public",
        "scopes": ["codewhisperer:conversations"],
        "grantTypes": [DEVICE_GRANT, "refresh_token"],
        "issuerUrl": "https://example.com/start",
    }
    _, client = caller.call("POST", "/client/register", registration)
    fields = {key: client[key] for key in ("clientId", "clientSecret")}
    begin = {**fields, "startUrl": "https://example.com/start"}
    status, started = caller.call("POST", "/device_authorization", begin)
    assert status == 200
    poll = {**fields, "deviceCode": started["deviceCode"], "grantType": DEVICE_GRANT}
    return {"poll": poll, **started}


def test_a_device_signs_in(sim: Simulator, caller: Caller) -> None:
    """protocol.md 5.8."""
    sim.device(interval=0)
    started = start_device(caller)
    status, pending = caller.call("POST", "/token", started["poll"])
    assert (status, pending["error"]) == (400, "authorization_pending")
    status, tokens = caller.call("POST", "/token", started["poll"])
    assert (status, tokens["tokenType"]) == (200, "Bearer")
    assert caller.chat("hi", bearer=tokens["accessToken"])[0] == 200
    assert refresh(caller, tokens["refreshToken"], "idc")[0] == 200


def test_a_person_approves_on_the_page(sim: Simulator, caller: Caller) -> None:
    sim.device(mode="manual", interval=0)
    started = start_device(caller)
    for _ in range(3):
        assert caller.call("POST", "/token", started["poll"])[0] == 400
    assert started["verificationUriComplete"].startswith(sim.url)
    path = started["verificationUriComplete"].removeprefix(sim.url)
    assert caller.call("GET", path)[0] == 200
    assert caller.call("POST", "/token", started["poll"])[0] == 200
    assert caller.call("GET", "/device?user_code=nope")[0] == 404


def test_polling_too_fast_is_told(caller: Caller) -> None:
    started = start_device(caller)
    caller.call("POST", "/token", started["poll"])
    assert caller.call("POST", "/token", started["poll"])[1]["error"] == "slow_down"


@pytest.mark.parametrize("kind", ["idc", "social", "portal"])
def test_a_browser_signs_in(caller: Caller, kind: str) -> None:
    """protocol.md 5.8, PKCE."""
    page = {"idc": "/authorize", "social": "/login", "portal": "/signin"}[kind]
    status, location = caller.call("GET", f"{page}?{urlencode(QUERY)}")
    assert status == 302
    code = code_of(location)
    if kind == "idc":
        fields = {**CLIENT, "grantType": "authorization_code", "code": code}
        fields |= {"codeVerifier": VERIFIER, "redirectUri": QUERY["redirect_uri"]}
        status, tokens = caller.call("POST", "/token", fields)
    else:
        fields = {"code": code, "code_verifier": VERIFIER, "redirect_uri": location}
        status, tokens = caller.call("POST", "/oauth/token", fields)
    assert status == 200
    assert refresh(caller, tokens["refreshToken"], "idc" if kind == "idc" else "social")[0] == 200
    assert CHALLENGE not in location


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("/token", {"grantType": "password"}, "unsupported_grant_type"),
        ("/token", {"grantType": "refresh_token"}, "invalid_request"),
        ("/token", {**CLIENT, "grantType": DEVICE_GRANT}, "invalid_grant"),
        ("/client/register", {}, "invalid_client_metadata"),
        ("/device_authorization", CLIENT, "invalid_request"),
        ("/refreshToken", {}, "invalid_grant"),
    ],
)
def test_incomplete_calls_are_refused(
    caller: Caller, path: str, body: dict[str, Any], error: str
) -> None:
    status, answer = caller.call("POST", path, body)
    assert (status, answer["error"]) == (400, error)


def test_pages_for_a_person(sim: Simulator, caller: Caller) -> None:
    """A form for the code, links to approve and deny; a denial is heard by who polls."""
    sim.device(mode="manual", interval=0)
    status, page = caller.call("GET", "/device")
    assert (status, b"user_code" in page) == (200, True)
    started = start_device(caller)
    path = f"/device?user_code={started['userCode']}"
    assert caller.call("GET", f"{path}&decision=maybe")[0] == 400
    assert caller.call("GET", f"{path}&decision=deny")[0] == 200
    assert caller.call("POST", "/token", started["poll"])[1]["error"] == "access_denied"
    status, page = caller.call("GET", f"/login?{urlencode(QUERY)}&idp=Google&x=%3Cscript%3E")
    assert status == 200
    assert b"<script>" not in page
    assert page.count(b"decision=") == 2
    status, location = caller.call("GET", f"/login?{urlencode(QUERY)}&decision=approve")
    assert (status, code_of(location) != "") == (302, True)


def test_two_sessions_of_one_person(sim: Simulator, caller: Caller) -> None:
    sim.device(interval=0, email="me@example.com", slowDowns=1)
    people = set()
    for _ in range(2):
        started = start_device(caller)
        while (answer := caller.call("POST", "/token", started["poll"]))[0] != 200:
            pass
        usage = caller.call("GET", "/getUsageLimits", bearer=answer[1]["accessToken"])[1]
        people.add(tuple(usage["userInfo"].values()))
    assert people == {("simulated-me", "me@example.com")}
