"""Which pages may call us: S13 and S175."""

from collections.abc import Callable

import pytest

from kiroproxy.config import load_config
from kiroproxy.errors import ConfigError
from tests.web.conftest import ADMIN, Place

OPS = "https://ops.example"
ASKED = {
    "access-control-request-method": "DELETE",
    "access-control-request-headers": "x-api-key, content-type",
}
OPERATORS = ["/api/admin/credentials", "/api/admin/nowhere", "/api/tokens", "/api/groups/x"]


@pytest.mark.parametrize("path", OPERATORS)
def test_s175_without_a_word_only_the_same_origin(place: Place, path: str) -> None:
    for method in ("GET", "OPTIONS"):
        headers = {"origin": OPS, "x-api-key": ADMIN} | ASKED
        answer = place.client.open(path, method=method, headers=headers)
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-")]


@pytest.mark.parametrize("path", OPERATORS)
def test_s175_origins_that_are_configured(make: Callable[..., Place], path: str) -> None:
    place = make(cors_origins=f"{OPS}, http://127.0.0.1:3000")
    asked = place.client.options(path, headers={"origin": OPS} | ASKED)
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == OPS
    assert asked.headers["access-control-allow-methods"] == "*"
    assert asked.headers["access-control-allow-headers"] == "x-api-key, content-type"
    assert "access-control-allow-credentials" not in asked.headers
    for key in (ADMIN, "wrong"):
        told = place.client.get(path, headers={"origin": OPS, "x-api-key": key})
        assert told.headers["access-control-allow-origin"] == OPS
        assert "Origin" in told.headers["vary"]
        assert told.headers["access-control-expose-headers"] == "*"
    assert told.status_code in (401, 404)


@pytest.mark.parametrize(
    "origin",
    ["", "null", "https://evil.example", "https://ops.example.evil.example", "http://ops.example"],
)
def test_s175_and_no_others(make: Callable[..., Place], origin: str) -> None:
    place = make(cors_origins=OPS)
    for method in ("GET", "OPTIONS"):
        headers = {"origin": origin} | ASKED
        answer = place.client.open("/api/admin/status", method=method, headers=headers)
        assert answer.status_code == 401
        assert "access-control-allow-origin" not in answer.headers
        assert "Origin" in answer.headers["vary"], "a cache must not give it to another"


def test_s13_the_client_apis_stay_open_to_all(make: Callable[..., Place]) -> None:
    place = make(cors_origins=OPS)
    answer = place.client.options("/pro/v1/messages", headers={"origin": "https://any.example"})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "wrong", ["*", "ops.example", "https://ops.example/path", "https://u@ops.example", "null"]
)
def test_what_is_no_origin(wrong: str) -> None:
    with pytest.raises(ConfigError, match="corsOrigins"):
        load_config({"cors_origins": wrong}, environ={})
