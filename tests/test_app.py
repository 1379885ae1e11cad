"""The application: its parts, its paths, and browsers' questions (S13)."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import url_for
from flask.testing import FlaskClient

from kiroproxy.app import build_services, create_app
from kiroproxy.config import Config, load_config
from kiroproxy.credentials.model import Credential
from kiroproxy.web.services import EXTENSION
from tests.servers import clean_environment
from tests.wire import CERTIFICATE

FDS = Path("/proc/self/fd")


def config_of(place: Path, **settings: Any) -> Config:
    given = {"api_key": "sk-test"} | settings
    return load_config(given, environ={}, cwd=place)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    app = create_app(config_of(tmp_path))
    yield app.test_client()
    app.extensions[EXTENSION].pool._runtime.close()


def test_making_it_touches_nothing(tmp_path: Path) -> None:
    """It may happen before a fork, and for the command line."""
    before = sorted(FDS.iterdir()) if FDS.exists() else []
    create_app(config_of(tmp_path))
    after = sorted(FDS.iterdir()) if before else []
    assert list(tmp_path.iterdir()) == []
    assert len(after) <= len(before), "no socket, no file, no database"


def test_q8_it_loads_unconfigured(tmp_path: Path) -> None:
    app = create_app(config_of(tmp_path, api_key=""))
    assert app.test_client().get("/healthz").status_code == 200
    answer = app.test_client().get("/v1/models", headers={"x-api-key": ""})
    assert answer.status_code == 401, "but it admits nobody"


def test_settings_reach_the_parts(tmp_path: Path) -> None:
    parts = build_services(
        config_of(
            tmp_path,
            first_frame_wait_sec=1,
            ping_interval_sec=2,
            idle_timeout_sec=3,
            max_tool_description_length=99,
            untrailed_end="complete",
            model_mapping={"a*": "b"},
            unknown_model="pass",
        )
    )
    assert (parts.timing.first_frame_s, parts.timing.ping_s, parts.timing.idle_s) == (1, 2, 3)
    assert parts.request_settings.description_limit == 99
    assert parts.request_settings.complete_without_trailer
    assert parts.models.mapping == {"a*": "b"}
    assert parts.models.unknown == "pass"


def test_s17_default_intervals(tmp_path: Path) -> None:
    timing = build_services(config_of(tmp_path)).timing
    assert (timing.first_frame_s, timing.ping_s, timing.idle_s) == (5, 25, 120)


def test_s85_the_way_out(tmp_path: Path) -> None:
    parts = build_services(
        config_of(
            tmp_path,
            proxy_url="http://proxy.test:3128",
            proxy_username="me",
            proxy_password="p@ss",
            no_proxy=("local.test",),
            ca_bundle=str(CERTIFICATE),
        )
    )
    voice = parts.client.voice
    route = voice.route_of(Credential(id=1))
    assert route.proxy_url == "http://me:p%40ss@proxy.test:3128"
    assert route.no_proxy == ("local.test",)
    assert route.verify == str(CERTIFICATE)
    assert voice.route_of(Credential(id=1, proxy_url="direct")).proxy_url == ""
    own = Credential(id=1, proxy_url="socks5://own.test:1")
    assert voice.route_of(own).proxy_url == "socks5://own.test:1"


def test_same_identity_for_all_calls(tmp_path: Path) -> None:
    """Protocol notes 2.3: chat, refresh and models must not disagree."""
    parts = build_services(config_of(tmp_path, kiro_version="1.2.3", system_version="os#1"))
    assert parts.client.voice.identity.kiro_version == "1.2.3"
    assert parts.client.voice.identity.system_version == "os#1"
    settings: Any = parts.pool.renewals._refresher._settings
    assert (settings.kiro_version, settings.system_version) == ("1.2.3", "os#1")


# ---- browsers ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/models", "/v1/nowhere", "/cc/v1/messages"])
def test_s13_preflight_without_a_key(client: FlaskClient, path: str) -> None:
    answer = client.options(
        path,
        headers={
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "x-api-key, content-type",
        },
    )
    assert answer.status_code in (200, 204)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == "x-api-key, content-type"
    methods = answer.headers["access-control-allow-methods"]
    assert methods == "*" or "POST" in methods


def test_s13_answers_may_be_read(client: FlaskClient) -> None:
    for answer in (
        client.get("/v1/models", headers={"x-api-key": "sk-test"}),
        client.get("/v1/models"),
        client.post("/v1/messages", data=b"{", headers={"x-api-key": "sk-test"}),
    ):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-expose-headers"] == "*"


@pytest.mark.parametrize("path", ["/api/admin/status", "/health", "/metrics", "/"])
def test_s175_and_only_those(client: FlaskClient, path: str) -> None:
    headers = {"origin": "https://app.example", "access-control-request-method": "GET"}
    for answer in (client.get(path, headers=headers), client.options(path, headers=headers)):
        assert "access-control-allow-origin" not in answer.headers


def test_addresses_are_built_when_asked_for(client: FlaskClient) -> None:
    """Rules compile their builders late."""
    with client.application.test_request_context():
        assert url_for("v1.one_model", model_id="a/b c") == "/v1/models/a/b%20c"
        assert url_for("health.health", full="yes") == "/health?full=yes"


@pytest.mark.parametrize("count", [0, 5])
def test_the_recorder_costs_nothing_where_it_is_off(tmp_path: Path, count: int) -> None:
    """Issue 9, item 8: off by default."""
    program = (
        "import sys; from kiroproxy.app import create_app; app = create_app();"
        "print(any(name.startswith('kiroproxy.recording') for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean_environment(KIROPROXY_RECORD_FAILURES=str(count)),
        check=True,
    )
    assert done.stdout.strip() == str(count > 0)
    assert not (tmp_path / "recordings").exists()
