"""URL, headers and body of a call, per flavour (protocol notes 2.2 to 2.5)."""

import json
import re
import uuid
from dataclasses import replace
from typing import Any

import pytest

from kiroproxy.conversation import Conversation, Message, Text
from kiroproxy.credentials.model import BUILDER_ID_ARN, ENDPOINTS, Credential
from kiroproxy.errors import ConfigError
from kiroproxy.kiro.models import ModelSettings, choose_model
from kiroproxy.kiro.request import KiroRequest, RequestSettings, build_request
from kiroproxy.simulator.refusals import Caller, find_refusal
from kiroproxy.transport import Route, Transport
from kiroproxy.upstream.endpoint import (
    FLAVOURS,
    Identity,
    Voice,
    account_arguments,
    api_base,
    chat_call,
    chat_headers,
    control_call,
    control_headers,
    flavour_of,
    search_call,
)

IDENTITY = Identity(
    api_url="https://q.{region}.amazonaws.com",
    region="us-east-1",
    api_region="",
    kiro_version="0.8.0",
    system_version="darwin#24.6.0",
    node_version="22.21.1",
)
MACHINE = "ab" * 32


def credential(**more: Any) -> Credential:
    return Credential(id=1, access_token="at-1", **more)


def test_s83_headers_of_the_ide() -> None:
    headers = chat_headers(IDENTITY, credential(), MACHINE)
    kiro = f"KiroIDE-0.8.0-{MACHINE}"
    invocation = headers.pop("amz-sdk-invocation-id")
    assert str(uuid.UUID(invocation)) == invocation
    assert headers.pop("accept") == "*/*"
    assert headers == {
        "content-type": "application/json",
        "x-amzn-codewhisperer-optout": "true",
        "x-amzn-kiro-agent-mode": "vibe",
        "x-amz-user-agent": f"aws-sdk-js/1.0.34 {kiro}",
        "user-agent": "aws-sdk-js/1.0.34 ua/2.1 os/darwin#24.6.0 lang/js md/nodejs#22.21.1 "
        f"api/codewhispererstreaming#1.0.34 m/E {kiro}",
        "amz-sdk-request": "attempt=1; max=3",
        "authorization": "Bearer at-1",
    }


def test_each_call_has_its_own_invocation_id_and_nothing_else_varies() -> None:
    """Design 10: the identity is the same on every call of a credential."""
    one, two = (chat_headers(IDENTITY, credential(), MACHINE) for _ in range(2))
    assert one.pop("amz-sdk-invocation-id") != two.pop("amz-sdk-invocation-id")
    assert one == two


def test_no_header_that_would_hinder_streaming_or_keeping() -> None:
    """Q13, design 4: no Accept-Encoding, connections are kept."""
    names = chat_headers(IDENTITY, credential(), MACHINE).keys()
    assert not {"accept-encoding", "connection", "host"} & names
    assert all(re.fullmatch(r"[a-z-]+", name) for name in names)


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (Credential(auth_method="api_key", kiro_api_key="ksk_1"), "API_KEY"),
        (credential(auth_method="external_idp"), "EXTERNAL_IDP"),
        (credential(auth_method="social"), None),
        (credential(auth_method="idc"), None),
    ],
)
def test_tokentype(made: Credential, wanted: str | None) -> None:
    headers = chat_headers(IDENTITY, made, MACHINE)
    assert headers.get("tokentype") == wanted
    assert headers["authorization"] == f"Bearer {made.bearer}"


@pytest.mark.parametrize(
    ("own", "identity", "wanted"),
    [
        ({}, IDENTITY, "https://q.us-east-1.amazonaws.com"),
        ({}, replace(IDENTITY, api_region="eu-central-1"), "https://q.eu-central-1.amazonaws.com"),
        ({"api_region": "eu-west-1"}, IDENTITY, "https://q.eu-west-1.amazonaws.com"),
        ({}, replace(IDENTITY, api_url="http://127.0.0.1:9100"), "http://127.0.0.1:9100"),
        ({}, replace(IDENTITY, api_url="http://127.0.0.1:9100/"), "http://127.0.0.1:9100"),
        ({}, replace(IDENTITY, api_url="https://vpc/{region}/"), "https://vpc/us-east-1"),
    ],
)
def test_api_base(own: dict[str, Any], identity: Identity, wanted: str) -> None:
    assert api_base(identity, credential(**own)) == wanted


def test_control_calls_speak_with_the_same_identity() -> None:
    chat = chat_headers(IDENTITY, credential(), MACHINE)
    control = control_headers(IDENTITY, credential(), MACHINE)
    for headers in (chat, control):
        assert headers["user-agent"].endswith(f"KiroIDE-0.8.0-{MACHINE}")
        assert " os/darwin#24.6.0 lang/js md/nodejs#22.21.1 " in headers["user-agent"]
        assert headers["authorization"] == "Bearer at-1"
    key = Credential(auth_method="api_key", kiro_api_key="ksk_1")
    assert control_headers(IDENTITY, key, MACHINE)["tokentype"] == "API_KEY"


# ---- flavours --------------------------------------------------------------------------------

ARN = "arn:aws:codewhisperer:us-east-1:111122223333:profile/EXAMPLE"
CLI_AGENT = "aws-sdk-rust/1.3.15 ua/2.1 api/{}/0.1.14474 os/macos lang/rust/1.92.0 "
HUGE = 123456789012345678901234567890


def voice(**identity: Any) -> Voice:
    return Voice(
        Transport(), replace(IDENTITY, **identity), lambda one: Route(), lambda one: MACHINE
    )


def cli(**more: Any) -> Credential:
    return credential(endpoint="cli", **more)


def request() -> KiroRequest:
    messages = [
        Message("user", [Text(f"say {HUGE} and AI_EDITOR")]),
        Message("assistant", [Text("done")]),
        Message("user", [Text("again")]),
    ]
    conversation = Conversation("claude-sonnet-4.5", messages, system=["be terse"])
    return build_request(
        conversation,
        choose_model(conversation.model, ModelSettings()),
        RequestSettings(),
        conversation_id="6f3c0d5e-7c0e-4a50-9a0e-3f1b1d3f8c11",
        continuation_id="b3c1f0a2-40b0-4d9c-8a70-1f5d0f6b2c55",
    )


def sent(one: Credential, **identity: Any) -> dict[str, Any]:
    call = chat_call(voice(**identity), one, request(), with_effort=False)
    assert call.body is not None
    body: dict[str, Any] = json.loads(call.body)
    return body


def test_every_endpoint_that_a_credential_may_name_has_a_flavour() -> None:
    assert tuple(FLAVOURS) == ENDPOINTS
    assert flavour_of(credential()) is FLAVOURS["ide"]
    assert flavour_of(cli()) is FLAVOURS["cli"]
    with pytest.raises(ConfigError, match="must be ide or cli, not 'desktop'"):
        flavour_of(credential(endpoint="desktop"))


def test_chat_as_kiro_cli() -> None:
    """Protocol notes 2.4."""
    call = chat_call(voice(), cli(), request(), with_effort=False)
    assert (call.method, call.url) == ("POST", "https://q.us-east-1.amazonaws.com/")
    assert str(uuid.UUID(call.headers.pop("amz-sdk-invocation-id")))
    start = CLI_AGENT.format("codewhispererstreaming")
    assert call.headers == {
        "content-type": "application/x-amz-json-1.0",
        "x-amz-target": "AmazonCodeWhispererStreamingService.GenerateAssistantResponse",
        "x-amzn-codewhisperer-optout": "true",
        "accept": "*/*",
        "user-agent": start + "md/appVersion-2.0.0 app/AmazonQ-For-CLI",
        "x-amz-user-agent": start + "m/F app/AmazonQ-For-CLI",
        "amz-sdk-request": "attempt=1; max=3",
        "authorization": "Bearer at-1",
    }


@pytest.mark.parametrize(
    ("system", "told"), [("win32#10.0.22631", "windows"), ("linux#6.8.0", "linux"), ("x", "x")]
)
def test_what_kiro_cli_calls_itself_is_configuration(system: str, told: str) -> None:
    identity = {"system_version": system, "kiro_cli_version": "9.9.9"}
    agent = chat_headers(voice(**identity).identity, cli(), MACHINE)["user-agent"]
    assert f" os/{told} " in agent
    assert "md/appVersion-9.9.9" in agent
    state = sent(cli(), **identity)["conversationState"]
    context = state["currentMessage"]["userInputMessage"]["userInputMessageContext"]
    assert context["envState"]["operatingSystem"] == told


def test_the_body_as_kiro_cli() -> None:
    """Protocol notes 2.4: origin, no continuation id, no model in the history, the system."""
    ide, own = sent(credential()), sent(cli())
    state = own["conversationState"]
    current = state["currentMessage"]["userInputMessage"]
    assert "agentContinuationId" not in state
    assert current["modelId"] == "claude-sonnet-4.5"
    users = [one["userInputMessage"] for one in state["history"] if "userInputMessage" in one]
    assert not any("modelId" in user for user in users)
    assert {user["origin"] for user in [*users, current]} == {"KIRO_CLI"}
    assert current["userInputMessageContext"]["envState"] == {
        "operatingSystem": "macos",
        "currentWorkingDirectory": "/",
    }
    texts = [one["userInputMessage"]["content"] for one in ide["conversationState"]["history"][::2]]
    assert [user["content"] for user in users] == texts
    assert "AI_EDITOR" in texts[-1], "a client's words are nobody's to change"
    caller = Caller(["claude-sonnet-4.5"], strict=True, cli=True)
    assert find_refusal(json.dumps(own).encode(), caller) is None


def test_numbers_of_any_size_survive() -> None:
    one = request()
    one.state = json.dumps(
        {"currentMessage": {"userInputMessage": {"content": "x"}}, "input": [HUGE, 0.1]}
    ).encode()
    call = chat_call(voice(), cli(), one, with_effort=False)
    assert str(HUGE).encode() in (call.body or b"")


@pytest.mark.parametrize(
    ("own", "ide", "kiro_cli"),
    [
        ({"profile_arn": ARN}, ARN, ARN),
        ({"auth_method": "idc", "profile_arn": BUILDER_ID_ARN}, BUILDER_ID_ARN, BUILDER_ID_ARN),
        ({"auth_method": "idc"}, BUILDER_ID_ARN, None),
        ({"auth_method": "api_key", "kiro_api_key": "ksk_1", "profile_arn": ARN}, None, None),
    ],
)
def test_the_profile_of_a_chat(own: dict[str, Any], ide: str | None, kiro_cli: str | None) -> None:
    """Protocol notes 2.4, 2.5: kiro-cli sends that of the account, or none."""
    assert sent(credential(**own)).get("profileArn") == ide
    assert sent(cli(**own)).get("profileArn") == kiro_cli


def test_calls_about_an_account() -> None:
    """Protocol notes 6: GET with a query, or AWS-JSON with the same keys in the body."""
    one = credential(profile_arn=ARN)
    arguments = account_arguments(one) | {"maxResults": 50}
    call = control_call(voice(), one, "ListAvailableModels", arguments)
    assert (call.method, call.body) == ("GET", None)
    assert call.url.startswith("https://q.us-east-1.amazonaws.com/ListAvailableModels?origin=AI_ED")
    assert call.headers["amz-sdk-request"] == "attempt=1; max=1"
    one = cli(profile_arn=ARN)
    arguments = account_arguments(one) | {"maxResults": 50}
    call = control_call(voice(), one, "ListAvailableModels", arguments)
    assert (call.method, call.url) == ("POST", "https://q.us-east-1.amazonaws.com/")
    body = {"origin": "KIRO_CLI", "profileArn": ARN, "maxResults": 50}
    assert json.loads(call.body or b"") == body
    assert call.headers["x-amz-target"] == "AmazonCodeWhispererService.ListAvailableModels"
    assert call.headers["content-type"] == "application/x-amz-json-1.0"
    assert call.headers["user-agent"].startswith(CLI_AGENT.format("codewhispererruntime"))


def test_profiles_are_asked_for_alike() -> None:
    for one in (credential(), cli()):
        call = control_call(voice(), one, "ListAvailableProfiles", {"maxResults": 10})
        assert (call.method, call.body) == ("POST", b'{"maxResults":10}')
        target = "AmazonCodeWhispererService.ListAvailableProfiles"
        assert call.headers["x-amz-target"] == target


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_searching_is_plain_json_in_both(endpoint: str) -> None:
    call = search_call(voice(), credential(endpoint=endpoint, profile_arn=ARN), b"{}")
    assert call.url == "https://q.us-east-1.amazonaws.com/mcp"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["x-amzn-kiro-profile-arn"] == ARN
    assert not {"x-amz-target", "x-amzn-codewhisperer-optout"} & call.headers.keys()
    assert ("KiroIDE" in call.headers["user-agent"]) == (endpoint == "ide")
