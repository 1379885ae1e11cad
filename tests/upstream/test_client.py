"""One attempt, against a real socket."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kiroproxy import errors as e
from kiroproxy.conversation import Conversation, Message, Text
from kiroproxy.credentials.model import Credential
from kiroproxy.kiro.models import ModelSettings, choose_model
from kiroproxy.kiro.request import KiroRequest, RequestSettings, build_request
from kiroproxy.transport import Route, Transport
from kiroproxy.upstream.client import KiroClient
from kiroproxy.upstream.endpoint import Identity, Voice
from tests.recording.helpers import new_tape
from tests.wire import CERTIFICATE, HttpProxy, Wire, answer

ARN = "arn:aws:codewhisperer:us-east-1:111122223333:profile/EXAMPLE"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\n"
CREDENTIAL = Credential(id=7, access_token="at-7", profile_arn=ARN)


@pytest.fixture
def request_() -> KiroRequest:
    conversation = Conversation("claude-sonnet-4.5", [Message("user", [Text("hello")])])
    choice = choose_model(conversation.model, ModelSettings())
    return build_request(
        conversation, choice, RequestSettings(), conversation_id="c", continuation_id="d"
    )


@pytest.fixture
def transport() -> Iterator[Transport]:
    one = Transport(connect_timeout_s=2)
    yield one
    for session in one._sessions.values():
        session.close()


def client_of(
    transport: Transport, url: str, route: Route | None = None, header_wait_s: float = 2
) -> KiroClient:
    identity = Identity(url, "us-east-1", "", "0.8.0", "darwin#24.6.0", "22.21.1")
    voice = Voice(
        transport,
        identity,
        route_of=lambda credential: route or Route(),
        machine_id_of=lambda credential: f"{credential.id:064x}",
    )
    return KiroClient(voice, header_wait_s=header_wait_s)


def test_an_open_event_stream(transport: Transport, request_: KiroRequest) -> None:
    with Wire([[STREAM + b"Content-Length: 6\r\n\r\n", b"frames"]]) as wire:
        exchange = client_of(transport, wire.url).generate(CREDENTIAL, request_)
        assert exchange.read(2) == b"frames"
        exchange.close()
        head, _, body = wire.requests[0][1].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /generateAssistantResponse HTTP/1.1\r\n")
    assert b"authorization: Bearer at-7" in head
    assert f"KiroIDE-0.8.0-{7:064x}".encode() in head
    sent = json.loads(body)
    assert sent["profileArn"] == ARN, "S105"
    assert "hello" in json.dumps(sent["conversationState"])


def test_no_profile_arn_where_none_is_known(transport: Transport, request_: KiroRequest) -> None:
    with Wire([[STREAM + b"Content-Length: 0\r\n\r\n"]]) as wire:
        key = Credential(id=1, auth_method="api_key", kiro_api_key="ksk_1")
        client_of(transport, wire.url).generate(key, request_).close()
        assert b"profileArn" not in wire.requests[0][1]


REFUSALS: list[tuple[int, dict[str, Any], type[Exception]]] = [
    (400, {"message": "Improperly formed request.", "reason": None}, e.InvalidRequest),
    (400, {"reason": "CONTENT_LENGTH_EXCEEDS_THRESHOLD"}, e.ContextTooLong),
    (400, {"reason": "INVALID_MODEL_ID"}, e.ModelUnavailable),
    (401, {"message": "no"}, e.BearerRejected),
    (402, {"reason": "MONTHLY_REQUEST_COUNT"}, e.QuotaExhausted),
    (403, {"message": "The bearer token included in the request is invalid."}, e.BearerRejected),
    (403, {"reason": "TEMPORARILY_SUSPENDED"}, e.Suspended),
    (403, {"message": "no"}, e.AccessDenied),
    (404, {}, e.Refused),
    (429, {"message": "Too many requests"}, e.Throttled),
    (429, {"reason": "INSUFFICIENT_MODEL_CAPACITY"}, e.Overloaded),
    (500, {"message": "oops"}, e.ServerFault),
    (503, {}, e.Overloaded),
    (504, {}, e.UpstreamTimeout),
]


@pytest.mark.parametrize(("status", "body", "kind"), REFUSALS)
def test_refusals(
    transport: Transport,
    request_: KiroRequest,
    status: int,
    body: dict[str, Any],
    kind: type[Exception],
) -> None:
    with Wire([[answer(json.dumps(body).encode(), status=f"{status} X")] for _ in range(2)]) as w:
        for _ in range(2):
            with pytest.raises(kind) as caught:
                client_of(transport, w.url).generate(CREDENTIAL, request_)
            assert type(caught.value) is kind
        assert w.connections == [0, 0], "a body read to its end keeps the connection"


def test_retry_after(transport: Transport, request_: KiroRequest) -> None:
    with Wire([[answer(b"{}", "Retry-After: 17", status="429 X")]]) as wire:
        with pytest.raises(e.Throttled) as caught:
            client_of(transport, wire.url).generate(CREDENTIAL, request_)
        assert caught.value.retry_after_s == 17


@pytest.mark.parametrize(
    "tail",
    [
        [b'Content-Length: 99\r\n\r\n{"reason":"MONTHLY_REQUEST_COUNT"}', "close"],
        [b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"],
        [b"Content-Length: 4\r\n\r\n", "reset"],
        [b"\r\n<html>gateway</html>", "close"],
    ],
)
def test_a_broken_error_body_does_not_hide_the_status(
    transport: Transport, request_: KiroRequest, tail: list[Any]
) -> None:
    with Wire([[b"HTTP/1.1 402 Payment Required\r\n", *tail]]) as wire:
        with pytest.raises(e.QuotaExhausted):
            client_of(transport, wire.url).generate(CREDENTIAL, request_)
        assert tail[-1] in ("close", "reset") or wire.wait_until_ended(0)


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/json", "Text/HTML"])
def test_a_page_under_a_200_is_no_stream(
    transport: Transport, request_: KiroRequest, kind: str
) -> None:
    with Wire([[answer(b"<html>", f"Content-Type: {kind}")]]) as wire:
        with pytest.raises(e.ServerFault, match="instead of an event stream"):
            client_of(transport, wire.url).generate(CREDENTIAL, request_)
        assert wire.wait_until_ended(0)


def test_a_stream_without_content_type_is_taken(
    transport: Transport, request_: KiroRequest
) -> None:
    with Wire([[answer(b"")]]) as wire:
        client_of(transport, wire.url).generate(CREDENTIAL, request_).close()


def test_upstreams_words_are_not_handed_on(transport: Transport, request_: KiroRequest) -> None:
    """Protocol notes 8: they hold account ids."""
    body = json.dumps({"message": "User d-123/secret-user is not authorized"}).encode()
    with Wire([[answer(body, status="403 X")]]) as wire:
        with pytest.raises(e.AccessDenied) as caught:
            client_of(transport, wire.url).generate(CREDENTIAL, request_)
        assert "secret-user" not in str(caught.value)


def test_headers_must_come_in_time(transport: Transport, request_: KiroRequest) -> None:
    with Wire([[0.4]]) as wire:
        client = client_of(transport, wire.url, header_wait_s=0.1)
        with pytest.raises(e.UpstreamTimeout):
            client.generate(CREDENTIAL, request_)


def test_s85_the_credentials_way_out_is_taken(transport: Transport, request_: KiroRequest) -> None:
    with HttpProxy() as proxy, Wire([[answer(b"")]], tls=True) as wire:
        route = Route(f"http://127.0.0.1:{proxy.port}", verify=str(CERTIFICATE))
        client_of(transport, wire.url, route).generate(CREDENTIAL, request_).close()
        assert len(proxy.heads) == 1


def test_a_tape_has_what_passed(transport: Transport, request_: KiroRequest) -> None:
    """Issue 9, item 8: requests and answers as they were, with the cuts between reads."""
    tape = new_tape()
    refusal = answer(b'{"message": "Improperly formed request."}', status="400 Bad Request")
    stream = [STREAM + b"Content-Length: 6\r\n\r\n", b"fra", b"mes"]
    with Wire([stream, [refusal]]) as wire:
        client = client_of(transport, wire.url)
        exchange = client.generate(CREDENTIAL, request_, tape)
        while exchange.read(2):
            pass
        exchange.close()
        with pytest.raises(e.InvalidRequest):
            client.generate(CREDENTIAL, request_, tape)
        bodies = [raw.partition(b"\r\n\r\n")[2] for _, raw in wire.requests]
    good, bad = tape.calls
    assert [good.body, bad.body] == bodies
    assert b"".join(data for _, data in good.pieces) == b"frames"
    assert (good.status, good.framing, good.end, good.error) == (200, "length", "complete", None)
    assert (bad.status, bad.end, type(bad.error)) == (400, "complete", e.InvalidRequest)
    assert [data for _, data in bad.pieces] == [b'{"message": "Improperly formed request."}']
    assert (good.credential_id, good.endpoint) == (7, "ide")
