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
