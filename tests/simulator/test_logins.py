"""Sign-ins, without a network or a clock."""

import base64
import hashlib

import pytest

from kiroproxy.simulator.accounts import OAuthError
from kiroproxy.simulator.logins import Logins

NOW = 1_000_000.0
CLIENT = {"clientName": "test", "clientType": "public"}
VERIFIER = "v" * 43
CHALLENGE = (
    base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
)
QUERY = {
    "redirect_uri": "http://127.0.0.1:3128/oauth/callback",
    "state": "s",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


def device(logins: Logins) -> dict[str, str]:
    client = logins.register_client(CLIENT, NOW)
    fields = {key: client[key] for key in ("clientId", "clientSecret")}
    started = logins.start_device({**fields, "startUrl": "https://example.com"}, "http://x", NOW)
    return {**fields, "deviceCode": started["deviceCode"], "userCode": started["userCode"]}


def outcome(logins: Logins, fields: dict[str, str], after_s: float) -> str:
    try:
        logins.poll_device(fields, NOW + after_s)
    except OAuthError as error:
        return error.error
    return "granted"


def test_a_device_waits_and_is_granted_once() -> None:
    logins = Logins()
    fields = device(logins)
    polls = [outcome(logins, fields, t) for t in (1, 1.2, 2.2)]
    assert polls == ["authorization_pending", "slow_down", "granted"]
    assert outcome(logins, fields, 4) == "invalid_grant"


def test_a_person_decides_when_asked_for() -> None:
    logins = Logins()
    logins.mode = "manual"
    fields = device(logins)
    assert [outcome(logins, fields, t) for t in (1, 2, 3)] == ["authorization_pending"] * 3
    assert logins.decide_device(fields["userCode"], "approve") == 1
    assert outcome(logins, fields, 4) == "granted"


@pytest.mark.parametrize(
    ("mode", "error"), [("deny", "access_denied"), ("expire", "expired_token")]
)
def test_a_person_refuses_or_does_nothing(mode: str, error: str) -> None:
    logins = Logins()
    logins.mode = mode
    assert outcome(logins, device(logins), 1) == error


def test_a_device_code_expires() -> None:
    logins = Logins()
    assert outcome(logins, device(logins), logins.expires_in) == "expired_token"


def test_clients_are_checked() -> None:
    logins = Logins()
    client = logins.register_client(CLIENT, NOW)
    assert logins.check_client(client) == client["clientId"]
    assert logins.check_client({"clientId": "other", "clientSecret": "x"}) == "other"
    for strict, fields, error in (
        (False, {"clientId": client["clientId"], "clientSecret": "wrong"}, "invalid_client"),
        (True, {"clientId": "other", "clientSecret": "x"}, "invalid_client"),
        (False, {"clientId": "other"}, "invalid_request"),
    ):
        logins.strict = strict
        with pytest.raises(OAuthError) as refused:
            logins.check_client(fields)
        assert refused.value.error == error


def code_of(location: str | None) -> str:
    assert location is not None
    assert location.startswith(QUERY["redirect_uri"] + "?code=")
    assert location.endswith("&state=s")
    return location.split("code=")[1].split("&")[0]


def test_pkce_wants_the_verifier_and_works_once() -> None:
    logins = Logins()
    code = code_of(logins.authorize(QUERY, "idc"))
    logins.exchange("idc", code, VERIFIER, QUERY["redirect_uri"])
    with pytest.raises(OAuthError):
        logins.exchange("idc", code, VERIFIER, QUERY["redirect_uri"])


@pytest.mark.parametrize(
    ("kind", "verifier", "uri"),
    [
        ("social", VERIFIER, QUERY["redirect_uri"]),
        ("idc", "w" * 43, QUERY["redirect_uri"]),
        ("idc", VERIFIER, "http://127.0.0.1:1/"),
    ],
)
def test_pkce_refuses_what_does_not_belong_together(kind: str, verifier: str, uri: str) -> None:
    logins = Logins()
    code = code_of(logins.authorize(QUERY, "idc"))
    with pytest.raises(OAuthError) as refused:
        logins.exchange(kind, code, verifier, uri)
    assert refused.value.error == "invalid_grant"


@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uri": "https://example.com/callback"},
        {"redirect_uri": "https://127.0.0.1/callback"},
        {"code_challenge_method": "plain"},
        {"idp": "Facebook"},
        {"state": ""},
    ],
)
def test_browser_sign_in_stays_on_this_host(change: dict[str, str]) -> None:
    with pytest.raises(OAuthError):
        Logins().authorize({**QUERY, **change}, "social")


def test_a_refused_browser_sign_in_says_so() -> None:
    logins = Logins()
    logins.mode = "deny"
    assert "error=access_denied" in (logins.authorize(QUERY, "social") or "")


def test_a_person_decides_in_the_browser_when_asked_for() -> None:
    logins = Logins()
    logins.mode = "manual"
    assert logins.authorize(QUERY, "social") is None
    assert code_of(logins.authorize({**QUERY, "decision": "approve"}, "social"))
    denied = logins.authorize({**QUERY, "decision": "deny"}, "social")
    assert "error=access_denied" in (denied or "")


def test_an_expired_code_says_so() -> None:
    logins = Logins()
    logins.mode = "expire"
    code = code_of(logins.authorize(QUERY, "social"))
    with pytest.raises(OAuthError) as refused:
        logins.exchange("social", code, VERIFIER, QUERY["redirect_uri"])
    assert refused.value.error == "expired_token"


def test_slow_down_on_request() -> None:
    logins = Logins()
    logins.slow_downs = 2
    fields = device(logins)
    polls = [outcome(logins, fields, t) for t in (1, 3, 5)]
    assert polls == ["slow_down", "slow_down", "granted"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"clientName": ""}, "invalid_client_metadata"),
        ({"clientType": "confidential"}, "invalid_client_metadata"),
        ({"issuerUrl": ""}, "invalid_request"),
        ({"issuerUrl": "http://example.com"}, "invalid_request"),
        ({"scopes": ["codewhisperer:analysis", "s3:all"]}, "invalid_scope"),
        ({"redirectUris": ["https://example.com/"]}, "invalid_request"),
    ],
)
def test_registrations_are_checked(change: dict[str, object], error: str) -> None:
    with pytest.raises(OAuthError) as refused:
        Logins().register_client({**CLIENT, **change}, NOW)
    assert refused.value.error == error


def test_a_whole_registration() -> None:
    whole = {
        "issuerUrl": "https://example.awsapps.com/start",
        "scopes": ["codewhisperer:analysis"],
        "redirectUris": ["http://127.0.0.1:3128/oauth/callback"],
    }
    assert Logins().register_client({**CLIENT, **whole}, NOW)["clientSecretExpiresAt"] > NOW
