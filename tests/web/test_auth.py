"""Client key and admin key (S31, S72 to S77, S126, S127, X9; design Q17)."""

import hmac
from collections.abc import Callable
from typing import Any

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder, run_wsgi_app

from kiroproxy.errors import NotAuthenticated
from kiroproxy.web.auth import presented_keys, require_key
from tests.web.conftest import ADMIN, KEY, Place


def request_with(**headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(EnvironBuilder(headers=named).get_environ())


@pytest.mark.parametrize(
    "headers",
    [
        {"x_api_key": KEY},
        {"x_api_key": f"  {KEY} "},
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer {KEY}"},
        {"authorization": f"BEARER   {KEY}"},
        {"authorization": KEY},
        {"x_api_key": "wrong", "authorization": f"Bearer {KEY}"},
        {"x_api_key": KEY, "authorization": "Bearer wrong"},
        {"x_api_key": f"{KEY},{KEY}"},
        {"x_api_key": f"wrong, {KEY}"},
        {"x_api_key": f"{KEY},"},
        {"authorization": f"Bearer wrong,Bearer {KEY}"},
        {"authorization": f"Bearer wrong, {KEY}"},
        {"authorization": f"Basic abc,Bearer {KEY}"},
    ],
)
def test_admitted(headers: dict[str, str]) -> None:
    require_key(request_with(**headers), KEY)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_api_key": ""},
        {"x_api_key": " , "},
        {"x_api_key": "wrong"},
        {"x_api_key": KEY + "x"},
        {"x_api_key": KEY[:-1]},
        {"x_api_key": KEY.upper()},
        {"x_api_key": f"Bearer {KEY}"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"cookie": f"x-api-key={KEY}"},
        {"x_api_key": "ключ"},
    ],
)
def test_s74_refused(headers: dict[str, str]) -> None:
    environ = request_with().environ
    for name, value in headers.items():
        environ["HTTP_" + name.upper()] = value.encode().decode("latin-1")
    with pytest.raises(NotAuthenticated, match=r"^Invalid API key$"):
        require_key(Request(environ), KEY)


@pytest.mark.parametrize("empty", ["", " ", "\t"])
@pytest.mark.parametrize(
    "headers",
    [{}, {"x_api_key": ""}, {"x_api_key": ","}, {"authorization": "Bearer "}],
)
def test_an_empty_key_admits_nobody(empty: str, headers: dict[str, str]) -> None:
    with pytest.raises(NotAuthenticated):
        require_key(request_with(**headers), empty)


@pytest.mark.parametrize("key", ["schlüssel", "密钥", "a,b", "with space"])
def test_odd_keys_work(key: str) -> None:
    environ = request_with().environ
    environ["HTTP_X_API_KEY"] = key.encode().decode("latin-1")  # as WSGI hands it over
    require_key(Request(environ), key)


def test_s74_comparison_takes_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[Any, Any]] = []
    compare = hmac.compare_digest

    def spy(a: Any, b: Any) -> bool:
        compared.append((a, b))
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    require_key(request_with(x_api_key=f"{KEY},other"), KEY)
    assert (b"other", KEY.encode()) in compared, "no early end"


def test_all_that_is_shown() -> None:
    shown = presented_keys(request_with(x_api_key="a,b", authorization="Bearer c,Bearer d"))
    assert {"a", "b", "c", "d"} <= set(shown)


# ---- over HTTP -----------------------------------------------------------------------------

CLIENT_PATHS = [
    ("POST", "/v1/messages"),
    ("POST", "/v1/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/claude-sonnet-4-5"),
    ("POST", "/v1/messages/batches"),
    ("GET", "/v1/files"),
]


@pytest.mark.parametrize(("method", "path"), CLIENT_PATHS)
def test_s74_s75_client_paths_need_the_key(place: Place, method: str, path: str) -> None:
    for headers in ({}, {"x-api-key": "wrong"}, {"x-api-key": ADMIN}):
        answer = place.client.open(path, method=method, headers=headers)
        assert answer.status_code == 401
        body = answer.get_json()
        assert body["type"] == "error"
        assert body["error"] == {"type": "authentication_error", "message": "Invalid API key"}
    assert place.kiro.requests == []


def test_a_strangers_body_is_not_read(place: Place) -> None:
    class Unread:
        def read(self, size: int = -1) -> bytes:
            raise AssertionError("read")

    environ = EnvironBuilder(path="/v1/messages", method="POST").get_environ()
    environ |= {"CONTENT_LENGTH": "9", "wsgi.input": Unread()}
    assert run_wsgi_app(place.app, environ)[1].startswith("401")


@pytest.mark.parametrize("path", ["/health", "/healthz", "/readyz", "/"])
def test_s76_open_paths(place: Place, path: str) -> None:
    assert place.client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/api/admin/status", "/metrics"])
def test_s127_admin_paths(make: Callable[..., Place], path: str) -> None:
    place = make()
    for headers in ({}, {"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}):
        answer = place.client.get(path, headers=headers)
        assert answer.status_code == 401
    if path.startswith("/api"):
        assert answer.get_json() == {
            "error": {
                "type": "authentication_error",
                "message": "Invalid or missing admin API key",
            }
        }
    for blank in ("", "  "):
        off = make(admin_api_key=blank)
        assert off.client.get(path, headers={"x-api-key": blank}).status_code == 404
