"""Every rule has requests on both sides of it."""

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from kiroproxy.simulator.kiro_errors import KIRO_ERRORS
from kiroproxy.simulator.refusals import RULES, Caller, find_refusal
from tests.simulation import chat_body

Body = dict[str, Any]
MODELS = ("auto", "claude-sonnet-4.5", "claude-opus-4.8")
ARN = "arn:aws:codewhisperer:us-east-1:111122223333:profile/EXAMPLE"
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(8)).decode()
NORMAL = Caller(MODELS)


def tool(name: str, **more: Any) -> Body:
    schema = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    one = {"name": name, "description": "d", "inputSchema": {"json": schema}, **more}
    return {"toolSpecification": one}


def good() -> Body:
    """A turn with a system pair, a call, its result, an image and every harmless extra."""
    user = {"content": "You are terse.", "modelId": "auto", "origin": "AI_EDITOR"}
    uses = [{"toolUseId": "tooluse_1", "name": "Stat", "input": {"path": "a"}}]
    history = [
        {"userInputMessage": user},
        {"assistantResponseMessage": {"content": "Understood."}},
        {"userInputMessage": {"content": "size?"}},
        {"assistantResponseMessage": {"content": " ", "toolUses": uses}},
    ]
    result = {"toolUseId": "tooluse_1", "status": "success", "content": [{"text": "12 bytes"}]}
    context = {
        "toolResults": [result],
        "tools": [tool("stat"), tool("other-1"), {"cachePoint": {"type": "default"}}],
        "envState": {"operatingSystem": "linux", "currentWorkingDirectory": "/" * 256},
    }
    images = [{"format": "png", "source": {"bytes": PNG}}]
    body = chat_body(" ", history=history, context=context, images=images)
    body["profileArn"] = ARN
    body["conversationState"] |= {
        "agentTaskType": "vibe",
        "agentContinuationId": "b3c1f0a2-40b0-4d9c-8a70-1f5d0f6b2c55",
    }
    return body


def state(body: Body) -> Body:
    found: Body = body["conversationState"]
    return found


def current(body: Body) -> Body:
    found: Body = state(body)["currentMessage"]["userInputMessage"]
    return found


def context(body: Body) -> Body:
    found: Body = current(body)["userInputMessageContext"]
    return found


def history(body: Body) -> list[Any]:
    found: list[Any] = state(body)["history"]
    return found


def assistant(body: Body) -> Body:
    found: Body = history(body)[3]["assistantResponseMessage"]
    return found


def first_use(body: Body) -> Body:
    found: Body = assistant(body)["toolUses"][0]
    return found


def result(body: Body) -> Body:
    found: Body = context(body)["toolResults"][0]
    return found


def spec(body: Body) -> Body:
    found: Body = context(body)["tools"][0]["toolSpecification"]
    return found


def schema(body: Body) -> Body:
    found: Body = spec(body)["inputSchema"]["json"]
    return found


def image(body: Body) -> Body:
    found: Body = current(body)["images"][0]
    return found


def both_ids(body: Body, tool_use_id: str) -> None:
    first_use(body)["toolUseId"] = result(body)["toolUseId"] = tool_use_id


def both_names(body: Body, name: str) -> None:
    first_use(body)["name"] = spec(body)["name"] = name


def effort(body: Body, model: str, fields: Any) -> None:
    current(body)["modelId"] = model
    body["additionalModelRequestFields"] = fields


def png_of(size: int) -> str:
    return base64.b64encode(b"\x89PNG\r\n\x1a\n".ljust(size, b"\0")).decode()


def long_history(body: Body, pairs: int) -> None:
    user = {"userInputMessage": {"content": "u"}}
    reply = {"assistantResponseMessage": {"content": "a"}}
    state(body)["history"] = [user, reply] * pairs
    del context(body)["toolResults"]


Change = Callable[[Body], Any]
EFFORT = {"output_config": {"effort": "high"}}
CASES: list[tuple[str, Change, Change]] = [
    # rule, accepted neighbour, refused
    ("wrong-type", lambda b: None, lambda b: current(b).update(content=[])),
    ("wrong-type", lambda b: None, lambda b: current(b).update(images=None)),
    ("missing-key", lambda b: state(b).pop("conversationId"), lambda b: current(b).pop("content")),
    ("missing-key", lambda b: None, lambda b: state(b).pop("chatTriggerType")),
    ("missing-key", lambda b: first_use(b), lambda b: first_use(b).pop("input")),
    ("unknown-key", lambda b: b.update(agentMode="vibe"), lambda b: b.update(max_tokens=5)),
    ("unknown-key", lambda b: None, lambda b: state(b).update(system="x")),
    ("unknown-key", lambda b: None, lambda b: context(b).update(images=[])),
    (
        "unknown-key",
        lambda b: result(b).update(isError=False),
        lambda b: result(b).update(images=[]),
    ),
    ("unknown-key", lambda b: None, lambda b: spec(b).update(cache_control={})),
    ("chat-trigger", lambda b: None, lambda b: state(b).update(chatTriggerType="AUTO")),
    (
        "task-type",
        lambda b: state(b).update(agentTaskType="spectask"),
        lambda b: state(b).update(agentTaskType="x"),
    ),
    (
        "conversation-id",
        lambda b: state(b).update(conversationId="6F3C0D5E-7C0E-4A50-9A0E-3F1B1D3F8C11"),
        lambda b: state(b).update(conversationId="6f3c0d5e7c0e4a509a0e3f1b1d3f8c11"),
    ),
    ("continuation-id", lambda b: None, lambda b: state(b).update(agentContinuationId="1")),
    ("message-arm", lambda b: None, lambda b: history(b).insert(2, {"cachePoint": {}})),
    ("message-arm", lambda b: None, lambda b: state(b).update(currentMessage={})),
    (
        "message-arm",
        lambda b: None,
        lambda b: state(b).update(currentMessage=history(b)[1]),
    ),
    ("history-start", lambda b: history(b).__delitem__(slice(0, 2)), lambda b: history(b).pop(0)),
    ("history-end", lambda b: None, lambda b: history(b).pop()),
    ("alternation", lambda b: None, lambda b: history(b).pop(1)),
    ("history-length", lambda b: long_history(b, 5_000), lambda b: long_history(b, 5_001)),
    ("empty-content", lambda b: None, lambda b: current(b).update(content="")),
    ("empty-content", lambda b: None, lambda b: assistant(b).update(content="")),
    (
        "content-length",
        lambda b: current(b).update(content="x" * 600_000),
        lambda b: current(b).update(content="x" * 600_001),
    ),
    (
        "tool-response-length",
        lambda b: result(b).update(content=[{"text": "x" * 400_000}] * 2),
        lambda b: result(b).update(content=[{"text": "x" * 400_000}] * 2 + [{"text": "x"}]),
    ),
    ("empty-tool-result", lambda b: None, lambda b: result(b).update(content=[])),
    ("empty-tool-result", lambda b: None, lambda b: result(b).update(content=[{"text": ""}])),
    (
        "tool-result-content",
        lambda b: result(b).update(content=[{"json": {}}]),
        lambda b: result(b).update(content=[{"image": {}}]),
    ),
    (
        "tool-result-status",
        lambda b: result(b).update(status="error"),
        lambda b: result(b).update(status="failed"),
    ),
    ("orphan-result", lambda b: None, lambda b: result(b).update(toolUseId="tooluse_2")),
    (
        "orphan-result",
        lambda b: None,
        lambda b: history(b)[0]["userInputMessage"].update(
            userInputMessageContext={"toolResults": [result(b)]}
        ),
    ),
    ("unanswered-use", lambda b: None, lambda b: context(b).pop("toolResults")),
    (
        "duplicate-result",
        lambda b: None,
        lambda b: context(b)["toolResults"].append(result(b)),
    ),
    ("duplicate-use", lambda b: None, lambda b: assistant(b)["toolUses"].append(first_use(b))),
    ("no-tools", lambda b: None, lambda b: context(b).pop("tools")),
    (
        "undeclared-tool",
        lambda b: first_use(b).update(name="STAT"),
        lambda b: first_use(b).update(name="gone"),
    ),
    (
        "tool-use-id",
        lambda b: both_ids(b, "a-_9" * 16),
        lambda b: both_ids(b, "call_abc\nfc_def"),
    ),
    ("tool-use-id", lambda b: None, lambda b: both_ids(b, "x" * 65)),
    (
        "empty-tool-uses",
        lambda b: history(b)[1]["assistantResponseMessage"],
        lambda b: history(b)[1]["assistantResponseMessage"].update(toolUses=[]),
    ),
    (
        "tool-use-input",
        lambda b: first_use(b).update(input={}),
        lambda b: first_use(b).update(input='{"path": "a"}'),
    ),
    (
        "tools-in-history",
        lambda b: None,
        lambda b: history(b)[2]["userInputMessage"].update(
            userInputMessageContext={"tools": [tool("stat")]}
        ),
    ),
    ("tool-arm", lambda b: None, lambda b: context(b)["tools"].append({"name": "x"})),
    (
        "cache-point",
        lambda b: current(b).update(cachePoint={"type": "default"}),
        lambda b: context(b)["tools"].append({"cachePoint": {"type": "x"}}),
    ),
    ("tool-name", lambda b: both_names(b, "x" * 64), lambda b: both_names(b, "x" * 65)),
    ("tool-name", lambda b: None, lambda b: both_names(b, "a.b")),
    ("tool-name-twice", lambda b: None, lambda b: context(b)["tools"].append(tool("STAT"))),
    ("tool-description", lambda b: None, lambda b: spec(b).update(description=" ")),
    ("tool-description", lambda b: None, lambda b: spec(b).update(description=None)),
    ("tool-description", lambda b: None, lambda b: spec(b).pop("description")),
    (
        "tool-description-length",
        lambda b: spec(b).update(description="x" * 10_004),
        lambda b: spec(b).update(description="x" * 10_005),
    ),
    ("schema-object", lambda b: None, lambda b: schema(b).update(type="array")),
    ("schema-object", lambda b: None, lambda b: spec(b).update(inputSchema={"json": None})),
    ("schema-object", lambda b: None, lambda b: spec(b).update(inputSchema=schema(b))),
    (
        "schema-properties",
        lambda b: schema(b).update(properties={}),
        lambda b: schema(b).update(properties=None),
    ),
    ("schema-properties", lambda b: None, lambda b: schema(b).pop("properties")),
    (
        "schema-required",
        lambda b: schema(b).pop("required"),
        lambda b: schema(b).update(required=None),
    ),
    (
        "schema-combinator",
        lambda b: schema(b)["properties"].update(x={"oneOf": [{"type": "string"}]}),
        lambda b: schema(b).update(oneOf=[]),
    ),
    ("schema-keyword", lambda b: None, lambda b: schema(b).update({"$schema": "x"})),
    (
        "schema-number",
        lambda b: schema(b)["properties"].update(x={"maximum": 5}),
        lambda b: schema(b)["properties"].update(x={"maximum": 2**53}),
    ),
    ("schema-type-case", lambda b: None, lambda b: schema(b).update(type="OBJECT")),
    (
        "image-count",
        lambda b: current(b).update(images=[image(b)] * 10),
        lambda b: current(b).update(images=[image(b)] * 11),
    ),
    (
        "image-size",
        lambda b: image(b)["source"].update(bytes=png_of(10 * 1024 * 1024)),
        lambda b: image(b)["source"].update(bytes=png_of(10 * 1024 * 1024 + 1)),
    ),
    ("image-format", lambda b: None, lambda b: image(b).update(format="jpg")),
    ("image-bytes", lambda b: None, lambda b: image(b).update(format="jpeg")),
    (
        "image-bytes",
        lambda b: None,
        lambda b: image(b)["source"].update(bytes="data:image/png;base64," + PNG),
    ),
    (
        "model-id",
        lambda b: current(b).update(modelId="auto"),
        lambda b: current(b).update(modelId="claude-sonnet-4-5"),
    ),
    ("model-id", lambda b: current(b).pop("modelId"), lambda b: current(b).update(modelId="")),
    ("profile-shape", lambda b: b.pop("profileArn"), lambda b: b.update(profileArn="none")),
    (
        "effort-model",
        lambda b: effort(b, "claude-opus-4.8", EFFORT),
        lambda b: effort(b, "claude-sonnet-4.5", EFFORT),
    ),
    (
        "effort-fields",
        lambda b: effort(b, "claude-opus-4.8", {**EFFORT, "thinking": {"type": "adaptive"}}),
        lambda b: effort(b, "claude-opus-4.8", {"output_config": {"effort": "huge"}}),
    ),
    ("effort-fields", lambda b: None, lambda b: effort(b, "claude-opus-4.8", {"max_tokens": 1})),
    (
        "cwd-length",
        lambda b: None,
        lambda b: context(b)["envState"].update(currentWorkingDirectory="/" * 257),
    ),
]
CASES_BY_CALLER = {  # rules that depend on who asks, or on bytes
    "not-json",
    "surrogate",
    "profile-missing",
    "profile-with-key",
    "schema-contested",
    "environment-missing",
}


def verdict(body: Body, caller: Caller = NORMAL) -> str | None:
    refusal = find_refusal(json.dumps(body).encode(), caller)
    return refusal.rule if refusal else None


def test_the_good_request_is_accepted() -> None:
    assert verdict(good()) is None
    assert verdict(chat_body()) is None


@pytest.mark.parametrize(
    ("rule", "accepted", "refused"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)]
)
def test_a_rule_refuses_what_breaks_it_and_nothing_beside(
    rule: str, accepted: Change, refused: Change
) -> None:
    body = good()
    accepted(body)
    assert verdict(body) is None
    body = copy.deepcopy(good())
    refused(body)
    assert verdict(body) == rule


def test_every_rule_is_tried() -> None:
    assert {case[0] for case in CASES} | CASES_BY_CALLER == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_one_of_kiros_errors(rule: str) -> None:
    error, source = RULES[rule]
    assert error in KIRO_ERRORS
    assert source


@pytest.mark.parametrize("raw", [b"", b"{", b"nul", b'{"a": NaN}', b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    refusal = find_refusal(raw, NORMAL)
    assert refusal is not None
    assert refusal.rule == "not-json"
    assert refusal.error.message == "Improperly formed request."


@pytest.mark.parametrize("raw", [b"[]", b"null", b'"x"'])
def test_a_body_is_an_object(raw: bytes) -> None:
    refusal = find_refusal(raw, NORMAL)
    assert refusal is not None
    assert refusal.rule == "wrong-type"


def test_lone_surrogates_are_refused_and_pairs_pass() -> None:
    """protocol.md 3.4 rule 10, 10 trap 30."""
    assert verdict(chat_body("🧪")) is None
    assert b"\\ud83e" in json.dumps(chat_body("🧪")).encode()
    assert verdict(chat_body("\ud83e")) == "surrogate"


def test_the_profile_is_demanded_of_some_and_forbidden_with_keys() -> None:
    """protocol.md 2.5."""
    body = good()
    bare = {"conversationState": body["conversationState"]}
    assert verdict(bare) is None
    assert verdict(bare, Caller(MODELS, profile_required=True)) == "profile-missing"
    assert verdict(bare, Caller(MODELS, strict=True)) == "profile-missing"
    assert verdict(bare, Caller(MODELS, strict=True, api_key=True)) is None
    assert verdict(body, Caller(MODELS, api_key=True)) == "profile-with-key"
    assert verdict(body, Caller(MODELS, strict=True)) is None


def test_kiro_cli_names_its_system_and_needs_no_profile() -> None:
    """protocol.md 2.4."""
    cli, body = Caller(MODELS, cli=True), good()
    bare = {"conversationState": body["conversationState"]}
    assert verdict(body, cli) is None
    assert verdict(bare, Caller(MODELS, cli=True, strict=True)) is None
    asked = Caller(MODELS, cli=True, profile_required=True)
    assert verdict(bare, asked) == "profile-missing"
    for environment in ({}, {"operatingSystem": ""}):
        context(body)["envState"] = environment
        assert verdict(body, cli) == "environment-missing"
        assert verdict(body) is None
    del context(body)["envState"]
    assert verdict(body, cli) == "environment-missing"


def test_contested_schema_keywords_are_refused_when_strict() -> None:
    body = good()
    schema(body)["additionalProperties"] = False
    assert verdict(body) is None
    assert verdict(body, Caller(MODELS, strict=True)) == "schema-contested"


def test_parallel_calls_are_answered_together() -> None:
    body = good()
    second = {"toolUseId": "tooluse_2", "name": "other-1", "input": {}}
    assistant(body)["toolUses"].append(second)
    assert verdict(body) == "unanswered-use"
    context(body)["toolResults"].append({**result(body), "toolUseId": "tooluse_2"})
    assert verdict(body) is None


def test_a_result_two_turns_late_does_not_count() -> None:
    """Pairing is by adjacency (protocol.md 3.4 rule 3)."""
    body = good()
    history(body).append({"userInputMessage": {"content": "never mind"}})
    history(body).append({"assistantResponseMessage": {"content": "fine"}})
    assert verdict(body) == "unanswered-use"


def test_errors_are_kiros() -> None:
    body = good()
    result(body)["toolUseId"] = "x"
    refusal = find_refusal(json.dumps(body).encode(), NORMAL)
    assert refusal is not None
    assert refusal.error.reason == "TOOL_USE_RESULT_MISMATCH"
    assert "tooluse" in refusal.detail or "x" in refusal.detail
