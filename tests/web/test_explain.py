"""The trace of each answer, and what the pool could still take."""

from collections.abc import Callable
from typing import Any

import pytest

from kiroproxy import errors as e
from tests.web.conftest import ADMIN, AUTH, KEY, Place

OPERATOR = {"x-api-key": ADMIN}


def explain(place: Place, answer: Any) -> dict[str, Any]:
    path = f"/api/admin/explain/{answer.headers['x-kiroproxy-trace']}"
    told: dict[str, Any] = place.client.get(path, headers=OPERATOR).get_json()
    return told


@pytest.mark.parametrize("stream", [False, True])
def test_each_attempt_and_each_skip_is_told(make: Callable[..., Place], stream: bool) -> None:
    place = make(3)
    place.kiro.scripts = [e.Throttled("429", retry_after_s=9)]
    answer = place.post(json={"stream": stream})
    assert answer.get_data()
    answer.close()
    told = explain(place, answer)
    attempts = [(one["credential_id"], one["outcome"]) for one in told["attempts"]]
    assert attempts == [(1, "Throttled"), (2, "ok")]
    again = explain(place, place.post(json={"messages": [{"role": "user", "content": "other"}]}))
    [skip] = again["skipped"]
    assert skip["credential_id"] == 1
    assert skip["reason"].startswith("cooling ")
    assert again["model"] == "claude-sonnet-4.5"
    assert again["group"] == "default"


def test_who_may_ask(place: Place) -> None:
    answer = place.post()
    path = f"/api/admin/explain/{answer.headers['x-kiroproxy-trace']}"
    assert place.client.get(path).status_code == 401
    assert place.client.get(path, headers={"x-api-key": KEY}).status_code == 401
    unknown = place.client.get("/api/admin/explain/req_none", headers=OPERATOR)
    assert unknown.status_code == 404
    assert "req_none" in unknown.get_json()["error"]["message"]


def test_what_the_pool_can_take(make: Callable[..., Place]) -> None:
    place = make(2, max_concurrent=4)
    headers = place.post().headers
    assert headers["anthropic-ratelimit-requests-limit"] == "8"
    assert headers["anthropic-ratelimit-requests-remaining"] == "8"
    assert headers["anthropic-ratelimit-requests-reset"].endswith("Z")


def test_exhausted_pools_say_when(make: Callable[..., Place]) -> None:
    """S116: the soonest `retry-after`."""
    place = make(2)
    daily = e.Throttled("429")
    daily.scope = "day"
    place.kiro.scripts = [daily, *[e.Throttled("429", retry_after_s=40)] * 5]
    first = place.post()
    assert first.status_code == 429
    assert int(first.headers["retry-after"]) == 40
    place.kiro.scripts = [daily] * 9
    place.post(json={"messages": [{"role": "user", "content": "a probe"}]})
    refused = place.post(json={"messages": [{"role": "user", "content": "third"}]})
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 1
    assert refused.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert explain(place, refused)["attempts"] == []


def test_a_bad_request_has_no_trace(place: Place) -> None:
    answer = place.client.post("/v1/messages", json={}, headers=AUTH)
    assert "x-kiroproxy-trace" not in answer.headers
