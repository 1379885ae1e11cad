"""The admin API on the real server: two workers, a Kiro that plays along, and canaries."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.flows.client import body, post
from tests.flows.conftest import credential
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

ADMIN = "sk-of-the-operator"
CONFIG = {"adminApiKey": ADMIN, "queueWaitSec": 1}
SEEN_S = 1.0
"""So soon every worker knows of a change."""
LEFT_S = 20
"""So soon a live view notices that nobody looks: at its second ping at the latest."""
ASKED = 16
"""Connections of their own, so that both workers are met."""


def call(proxy: Proxy, method: str, path: str, json: Any = None, **more: Any) -> requests.Response:
    """One call on a connection of its own."""
    headers = {"x-api-key": ADMIN, "connection": "close"} | more.pop("headers", {})
    url = f"{proxy.url}/api/admin{path}"
    return requests.request(method, url, json=json, headers=headers, timeout=30, **more)


def done(proxy: Proxy, method: str, path: str, json: Any = None, status: int = 200) -> Any:
    answer = call(proxy, method, path, json)
    assert answer.status_code == status, answer.text
    return answer.json()


def everyone_sees(proxy: Proxy, path: str, is_there: Callable[[Any], bool]) -> None:
    """After a second, every connection shows it."""
    time.sleep(SEEN_S)
    assert all(is_there(done(proxy, "GET", path)) for _ in range(ASKED))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, Simulator]]:
    place = tmp_path_factory.mktemp("admin")
    stored = [credential(label="first"), credential(refreshToken="second-" + "r" * 120)]
    with (
        Simulator("--strict") as sim,
        Proxy(place, CONFIG, stored, upstream=sim.url) as proxy,
    ):
        yield proxy, sim


@pytest.fixture
def proxy(server: tuple[Proxy, Simulator]) -> Proxy:
    return server[0]


@pytest.fixture
def sim(server: tuple[Proxy, Simulator]) -> Simulator:
    return server[1]


def test_a_change_is_seen_by_all_workers(proxy: Proxy) -> None:
    done(proxy, "PATCH", "/credentials/1", {"label": "seen", "priority": 3})
    everyone_sees(
        proxy, "/credentials/1", lambda one: (one["label"], one["priority"]) == ("seen", 3)
    )
    done(proxy, "POST", "/credentials/2/disabled", {"disabled": True})
    everyone_sees(proxy, "/credentials", lambda told: told["currentId"] == 1)
    done(proxy, "POST", "/credentials/2/disabled", {"disabled": False})
    everyone_sees(proxy, "/credentials", lambda told: told["currentId"] == 2)
    done(proxy, "POST", "/groups", {"name": "pro", "settings": {"priority": 4}}, 201)
    everyone_sees(proxy, "/groups/pro", lambda one: one["settings"]["priority"] == 4)
    done(proxy, "PUT", "/config/load-balancing", {"mode": "balanced"})
    everyone_sees(proxy, "/config/load-balancing", lambda one: one == {"mode": "balanced"})
    key = done(proxy, "POST", "/keys", {"name": "k"}, 201)
    done(proxy, "PATCH", f"/keys/{key['id']}", {"disabled": True})
    everyone_sees(proxy, f"/keys/{key['id']}", lambda one: one["disabled"] is True)


def test_s130_s135_add_and_ask(proxy: Proxy, sim: Simulator) -> None:
    token = "rt-of-a-new-account-" + "t" * 120
    sim.account(refreshToken=token, quota=100, used=25)
    told = done(proxy, "POST", "/credentials", {"refreshToken": token, "label": "new"})
    id_ = told["credentialId"]
    balance = done(proxy, "GET", f"/credentials/{id_}/balance")
    assert balance["id"] == id_
    assert balance["usageLimit"] - balance["currentUsage"] == balance["remaining"]
    trial = done(proxy, "POST", f"/credentials/{id_}/test", {})
    assert trial["answer"]
    stored = json.loads(proxy.credentials_path.read_text("utf-8"))
    [one] = [one for one in stored if one["id"] == id_]
    assert one["refreshToken"] != token, "it was redeemed"
    error = done(proxy, "POST", "/credentials", {"refreshToken": "nobody's-" + "t" * 120}, 400)
    assert error["error"]["type"] == "invalid_request"
    assert len(json.loads(proxy.credentials_path.read_text("utf-8"))) == len(stored)


def test_a_sign_in(proxy: Proxy, sim: Simulator) -> None:
    sim.device(interval=0.1)
    told = done(proxy, "POST", "/logins", {"method": "builder-id", "label": "by code"}, 201)
    assert told["userCode"]
    assert told["qr"].startswith("data:image/svg+xml")
    deadline = time.monotonic() + 15
    while told["phase"] in ("pending", "storing"):
        assert time.monotonic() < deadline
        time.sleep(0.3)
        told = done(proxy, "GET", f"/logins/{told['id']}")  # of either worker
    assert told["phase"] == "done"
    assert done(proxy, "GET", f"/credentials/{told['credentialId']}")["label"] == "by code"
    actions = [one["action"] for one in done(proxy, "GET", "/audit")["entries"]]
    assert actions.count("login.done") == 1


def test_a_sign_in_that_is_given_up(proxy: Proxy, sim: Simulator) -> None:
    told = done(proxy, "POST", "/logins", {"method": "google"}, 201)
    assert told["redirectUri"].startswith("http://127.0.0.1")
    other = {"url": f"{told['redirectUri']}?code=x&state=another"}
    done(proxy, "POST", f"/logins/{told['id']}/redirect", other, 400)
    assert done(proxy, "DELETE", f"/logins/{told['id']}")["phase"] == "cancelled"
    assert done(proxy, "GET", f"/logins/{told['id']}")["phase"] == "cancelled"


def test_the_doctor(proxy: Proxy) -> None:
    told = done(proxy, "POST", "/doctor", {})
    assert told["state"] in ("ok", "warning", "failure")
    assert {"config", "files", "tokens"} <= {one["check"] for one in told["findings"]}


def test_a_live_view_begins_at_once(proxy: Proxy) -> None:
    began = time.monotonic()
    with call(proxy, "GET", "/requests/stream", stream=True) as answer:
        line = next(answer.iter_lines())
    assert json.loads(line) == {"type": "ping"}
    assert time.monotonic() - began < 5


def test_a_live_view_shows_what_any_worker_has_served(proxy: Proxy) -> None:
    """Requests on connections of their own go to both; a view that is left is not gone on with."""
    with call(proxy, "GET", "/requests/stream?dialect=anthropic", stream=True) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines)) == {"type": "ping"}
        traces = set()
        for _ in range(ASKED // 2):
            served = requests.post(
                f"{proxy.url}/v1/messages",
                json=body(),
                headers={"x-api-key": proxy.key, "connection": "close"},
                timeout=30,
            )
            assert served.status_code == 200
            traces.add(served.headers["request-id"])
        seen: list[str] = []
        deadline = time.monotonic() + 20
        while len(seen) < len(traces):
            assert time.monotonic() < deadline, seen
            told = json.loads(next(lines))
            if told["type"] == "request":
                seen.append(told["trace_id"])
        assert set(seen) == traces
        assert len(seen) == len(traces), "each once"


def connections_from(port: int) -> int:
    """Connections to the server that are open at its side."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    wanted = f"0100007F:{port:04X}"
    return sum(
        (fields := row.split())[1] == wanted and fields[3] in ("01", "08") for row in rows
    )  # ESTABLISHED, CLOSE_WAIT


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="Linux tells of its connections")
def test_live_views_that_are_left_are_cleaned_up(proxy: Proxy) -> None:
    before = connections_from(proxy.port)
    views = [call(proxy, "GET", "/requests/stream", stream=True) for _ in range(6)]
    for view in views:
        next(view.iter_lines())
    assert connections_from(proxy.port) >= 6
    for view in views:
        view.close()
    deadline = time.monotonic() + LEFT_S
    while connections_from(proxy.port) > before:
        assert time.monotonic() < deadline, "a view goes on for nobody"
        time.sleep(0.2)


def test_streams_go_on_while_the_admin_application_is_built(tmp_path: Path) -> None:
    with (
        Simulator() as sim,
        Proxy(tmp_path, CONFIG, [credential()], upstream=sim.url, workers=1) as proxy,
    ):
        assert post(proxy, body()).status_code == 200
        assert done(proxy, "GET", "/status")["total"] == 1
        assert post(proxy, body()).status_code == 200


def test_s127_wrong_keys_are_throttled_across_workers(tmp_path: Path) -> None:
    with Proxy(tmp_path, CONFIG, []) as proxy:
        tries = [
            call(proxy, "GET", "/status", headers={"x-api-key": f"guess {n}"}).status_code
            for n in range(20)
        ]
        assert tries == [401] * 5 + [429] * 15
        assert call(proxy, "GET", "/status").status_code == 429


def test_s139_everything_survives_a_restart(tmp_path: Path) -> None:
    with Proxy(tmp_path, CONFIG, [credential()]) as proxy:
        done(proxy, "PATCH", "/credentials/1", {"label": "kept", "priority": 7})
        done(proxy, "POST", "/credentials/1/disabled", {"disabled": True})
        done(proxy, "PUT", "/config/load-balancing", {"mode": "balanced"})
        key = done(proxy, "POST", "/keys", {"name": "kept"}, 201)["id"]
        proxy.stop()
        with proxy:
            one = done(proxy, "GET", "/credentials/1")
            assert (one["label"], one["priority"], one["disabledReason"]) == ("kept", 7, "Manual")
            assert done(proxy, "GET", "/config/load-balancing") == {"mode": "balanced"}
            assert done(proxy, "GET", f"/keys/{key}")["name"] == "kept"
            assert done(proxy, "GET", "/audit")["total"] == 4


# ---- canaries ------------------------------------------------------------------------------

SECRETS = {
    field: f"CANARY{n}-{field}-" + f"{n}q" * 60
    for n, field in enumerate(
        ["accessToken", "refreshToken", "clientSecret", "kiroApiKey", "proxyPassword", "apiSecret"]
    )
}
IN_URL = "CANARY-in-a-url-" + "u" * 60
OF_SETTINGS = {
    key: f"CANARY-{key}-" + "s" * 40
    for key in ("proxyPassword", "countTokensApiKey", "adminApiKey")
}
IN_SETTINGS = {
    "proxyUrl": f"http://u:{IN_URL}@127.0.0.1:9",
    "countTokensApiUrl": f"https://u:{IN_URL}@127.0.0.1:9/count",
}


ELSEWHERE = (
    *("/metrics", "/health", "/healthz", "/readyz", "/api/groups", "/api/keys", "/api/settings"),
    *(
        "/api/tokens",
        "/api/stats?period=hour",
        "/api/stats/records",
        "/api/logs",
        "/api/logs/stats",
    ),
    *("/api/stats/records?format=csv", "/api/stats/records?format=json"),
    *("/api/admin/usage/export?format=json", "/admin", "/admin/settings", "/admin/words/en.json"),
)
"""Other places that the admin key opens, or anybody."""


def canaries(place: Path) -> list[str]:
    """Every secret that there is now, in the files and in this test."""
    stored = json.loads((place / "credentials.json").read_text("utf-8"))
    kept = [str(one[key]) for one in stored for key in SECRETS if one.get(key)]
    return [*kept, *SECRETS.values(), IN_URL, *OF_SETTINGS.values(), ADMIN, "sk-kiroproxy-test"]


def leaks(text: str, secrets: list[str]) -> list[str]:
    """Which secrets are in a text: any of them by their beginning, or by more than their end."""
    text = text.replace("\\u2026", "…")
    return [
        one
        for one in secrets
        if len(one) > 8 and (one[:16] in text or one[-11:] in text or one in text)
    ]


def acts(proxy: Proxy) -> Iterator[tuple[str, str, Any]]:
    """Something of everything."""
    spec = done(proxy, "GET", "/openapi.json")
    for path, methods in spec["paths"].items():
        short = path.removeprefix("/api/admin")
        if "get" in methods and not short.endswith("/stream"):
            for id_ in (1, 2, 3) if "credential_id" in short else (1,):
                yield "GET", short.replace("{credential_id}", str(id_)), None
    entry = {"refreshToken": SECRETS["refreshToken"]}
    again = json.dumps([entry, entry | {"refreshToken": "CANARY-new-" + "w" * 120}])
    yield "POST", "/credentials", entry
    yield "POST", "/credentials/bulk", {"action": "verify", "ids": [1, 2, 3, 9]}
    yield "POST", "/credentials/bulk", {"action": "balance", "ids": [1, 2, 3, 9]}
    yield "POST", "/logins", {"method": "google", "relogin": 1}
    yield "POST", "/choice", {"model": "claude-sonnet-4-5"}
    yield "POST", "/models/try", {"name": SECRETS["accessToken"][:8]}
    yield "POST", "/backup", {}
    yield "POST", "/credentials", {"refreshToken": "CANARY-short"}
    yield "POST", "/credentials", {"kiroApiKey": "ksk_CANARY-key\u00e9"}
    yield "POST", "/credentials/import/preview", {"content": again}
    yield "POST", "/credentials/import", {"content": again}
    yield "PATCH", "/credentials/1", {"proxyUrl": f"http://u:{IN_URL}@127.0.0.1:9"}
    yield "PATCH", "/credentials/1", {"proxyUrl": f"ftp://u:{IN_URL}@127.0.0.1:9"}
    for id_ in (1, 2, 3):
        for act in ("refresh", "test"):
            yield "POST", f"/credentials/{id_}/{act}", {}
        yield "GET", f"/credentials/{id_}/balance?fresh=true", None
        yield "POST", f"/credentials/{id_}/disabled", {"disabled": True}
    yield "DELETE", "/settings/countTokensApiKey", None
    for key, value in (IN_SETTINGS | OF_SETTINGS).items():
        yield "PUT", f"/settings/{key}", {"value": value}
    for key, value in IN_SETTINGS.items():
        yield "PUT", f"/settings/{key}", {"value": value.replace("127.0.0.1", "127.0.0.2")}
        yield "PUT", f"/settings/{key}", {"value": value.replace("http", "ftp")}
        yield "DELETE", f"/settings/{key}", None
    yield "PUT", "/settings/port", {"value": SECRETS["accessToken"]}
    yield "GET", "/settings", None
    yield "POST", "/doctor", {"refresh": True}
    yield "DELETE", "/credentials/3", None
    yield "GET", "/audit?page_size=1000", None
    yield "GET", "/overview", None


def test_s128_never_a_token(tmp_path: Path) -> None:
    """Every answer, every log line and every metric, grepped for every secret."""
    kinds = [
        {"authMethod": "social"},
        {"authMethod": "idc", "clientId": "c", "clientSecret": SECRETS["clientSecret"]},
        {"authMethod": "api_key", "kiroApiKey": SECRETS["kiroApiKey"]},
    ]
    shared = {
        "accessToken": SECRETS["accessToken"],
        "expiresAt": "2099-01-01T00:00:00Z",
        "proxyPassword": SECRETS["proxyPassword"],
        "apiSecret": SECRETS["apiSecret"],
    }
    stored = [
        shared | kind | {"refreshToken": SECRETS["refreshToken"][:-3] + f"{n:03}"}
        for n, kind in enumerate(kinds)
    ]
    config = CONFIG | {"countTokensApiKey": OF_SETTINGS["countTokensApiKey"]}
    with (
        Simulator() as sim,
        Proxy(tmp_path, config, stored, upstream=sim.url) as proxy,
    ):
        before = canaries(tmp_path)
        post(proxy, body())
        for method, path, sent in acts(proxy):
            answer = call(proxy, method, path, sent)
            assert answer.status_code != 500, (method, path, answer.text)
            secrets = before + canaries(tmp_path)
            found = leaks(answer.text, secrets)
            assert not found, (method, path, answer.text, found)
            assert not leaks(str(dict(answer.headers)), secrets), (method, path)
        secrets = before + canaries(tmp_path)
        for path in ELSEWHERE:
            told = requests.get(f"{proxy.url}{path}", headers={"x-api-key": ADMIN}, timeout=20)
            assert told.status_code in (200, 503), (path, told.text)
            assert not leaks(told.text, secrets), path
        for method, path, sent in (
            ("POST", "/api/tokens", {"refreshToken": SECRETS["refreshToken"]}),
            ("POST", "/api/tokens/bulk", {"tokens": [{"refreshToken": SECRETS["refreshToken"]}]}),
            ("POST", "/api/tokens/refresh", {}),
            ("PATCH", "/api/tokens/1", {"name": "n"}),
        ):
            headers = {"x-api-key": ADMIN}
            told = requests.request(
                method, proxy.url + path, json=sent, headers=headers, timeout=30
            )
            assert told.status_code != 500
            assert not leaks(told.text, before + canaries(tmp_path)), path
        entries = done(proxy, "GET", "/audit?page_size=1000")["entries"]
        assert {"doctor.refresh", "credential.refresh"} <= {one["action"] for one in entries}
        secrets = before + canaries(tmp_path)
        assert not leaks(proxy.log(), secrets)
        assert "CANARY" not in proxy.log()
