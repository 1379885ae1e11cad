"""/health, /healthz, /readyz, /metrics and HEAD / (S76, S159, X16)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kiroproxy import __version__
from kiroproxy.credentials.model import Credential
from tests.web.conftest import ADMIN, Place


def test_s159_health(place: Place) -> None:
    answer = place.client.get("/health")
    assert answer.status_code == 200
    body = answer.get_json()
    assert body["status"] == "healthy"
    assert body["version"] == __version__
    assert isinstance(body["uptime"], int)
    assert body["timestamp"].endswith("+00:00")
    assert body["active_tokens"] == 1
    assert body["database"] == "connected"
    assert body["token_pools"] == {"default": 1}


@pytest.mark.parametrize(
    ("accept", "mimetype"),
    [
        ("text/plain", "text/plain"),
        ("text/plain, application/json;q=0.5", "text/plain"),
        ("application/json", "application/json"),
        ("text/plain;q=0.5, application/json", "application/json"),
        ("*/*", "application/json"),
        ("text/html,*/*;q=0.8", "application/json"),
        ("", "application/json"),
    ],
)
def test_x16_health_as_text(place: Place, accept: str, mimetype: str) -> None:
    answer = place.client.get("/health", headers={"accept": accept})
    assert answer.mimetype == mimetype
    if mimetype == "text/plain":
        assert answer.text == "OK"


def test_health_without_a_credential_is_health_still(make: Callable[..., Place]) -> None:
    answer = make(credentials=0).client.get("/health")
    assert answer.status_code == 200
    assert answer.get_json()["active_tokens"] == 0


def test_s159_an_ill_database_is_told_and_harms_nothing(
    make: Callable[..., Place], tmp_path: Path
) -> None:
    (tmp_path / "ill.db").write_bytes(b"no database " * 100)
    answer = make(database_path=str(tmp_path / "ill.db")).client.get("/health")
    assert answer.status_code == 200
    assert answer.get_json()["database"] == "disconnected"
    assert answer.get_json()["status"] == "healthy"


def test_s159_usable_tokens_by_group(make: Callable[..., Place]) -> None:
    place = make(credentials=3)

    def change(credentials: list[Credential]) -> None:
        credentials[1] = replace(credentials[1], group="pro")
        credentials[2] = replace(credentials[2], group="team", disabled=True)

    place.services.pool.store.edit(change)
    body = place.client.get("/health").get_json()
    assert body["token_pools"] == {"default": 1, "pro": 1, "team": 0}
    assert body["active_tokens"] == 2


def test_healthz(place: Place) -> None:
    answer = place.client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "OK\n")


def test_head_root(place: Place) -> None:
    answer = place.client.head("/")
    assert (answer.status_code, answer.data) == (200, b"")
    assert place.client.get("/").get_json()["name"] == "kiroproxy"


def test_readyz(place: Place) -> None:
    place.services.readiness.append(lambda: None)
    answer = place.client.get("/readyz")
    assert answer.status_code == 200
    assert answer.get_json() == {"ready": True, "usable": 1, "reasons": []}


def test_readyz_says_what_is_wrong_while_it_serves(place: Place) -> None:
    place.services.readiness.append(lambda: "the disk is full")
    answer = place.client.get("/readyz")
    assert answer.status_code == 200
    assert "the disk is full" in answer.get_json()["reasons"]


def test_readyz_where_tokens_cannot_be_stored(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still serves; who has another server sends requests there."""
    monkeypatch.setattr(place.services.pool.store, "why_unwritable", lambda: "read-only")
    answer = place.client.get("/readyz")
    assert answer.status_code == 503
    body = answer.get_json()
    assert (body["ready"], body["usable"]) == (False, 1)
    assert body["reasons"] == ["refreshed tokens cannot be stored: read-only"]
    assert place.post().status_code == 200


def test_readyz_without_a_credential(make: Callable[..., Place]) -> None:
    answer = make(credentials=0).client.get("/readyz")
    assert answer.status_code == 503
    body = answer.get_json()
    assert body["ready"] is False
    assert body["reasons"][0] == "no usable credential"


def test_metrics_are_summed_over_the_workers(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    counters = tmp_path / "counters"
    counters.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(counters))
    answer = place.client.get("/metrics", headers={"x-api-key": ADMIN})
    assert answer.status_code == 200
    assert answer.mimetype == "text/plain"


def test_metrics_of_a_single_process(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """`flask run` has no directory for its workers."""
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    place.post()
    answer = place.client.get("/metrics", headers={"x-api-key": ADMIN})
    assert answer.status_code == 200
    assert "kiroproxy_requests_total" in answer.text


def test_no_admin_key_no_metrics(make: Callable[..., Place]) -> None:
    assert make(admin_api_key="").client.get("/metrics").status_code == 404
