import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.credentials.model import Credential, derive_machine_id
from kiroproxy.credentials.refresh import (
    Refresher,
    RefreshFailure,
    RefreshRequest,
    RefreshSettings,
    build_request,
    error_codes,
    parse_answer,
    route_for,
)
from kiroproxy.transport import Answer, Route, Transport
from tests.credentials.auth_server import ENTRA_CERTIFICATE, AuthServer, EntraServer
from tests.wire import CERTIFICATE, HttpProxy

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SOCIAL = Credential(id=1, refresh_token="r" * 120, region="eu-west-1", profile_arn="arn:old")
IDC = replace(SOCIAL, auth_method="idc", client_id="c", client_secret="s", auth_region="us-east-2")
SETTINGS = RefreshSettings(kiro_version="1.2.3", system_version="darwin#1", node_version="9.9.9")


def answer(status: int, body: object, **headers: str) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, headers, data)


def failed(status: int, body: object, **headers: str) -> RefreshFailure:
    outcome = parse_answer(SOCIAL, answer(status, body, **headers), NOW)
    assert isinstance(outcome, RefreshFailure)
    return outcome


def test_the_social_request() -> None:
    """S98, protocol 5.2."""
    request = build_request(SOCIAL, SETTINGS, "id")
    assert isinstance(request, RefreshRequest)
    assert (request.method, request.url) == (
        "POST",
        "https://prod.eu-west-1.auth.desktop.kiro.dev/refreshToken",
    )
    assert json.loads(request.body) == {"refreshToken": "r" * 120}
    assert request.headers["user-agent"] == f"KiroIDE-1.2.3-{derive_machine_id(SOCIAL)}"
    assert request.headers["content-type"] == "application/json"
    assert "br" not in request.headers["accept-encoding"]


def test_the_idc_request() -> None:
    """S99, protocol 5.3; S86: its own auth region wins."""
    request = build_request(IDC, SETTINGS, "id")
    assert isinstance(request, RefreshRequest)
    assert request.url == "https://oidc.us-east-2.amazonaws.com/token"
    assert json.loads(request.body) == {
        "clientId": "c",
        "clientSecret": "s",
        "refreshToken": "r" * 120,
        "grantType": "refresh_token",
    }
    assert request.headers["x-amz-user-agent"] == "aws-sdk-js/3.980.0 KiroIDE"
    assert (
        "os/darwin#1 lang/js md/nodejs#9.9.9 api/sso-oidc#3.980.0" in request.headers["user-agent"]
    )
    assert request.headers["amz-sdk-invocation-id"] == "id"
    assert request.headers["amz-sdk-request"] == "attempt=1; max=4"


@pytest.mark.parametrize(
    "credential",
    [
        Credential(auth_method="api_key", kiro_api_key="ksk_example"),
        Credential(auth_method="external_idp", refresh_token="r"),
        Credential(access_token="a"),
    ],
)
def test_what_cannot_be_refreshed(credential: Credential) -> None:
    assert isinstance(build_request(credential, SETTINGS, "id"), RefreshFailure)


ENTRA = "https://login.microsoftonline.com/tenant/oauth2/v2.0/token"
IDP = Credential(
    auth_method="external_idp",
    refresh_token="r+/&" + "r" * 120,
    client_id="c",
    token_endpoint=ENTRA,
    extra={"scope": "openid offline_access"},
)


def test_the_request_to_an_external_identity_provider() -> None:
    """Protocol 5.1: a form, of a public client."""
    request = build_request(IDP, SETTINGS, "id")
    assert isinstance(request, RefreshRequest)
    assert request.url == ENTRA
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(request.body.decode()) == {
        "grant_type": ["refresh_token"],
        "refresh_token": [IDP.refresh_token],
        "client_id": ["c"],
        "scope": ["openid offline_access"],
    }
    said = {"access_token": "a2", "refresh_token": "r2", "expires_in": 900, "token_type": "Bearer"}
    new = parse_answer(IDP, answer(200, said), NOW)
    assert isinstance(new, Credential)
    assert (new.access_token, new.refresh_token) == ("a2", "r2")
    assert new.expires_at == NOW + timedelta(seconds=900)
    assert new.token_type == "EXTERNAL_IDP"


@pytest.mark.parametrize(
    "endpoint",
    [
        None,
        "http://login.microsoftonline.com/t/oauth2/v2.0/token",
        "https://login.microsoftonline.com.evil.example/token",
        "https://evilmicrosoftonline.com/token",
        "https://user@login.microsoftonline.com/token",
        "https://evil.example/?login.microsoftonline.com",
        # where one library ends the host at a backslash and another does not
        "https://evil.example\\.microsoftonline.com/token",
        "https://evil.example\\@login.microsoftonline.com/token",
        "https://evil.example%2f.microsoftonline.com/token",
        "https://login.microsoftonline.com:8443@evil.example/token",
        "https://evil.example\t.microsoftonline.com/token",
        "https://evil。example/.microsoftonline.com",
    ],
)
def test_tokens_go_to_no_other_host(endpoint: str | None) -> None:
    outcome = build_request(replace(IDP, token_endpoint=endpoint), SETTINGS, "id")
    assert isinstance(outcome, RefreshFailure)
    assert not outcome.disable, "its access token may still live"


def test_a_full_answer() -> None:
    said = {"accessToken": "a2", "refreshToken": "r2", "profileArn": "arn:new", "expiresIn": 900}
    new = parse_answer(SOCIAL, answer(200, said), NOW)
    assert new == replace(
        SOCIAL,
        access_token="a2",
        refresh_token="r2",
        profile_arn="arn:new",
        expires_at=NOW + timedelta(seconds=900),
        refreshed_at=NOW,
    )


@pytest.mark.parametrize("life", [None, 0, -5, True, "x", [], float("inf"), float("nan")])
def test_a_bare_answer(life: object) -> None:
    """protocol 5.2: all but accessToken are optional; the rest stays as it was."""
    new = parse_answer(SOCIAL, answer(200, {"accessToken": "a2", "expiresIn": life}), NOW)
    assert isinstance(new, Credential)
    assert (new.refresh_token, new.profile_arn) == (SOCIAL.refresh_token, "arn:old")
    assert new.expires_at == NOW + timedelta(hours=1)


@pytest.mark.parametrize("life", ["900", 900.0])
def test_a_life_in_odd_types(life: object) -> None:
    new = parse_answer(SOCIAL, answer(200, {"accessToken": "a2", "expiresIn": life}), NOW)
    assert isinstance(new, Credential)
    assert new.expires_at == NOW + timedelta(seconds=900)


@pytest.mark.parametrize(
    "body", [b"<html>", {}, [], {"accessToken": ""}, {"accessToken": "a\r\nb"}, {"accessToken": 5}]
)
def test_a_200_without_a_token_is_unconfirmed(body: object) -> None:
    outcome = failed(200, body)
    assert outcome.unconfirmed
    assert not outcome.disable


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"error": "invalid_grant"}, "InvalidRefreshToken"),
        (401, {"__type": "com.amazonaws.ssooidc#InvalidGrantException"}, "InvalidRefreshToken"),
        (403, {"message": "Invalid refresh token provided"}, "InvalidRefreshToken"),
        (400, {"error": {"code": "invalid_grant"}}, "InvalidRefreshToken"),
        (400, {"error": "x", "error_description": "invalid_grant: gone"}, "InvalidRefreshToken"),
        (401, {"error": "invalid_client"}, "InvalidConfig"),
        (400, {"error": "unauthorized_client"}, "InvalidConfig"),
    ],
)
def test_final_refusals(status: int, body: object, reason: str) -> None:
    """S103, protocol 5.4."""
    outcome = failed(status, body)
    assert outcome.disable == reason
    assert not outcome.unconfirmed


@pytest.mark.parametrize(
    ("status", "body", "counts", "unconfirmed"),
    [
        (401, {"message": "Bad credentials"}, True, False),
        (403, {"error": "access_denied"}, True, False),
        (400, {"error": "expired_token"}, True, False),
        (400, {"error": "invalid_request"}, False, False),
        (400, b"<html>invalid_grant</html>", False, False),
        (500, {"error": "invalid_grant"}, False, True),
        (502, b"<html>invalid_grant</html>", False, True),
        (504, b"", False, True),
        (429, {"error": "invalid_grant"}, False, False),
        (400, {"error": "slow_down"}, False, False),
        (302, b"", False, False),
        (404, {"error": "invalid_grant"}, False, False),
    ],
)
def test_passing_refusals(status: int, body: object, counts: bool, unconfirmed: bool) -> None:
    """protocol 5.4: a 5xx, a page or a throttle never condemns a credential."""
    outcome = failed(status, body)
    assert (outcome.disable, outcome.counts, outcome.unconfirmed) == ("", counts, unconfirmed)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("Fri, 20 Nov 2026 12:00:09 GMT", 9),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("Fri, 20 Nov 2026 12:00:09 -0000", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert failed(429, {}, **{"Retry-After": value}).retry_after_s == seconds


@given(st.integers(100, 599), st.binary(max_size=50) | st.text(max_size=50).map(str.encode))
def test_any_answer_is_understood(status: int, body: bytes) -> None:
    parse_answer(SOCIAL, Answer(status, {"retry-after": "\u00b2"}, body), NOW)


def test_no_secret_is_repeated() -> None:
    said = {"error": "invalid_grant", "refreshToken": "r" * 120, "message": "r" * 120}
    assert "rrr" not in failed(400, said).message


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, "http://default:1"),
        ("direct", ""),
        ("socks5://own:2", "socks5://u%40:p@own:2"),
    ],
)
def test_a_credentials_own_proxy(own: str | None, expected: str) -> None:
    """S85."""
    default = Route("http://default:1", ("localhost",), "/ca")
    one = replace(SOCIAL, proxy_url=own, proxy_username="u@", proxy_password="p")
    route = route_for(one, default)
    assert route.proxy_url == expected
    assert (route.no_proxy, route.verify) == (("localhost",), "/ca")


def redeem(credential: Credential, url: str, **more: Any) -> Credential | RefreshFailure:
    settings = RefreshSettings(social_auth_url=url, oidc_url=url, **more)
    return Refresher(Transport(), settings).redeem(credential, NOW)


def test_redeeming_over_http() -> None:
    with AuthServer("r" * 120) as auth:
        new = redeem(SOCIAL, auth.url)
        assert isinstance(new, Credential)
        assert (new.access_token, new.refresh_token) == ("at-1", "rt-1")
        path, headers, _ = auth.requests[0]
        assert path == "/refreshToken"
        assert {k.lower(): v for k, v in headers.items()}["connection"] == "close"  # Q13
        assert new.machine_id == derive_machine_id(SOCIAL)
        again = redeem(replace(IDC, refresh_token="rt-1"), auth.url, machine_id="ab" * 32)
        assert isinstance(again, Credential)
        assert auth.requests[1][0] == "/token"
        assert again.machine_id is None, "the configuration's needs no freezing"


def test_redeeming_at_an_external_identity_provider() -> None:
    """Protocol 5.1, over TLS and through a tunnel, for tokens go to Entra's own hosts alone."""
    with EntraServer(IDP.refresh_token or "", "c", "/tenant/oauth2/v2.0/token") as entra:
        way = {"login.microsoftonline.com:443": f"127.0.0.1:{entra.port}"}
        with HttpProxy(way) as proxy:
            route = Route(f"http://127.0.0.1:{proxy.port}", verify=str(ENTRA_CERTIFICATE))
            refresher = Refresher(Transport(), replace(SETTINGS, route=route))
            new = refresher.redeem(IDP, NOW)
            assert isinstance(new, Credential)
            assert (new.access_token, new.refresh_token) == ("at-1", "rt-1")
            assert new.expires_at == NOW + timedelta(hours=1)
            again = refresher.redeem(new, NOW)
            assert isinstance(again, Credential)
            assert again.refresh_token == "rt-2"
            spent = refresher.redeem(IDP, NOW)
            assert isinstance(spent, RefreshFailure)
            assert spent.disable == "InvalidRefreshToken"
            other = refresher.redeem(replace(again, client_id="other"), NOW)
            assert isinstance(other, RefreshFailure)
            assert other.disable == "InvalidConfig"
        assert entra.requests[0][2]["scope"] == "openid offline_access"
        untrusting = Refresher(
            Transport(), replace(SETTINGS, route=replace(route, verify=str(CERTIFICATE)))
        )
        assert isinstance(untrusting.redeem(again, NOW), RefreshFailure)


def test_a_truncated_token_is_called_so_when_refused() -> None:
    """S104."""
    with AuthServer("other") as auth:
        outcome = redeem(replace(SOCIAL, refresh_token="short"), auth.url)
    assert isinstance(outcome, RefreshFailure)
    assert outcome.disable
    assert "truncated" in outcome.message


def test_an_unreachable_server_condemns_nobody() -> None:
    """S114."""
    with AuthServer() as auth:
        url = auth.url
    outcome = redeem(SOCIAL, url)
    assert isinstance(outcome, RefreshFailure)
    assert outcome.unconfirmed
    assert not outcome.disable
    assert not outcome.counts


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        (b'{"error": "authorization_pending"}', ["authorizationpending"]),
        (b'{"__type": "com.amazon#SlowDownException"}', ["slowdown"]),
        (b"<html>access_denied", []),
        (b"[]", []),
    ],
)
def test_codes_of_a_refusal(body: bytes, codes: list[str]) -> None:
    assert error_codes(Answer(400, {}, body)) == codes
