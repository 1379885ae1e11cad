"""Notes for the audit log: what became different, never a secret."""

from dataclasses import replace

from kiroproxy.credentials.model import Credential
from kiroproxy.web.admin.changes import public
from tests.web.admin.conftest import Desk

ONE = Credential(
    id=1,
    access_token="canary-access",
    refresh_token="canary-refresh",
    client_id="canary-client-id",
    client_secret="canary-client-secret",
    kiro_api_key="canary-api-key",
    proxy_password="canary-proxy-password",
    machine_id="canary-machine",
    label="kept",
    extra={"note": "canary-extra"},
)


def test_secrets_stay_out() -> None:
    shown = public(ONE)
    assert "canary" not in str(shown)
    assert shown["label"] == "kept"
    assert public(replace(ONE, proxy_url="http://u:canary@h")) is not None


def test_only_what_is_different(desk: Desk) -> None:
    desk.send("PATCH", "/credentials/1", {"label": "a", "priority": 0})
    desk.send("PATCH", "/credentials/1", {"label": "b"})
    newest = desk.get("/audit")["entries"][0]
    assert (newest["before"], newest["after"]) == ({"label": "a"}, {"label": "b"})
    assert newest["target"] == "credential 1"


def test_a_proxys_password(desk: Desk) -> None:
    desk.send("PATCH", "/credentials/1", {"proxyUrl": "http://user:canary@127.0.0.1:1"})
    assert "canary" not in desk.call("GET", "/audit").text
