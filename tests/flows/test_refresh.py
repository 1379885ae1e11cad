"""Tokens are renewed without anybody noticing, and never twice."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.credentials.auth_server import ENTRA_CERTIFICATE, EntraServer
from tests.flows.client import body, post
from tests.flows.conftest import LONG_TOKEN, credential
from tests.servers import Proxy
from tests.simulation import Simulator
from tests.wire import HttpProxy

pytestmark = pytest.mark.flow

EXPIRED = credential(expiresAt="2020-01-01T00:00:00Z", note="an unknown field")


def test_s101_many_requests_on_an_expired_token_make_one_refresh(
    sim: Simulator, tmp_path: Path
) -> None:
    config = {"maxConcurrent": 200}
    with Proxy(tmp_path, config, [EXPIRED], upstream=sim.url, workers=2) as proxy:
        with ThreadPoolExecutor(40) as threads:
            answers = list(threads.map(lambda _: post(proxy, body()).status_code, range(100)))
        assert answers == [200] * 100
        state = sim.state()
        assert (state["refreshes"], state["reuses"]) == (1, 0)
        [stored] = json.loads(proxy.credentials_path.read_text())
        assert stored["refreshToken"] != LONG_TOKEN
        assert stored["note"] == "an unknown field"
        assert stat.S_IMODE(proxy.credentials_path.stat().st_mode) == 0o600
        assert {request["bearer"] for request in sim.requests("/generateAssistantResponse")} == {
            stored["accessToken"]
        }


def test_s96_single_object_keeps_its_shape(sim: Simulator, tmp_path: Path) -> None:
    with Proxy(tmp_path, {}, EXPIRED, upstream=sim.url, workers=1) as proxy:
        assert post(proxy, body()).status_code == 200
        stored = json.loads(proxy.credentials_path.read_text())
        assert stored["refreshToken"] != LONG_TOKEN


def test_s99_idc_refresh(sim: Simulator, tmp_path: Path) -> None:
    idc = {k: v for k, v in EXPIRED.items() if k != "authMethod"}
    idc |= {"clientId": "client", "clientSecret": "secret"}
    with Proxy(tmp_path, {}, [idc], upstream=sim.url, workers=1) as proxy:
        assert post(proxy, body()).status_code == 200
        [refresh] = sim.requests("/token")
        assert refresh["body"]["grantType"] == "refresh_token"


def test_an_external_identity_provider(sim: Simulator, tmp_path: Path) -> None:
    """Protocol 5.1: Entra renews; the profile is asked for, and `tokentype` says what it is."""
    arn = "arn:aws:codewhisperer:us-east-1:111122223333:profile/ENTRA"
    sim.account(accessToken="at-1", requireProfileArn=True, profiles=[arn])
    own = {
        "authMethod": "external_idp",
        "clientId": "client",
        "tokenEndpoint": "https://login.microsoftonline.com/tenant/oauth2/v2.0/token",
        "scope": "openid offline_access",
        "expiresAt": "2026-01-01T00:00:00Z",
    }
    with EntraServer(LONG_TOKEN, "client", "/tenant/oauth2/v2.0/token") as entra:
        way = {"login.microsoftonline.com:443": f"127.0.0.1:{entra.port}"}
        with HttpProxy(way) as tunnel:
            own["proxyUrl"] = f"http://127.0.0.1:{tunnel.port}"
            config = {"caBundle": str(ENTRA_CERTIFICATE), "noProxy": "127.0.0.1"}
            with Proxy(tmp_path, config, [credential(**own)], upstream=sim.url) as proxy:
                answer = post(proxy, body())
                assert answer.status_code == 200, answer.text
                [written] = json.loads(proxy.credentials_path.read_text("utf-8"))
        assert (entra.issued, entra.reused) == (1, 0)
    assert (written["accessToken"], written["refreshToken"]) == ("at-1", "rt-1")
    assert (written["profileArn"], written["scope"]) == (arn, own["scope"])
    chat = sim.requests("/generateAssistantResponse")[-1]
    assert chat["headers"]["tokentype"] == "EXTERNAL_IDP"
    assert chat["body"]["profileArn"] == arn


def test_s103_dead_token_asks_for_a_login_and_never_loops(sim: Simulator, tmp_path: Path) -> None:
    sim.fault(
        "/refreshToken",
        times=None,
        status=400,
        body={"error": "invalid_grant", "error_description": "Invalid refresh token provided"},
    )
    with Proxy(tmp_path, {}, [EXPIRED], upstream=sim.url, workers=1) as proxy:
        for _ in range(3):
            assert post(proxy, body()).status_code == 503
        assert len(sim.requests("/refreshToken")) == 1
        [stored] = json.loads(proxy.credentials_path.read_text())
        assert stored["disabledReason"] == "InvalidRefreshToken"
        assert stored["refreshToken"] == LONG_TOKEN, "never deleted"


def test_x13_auth_token_is_imported_once(sim: Simulator, tmp_path: Path) -> None:
    environ = {
        "KIRO_AUTH_TOKEN": json.dumps([{"auth": "Social", "refreshToken": LONG_TOKEN}]),
        "KIRO_CLIENT_TOKEN": "sk-kiroproxy-test",
    }
    for _ in range(2):
        place = tmp_path
        kept = (
            (place / "credentials.json").read_text()
            if (place / "credentials.json").exists()
            else "[]"
        )
        credentials = json.loads(kept)
        with Proxy(place, {}, credentials, upstream=sim.url, workers=2, environ=environ) as proxy:
            assert post(proxy, body()).status_code == 200
            [stored] = json.loads(proxy.credentials_path.read_text())
    assert stored["generation"] == 1
    assert (sim.state()["refreshes"], sim.state()["reuses"]) == (1, 0)
