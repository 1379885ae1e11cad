"""The admin application is built by the first request for it, and only then."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from kiroproxy.web.admin.door import AdminDoor, is_for_admin
from tests.web.admin.conftest import OPERATOR
from tests.web.conftest import Place

START = """
import sys
from pathlib import Path
from kiroproxy.app import create_app
from kiroproxy.config import load_config
place = Path(sys.argv[1])
given = {"api_key": "k", "admin_api_key": "a", "credentials_path": place / "credentials.json"}
app = create_app(load_config(given, environ={}, cwd=place))
heavy = {"flask_smorest", "apispec", "webargs", "sqlalchemy", "segno", "kiroproxy.doctor"}
print(sorted(heavy & set(sys.modules)))
client = app.test_client()
client.get("/health"), client.get("/v1/models", headers={"x-api-key": "k"})
print(sorted(heavy & set(sys.modules)), app.wsgi_app.is_built)
assert client.get("/api/admin/status", headers={"x-api-key": "a"}).status_code == 200
print("flask_smorest" in sys.modules, app.wsgi_app.is_built)
"""


def test_a_start_imports_nothing_of_it(tmp_path: object) -> None:
    command = [sys.executable, "-c", START, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[] False", "True True"]


def test_it_is_built_once_and_shares_the_parts(place: Place) -> None:
    door = place.app.wsgi_app
    assert isinstance(door, AdminDoor)
    assert not door.is_built
    for _ in range(2):
        assert place.client.get("/api/admin/status", headers=OPERATOR).status_code == 200
    assert door.application() is door.application()
    assert door.application().extensions["kiroproxy"] is place.services


def test_s126_without_a_key_it_is_never_built(make: Callable[..., Place]) -> None:
    place = make(admin_api_key=" ")
    assert place.client.get("/api/admin/status", headers=OPERATOR).status_code == 404
    door = place.app.wsgi_app
    assert isinstance(door, AdminDoor)
    assert not door.is_built


@pytest.mark.parametrize(
    ("path", "admins"),
    [
        ("/api/admin", True),
        ("/api/admin/x", True),
        ("/admin", True),
        ("/admin/x", True),
        ("/administer", False),
        ("/api/administer", False),
        ("/api/tokens", False),
        ("/v1/admin", False),
        ("", False),
    ],
)
def test_its_places(path: str, admins: bool) -> None:
    assert is_for_admin({"PATH_INFO": path}) is admins
