"""The first facts of the admin API; its key is in test_auth.py."""

from collections.abc import Callable

from kiroproxy import __version__
from tests.web.conftest import ADMIN, Place

HEADERS = {"authorization": f"Bearer {ADMIN}"}


def test_status(make: Callable[..., Place]) -> None:
    answer = make(credentials=3).client.get("/api/admin/status", headers=HEADERS)
    assert answer.status_code == 200
    assert answer.get_json() == {
        "version": __version__,
        "total": 3,
        "usable": 3,
        "store_writable": True,
        "problems": [],
    }


def test_status_without_credentials(make: Callable[..., Place]) -> None:
    body = make(credentials=0).client.get("/api/admin/status", headers=HEADERS).get_json()
    assert (body["total"], body["usable"]) == (0, 0)
    assert body["problems"]


def test_s128_never_a_token(place: Place) -> None:
    text = place.client.get("/api/admin/status", headers=HEADERS).text
    assert "rt-0" not in text
    assert "at-0" not in text


def test_s126_off_is_404_for_all_of_it(make: Callable[..., Place]) -> None:
    place = make(admin_api_key="")
    for path in ("/api/admin/status", "/api/admin/anything"):
        answer = place.client.get(path, headers=HEADERS)
        assert answer.status_code == 404
        assert answer.get_json()["error"]["message"] == f"No such path: {path}"


def test_s175_no_other_origin(place: Place) -> None:
    origin = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    for method, path in (("GET", "/api/admin/status"), ("OPTIONS", "/api/admin/credentials")):
        answer = place.client.open(path, method=method, headers=HEADERS | origin)
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


def test_answers_are_kept_by_nobody(place: Place) -> None:
    headers = place.client.get("/api/admin/status", headers=HEADERS).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["request-id"]


def test_s136_wrong_paths_and_methods(place: Place) -> None:
    for method, path, status, kind in (
        ("GET", "/api/admin/nowhere", 404, "not_found"),
        ("GET", "/api/admin/credentials/x", 404, "not_found"),
        ("PUT", "/api/admin/credentials/1", 405, "invalid_request"),
    ):
        answer = place.client.open(path, method=method, headers=HEADERS)
        assert (answer.status_code, answer.get_json()["error"]["type"]) == (status, kind)
        assert bool(answer.headers.get("allow")) is (status == 405), "RFC 9110, 15.5.6"


def test_s127_without_a_key_nobody_learns_which_paths_there_are(place: Place) -> None:
    assert place.client.get("/api/admin/nowhere").status_code == 401
    assert place.client.get("/api/admin/openapi.json").status_code == 401
