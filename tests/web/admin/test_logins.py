"""Sign-ins as resources; the flows with the simulator are in tests/flows/test_admin.py."""

from dataclasses import replace
from typing import Any, cast

import pytest

from kiroproxy.errors import InvalidRequest, LoginFailed, NotFound
from kiroproxy.upstream.oauth import Client
from kiroproxy.upstream.sign_in import SignIn, Wish
from tests.web.admin.conftest import Desk

PENDING = SignIn(
    id="one",
    wish=Wish(),
    method="builder-id",
    region="us-east-1",
    url="https://view.awsapps.example/start?user_code=ABCD-EFGH",
    page="https://view.awsapps.example/start",
    user_code="ABCD-EFGH",
    expires_at=2e9,
    client=Client("id-of-client", "secret-of-client"),
    device_code="secret-device-code",
    verifier="secret-verifier",
    state="secret-state",
)


class ScriptedSignIns:
    """Does what the next line of its script says."""

    def __init__(self, *script: SignIn | Exception) -> None:
        self.script = list(script)
        self.wishes: list[Wish] = []

    def start(self, wish: Wish) -> SignIn:
        self.wishes.append(wish)
        return self.poll("")

    def poll(self, sign_in_id: str) -> SignIn:
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def receive(self, sign_in_id: str, redirect: str) -> SignIn:
        return self.poll(sign_in_id)

    cancel = poll


def scripted(desk: Desk, *script: SignIn | Exception) -> ScriptedSignIns:
    made = ScriptedSignIns(*script)
    desk.parts.sign_ins = cast(Any, made)
    return made


def test_begin(desk: Desk) -> None:
    sign_ins = scripted(desk, PENDING)
    body = {
        "method": "idc",
        "startUrl": "https://x.awsapps.com/start",
        "group": "pro",
        "port": 3128,
    }
    told = desk.post("/logins", body, 201)
    assert (told["phase"], told["userCode"]) == ("pending", "ABCD-EFGH")
    assert told["qr"].startswith("data:image/svg+xml")
    assert "secret" not in str(told)
    [wish] = sign_ins.wishes
    assert (wish.method, wish.start_url, wish.group) == ("idc", body["startUrl"], "pro")
    assert desk.actions() == ["login.start"]


def test_the_end_is_noted_once(desk: Desk) -> None:
    done = replace(PENDING, phase="done", credential_id=1)
    scripted(desk, PENDING, done, done)
    assert desk.get("/logins/one")["phase"] == "pending"
    told = desk.get("/logins/one")
    assert (told["phase"], told["credentialId"]) == ("done", 1)
    assert "qr" not in told
    desk.get("/logins/one")
    assert desk.actions() == ["login.done"]


def test_a_failure_is_a_state(desk: Desk) -> None:
    scripted(desk, LoginFailed("denied", code="access_denied"), LoginFailed("x", code="cancelled"))
    told = desk.get("/logins/one")
    assert told == {"id": "one", "phase": "failed", "error": "access_denied", "message": "denied"}
    assert desk.get("/logins/one")["phase"] == "cancelled"


def test_an_address_of_another_sign_in(desk: Desk) -> None:
    scripted(desk, LoginFailed("another one's", code="state_mismatch"), PENDING)
    body = {"url": "http://localhost:3128/oauth/callback?code=x"}
    desk.refused("POST", "/logins/one/redirect", body)
    assert desk.post("/logins/one/redirect", body)["phase"] == "pending"


def test_cancel(desk: Desk) -> None:
    scripted(desk, replace(PENDING, phase="cancelled"))
    assert desk.send("DELETE", "/logins/one")["phase"] == "cancelled"
    assert desk.actions() == ["login.cancel"]


def test_nobody_there(desk: Desk) -> None:
    for method, path in (("GET", ""), ("DELETE", "")):
        desk.refused(method, f"/logins/none{path}", status=404)
    scripted(desk, NotFound("no such"))
    desk.refused("GET", "/logins/%25", status=404)


@pytest.mark.parametrize(
    "body",
    [
        {"method": "pigeon"},
        {"method": "google", "port": 22},
        {"relogin": 0},
        {"method": "builder-id", "priority": -1},
        {"unknown": 1},
    ],
)
def test_what_cannot_be(desk: Desk, body: dict[str, Any]) -> None:
    sign_ins = scripted(desk, InvalidRequest("never asked"))
    assert desk.refused("POST", "/logins", body)["message"] != "never asked"
    assert sign_ins.wishes == []


def test_a_wish_that_lacks_something(desk: Desk) -> None:
    assert desk.refused("POST", "/logins", {})["param"] == "method"
    desk.refused("POST", "/logins", {"method": "idc"})
    desk.refused("POST", "/logins", {"relogin": 99}, 404)
