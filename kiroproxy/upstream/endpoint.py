"""Per endpoint: URL, headers and user agent of a call on behalf of a credential (pure).

The identity strings are plain configuration, the same on every call of a credential (design 10).
Source: protocol notes 2.3.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from kiroproxy.credentials.model import Credential, effective_api_region
from kiroproxy.transport import Route, Transport

SDK = "1.0.34"
"""Version of AWS's JavaScript SDK that the IDE announces."""
CONTROL_SDK = "1.0.0"
"""The same for calls about an account."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What we call ourselves: `kiroVersion`, `systemVersion`, `nodeVersion`, and the API's URL."""

    api_url: str
    region: str
    api_region: str
    kiro_version: str
    system_version: str
    node_version: str


@dataclass(frozen=True, slots=True)
class Voice:
    """How to speak to Kiro on behalf of a credential."""

    transport: Transport
    identity: Identity
    route_of: Callable[[Credential], Route]
    machine_id_of: Callable[[Credential], str]


def api_base(identity: Identity, credential: Credential) -> str:
    """The API's URL in the credential's region."""
    region = effective_api_region(credential, identity.api_region, identity.region)
    return identity.api_url.replace("{region}", region).rstrip("/")


def chat_headers(identity: Identity, credential: Credential, machine_id: str) -> dict[str, str]:
    """Headers of `generateAssistantResponse`."""
    kiro = f"KiroIDE-{identity.kiro_version}-{machine_id}"
    headers = {
        "content-type": "application/json",
        "accept": "*/*",
        "x-amzn-codewhisperer-optout": "true",
        "x-amzn-kiro-agent-mode": "vibe",
        "x-amz-user-agent": f"aws-sdk-js/{SDK} {kiro}",
        "user-agent": (
            f"aws-sdk-js/{SDK} ua/2.1 os/{identity.system_version} lang/js "
            f"md/nodejs#{identity.node_version} api/codewhispererstreaming#{SDK} m/E {kiro}"
        ),
        "amz-sdk-invocation-id": str(uuid.uuid4()),
        "amz-sdk-request": "attempt=1; max=3",
        "authorization": f"Bearer {credential.bearer}",
    }
    if credential.token_type:
        headers["tokentype"] = credential.token_type
    return headers


def control_headers(identity: Identity, credential: Credential, machine_id: str) -> dict[str, str]:
    """Headers of the calls about an account: usage limits and models (protocol notes 6.1)."""
    kiro = f"KiroIDE-{identity.kiro_version}-{machine_id}"
    headers = {
        "accept": "application/json",
        "x-amz-user-agent": f"aws-sdk-js/{CONTROL_SDK} {kiro}",
        "user-agent": (
            f"aws-sdk-js/{CONTROL_SDK} ua/2.1 os/{identity.system_version} lang/js "
            f"md/nodejs#{identity.node_version} api/codewhispererruntime#{CONTROL_SDK} m/N,E {kiro}"
        ),
        "amz-sdk-invocation-id": str(uuid.uuid4()),
        "amz-sdk-request": "attempt=1; max=1",
        "authorization": f"Bearer {credential.bearer}",
    }
    if credential.token_type:
        headers["tokentype"] = credential.token_type
    return headers
