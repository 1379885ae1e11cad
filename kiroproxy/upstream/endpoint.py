"""How to speak to Kiro: URL, headers, user agent and body of a call, per flavour (pure).

A credential's `endpoint` chooses the flavour: `ide` speaks as Kiro's IDE does, `cli` as kiro-cli.
The identity strings are plain configuration, the same on every call of a credential (design 10).
Source: protocol notes 2.3 to 2.5, 6; the user agents of `cli` also by published captures.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from kiroproxy import tracing
from kiroproxy.conversation import Json
from kiroproxy.credentials.model import (
    DEFAULT_ENDPOINT,
    Credential,
    chat_profile_arn,
    control_profile_arn,
    effective_api_region,
    unknown_endpoint,
)
from kiroproxy.errors import ConfigError
from kiroproxy.kiro.request import KiroRequest
from kiroproxy.transport import Route, Transport

SDK: Final = "1.0.34"
"""Version of AWS's JavaScript SDK that the IDE announces."""
CONTROL_SDK: Final = "1.0.0"
"""The same for calls about an account."""
RUST_SDK: Final = "aws-sdk-rust/1.3.15 ua/2.1"
RUST: Final = "lang/rust/1.92.0"
RUST_API: Final = "0.1.14474"
"""What kiro-cli announces."""
RUST_SYSTEMS: Final = {"darwin": "macos", "win32": "windows"}
"""Node's names of systems, as in `systemVersion`, and Rust's."""
AWS_JSON: Final = "application/x-amz-json-1.0"
CHAT_TARGET: Final = "AmazonCodeWhispererStreamingService.GenerateAssistantResponse"
CONTROL_SERVICE: Final = "AmazonCodeWhispererService"
STREAMING: Final = "codewhispererstreaming"
RUNTIME: Final = "codewhispererruntime"


@dataclass(frozen=True, slots=True)
class Identity:
    """What we call ourselves, as the settings of these names say, and the API's URL."""

    api_url: str
    region: str
    api_region: str
    kiro_version: str
    system_version: str
    node_version: str
    kiro_cli_version: str = "2.0.0"


@dataclass(frozen=True, slots=True)
class Voice:
    """How to speak to Kiro on behalf of a credential."""

    transport: Transport
    identity: Identity
    route_of: Callable[[Credential], Route]
    machine_id_of: Callable[[Credential], str]


@dataclass(frozen=True, slots=True)
class Call:
    """A request, ready to be sent."""

    method: str
    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Flavour:
    """What differs between the programs that speak to Kiro.

    `agents` gives the values of `user-agent` and `x-amz-user-agent`; `touch` changes the
    conversation's state in place. `routes` are the control operations that have a path of their
    own, which takes GET; the others are AWS-JSON calls. `attempts` is announced by these.
    """

    chat_path: str
    chat_headers: Mapping[str, str]
    agents: Callable[[Identity, str, str], tuple[str, str]]
    origin: str
    profile_arn: Callable[[Credential], str | None]
    control_headers: Mapping[str, str]
    routes: frozenset[str]
    attempts: int
    touch: Callable[[Identity, Json], None] | None = None


# ---- the flavours --------------------------------------------------------------------------


def _ide_agents(identity: Identity, machine_id: str, api: str) -> tuple[str, str]:
    kiro = f"KiroIDE-{identity.kiro_version}-{machine_id}"
    sdk, marks = (SDK, "m/E") if api == STREAMING else (CONTROL_SDK, "m/N,E")
    agent = (
        f"aws-sdk-js/{sdk} ua/2.1 os/{identity.system_version} lang/js "
        f"md/nodejs#{identity.node_version} api/{api}#{sdk} {marks} {kiro}"
    )
    return agent, f"aws-sdk-js/{sdk} {kiro}"


def _cli_agents(identity: Identity, machine_id: str, api: str) -> tuple[str, str]:
    """No machine id: kiro-cli does not send one."""
    start = f"{RUST_SDK} api/{api}/{RUST_API} os/{_rust_system(identity)} {RUST}"
    version = f"md/appVersion-{identity.kiro_cli_version}"
    return f"{start} {version} app/AmazonQ-For-CLI", f"{start} m/F app/AmazonQ-For-CLI"


def _rust_system(identity: Identity) -> str:
    system = identity.system_version.partition("#")[0]
    return RUST_SYSTEMS.get(system, system)


def _cli_profile_arn(credential: Credential) -> str | None:
    """The profile that the account has; no placeholder takes its place."""
    return None if credential.auth_method == "api_key" else credential.profile_arn


def _as_kiro_cli(identity: Identity, state: Json) -> None:
    """kiro-cli names itself and its system, and leaves out what only the IDE sends."""
    state.pop("agentContinuationId", None)
    for message in state.get("history", ()):
        if user := message.get("userInputMessage"):
            user.pop("modelId", None)
            user["origin"] = CLI_ORIGIN
    current = state["currentMessage"]["userInputMessage"]
    current["origin"] = CLI_ORIGIN
    context = current.setdefault("userInputMessageContext", {})
    # the proxy's own directory is none of Kiro's business
    context["envState"] = {
        "operatingSystem": _rust_system(identity),
        "currentWorkingDirectory": "/",
    }


CLI_ORIGIN: Final = "KIRO_CLI"
OPT_OUT: Final = {"x-amzn-codewhisperer-optout": "true"}
"""Kiro may not use the contents; kiro-cli has a switch for it, which is on here."""
FLAVOURS: Final[Mapping[str, Flavour]] = {
    "ide": Flavour(
        chat_path="/generateAssistantResponse",
        chat_headers={
            "content-type": "application/json",
            **OPT_OUT,
            "x-amzn-kiro-agent-mode": "vibe",
        },
        agents=_ide_agents,
        origin="AI_EDITOR",
        profile_arn=chat_profile_arn,
        control_headers={},
        routes=frozenset({"GetUsageLimits", "ListAvailableModels"}),
        attempts=1,
    ),
    "cli": Flavour(
        chat_path="/",
        chat_headers={"content-type": AWS_JSON, "x-amz-target": CHAT_TARGET, **OPT_OUT},
        agents=_cli_agents,
        origin=CLI_ORIGIN,
        profile_arn=_cli_profile_arn,
        control_headers=OPT_OUT,
        routes=frozenset(),
        attempts=3,
        touch=_as_kiro_cli,
    ),
}
"""By the names that a credential's `endpoint` may have (`credentials.model.ENDPOINTS`)."""
ROUTES: Final = {
    "GetUsageLimits": "/getUsageLimits",
    "ListAvailableModels": "/ListAvailableModels",
}


def flavour_of(credential: Credential) -> Flavour:
    """The flavour that a credential speaks.

    Raises:
        ConfigError: there is none of that name; the store counts such a credential as disabled.
    """
    if why := unknown_endpoint(credential):
        raise ConfigError(f"endpoint of {credential.display_name}", why)
    return FLAVOURS[credential.endpoint or DEFAULT_ENDPOINT]


# ---- calls ---------------------------------------------------------------------------------


def api_base(identity: Identity, credential: Credential) -> str:
    """The API's URL in the credential's region."""
    region = effective_api_region(credential, identity.api_region, identity.region)
    return identity.api_url.replace("{region}", region).rstrip("/")


def chat_call(
    voice: Voice, credential: Credential, request: KiroRequest, *, with_effort: bool
) -> Call:
    """`generateAssistantResponse`."""
    flavour, identity = flavour_of(credential), voice.identity
    touch = flavour.touch
    state = request.state
    if touch is not None:
        parsed = json.loads(state)  # msgspec would lose digits of very large numbers
        touch(identity, parsed)
        state = msgspec.json.encode(parsed)
    return Call(
        "POST",
        api_base(identity, credential) + flavour.chat_path,
        chat_headers(identity, credential, voice.machine_id_of(credential)) | tracing.outgoing(),
        request.body(flavour.profile_arn(credential) or "", with_effort=with_effort, state=state),
    )


def search_call(voice: Voice, credential: Credential, body: bytes) -> Call:
    """The web search's call: plain JSON in both flavours (protocol notes 7)."""
    identity, machine_id = voice.identity, voice.machine_id_of(credential)
    headers = {"content-type": "application/json", "accept": "*/*"}
    headers |= _common_headers(identity, credential, machine_id, STREAMING, 3)
    if arn := control_profile_arn(credential):
        headers["x-amzn-kiro-profile-arn"] = arn
    headers |= tracing.outgoing()
    return Call("POST", api_base(identity, credential) + "/mcp", headers, body)


def control_call(
    voice: Voice, credential: Credential, operation: str, arguments: Mapping[str, Any]
) -> Call:
    """A call about an account: a GET where the flavour has a path for it, else AWS-JSON."""
    identity = voice.identity
    base = api_base(identity, credential)
    headers = control_headers(identity, credential, voice.machine_id_of(credential))
    if operation in flavour_of(credential).routes:
        return Call("GET", f"{base}{ROUTES[operation]}?{urlencode(arguments)}", headers)
    headers |= {"content-type": AWS_JSON, "x-amz-target": f"{CONTROL_SERVICE}.{operation}"}
    return Call("POST", f"{base}/", headers, msgspec.json.encode(arguments))


def account_arguments(credential: Credential) -> dict[str, Any]:
    """What calls about an account say of who asks (protocol notes 6.1, 6.3)."""
    arguments: dict[str, Any] = {"origin": flavour_of(credential).origin}
    if arn := control_profile_arn(credential):
        arguments["profileArn"] = arn
    return arguments


def chat_headers(identity: Identity, credential: Credential, machine_id: str) -> dict[str, str]:
    """Headers of `generateAssistantResponse`."""
    return {
        **flavour_of(credential).chat_headers,
        "accept": "*/*",
        **_common_headers(identity, credential, machine_id, STREAMING, 3),
    }


def control_headers(identity: Identity, credential: Credential, machine_id: str) -> dict[str, str]:
    """Headers of the calls about an account: usage limits and models (protocol notes 6.1)."""
    flavour = flavour_of(credential)
    return {
        "accept": "application/json",
        **flavour.control_headers,
        **_common_headers(identity, credential, machine_id, RUNTIME, flavour.attempts),
    }


def _common_headers(
    identity: Identity, credential: Credential, machine_id: str, api: str, attempts: int
) -> dict[str, str]:
    agent, amz_agent = flavour_of(credential).agents(identity, machine_id, api)
    headers = {
        "x-amz-user-agent": amz_agent,
        "user-agent": agent,
        "amz-sdk-invocation-id": str(uuid.uuid4()),
        "amz-sdk-request": f"attempt=1; max={attempts}",
        "authorization": f"Bearer {credential.bearer}",
    }
    if credential.token_type:
        headers["tokentype"] = credential.token_type
    return headers
