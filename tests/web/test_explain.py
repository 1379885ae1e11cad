"""The trace of each answer, and what the pool could still take."""

from collections.abc import Callable
from typing import Any

import pytest

from kiroproxy import errors as e
from kiroproxy.credentials.groups import Group
from tests.web.conftest import ADMIN, AUTH, BODY, KEY, Place

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


# ---- the key's limits ----------------------------------------------------------------------

EVERYWHERE: list[tuple[str, str, Any, int]] = [
    ("POST", "/v1/messages", BODY, 200),
    ("POST", "/v1/messages", BODY | {"stream": True}, 200),
    ("POST", "/cc/v1/messages", BODY, 200),
    ("POST", "/v1/messages", {}, 400),
    ("POST", "/v1/messages", BODY | {"model": "none"}, 404),
    ("POST", "/v1/messages", BODY | {"model": "claude-opus-4.5"}, 403),
    ("POST", "/v1/messages", BODY | {"messages": "x" * 3000}, 413),
    ("POST", "/pro/v1/messages", BODY, 403),
    ("POST", "/v1/messages/count_tokens", BODY, 200),
    ("POST", "/v1/chat/completions", BODY, 200),
    ("POST", "/v1/chat/completions", BODY | {"stream": True}, 200),
    ("POST", "/v1/chat/completions", {}, 400),
    ("POST", "/v1/responses", {"model": "claude-sonnet-4-5", "input": "hi"}, 200),
    ("POST", "/v1/responses", {"input": "hi", "model": "none"}, 404),
    ("GET", "/v1/responses/none", None, 404),
    ("POST", "/v1/embeddings", {}, 404),
    ("GET", "/v1/models", None, 200),
    ("GET", "/v1/me", None, 200),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), EVERYWHERE)
def test_every_answer_tells_the_keys_limits(
    make: Callable[..., Place], method: str, path: str, body: Any, status: int
) -> None:
    place = make(max_body_bytes=2000)
    place.services.groups.save([Group("pro")])
    own = place.new_key(
        models=["claude-sonnet-*"],
        allowed_groups=["default"],
        limits={"requests_per_minute": 5, "output_tokens_per_day": 1000},
        budgets={"day_soft": 0.25},
    )
    assert place.post(headers=own).status_code == 200
    answer = place.client.open(path, method=method, json=body, headers=own)
    assert answer.status_code == status, answer.get_data()
    counts = status == 200 and method == "POST" and "count" not in path
    left = "3" if counts else "4"
    answer.get_data()
    answer.close()
    assert answer.headers["anthropic-ratelimit-requests-limit"] == "5"
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == left
    assert answer.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert answer.headers["anthropic-ratelimit-output-tokens-limit"] == "1000"
    assert 0 < int(answer.headers["anthropic-ratelimit-output-tokens-remaining"]) < 1000
    if "/chat" in path or "/responses" in path or "/embeddings" in path:
        assert answer.headers["x-ratelimit-limit-requests"] == "5"
        assert answer.headers["x-ratelimit-remaining-requests"] == left
        assert answer.headers["x-ratelimit-reset-requests"] in ("1m0s", "1m1s")
        assert answer.headers["x-ratelimit-limit-tokens"] == "1000"
    assert "0.50 of 0.25 credits" in answer.headers["x-kiroproxy-warning"]


def test_limits_that_are_not_set_are_not_told(place: Place) -> None:
    for headers in (AUTH, place.new_key()):
        told = place.client.get("/v1/models", headers=headers).headers
        assert not [name for name, _ in told if "ratelimit" in name.lower()]


def test_a_broken_runtime_database_tells_no_limits(place: Place) -> None:
    own = place.new_key(limits={"requests_per_minute": 5})
    place.services.runtime.close()
    place.services.runtime.path = place.services.config.credentials_path / "no"
    answer = place.client.get("/v1/models", headers=own)
    assert answer.status_code == 200
    assert "anthropic-ratelimit-requests-limit" not in answer.headers
