"""Notes for the audit log: what became different, never a secret."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, cast

from flask import Flask

from kiroproxy.credentials.model import Credential
from kiroproxy.web.admin.changes import public
from kiroproxy.web.admin.door import AdminDoor
from tests.web.admin.conftest import OPERATOR, TOKEN, Desk
from tests.web.admin.test_logins import PENDING, scripted
from tests.web.admin.test_recordings import fill

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
    desk.send("PATCH", "/credentials/1", {"proxyPassword": "canary"})
    assert "canary" not in desk.call("GET", "/audit").text
    newest = desk.get("/audit")["entries"][0]
    assert (newest["before"], "proxyPassword" in newest["after"]) == ({"proxyPassword": None}, True)


# ---- every change, by every road -----------------------------------------------------------


class Act(NamedTuple):
    """A call, and what the audit log has of it; no action: it changes nothing."""

    method: str
    rule: str
    body: Any = None
    action: str = ""
    target: str = ""
    before: bool = False
    after: bool = False
    values: dict[str, Any] = {}  # noqa: RUF012 - a tuple's default

    @property
    def path(self) -> str:
        path = self.rule
        for name, value in self.values.items():
            path = path.replace(f"<int:{name}>", str(value)).replace(f"<{name}>", str(value))
        return path


def token(n: int) -> dict[str, str]:
    return {"refreshToken": f"{TOKEN}-{n}"}


def acts(key: str) -> Iterator[Act]:
    """One call of every endpoint that may change something, in an order in which they succeed."""
    one: dict[str, Any] = {"credential_id": 1}
    own = "/api/admin/credentials"
    yield Act("POST", own, token(1), "credential.add", "credential 4", after=True)
    edit = Act("PATCH", f"{own}/<int:credential_id>", {"label": "x"}, "credential.edit")
    yield edit._replace(target="credential 1", before=True, after=True, values=one)
    for name, body, action in (
        ("priority", {"priority": 5}, "credential.priority"),
        ("disabled", {"disabled": True}, "credential.disable"),
        ("reset", {}, "credential.reset"),
        ("refresh", {}, "credential.refresh"),
        ("test", {}, "credential.test"),
        ("disabled", {"disabled": True}, "credential.disable"),
    ):
        rule = f"{own}/<int:credential_id>/{name}"
        yield Act("POST", rule, body, action, "credential 1", values=one)
    gone = Act("DELETE", f"{own}/<int:credential_id>", None, "credential.delete", "credential 1")
    yield gone._replace(before=True, values=one)
    for action in ("disable", "enable", "reset", "refresh", "verify"):
        body = {"action": action, "ids": [2]}
        told = "refresh" if action == "verify" else action
        yield Act("POST", f"{own}/bulk", body, f"credential.{told}", "credential 2")
    for action, more in (("priority", {"priority": 3}), ("move", {"group": "team"})):
        body = {"action": action, "ids": [2]} | more
        yield Act("POST", f"{own}/bulk", body, f"credential.{action}", "credential 2", True, True)
    yield Act("POST", f"{own}/bulk", {"action": "balance", "ids": [99]})
    content = {"content": json.dumps([token(2)])}
    yield Act("POST", f"{own}/import/preview", content)
    yield Act("POST", f"{own}/import", content, "credential.import", "credential 5", after=True)
    groups = {"content": json.dumps({"groups": {"new": {}}, "tokens": []})}
    yield Act("POST", f"{own}/import", groups, "group.create", "group new", after=True)
    login = {"login_id": "one"}
    yield Act("POST", "/api/admin/logins", {"method": "google"}, "login.start", "login one")
    redirect = {"url": "http://127.0.0.1:3128/?code=x"}
    rule = "/api/admin/logins/<login_id>"
    yield Act("POST", f"{rule}/redirect", redirect, "login.done", "credential 2", values=login)
    yield Act("DELETE", rule, None, "login.cancel", "login one", values=login)
    for rule, put in (("/api/admin/groups", "PATCH"), ("/api/groups", "PUT")):
        yield Act("POST", rule, {"name": "pro"}, "group.create", "group pro", after=True)
        shown = Act(put, f"{rule}/<name>", {"display_name": "Pro"}, "group.edit", "group pro")
        yield shown._replace(before=True, after=True, values={"name": "pro"})
        named = Act("POST", f"{rule}/<name>/rename", {"new_name": "best"}, "group.rename")
        yield named._replace(target="group best", before=True, after=True, values={"name": "pro"})
        gone = Act("DELETE", f"{rule}/<name>", None, "group.delete", "group best", before=True)
        yield gone._replace(values={"name": "best"})
    yield Act("POST", "/api/admin/models/try", {"name": "claude-sonnet-4-5"})
    yield Act("POST", "/api/admin/choice", {"model": "claude-sonnet-4-5"})
    setting = Act("PUT", "/api/admin/settings/<key>", {"value": 7}, "setting.set")
    both = {"target": "setting cooldownSec", "before": True, "after": True}
    yield setting._replace(**both, values={"key": "cooldownSec"})
    unset = Act("DELETE", "/api/admin/settings/<key>", None, "setting.unset")
    yield unset._replace(**both, values={"key": "cooldownSec"})
    mode = Act("PUT", "/api/admin/config/load-balancing", {"mode": "balanced"}, "setting.set")
    yield mode._replace(target="setting loadBalancingMode", before=True, after=True)
    yield Act("POST", "/api/admin/backup", {"secrets": True}, "backup")
    for rule in ("/api/admin/keys", "/api/keys"):
        yield Act("POST", rule, {"name": "new"}, "key.create", after=True)
        patch = Act("PATCH", f"{rule}/<key_id>", {"owner": rule}, "key.edit", f"key {key}")
        yield patch._replace(before=True, after=True, values={"key_id": key})
        rotate = Act("POST", f"{rule}/<key_id>/rotate", {}, "key.rotate", f"key {key}")
        yield rotate._replace(values={"key_id": key})
        gone = Act("DELETE", f"{rule}/<key_id>", None, "key.delete", before=True)
        yield gone._replace(values={"key_id": "new"})
    tokens = "/api/tokens"
    yield Act("POST", tokens, token(7), "credential.add", "credential 6", after=True)
    many = {"tokens": [token(8)]}
    yield Act("POST", f"{tokens}/bulk", many, "credential.add", "credential 7", after=True)
    two = {"token_id": 7}
    patch = Act("PATCH", f"{tokens}/<int:token_id>", {"name": "n"}, "credential.edit")
    yield patch._replace(target="credential 7", before=True, after=True, values=two)
    move = Act("PUT", f"{tokens}/<int:token_id>/move", {"group": "team"}, "credential.move")
    yield move._replace(target="credential 7", before=True, after=True, values=two)
    renew = {"group": "team", "limit": 1}
    yield Act("POST", f"{tokens}/refresh", renew, "credential.refresh", "credential 2")
    gone = Act("DELETE", f"{tokens}/<int:token_id>", None, "credential.delete", "credential 7")
    yield gone._replace(before=True, values=two)
    settings = Act("POST", "/api/settings", {"cooldown_sec": 9}, "setting.set")
    yield settings._replace(target="setting cooldown_sec", before=True, after=True)
    yield Act("DELETE", "/api/logs", None, "logs.clear", after=True)
    recording = Act("DELETE", "/api/admin/recordings/<recording_id>", None, "recording.delete")
    yield recording._replace(target="recording req_0", values={"recording_id": "req_0"})
    yield Act("DELETE", "/api/admin/recordings", None, "recording.delete", "1 recordings")


ELSEWHERE = {("POST", "/api/admin/doctor")}
"""It asks Kiro itself: tests/flows/test_admin.py looks at its entry."""


def changing(desk: Desk) -> set[tuple[str, str]]:
    """Method and rule of all endpoints behind the admin key that may change something."""
    door = cast(AdminDoor, desk.place.app.wsgi_app)
    apps: list[Flask] = [desk.place.app, door.application()]
    return {
        (method, rule.rule)
        for app in apps
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}
        if rule.rule.startswith(("/api/", "/admin"))
    }


def test_every_endpoint_that_changes_something_is_noted(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(3)
    fill(desk, 2)
    key = desk.post("/keys", {"name": "kept"}, 201)["id"]
    done = replace(PENDING, phase="done", credential_id=2)
    scripted(desk, PENDING, done, replace(PENDING, phase="cancelled"))
    known = [tuple(one) for one in acts(key)]
    assert {one[:2] for one in known} == changing(desk) - ELSEWHERE
    for act in acts(key):
        before = desk.get("/audit")["total"]
        answer = desk.place.client.open(
            act.path, method=act.method, json=act.body, headers=OPERATOR
        )
        assert answer.status_code < 300, (act, answer.text)
        answer.close()
        told = desk.get("/audit")
        if not act.action:
            assert told["total"] == before, act
            continue
        assert told["total"] > before, act
        newest = told["entries"][0]
        assert newest["action"] == act.action, act
        assert newest["target"].startswith(act.target), act
        assert (newest["who"], newest["client"]) == ("admin ***dmin", "127.0.0.1"), act
        assert newest["time"].endswith("Z")
        assert not act.before or newest["before"], act
        assert not act.after or newest["after"], act
    text = desk.call("GET", "/audit?page_size=1000").text
    assert TOKEN[:30] not in text
    assert "access-token" not in text
    assert "kp_" not in text.replace("kp_…", "").replace("kp_\\u2026", "")


def test_what_is_refused_is_not_noted(desk: Desk) -> None:
    desk.refused("POST", "/credentials/9/priority", {"priority": 1}, 404)
    desk.refused("DELETE", "/credentials/1")
    desk.refused("PUT", "/settings/port", {"value": 0})
    assert desk.actions() == []
