"""The Anthropic paths, with Kiro scripted."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from kiroproxy import errors as e
from kiroproxy.credentials.groups import Group
from tests.web.conftest import AUTH, BODY, KEY, Counters, Place, frame, text


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/v1/messages"])
def test_s22_messages(place: Place, path: str) -> None:
    answer = place.post(path)
    assert answer.status_code == 200
    message = answer.get_json()
    assert message["id"].startswith("msg_")
    assert message["type"] == "message"
    assert message["role"] == "assistant"
    assert message["model"] == "claude-sonnet-4-5", "S71: the name that was asked for"
    assert message["content"] == [{"type": "text", "text": "hello you"}]
    assert message["stop_reason"] == "end_turn"
    assert message["usage"]["input_tokens"] == 4000, "2 % of 200,000"
    assert answer.headers["x-kiroproxy-usage"] == "upstream"
    assert answer.headers["request-id"].startswith("req_")


def test_usage_that_we_estimated_says_so(place: Place) -> None:
    place.kiro.scripts = [[text("hi"), frame("meteringEvent", usage=1)]]
    assert place.post().headers["x-kiroproxy-usage"] == "estimate"


def test_streamed(place: Place) -> None:
    answer = place.post(json={"stream": True})
    assert answer.mimetype == "text/event-stream"
    names = [line[7:] for line in answer.text.splitlines() if line.startswith("event: ")]
    assert names == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert answer.headers["request-id"].startswith("req_")


def test_an_error_in_the_stream_carries_the_requests_id(place: Place) -> None:
    place.kiro.scripts = [[text("hi"), e.Unreachable("reset")]]
    answer = place.post(json={"stream": True})
    last = json.loads(answer.text.strip().splitlines()[-1].removeprefix("data: "))
    assert last["type"] == "error"
    assert last["request_id"] == answer.headers["request-id"]


@pytest.mark.parametrize(
    "header", ["x-claude-code-session-id", "x-session-id", "session-id", "X-Session-Id"]
)
def test_sessions_by_header(place: Place, header: str) -> None:
    for _ in range(2):
        place.post(headers={header: "one"})
    place.post(headers={header: "two"})
    ids = [one["conversationState"]["conversationId"] for one in place.kiro.requests]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/v1/v1/messages/count_tokens"])
def test_s7_count_tokens(place: Place, path: str) -> None:
    body = {name: BODY[name] for name in ("model", "messages")}
    answer = place.client.post(path, json=body, headers=AUTH)
    assert answer.status_code == 200
    assert set(answer.get_json()) == {"input_tokens"}
    assert answer.get_json()["input_tokens"] >= 1
    assert place.kiro.requests == []


def test_count_tokens_of_an_unknown_model(place: Place) -> None:
    body = {"model": "gpt-5-codex", "messages": BODY["messages"]}
    answer = place.client.post("/v1/messages/count_tokens", json=body, headers=AUTH)
    assert answer.status_code == 404


@pytest.mark.parametrize("path", ["/v1/models", "/cc/v1/models", "/pro/v1/models"])
def test_a_key_is_shown_its_models_alone(place: Place, path: str) -> None:
    """By the client's names for them, and by Kiro's."""
    place.services.groups.save([Group("pro")])
    own = place.new_key(models=["claude-haiku-*", "CLAUDE-SONNET-4.5"])
    listed = place.client.get(path, headers=own).get_json()
    ids = [one["id"] for one in listed["data"]]
    assert {one.split("-")[1] for one in ids} == {"haiku", "sonnet"}
    assert {"claude-sonnet-4-5-20250929", "claude-haiku-4.5-thinking"} <= set(ids)
    assert (listed["first_id"], listed["last_id"]) == (ids[0], ids[-1])
    for one in ids:
        assert place.post(headers=own, json={"model": one}).status_code == 200
    everything = place.client.get(path, headers=AUTH).get_json()["data"]
    for one in {one["id"] for one in everything} - set(ids):
        assert place.post(headers=own, json={"model": one}).status_code == 403
        refused = place.client.get(f"{path}/{one}", headers=own)
        assert refused.status_code == 403
        assert one in refused.get_json()["error"]["message"]
        assert "ci" in refused.get_json()["error"]["message"]
    assert place.client.get(f"{path}/{ids[0]}", headers=own).status_code == 200


def test_a_key_of_another_group_is_shown_nothing(place: Place) -> None:
    own = place.new_key(allowed_groups=["pro"])
    assert place.client.get("/v1/models", headers=own).status_code == 403


# ---- what the ledger knows of a refusal ----------------------------------------------------

SONNET = "claude-sonnet-4-5"
REFUSED: list[tuple[int, str, dict[str, Any], dict[str, Any]]] = [
    (400, "/v1/messages", {"data": b"{"}, {"error_type": "InvalidRequest"}),
    (
        400,
        "/v1/messages",
        {"json": {"model": SONNET, "stream": True}},
        {"model_asked": SONNET, "streamed": True},
    ),
    (400, "/v1/messages", {"json": {"model": [7], "stream": "yes"}}, {"streamed": False}),
    (413, "/v1/chat/completions", {"data": b"x" * 3000}, {"dialect": "openai_chat"}),
    (415, "/v1/responses", {"data": b"x", "headers": {"content-encoding": "br"}}, {}),
    (
        404,
        "/v1/responses",
        {"json": {"model": "gpt-none", "input": "hi"}},
        {"dialect": "openai_responses", "model_asked": "gpt-none"},
    ),
    (404, "/nowhere/v1/messages", {"json": BODY}, {"group": "nowhere", "error_type": "NotFound"}),
    (403, "/v1/messages", {"json": BODY | {"model": "auto"}}, {"model_asked": "auto"}),
    (403, "/pro/v1/chat/completions", {"json": BODY}, {"group": "pro", "error_type": "NotAllowed"}),
]
"""Status, path, request, and what its row holds beside the defaults."""


@pytest.mark.parametrize(("status", "path", "more", "told"), REFUSED)
def test_a_refusal_is_a_row_too(
    make: Callable[..., Place], status: int, path: str, more: dict[str, Any], told: dict[str, Any]
) -> None:
    place = make(max_body_bytes=2000)
    place.services.groups.save([Group("pro")])
    own = place.new_key(models=["claude-sonnet-*", "gpt-*"], allowed_groups=["default", "nowhere"])
    headers = own | more.get("headers", {})
    answer = place.client.post(path, **(more | {"headers": headers}))
    assert answer.status_code == status, answer.get_data()
    (row,) = place.rows()
    known = {"group": "default", "model_asked": "", "streamed": False} | told
    assert {name: getattr(row, name) for name in known} == known
    assert (row.status, row.trace_id) == (status, answer.headers["request-id"])
    assert row.key_id == place.services.ledger.book.get("ci").id
    assert row.error_type
    assert (row.credential_id, row.attempts, row.credits) == (0, 0, 0)


def test_strangers_are_counted_but_not_written(place: Place, counters: Counters) -> None:
    """Else anybody could fill the disk."""
    off = place.new_key(disabled=True)
    for headers in ({}, {"x-api-key": "wrong"}, off):
        assert place.client.post("/v1/messages", json=BODY, headers=headers).status_code == 401
    assert place.rows() == []
    assert counters.of("requests_total", route="/v1/messages", status="401") == 3


def test_what_asks_for_no_answer_has_no_row(place: Place) -> None:
    own = place.new_key()
    place.client.get("/v1/models", headers=own)
    place.client.get("/v1/models/none", headers=own)
    place.client.post("/v1/messages/count_tokens", json={}, headers=own)
    place.client.get("/v1/responses/none", headers=own)
    assert place.rows() == []


@pytest.mark.parametrize("path", ["/v1/models", "/v1/v1/models"])
def test_s1_models(place: Place, path: str) -> None:
    listed = place.client.get(path, headers=AUTH).get_json()
    ids = [one["id"] for one in listed["data"]]
    assert listed["object"] == "list"
    assert listed["has_more"] is False
    assert (listed["first_id"], listed["last_id"]) == (ids[0], ids[-1])
    assert len(ids) == len(set(ids))
    for one in listed["data"]:
        assert one["type"] == "model"
        assert one["object"] == "model"
        assert isinstance(one["created"], int)
        assert one["display_name"]


@pytest.mark.parametrize(
    "name", ["claude-sonnet-4.5", "claude-sonnet-4-5-20250929", "anthropic/claude-opus-4-8"]
)
def test_one_model(place: Place, name: str) -> None:
    answer = place.client.get(f"/v1/models/{name}", headers=AUTH)
    assert answer.status_code == 200
    assert answer.get_json()["id"] == name


def test_one_model_that_nobody_knows(place: Place) -> None:
    answer = place.client.get("/v1/models/gpt-5-codex", headers=AUTH)
    assert answer.status_code == 404
    assert answer.get_json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/messages/batches/b_1/results"),
        ("DELETE", "/v1/files/f_1"),
        ("GET", "/v1/files"),
    ],
)
def test_what_kiro_cannot_do(place: Place, method: str, path: str) -> None:
    answer = place.client.open(path, method=method, headers=AUTH)
    assert answer.status_code == 404
    assert "not offered" in answer.get_json()["error"]["message"]


def test_s97_without_credentials(make: Callable[..., Place]) -> None:
    answer = make(credentials=0).post()
    assert answer.status_code == 503
    assert answer.get_json()["error"]["type"] == "overloaded_error"


def test_s11_empty_messages(place: Place) -> None:
    answer = place.post(json={"messages": []})
    assert answer.status_code == 400
    assert answer.get_json()["error"]["type"] == "invalid_request_error"
    assert place.kiro.requests == []


def test_s107_failover_over_http(make: Callable[..., Place]) -> None:
    place = make(credentials=2)
    place.kiro.scripts = [e.Throttled("429")]
    assert place.post().status_code == 200
    assert len(place.kiro.requests) == 2


@pytest.mark.parametrize("stream", [True, False])
def test_design_4_empty_answers(place: Place, stream: bool) -> None:
    place.kiro.scripts = [[], []]
    answer = place.post(json={"stream": stream})
    assert answer.status_code == 502
    assert len(place.kiro.requests) == 2


def test_big_integers_survive(place: Place) -> None:
    place.kiro.scripts = [
        [
            frame("toolUseEvent", toolUseId="t", name="f", input='{"n": 123456789012345678901}'),
            frame("toolUseEvent", toolUseId="t", name="f", stop=True),
            frame("meteringEvent", usage=1),
        ]
    ]
    tools: list[dict[str, Any]] = [{"name": "f", "input_schema": {"type": "object"}}]
    answer = place.post(json={"tools": tools})
    assert json.loads(answer.data)["content"][0]["input"] == {"n": 123456789012345678901}


def test_key_is_not_in_any_answer(place: Place) -> None:
    for path in ("/v1/models", "/health", "/readyz", "/"):
        assert KEY not in place.client.get(path, headers=AUTH).text
