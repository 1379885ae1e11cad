"""Who may operate: S126, S127, and how often a wrong key may be tried."""

from collections.abc import Callable
from typing import Any

import pytest

from kiroproxy.web.operator import WRONG_KEYS, neighbourhood
from tests.web.conftest import ADMIN, KEY, Place

PATH = "/api/admin/status"
OPENED = (PATH, "/metrics", "/api/groups", "/api/tokens")
"""Wherever the admin key opens, a guess is a guess."""


def status(place: Place, key: str, path: str = PATH, **more: Any) -> int:
    headers = {"x-api-key": key} | more
    code: int = place.client.get(path, headers=headers).status_code
    return code


@pytest.mark.parametrize("blank", ["", " ", "\t "])
@pytest.mark.parametrize("path", [PATH, "/api/admin", "/api/admin/docs", "/admin", "/admin/keys"])
def test_s126_off_without_a_key(make: Callable[..., Place], path: str, blank: str) -> None:
    place = make(admin_api_key=blank)
    for key in (ADMIN, blank, KEY):
        answer = place.client.get(path, headers={"x-api-key": key})
        assert answer.status_code == 404


def test_s127_the_answer_to_a_wrong_key(place: Place) -> None:
    for headers in ({}, {"x-api-key": "wrong"}, {"x-api-key": KEY}, {"authorization": "Bearer no"}):
        answer = place.client.get(PATH, headers=headers)
        assert answer.status_code == 401
        assert answer.get_json() == {
            "error": {
                "type": "authentication_error",
                "message": "Invalid or missing admin API key",
            }
        }


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
def test_s127_either_header_opens(place: Place, header: str) -> None:
    key = ADMIN if header == "x-api-key" else f"Bearer {ADMIN}"
    assert place.client.get(PATH, headers={header: key}).status_code == 200


def test_s127_no_key_in_the_address(place: Place) -> None:
    assert place.client.get(f"{PATH}?key={ADMIN}&x-api-key={ADMIN}").status_code == 401
    place.client.set_cookie("x-api-key", ADMIN)
    assert place.client.get(PATH).status_code == 401


@pytest.mark.parametrize("path", OPENED)
def test_wrong_keys_are_throttled(place: Place, path: str) -> None:
    assert [status(place, f"guess {n}", path) for n in range(WRONG_KEYS)] == [401] * WRONG_KEYS
    answer = place.client.get(path, headers={"x-api-key": "another"})
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 61
    assert answer.get_json()["error"]["type"] == "rate_limit_error"
    assert status(place, ADMIN) == 429, "else the answer would tell which guess is right"


def test_no_key_is_no_guess(place: Place) -> None:
    for _ in range(3 * WRONG_KEYS):
        assert place.client.get(PATH).status_code == 401
    assert status(place, ADMIN) == 200


def test_right_keys_do_not_count(place: Place) -> None:
    assert {status(place, ADMIN) for _ in range(3 * WRONG_KEYS)} == {200}


def test_after_a_minute_it_is_forgotten(place: Place) -> None:
    runtime = place.services.runtime
    for n in range(WRONG_KEYS + 1):
        status(place, f"guess {n}")
    now = runtime.now()
    runtime.now = lambda: now + 62  # type: ignore[method-assign]
    assert status(place, ADMIN) == 200


def test_addresses_are_those_that_trusted_proxies_name(make: Callable[..., Place]) -> None:
    place = make(trusted_proxies="127.0.0.1")
    for n in range(WRONG_KEYS + 1):
        status(place, f"guess {n}", **{"x-forwarded-for": "203.0.113.9"})
    assert status(place, ADMIN, **{"x-forwarded-for": "203.0.113.9"}) == 429
    assert status(place, ADMIN, **{"x-forwarded-for": "203.0.113.10"}) == 200


def test_nobody_chooses_an_address(place: Place) -> None:
    """Without trusted proxies the header means nothing."""
    for n in range(WRONG_KEYS + 1):
        status(place, f"guess {n}", **{"x-forwarded-for": f"203.0.113.{n}"})
    assert status(place, ADMIN, **{"x-forwarded-for": "203.0.113.99"}) == 429


def test_a_broken_database_lets_the_right_key_in(place: Place) -> None:
    place.services.runtime.path.write_bytes(b"no database at all, but long enough to be one" * 50)
    place.services.runtime.close()
    assert status(place, ADMIN) == 200
    assert status(place, "wrong") == 401


@pytest.mark.parametrize(
    ("address", "one"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("unix", "unix"),
    ],
)
def test_neighbourhoods(address: str, one: str) -> None:
    assert neighbourhood(address) == one


def test_an_old_key_locks_nobody_out(place: Place) -> None:
    """A forgotten tab or a scraper repeats the same wrong key: that is one guess."""
    assert {status(place, "the key of yesterday") for _ in range(WRONG_KEYS)} == {401}
    assert {status(place, "the key of yesterday") for _ in range(3 * WRONG_KEYS)} == {429}
    assert status(place, ADMIN) == 200


def test_several_guesses_in_one_request_are_several(place: Place) -> None:
    """Q17: a header that was sent twice arrives with a comma; each part is tried."""
    assert status(place, f"wrong,{ADMIN}") == 200
    assert status(place, ",".join(f"guess{n}" for n in range(400))) == 401
    assert status(place, ADMIN) == 429


def test_not_every_part_of_an_endless_header_is_tried(place: Place) -> None:
    parts = [f"guess{n}" for n in range(400)]
    assert status(place, ",".join([*parts, ADMIN])) == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": f"{ADMIN},{ADMIN}"},
        {"authorization": f"Bearer {ADMIN}, Bearer {ADMIN}"},
        {"x-api-key": KEY, "authorization": f"Bearer {ADMIN}"},
        {"x-api-key": f"{KEY},{KEY}", "authorization": f"Bearer {KEY},Bearer {ADMIN}"},
        {"authorization": f"bearer  {ADMIN} "},
    ],
)
def test_q17_a_key_that_is_sent_twice(place: Place, headers: dict[str, str]) -> None:
    assert place.client.get(PATH, headers=headers).status_code == 200


def test_the_log_tells_of_a_proxy_that_nobody_believes(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind it, all clients share one address, and any of them can lock the operator out."""
    for n in range(WRONG_KEYS + 4):
        status(place, f"guess {n}", **{"x-forwarded-for": "203.0.113.9"})
    told = [line for line in caplog.messages if "wrong admin keys" in line]
    assert len(told) == 1
    assert "trustedProxies" in told[0]
    assert "guess" not in told[0]
