"""The OpenAI paths, with Kiro scripted."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from kiroproxy import errors as e
from kiroproxy.credentials.groups import Group
from kiroproxy.dialects.openai_errors import error_object, status_of
from tests.dialects.openai_chat.helpers import DONE, chunks_of
from tests.dialects.openai_chat.helpers import assemble as assemble_chat
from tests.dialects.openai_responses.helpers import assemble, events_of
from tests.web.conftest import AUTH, KEY, TRAILERS, Counters, Place, frame, text
from tests.web.test_errors import KINDS, instance

CHAT: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "messages": [{"role": "user", "content": "hello"}],
}
ASK: dict[str, Any] = {"model": "claude-sonnet-4-5", "input": "hello"}
UUID = "0a0a0a0a-0b0b-4c0c-8d0d-0e0e0e0e0e0e"


def chat(place: Place, path: str = "/v1/chat/completions", **more: Any) -> Any:
    headers = AUTH | more.pop("headers", {})
    return place.client.post(path, json=CHAT | more, headers=headers)


def ask(place: Place, path: str = "/v1/responses", **more: Any) -> Any:
    headers = AUTH | more.pop("headers", {})
    return place.client.post(path, json=ASK | more, headers=headers)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/v1/chat/completions"])
def test_s25_x5_chat(place: Place, path: str) -> None:
    answer = chat(place, path)
    assert answer.status_code == 200
    whole = answer.get_json()
    assert whole["id"].startswith("chatcmpl-")
    assert whole["object"] == "chat.completion"
    assert whole["model"] == "claude-sonnet-4-5"
    assert whole["choices"][0]["message"]["content"] == "hello you"
    assert whole["usage"]["prompt_tokens"] == 4000, "2 % of 200,000"
    assert answer.headers["x-kiroproxy-usage"] == "upstream"
    assert answer.headers["x-request-id"] == answer.headers["request-id"]


def test_s27_chat_streamed(place: Place) -> None:
    answer = chat(place, stream=True, stream_options={"include_usage": True})
    assert answer.mimetype == "text/event-stream"
    chunks = chunks_of(answer.data)
    message = assemble_chat(chunks, include_usage=True)
    assert (message["content"], message["finish_reason"]) == ("hello you", "stop")
    assert message["usage"]["prompt_tokens"] == 4000
    assert chunks[-1] == DONE


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/v1/responses"])
def test_x5_responses(place: Place, path: str) -> None:
    answer = ask(place, path)
    assert answer.status_code == 200
    whole = answer.get_json()
    assert whole["id"].startswith("resp_")
    assert whole["status"] == "completed"
    assert whole["output"][0]["content"][0]["text"] == "hello you"
    assert answer.headers["x-kiroproxy-usage"] == "upstream"


def test_responses_streamed(place: Place) -> None:
    answer = ask(place, stream=True)
    assert answer.mimetype == "text/event-stream"
    response = assemble(events_of(answer.data)).response
    assert response["output"][0]["content"][0]["text"] == "hello you"


@pytest.mark.parametrize("headers", [{"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}])
def test_s31_either_header(place: Place, headers: dict[str, str]) -> None:
    for path, body in (("/v1/chat/completions", CHAT), ("/v1/responses", ASK)):
        assert place.client.post(path, json=body, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/responses"),
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/embeddings"),
    ],
)
def test_without_a_key(place: Place, method: str, path: str) -> None:
    answer = place.client.open(path, method=method, json={})
    assert answer.status_code == 401
    assert answer.get_json()["error"]["code"] == "invalid_api_key"


# ---- stored responses ------------------------------------------------------------------------


def sent(place: Place) -> str:
    return json.dumps(place.kiro.requests[-1])


@pytest.mark.parametrize("stream", [True, False])
def test_previous_response_id(place: Place, stream: bool) -> None:
    answer = ask(place, input="my first words", stream=stream)
    first = assemble(events_of(answer.data)).response if stream else answer.get_json()
    second = ask(place, input="my second words", previous_response_id=first["id"]).get_json()
    assert "my first words" in sent(place)
    assert "hello you" in sent(place)
    assert second["previous_response_id"] == first["id"]
    ask(place, input="third", previous_response_id=second["id"])
    assert sent(place).count("hello you") == 2


def test_unknown_previous_response(place: Place) -> None:
    answer = ask(place, previous_response_id="resp_nope")
    assert answer.status_code == 400
    error = answer.get_json()["error"]
    assert error["code"] == "previous_response_not_found"
    assert error["param"] == "previous_response_id"
    assert place.kiro.requests == []


def test_what_is_not_to_be_stored(place: Place) -> None:
    for stream in (True, False):
        answer = ask(place, store=False, stream=stream)
        whole = assemble(events_of(answer.data)).response if stream else answer.get_json()
        assert place.client.get(f"/v1/responses/{whole['id']}", headers=AUTH).status_code == 404
        assert ask(place, previous_response_id=whole["id"]).status_code == 400


def test_failed_responses_are_not_stored(place: Place) -> None:
    place.kiro.scripts = [[text("a"), e.Unreachable("gone")]]
    result = assemble(events_of(ask(place, stream=True).data))
    path = f"/v1/responses/{result.response['id']}"
    assert place.client.get(path, headers=AUTH).status_code == 404


def test_get_and_delete(place: Place) -> None:
    whole = ask(place).get_json()
    path = f"/v1/responses/{whole['id']}"
    assert place.client.get(path, headers=AUTH).get_json() == whole
    assert place.client.get(path + "?stream=true", headers=AUTH).status_code == 400
    gone = place.client.delete(path, headers=AUTH)
    assert gone.get_json() == {"id": whole["id"], "object": "response", "deleted": True}
    for method in ("GET", "DELETE"):
        answer = place.client.open(path, method=method, headers=AUTH)
        assert answer.status_code == 404
        assert "not found" in answer.get_json()["error"]["message"]


def test_another_key_does_not_know_a_response(place: Place) -> None:
    """Nor does the same key in another group: 404 and 400, as for an id that never was."""
    place.services.groups.save([Group("pro")])
    own, other = place.new_key("one"), place.new_key("two")
    whole = ask(place, headers=own, input="my secret").get_json()
    path = f"/v1/responses/{whole['id']}"
    for headers, prefix in ((other, ""), (AUTH, ""), (own, "/pro")):
        for method in ("GET", "DELETE"):
            answer = place.client.open(prefix + path, method=method, headers=headers)
            unknown = place.client.open(f"{prefix}/v1/responses/x", method=method, headers=headers)
            assert answer.status_code == unknown.status_code == 404
            assert answer.get_json()["error"]["type"] == unknown.get_json()["error"]["type"]
        more = {"headers": headers, "previous_response_id": whole["id"]}
        assert ask(place, f"{prefix}/v1/responses", **more).status_code == 400
        item = {"type": "item_reference", "id": whole["output"][0]["id"]}
        said = [{"role": "user", "content": "and?"}, item]
        assert ask(place, f"{prefix}/v1/responses", headers=headers, input=said).status_code == 400
    assert len(place.kiro.requests) == 1
    place.services.ledger.book.rotate("one", 0)
    assert ask(place, headers=own, previous_response_id=whole["id"]).status_code == 200
    assert "my secret" in sent(place)
    assert place.client.delete(path, headers=own).status_code == 200


def test_references_to_stored_items(place: Place) -> None:
    item = ask(place).get_json()["output"][0]
    again = [
        {"role": "user", "content": "hello"},
        {"type": "item_reference", "id": item["id"]},
        {"role": "user", "content": "and?"},
    ]
    assert ask(place, input=again).status_code == 200
    assert "hello you" in sent(place)
    again[1]["id"] = "msg_unknown"
    answer = ask(place, input=again)
    assert answer.status_code == 400
    assert answer.get_json()["error"]["param"] == "input[1].id"


def test_a_broken_store_fails_no_request(place: Place) -> None:
    place.services.responses.path = place.services.config.credentials_path / "no" / "directory"
    place.services.responses.close()
    for stream in (True, False):
        assert ask(place, stream=stream).status_code == 200
    assert ask(place, previous_response_id="resp_1").status_code == 400


# ---- sessions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more", [{"prompt_cache_key": UUID}, {"headers": {"session-id": UUID}, "prompt_cache_key": "x"}]
)
def test_session(place: Place, more: dict[str, Any]) -> None:
    """Codex names its conversation in both."""
    ask(place, **more)
    assert place.kiro.requests[-1]["conversationState"]["conversationId"] == UUID


def test_cache_keys_of_whole_applications_are_no_session(place: Place) -> None:
    for _ in range(2):
        chat(place, prompt_cache_key="my-app-v1")
    first, second = (one["conversationState"]["conversationId"] for one in place.kiro.requests)
    assert first != second


# ---- refusals --------------------------------------------------------------------------------


def raising(place: Place, error: Exception, path: str = "/v1/responses/test/raise") -> Any:
    def view() -> str:
        raise error

    place.app.add_url_rule(path, view_func=view, endpoint="raising")
    return place.client.get(path, headers=AUTH)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_whole_tree(place: Place, kind: type[Exception]) -> None:
    error = instance(kind)
    answer = raising(place, error)
    assert answer.status_code == status_of(error)
    assert answer.get_json() == {"error": error_object(error)}
    if answer.status_code == 429:
        assert int(answer.headers["retry-after"]) >= 1


def test_upstreams_refusal(make: Callable[..., Place]) -> None:
    place = make()
    place.kiro.scripts = [e.QuotaExhausted("used up")] * 9
    answer = chat(place)
    assert answer.status_code == 429
    assert answer.get_json()["error"]["code"] == "insufficient_quota"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("send", [chat, ask])
def test_unknown_models(place: Place, send: Any, stream: bool) -> None:
    answer = send(place, model="gpt-4o", stream=stream)
    assert answer.status_code == 404
    assert answer.get_json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("send", "more", "param"),
    [
        (chat, {"messages": []}, "messages"),
        (chat, {"n": 2}, "n"),
        (chat, {"messages": [{"role": "x"}]}, "messages[0].role"),
        (ask, {"input": 7}, "input"),
        (ask, {"background": True}, "background"),
        (ask, {"input": [{"type": "function_call_output"}]}, "input[0].call_id"),
    ],
)
def test_s11_bad_requests(place: Place, send: Any, more: Any, param: str) -> None:
    answer = send(place, **more)
    assert answer.status_code == 400
    error = answer.get_json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert place.kiro.requests == []


@pytest.mark.parametrize("data", [b"{", b"[]", b""])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_bodies_that_are_no_object(place: Place, path: str, data: bytes) -> None:
    answer = place.client.post(path, data=data, headers=AUTH)
    assert answer.status_code == 400
    assert set(answer.get_json()) == {"error"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/embeddings"),
        ("POST", "/v1/audio/speech"),
        ("POST", "/v1/images/generations"),
        ("GET", "/v1/batches"),
        ("POST", "/v1/batches/b/cancel"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/responses/compact"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items"),
        ("GET", "/v1/chat/completions"),
        ("GET", "/v1/chat/completions/c_1"),
        ("POST", "/v1/v1/moderations"),
    ],
)
def test_what_is_not_offered_says_what_is(place: Place, method: str, path: str) -> None:
    answer = place.client.open(path, method=method, headers=AUTH)
    assert answer.status_code == 404
    error = answer.get_json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "not offered" in error["message"]
    assert "/v1/chat/completions, /v1/responses" in error["message"]


def test_websockets(place: Place) -> None:
    upgrade = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    answer = place.client.get("/v1/responses", headers=AUTH | upgrade)
    assert answer.status_code == 404
    assert "WebSocket is not offered" in answer.get_json()["error"]["message"]


def test_wrong_methods(place: Place) -> None:
    answer = place.client.put("/v1/chat/completions", headers=AUTH)
    assert answer.status_code == 405
    assert answer.get_json()["error"]["code"] == "method_not_supported"


@pytest.mark.parametrize(
    ("path", "headers", "openai"),
    [
        ("/v1/models/nope", {"user-agent": "OpenAI/Python 3.51.0"}, True),
        ("/v1/models/nope", {"user-agent": "AsyncOpenAI/JS 6.1"}, True),
        ("/v1/models/nope", {"user-agent": "codex_exec/0.169.0"}, True),
        ("/v1/unheard-of", {"user-agent": "OpenAI/Python 3.51.0"}, True),
        ("/v1/models/nope", {"user-agent": "curl/8"}, False),
        ("/v1/models/nope", {"user-agent": "Anthropic/Python 2.10"}, False),
        (
            "/v1/models/nope",
            {"user-agent": "OpenAI/x", "anthropic-version": "2023-06-01"},
            False,
        ),
        ("/v1/messages/batches", {"user-agent": "OpenAI/Python 3.51.0"}, False),
        ("/nowhere", {"user-agent": "OpenAI/Python 3.51.0"}, False),
    ],
)
def test_who_reads_which_errors(
    place: Place, path: str, headers: dict[str, str], openai: bool
) -> None:
    """Models are asked for by clients of both APIs."""
    answer = place.client.get(path, headers=AUTH | headers)
    assert answer.status_code == 404
    assert ("type" in answer.get_json()) != openai


@pytest.mark.parametrize(
    ("send", "route"), [(chat, "/v1/chat/completions"), (ask, "/v1/responses")]
)
def test_counted_like_every_request(
    place: Place, counters: Counters, send: Any, route: str
) -> None:
    for stream in (True, False):
        answer = send(place, stream=stream)
        assert answer.data
        answer.close()
    send(place, model="nope")
    assert counters.of("requests_total", route=route, status="200") == 2
    assert counters.of("requests_total", route=route, status="404") == 1
    assert place.in_flight == {}


# ---- files and tools -------------------------------------------------------------------------


def test_tools_of_all_kinds_come_back_as_they_were(place: Place) -> None:
    tools = [
        {"type": "custom", "name": "patch"},
        {"type": "namespace", "name": "ns", "tools": [{"type": "function", "name": "f"}]},
    ]
    call = [("patch", '{"input": "a"}'), ("ns__f", "{}")]
    place.kiro.scripts = [
        [
            b"".join(
                frame("toolUseEvent", toolUseId=f"t{n}", name=name, input=text, stop=True)
                for n, (name, text) in enumerate(call)
            )
            + TRAILERS
        ]
    ]
    patch, function = ask(place, tools=tools).get_json()["output"]
    assert (patch["type"], patch["name"], patch["input"]) == ("custom_tool_call", "patch", "a")
    assert (function["name"], function["namespace"]) == ("f", "ns")


def test_a_file_is_read(place: Place) -> None:
    part = {"type": "input_file", "filename": "a.txt", "file_data": "aGVsbG8gZmlsZQ=="}
    assert ask(place, input=[{"role": "user", "content": [part]}]).status_code == 200
    assert "hello file" in sent(place)
    part["file_data"] = "%%%"
    assert ask(place, input=[{"role": "user", "content": [part]}]).status_code == 400
