"""config.json from afar: typed, with origin, and nothing that leads tokens astray."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kiroproxy.config import BY_ATTRIBUTE, SETTINGS, load_config
from kiroproxy.web.admin.settings import LOCKED, type_of
from tests.web.admin.conftest import Desk


def document(desk: Desk) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((desk.files / "config.json").read_text("utf-8"))
    return found


def test_the_list(desk: Desk) -> None:
    told = desk.get("/settings")
    rows = {one["key"]: one for one in told["settings"]}
    assert set(rows) == {row.key for row in SETTINGS}
    assert rows["apiKey"]["secret"] is True
    assert "sk-test" not in json.dumps(told)
    assert "sk-admin" not in json.dumps(told)
    assert rows["adminApiKey"]["origin"] == "config.json adminApiKey"
    assert rows["port"]["type"] == "integer"
    assert (rows["port"]["minimum"], rows["port"]["maximum"]) == (1, 65535)
    assert rows["loadBalancingMode"]["choices"] == ["priority", "balanced", "sequential"]
    assert rows["logLevel"]["type"] == "choice"
    assert rows["noProxy"]["value"] == []
    assert rows["modelMapping"]["value"] == {}


@pytest.mark.parametrize(
    ("attribute", "kind"),
    [
        ("host", "text"),
        ("port", "integer"),
        ("cooldown_sec", "number"),
        ("fetch_image_urls", "boolean"),
        ("web_search", "choice"),
        ("effort_models", "list"),
        ("model_mapping", "map"),
        ("state_dir", "text"),
    ],
)
def test_types(attribute: str, kind: str) -> None:
    assert type_of(BY_ATTRIBUTE[attribute]) == kind


def test_change_and_take_back(desk: Desk) -> None:
    told = desk.send("PUT", "/settings/cooldownSec", {"value": 7.5})
    assert (told["value"], told["changed"], told["restartNeeded"]) == (7.5, True, True)
    assert told["backup"].endswith("config.json.bak")
    assert document(desk)["cooldownSec"] == 7.5
    told = desk.get("/settings")["restartNeeded"]
    assert set(told) == {"cooldownSec", "queueWaitSec"}, "the latter was given by the fixture"
    assert desk.send("PUT", "/settings/cooldownSec", {"value": 7.5})["changed"] is False
    told = desk.send("DELETE", "/settings/cooldownSec")
    assert (told["value"], told["origin"], told["restartNeeded"]) == (30, "default", False)
    assert desk.actions() == ["setting.unset", "setting.set"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("noProxy", ["localhost", "10.0.0.1"]),
        ("modelMapping", {"gpt-*": "auto"}),
        ("fetchImageUrls", True),
        ("logLevel", "debug"),
        ("proxyUrl", "http://127.0.0.1:3128"),
    ],
)
def test_each_type(desk: Desk, key: str, value: Any) -> None:
    assert desk.send("PUT", f"/settings/{key}", {"value": value})["value"] == value
    assert document(desk)[key] == value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", 0),
        ("port", "many"),
        ("port", None),
        ("port", ""),
        ("port", {}),
        ("logLevel", "loud"),
        ("noProxy", {"a": 1}),
        ("region", "../.."),
        ("adminApiKey", "sk-test"),
        ("apiKey", "***test"),
        ("proxyUrl", "http://169.254.169.254"),
        ("proxyUrl", "file:///etc/passwd"),
        ("countTokensApiUrl", "http://169.254.169.254/count"),
        ("countTokensApiUrl", "http://metadata.google.internal/"),
        ("countTokensApiUrl", "http://169.254.169.254\\@counter.example/"),
        ("proxyUrl", "http://***@127.0.0.1:3128"),
        ("countTokensApiUrl", "http://***@127.0.0.1:3128"),
        ("host", "unix:/run/other.sock"),
    ],
)
def test_what_cannot_be(desk: Desk, key: str, value: Any) -> None:
    before = document(desk)
    desk.refused("PUT", f"/settings/{key}", {"value": value})
    assert document(desk) == before


@pytest.mark.parametrize("key", sorted(LOCKED))
def test_what_nobody_changes_from_afar(desk: Desk, key: str) -> None:
    row = desk.get(f"/settings/{key}")
    assert (row["editable"], bool(row["why"])) == (False, True)
    assert "on the machine" in row["why"] or "there" in row["why"]
    desk.refused("PUT", f"/settings/{key}", {"value": "https://evil.example"})
    desk.refused("DELETE", f"/settings/{key}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(key=st.sampled_from([row.key for row in SETTINGS]), value=JSON)
def test_whatever_is_sent(desk: Desk, key: str, value: Any) -> None:
    """Taken or refused in words; the file stays one that the server starts with."""
    answer = desk.call("PUT", f"/settings/{key}", data=json.dumps({"value": value}))
    assert answer.status_code in (200, 400), answer.text
    load_config({"config_path": desk.files / "config.json"}, environ={}, cwd=desk.files)


def test_settings_that_do_not_exist(desk: Desk) -> None:
    for method in ("GET", "DELETE"):
        desk.refused(method, "/settings/nonsense", status=404)
    desk.refused("PUT", "/settings/nonsense", {"value": 1}, 404)


def test_secrets_are_written_and_never_shown(desk: Desk) -> None:
    told = desk.send("PUT", "/settings/proxyPassword", {"value": "hidden-from-all"})
    assert told["value"] == "***-all"
    assert document(desk)["proxyPassword"] == "hidden-from-all"
    assert "hidden-from-all" not in desk.call("GET", "/audit").text


@pytest.mark.parametrize(
    ("address", "secret"),
    [("proxyUrl", "proxyPassword"), ("countTokensApiUrl", "countTokensApiKey")],
)
def test_a_secret_is_sent_to_the_host_that_it_was_given_for(
    desk: Desk, address: str, secret: str
) -> None:
    """Whoever may set an address but not read the secret would have it sent to himself."""
    desk.send("PUT", f"/settings/{address}", {"value": "http://127.0.0.1:1"})
    desk.send("PUT", f"/settings/{secret}", {"value": "hidden-from-all"})
    desk.send("PUT", f"/settings/{address}", {"value": "http://127.0.0.1:2"})
    other = {"value": "http://evil.invalid:1"}
    assert secret in desk.refused("PUT", f"/settings/{address}", other)["message"]
    desk.send("DELETE", f"/settings/{address}")
    desk.refused("PUT", f"/settings/{address}", other)
    desk.send("DELETE", f"/settings/{secret}")
    desk.send("PUT", f"/settings/{address}", other)


def test_changes_at_once_are_all_kept(desk: Desk) -> None:
    desk.get("/settings")
    keys = ["cooldownSec", "queueWaitSec", "idleTimeoutSec", "bodyTimeoutSec"]
    threads = [
        threading.Thread(target=desk.send, args=("PUT", f"/settings/{key}", {"value": 11}))
        for key in keys
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key: document(desk).get(key) for key in keys} == dict.fromkeys(keys, 11)


# ---- load balancing ------------------------------------------------------------------------


def test_s140_load_balancing(desk: Desk) -> None:
    assert desk.get("/config/load-balancing") == {"mode": "priority"}
    assert desk.send("PUT", "/config/load-balancing", {"mode": "balanced"}) == {"mode": "balanced"}
    assert desk.parts.pool.roster().mode == "balanced", "at once"
    assert document(desk)["loadBalancingMode"] == "balanced", "S139"
    row = desk.get("/settings/loadBalancingMode")
    assert (row["value"], row["restartNeeded"]) == ("balanced", False)
    desk.send("PUT", "/config/load-balancing", {"mode": "priority"})
    assert desk.parts.pool.mode == "priority"


def test_s140_a_reload_brings_what_the_file_says(open_desk: Callable[..., Desk]) -> None:
    """The note was for workers that had been started with another mode."""
    desk = open_desk()
    desk.parts.pool.set_mode("balanced")
    desk.parts.pool._configured = "sequential"
    desk.parts.pool.forget(1)  # looks again
    assert desk.parts.pool.mode == "sequential"


@pytest.mark.parametrize("mode", ["", "random", None, 1])
def test_s140_other_modes(desk: Desk, mode: Any) -> None:
    desk.refused("PUT", "/config/load-balancing", {"mode": mode})
    assert desk.get("/config/load-balancing") == {"mode": "priority"}
