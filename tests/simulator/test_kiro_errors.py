"""Error answers by name, by status and by reason."""

import pytest

from kiroproxy.simulator.kiro_errors import KIRO_ERRORS, find_error


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("suspended", 403, "TEMPORARILY_SUSPENDED"),
        ("429 always", 429, None),
        ("403 always", 403, None),
        ("429 INSUFFICIENT_MODEL_CAPACITY", 429, "INSUFFICIENT_MODEL_CAPACITY"),
        ("400 MONTHLY_REQUEST_COUNT", 400, "MONTHLY_REQUEST_COUNT"),
        ("418", 418, None),
    ],
)
def test_an_error_is_found(name: str, status: int, reason: str | None) -> None:
    error = find_error(name)
    assert (error.status, error.reason) == (status, reason)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="suspended"):
        find_error("weather")


def test_bodies_are_objects_or_pages() -> None:
    assert set(KIRO_ERRORS["quota"].body()) == {"message", "reason"}
    assert "<html>" in KIRO_ERRORS["bad-gateway"].body()
