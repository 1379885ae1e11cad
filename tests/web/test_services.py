"""The parts are found in the application that made them."""

from collections.abc import Callable

import pytest

from kiroproxy.web.services import services
from tests.web.conftest import Place


def test_each_application_has_its_own(make: Callable[..., Place]) -> None:
    one, two = make(), make()
    with one.app.app_context():
        assert services() is one.services
    with two.app.app_context():
        assert services() is two.services
    assert one.services.pool is not two.services.pool


def test_only_inside_an_application() -> None:
    with pytest.raises(RuntimeError, match="application context"):
        services()
