"""Requests and answers of a sign-in (protocol notes 5.8; RFC 7636, RFC 8628)."""

import json
import re
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.errors import (
    InvalidRequest,
    KiroProxyError,
    LoginFailed,
    ServerFault,
    Throttled,
)
from kiroproxy.transport import Answer
from kiroproxy.upstream import oauth

CLIENT = oauth.Client("id", "secret")
URL = "https://oidc.us-east-1.amazonaws.com"
DEVICE = {
    "deviceCode": "device-secret",
    "userCode": "ABCD-EFGH",
    "verificationUri": "https://device.sso.us-east-1.amazonaws.com/",
    "verificationUriComplete": "https://device.sso.us-east-1.amazonaws.com/?user_code=ABCD-EFGH",
    "expiresIn": 600,
    "interval": 1,
}


def answer(body: Any, status: int = 200) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {}, data)


# ---- requests ----------------------------------------------------------------------------------


def test_requests_are_those_of_the_protocol() -> None:
    start = "https://example.awsapps.com/start"
    register = oauth.registration(URL, start)
    assert register.url == f"{URL}/client/register"
    assert json.loads(register.body) == {
        "clientName": "kiroproxy",
        "clientType": "public",
        "scopes": [
            "codewhisperer:completions",
            "codewhisperer:analysis",
            "codewhisperer:conversations",
            "codewhisperer:transformations",
            "codewhisperer:taskassist",
        ],
        "grantTypes": ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"],
        "issuerUrl": start,
    }
    begin = oauth.device_authorization(URL, CLIENT, start)
    both = {"clientId": "id", "clientSecret": "secret"}
    assert begin.url == f"{URL}/device_authorization"
    assert json.loads(begin.body) == both | {"startUrl": start}
    poll = oauth.device_poll(URL, CLIENT, "device")
    grant = {"grantType": oauth.DEVICE_GRANT, "deviceCode": "device"}
    assert (poll.url, json.loads(poll.body)) == (f"{URL}/token", both | grant)
    exchange = oauth.social_exchange("https://a", "c", "v", "http://127.0.0.1:1/oauth/callback")
    assert exchange.url == "https://a/oauth/token"
    assert set(json.loads(exchange.body)) == {"code", "code_verifier", "redirect_uri"}
    for post in (begin, poll, exchange):
        assert "secret" not in repr(post), "bodies hold secrets"


def test_s256_challenge() -> None:
    """The example of RFC 7636, appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert oauth.challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize(("method", "idp"), [("google", "Google"), ("github", "Github")])
def test_the_social_page(method: oauth.Method, idp: str) -> None:
    redirect = oauth.redirect_uri(3128)
    page = oauth.social_page("https://prod.example", method, redirect, "v" * 43, "s")
    parts = urlsplit(page)
    assert (parts.netloc, parts.path) == ("prod.example", "/login")
    assert parse_qs(parts.query) == {
        "idp": [idp],
        "redirect_uri": ["http://127.0.0.1:3128/oauth/callback"],
        "code_challenge": [oauth.challenge_of("v" * 43)],
        "code_challenge_method": ["S256"],
        "state": ["s"],
    }


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.awsapps.com",
        "http://example.awsapps.com",
        "https://",
        "https://[",
        "https://a b",
        "https://u:p@example.com/start",
        "javascript:alert(1)",
        "https://a/\x1b[31m",
    ],
)
def test_start_urls_that_cannot_be(url: str) -> None:
    with pytest.raises(InvalidRequest, match="awsapps") as error:
        oauth.check_start_url(url)
    assert error.value.param == "start_url"


def test_start_urls_and_regions_that_can() -> None:
    assert oauth.check_start_url(" https://a.awsapps.com/start\n") == "https://a.awsapps.com/start"
    assert oauth.check_region("eu-west-1", "idc") == "eu-west-1"
    assert oauth.check_region("us-east-1", "builder-id") == "us-east-1"


@pytest.mark.parametrize(
    ("region", "method"),
    [("x", "idc"), ("evil.example/", "google"), ("", "idc"), ("eu-west-1", "builder-id")],
)
def test_regions_that_cannot_be(region: str, method: oauth.Method) -> None:
    """A region becomes part of a host name: nothing else may get there."""
    with pytest.raises(InvalidRequest) as error:
        oauth.check_region(region, method)
    assert error.value.param == "region"


# ---- answers -----------------------------------------------------------------------------------


def test_a_registration_and_a_device_code() -> None:
    client = oauth.parse_client(
        answer({"clientId": "a", "clientSecret": "b", "clientSecretExpiresAt": 1.8e9})
    )
    assert client == oauth.Client("a", "b", 1.8e9)
    assert "b'" not in repr(client)
    code = oauth.parse_device_code(answer(DEVICE))
    assert (code.user_code, code.life_s, code.interval_s) == ("ABCD-EFGH", 600, 1)
    assert code.complete_url == DEVICE["verificationUriComplete"]
    assert "device-secret" not in repr(code)


@pytest.mark.parametrize(
    ("change", "life_s", "interval_s"),
    [
        ({"expiresIn": None, "interval": None}, 600, 5),
        ({"expiresIn": -1, "interval": True}, 600, 5),
        ({"expiresIn": 1e12, "interval": 1e12}, 3600, 120),
        ({"expiresIn": float("inf"), "interval": "5"}, 600, 5),
    ],
)
def test_times_that_make_no_sense(change: dict[str, Any], life_s: float, interval_s: float) -> None:
    code = oauth.parse_device_code(answer(DEVICE | change))
    assert (code.life_s, code.interval_s) == (life_s, interval_s)


@pytest.mark.parametrize(
    "change",
    [
        {"deviceCode": ""},
        {"userCode": None},
        {"userCode": "\x1b]0;x\x07"},
        {"verificationUri": "javascript:alert(1)"},
        {"verificationUri": "https://a/\nb"},
    ],
)
def test_nothing_but_a_code_and_a_web_address_is_shown(change: dict[str, Any]) -> None:
    with pytest.raises(LoginFailed):
        oauth.parse_device_code(answer(DEVICE | change))


def test_without_a_complete_address_the_plain_one_is_opened() -> None:
    code = oauth.parse_device_code(answer(DEVICE | {"verificationUriComplete": "file:///x"}))
    assert code.complete_url == DEVICE["verificationUri"]


@pytest.mark.parametrize(
    ("body", "status", "wait_s"),
    [
        ({"error": "authorization_pending"}, 400, 2),
        ({"error": "slow_down"}, 400, 7),
        ({"__type": "AuthorizationPendingException"}, 400, 2),
        ({"__type": "com.amazon#SlowDownException"}, 400, 7),
        ({}, 429, 7),
        (b"<html>", 503, 4),
        ({"accessToken": "a"}, 200, None),
    ],
)
def test_rfc8628_polling(body: Any, status: int, wait_s: float | None) -> None:
    assert oauth.still_pending(answer(body, status), 2) == wait_s


def test_waits_have_an_end() -> None:
    assert oauth.still_pending(answer({"error": "slow_down"}, 400), 118) == 120
    assert oauth.backed_off(0) == 2
    assert oauth.backed_off(100) == 120


@pytest.mark.parametrize(
    ("body", "status", "kind", "code"),
    [
        ({"error": "access_denied"}, 400, LoginFailed, "access_denied"),
        ({"error": "expired_token"}, 400, LoginFailed, "expired_token"),
        (
            {"error": "invalid_grant", "error_description": "Nope\x1b[0m"},
            400,
            LoginFailed,
            "refused",
        ),
        ({"error": "invalid_client"}, 401, LoginFailed, "refused"),
        (b"", 403, LoginFailed, "refused"),
        ([], 400, LoginFailed, "refused"),
        ({}, 429, Throttled, None),
        (b"<html>access_denied</html>", 502, ServerFault, None),
    ],
)
def test_refusals(body: Any, status: int, kind: type[KiroProxyError], code: str | None) -> None:
    error = oauth.refusal(answer(body, status))
    assert type(error) is kind
    assert getattr(error, "code", None) == code
    assert "\x1b" not in str(error)


@given(st.binary(max_size=200), st.integers(100, 599))
def test_any_answer_is_understood_or_refused_in_words(body: bytes, status: int) -> None:
    got = Answer(status, {}, body)
    assert str(oauth.refusal(got)).isprintable()
    for read in (oauth.parse_client, oauth.parse_device_code):
        with pytest.raises(KiroProxyError):
            read(got)


# ---- the address that the browser comes back to ------------------------------------------------

STATE = "Rq0D98RY1QzxPvb0bZyQ_A5DbQ-_j3f"
CODES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=300)


def redirected(code: str = "the-code", state: str = STATE, **more: str) -> str:
    query = urlencode({"code": code, "state": state} | more)
    return f"http://127.0.0.1:3128/oauth/callback?{query}"


@given(CODES, st.sampled_from(["{}", " {}\n", "'{}'", '"{}"', "<{}>", "{}#fragment"]))
def test_the_code_is_found_however_the_address_was_pasted(code: str, frame: str) -> None:
    assert oauth.parse_redirect(frame.format(redirected(code)), STATE) == code


@given(CODES, st.integers(1, 60))
def test_an_address_may_be_wrapped(code: str, width: int) -> None:
    whole = redirected(code, login_option="google")
    lines = [whole[at : at + width] for at in range(0, len(whole), width)]
    assert oauth.parse_redirect("\r\n  ".join(lines), STATE) == code


@pytest.mark.parametrize(
    "text",
    [
        "kiro://kiro.kiroAgent/authenticate-success?state={state}&code=the-code",
        "/oauth/callback?code=the-code&state={state}",
        "?code=the-code&state={state}",
        "code=the-code&state={state}",
        "127.0.0.1:3128/oauth/callback?code=the-code&state={state}&x=",
    ],
)
def test_parts_of_an_address_do(text: str) -> None:
    assert oauth.parse_redirect(text.format(state=STATE), STATE) == "the-code"


@given(st.text(max_size=60).filter(lambda text: text != STATE))
def test_another_state_is_never_accepted(state: str) -> None:
    text = f"http://127.0.0.1/oauth/callback?code=c&state={quote(state, errors='replace')}"
    with pytest.raises(LoginFailed) as error:
        oauth.parse_redirect(text, STATE)
    assert error.value.code == "state_mismatch"


@given(st.text(st.characters(), max_size=300))
def test_no_text_breaks_it(text: str) -> None:
    for one in (text, f"http://a/b?{text}", f"code=a&state={text}", f"http://[{text}?code=1"):
        with pytest.raises(LoginFailed) as error:
            oauth.parse_redirect(one, STATE)
        assert error.value.code in ("state_mismatch", "invalid_redirect")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_redirect"),
        ("http://127.0.0.1:3128/oauth/callback", "invalid_redirect"),
        ("the-code", "invalid_redirect"),
        (redirected(state=""), "state_mismatch"),
        (redirected() + f"&state={STATE}", "state_mismatch"),
        (redirected() + "&code=other", "invalid_redirect"),
        (redirected("") + "&x=1", "invalid_redirect"),
        (redirected("a\x07b"), "invalid_redirect"),
        (f"?error=access_denied&state={STATE}", "access_denied"),
        ("?error=access_denied&state=forged", "state_mismatch"),
        ("?error=access_denied", "state_mismatch"),
        (f"?error=server_error%1b&state={STATE}", "refused"),
        ("x" * 100_000, "invalid_redirect"),
        ("&".join("a=b" for _ in range(200)), "invalid_redirect"),
    ],
)
def test_addresses_that_do_not_do(text: str, code: str) -> None:
    """What does not carry our state cannot end the sign-in either."""
    with pytest.raises(LoginFailed) as error:
        oauth.parse_redirect(text, STATE)
    assert error.value.code == code
    assert re.fullmatch(r"[ -~]+", str(error.value))
