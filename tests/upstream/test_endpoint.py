"""URL and headers of a call (protocol notes 2.2, 2.3)."""

import re
import uuid
from dataclasses import replace
from typing import Any

import pytest

from kiroproxy.credentials.model import Credential
from kiroproxy.upstream.endpoint import Identity, api_base, chat_headers, control_headers

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
