"""Conversation → Kiro's body (protocol notes 3; S45, S46, S56, S60, S63)."""

import base64
import json
from typing import Any

import pytest

from kiroproxy.conversation import (
    Block,
    Conversation,
    Image,
    Message,
    Text,
    ThinkingMode,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from kiroproxy.errors import InvalidRequest
from kiroproxy.kiro.models import Choice, Model
from kiroproxy.kiro.reply import Expectations
from kiroproxy.kiro.request import (
    ACKNOWLEDGED,
    MAX_IMAGE_BYTES,
    MAX_IMAGES,
    KiroRequest,
    RequestSettings,
    build_request,
    effort_of,
    thinking_tags,
)
from kiroproxy.simulator.refusals import Caller, find_refusal

MODEL = Model("claude-sonnet-4.5", "Sonnet", 123_000)
CALLER = Caller(["claude-sonnet-4.5"], strict=True)
ARN = "arn:aws:codewhisperer:us-east-1:111122223333:profile/EXAMPLE"
ID = "6f3c0d5e-7c0e-4a50-9a0e-3f1b1d3f8c11"
HEADS = {
    "png": b"\x89PNG\r\n\x1a\n",
    "jpeg": b"\xff\xd8\xff\xe0",
    "gif": b"GIF89a",
    "webp": b"RIFF\0\0\0\0WEBPVP8 ",
}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


PNG = encoded(HEADS["png"] + bytes(16))


def build(*, thinking_name: bool = False, limit: int = 10_000, **fields: Any) -> KiroRequest:
    """Build a request; Kiro's refusals must have nothing against it."""
    fields = {"messages": [Message("user", [Text("Hi")])], "max_tokens": 4096} | fields
    built = build_request(
        Conversation("claude-sonnet-4-5", **fields),
        Choice(MODEL, thinking_name),
        RequestSettings(description_limit=limit),
        conversation_id=ID,
        continuation_id=ID,
    )
    assert find_refusal(built.body(ARN), CALLER) is None
    return built


def state_of(built: KiroRequest) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(built.body())["conversationState"]
    return state


def current_of(built: KiroRequest) -> dict[str, Any]:
    current: dict[str, Any] = state_of(built)["currentMessage"]["userInputMessage"]
    return current


def system_of(built: KiroRequest) -> str:
    """The text of the pair in front of the conversation."""
    history = state_of(built).get("history", [])
    if not history:
        return ""
    assert history[1] == {"assistantResponseMessage": {"content": ACKNOWLEDGED}}
    text: str = history[0]["userInputMessage"]["content"]
    return text


def test_smallest() -> None:
    built = build()
    assert state_of(built) == {
        "conversationId": ID,
        "agentContinuationId": ID,
        "agentTaskType": "vibe",
        "chatTriggerType": "MANUAL",
        "currentMessage": {
            "userInputMessage": {
                "content": "Hi",
                "modelId": "claude-sonnet-4.5",
                "origin": "AI_EDITOR",
            }
        },
    }
    assert built.model is MODEL


def test_s105_profile_arn_is_at_the_root() -> None:
    built = build()
    assert json.loads(built.body(ARN)).keys() == {"profileArn", "conversationState"}
    assert json.loads(built.body()).keys() == {"conversationState"}


def test_trap_4_system_text_is_a_pair() -> None:
    built = build(system=["You are terse.", "Be kind."])
    assert system_of(built) == "You are terse.\nBe kind."
    assert len(state_of(built)["history"]) == 2


BILLING = "x-anthropic-billing-header: cc_version=2.1.197.2ed; cc_entrypoint=sdk-cli; cch=0a1b2;"


@pytest.mark.parametrize(
    ("system", "sent"),
    [
        ([BILLING], ""),
        ([BILLING, "Be terse."], "Be terse."),
        ([BILLING.removesuffix(";"), "Be terse."], "Be terse."),
        (["x-anthropic-billing-header: lorem ipsum\nBe terse."], "Be terse."),
        ([BILLING + "\nBe terse."], "Be terse."),
        ([BILLING + " Be terse."], "Be terse."),
        ([BILLING + "\na=b; c"], "a=b; c"),
        (["About x-anthropic-billing-header: a=b;"], "About x-anthropic-billing-header: a=b;"),
        (["", " "], ""),
    ],
)
def test_billing_header_does_not_reach_the_model(system: list[str], sent: str) -> None:
    assert system_of(build(system=system)) == sent


@pytest.mark.parametrize(
    ("mode", "tags"),
    [
        (ThinkingMode(), ""),
        (
            ThinkingMode("enabled", 10_000),
            "<thinking_mode>enabled</thinking_mode>"
            "<max_thinking_length>10000</max_thinking_length>",
        ),
        (
            ThinkingMode("enabled", 31_999),
            "<thinking_mode>enabled</thinking_mode>"
            "<max_thinking_length>24576</max_thinking_length>",
        ),
        (
            ThinkingMode("enabled"),
            "<thinking_mode>enabled</thinking_mode>"
            "<max_thinking_length>20000</max_thinking_length>",
        ),
        (
            ThinkingMode("adaptive", effort="max"),
            "<thinking_mode>adaptive</thinking_mode><thinking_effort>max</thinking_effort>",
        ),
        (
            ThinkingMode("adaptive"),
            "<thinking_mode>adaptive</thinking_mode><thinking_effort>high</thinking_effort>",
        ),
    ],
)
def test_s45_s46_s52_thinking_tags(mode: ThinkingMode, tags: str) -> None:
    assert thinking_tags(mode) == tags
    built = build(thinking=mode, system=["Be terse."])
    assert system_of(built) == (f"{tags}\nBe terse." if tags else "Be terse.")
    assert built.expectations.thinking is bool(tags)


def test_thinking_tags_are_not_repeated() -> None:
    own = "<thinking_mode>enabled</thinking_mode> as I say"
    assert system_of(build(thinking=ThinkingMode("enabled"), system=[own])) == own


def test_model_name_turns_thinking_on() -> None:
    built = build(thinking_name=True)
    assert "<max_thinking_length>20000<" in system_of(built)
    assert built.expectations.thinking
    assert "<thinking_effort>low<" in system_of(
        build(thinking_name=True, thinking=ThinkingMode("adaptive", effort="low"))
    )


@pytest.mark.parametrize(
    ("max_tokens", "thinks"), [(1, False), (511, False), (512, True), (0, True)]
)
def test_trap_22_probes_do_not_think(max_tokens: int, thinks: bool) -> None:
    built = build(thinking=ThinkingMode("enabled", 4096), max_tokens=max_tokens)
    assert built.expectations.thinking is thinks
    assert ("<thinking_mode>" in system_of(built)) is thinks


def test_json_schema_is_told() -> None:
    text = system_of(build(json_schema={"type": "object"}))
    assert "JSON" in text
    assert '{"type":"object"}' in text
    assert "JSON" in system_of(build(json_schema={}))


def test_s55_two_turn_loop() -> None:
    """Ids and names are the same on both sides (trap 10), and tools stand in the last turn only."""
    name, id_ = "mcp__" + "x" * 80, "call\n1"
    built = build(
        messages=[
            Message("user", [Text("size?")]),
            Message("assistant", [ToolUse(id_, name, {"path": "a"})]),
            Message("user", [ToolResult(id_, [Text("12"), Image(PNG)], is_error=True)]),
        ],
        tools=[Tool(name, "File size", {"type": "object", "required": ["path"]})],
    )
    history = state_of(built)["history"]
    [call] = history[1]["assistantResponseMessage"]["toolUses"]
    current = current_of(built)
    context = current["userInputMessageContext"]
    [result] = context["toolResults"]
    [tool] = context["tools"]
    assert call["toolUseId"] == result["toolUseId"]
    assert call["name"] == tool["toolSpecification"]["name"]
    assert call["input"] == {"path": "a"}
    assert (result["status"], result["content"]) == ("error", [{"text": "12"}])
    assert current["content"] == " "
    assert current["images"] == [{"format": "png", "source": {"bytes": PNG}}]
    assert built.expectations.client_names == {call["name"]: name}
    assert built.expectations.needs_input == {name}


def test_undeclared_tools_of_the_history_are_declared() -> None:
    built = build(
        messages=[
            Message("user", [Text("a")]),
            Message("assistant", [ToolUse("t1", "gone", {})]),
            Message("user", [ToolResult("t1", [Text("x")])]),
        ]
    )
    [tool] = current_of(built)["userInputMessageContext"]["tools"]
    assert tool["toolSpecification"]["name"] == "gone"


def test_s56_overflow_moves_into_the_system_text() -> None:
    built = build(tools=[Tool("t", "12345678", None)], limit=5, system=["Be terse."])
    [tool] = current_of(built)["userInputMessageContext"]["tools"]
    assert tool["toolSpecification"]["description"] == "12345"
    assert system_of(built).startswith("Be terse.\n")
    assert system_of(built).endswith("\n678")


@pytest.mark.parametrize("kind", HEADS)
def test_s63_trap_15_the_bytes_name_the_format(kind: str) -> None:
    data = encoded(HEADS[kind] + bytes(40))
    built = build(messages=[Message("user", [Image(data)])])
    assert current_of(built)["images"] == [{"format": kind, "source": {"bytes": data}}]
    assert current_of(built)["content"] == " "


def test_base64_in_lines() -> None:
    built = build(messages=[Message("user", [Image(PNG[:20] + "\r\n" + PNG[20:] + "\n")])])
    assert current_of(built)["images"][0]["source"]["bytes"] == PNG


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "not a PNG"),
        (encoded(b"<svg/>"), "not a PNG"),
        ("%%%", "not valid base64"),
        (PNG + "?", "not valid base64"),
        ("é" * 8, "not valid base64"),
        (PNG[:-3], "not valid base64"),
        (encoded(HEADS["png"] + bytes(MAX_IMAGE_BYTES)), "10485768 bytes"),
    ],
)
def test_bad_images_are_named(data: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        build(messages=[Message("user", [Image(data, "messages.0.content.0")])])
    assert str(caught.value).startswith("messages.0.content.0: ")


def test_too_many_images() -> None:
    def images(count: int) -> list[Block]:
        return [Image(PNG, f"messages.0.content.{n}") for n in range(count)]

    build(messages=[Message("user", images(MAX_IMAGES))])
    with pytest.raises(InvalidRequest, match=r"messages\.0\.content\.10: one image too many"):
        build(messages=[Message("user", images(MAX_IMAGES + 1))])


def test_images_of_tools_give_way_to_one_another() -> None:
    """An agent that looks at too many at once could never go on after a refusal."""
    calls: list[Block] = [ToolUse(f"t{n}", "look", {}) for n in range(MAX_IMAGES + 2)]
    results: list[Block] = [ToolResult(f"t{n}", [Image(PNG)]) for n in range(MAX_IMAGES + 2)]
    turns = [Message("user", [Text("a")]), Message("assistant", calls), Message("user", results)]
    current = json.loads(build(messages=turns).state)["currentMessage"]["userInputMessage"]
    assert len(current["images"]) == MAX_IMAGES
    assert current["content"].startswith("[2 images are left out here, the first ones")


def test_images_of_earlier_turns_give_way() -> None:
    """They come again with every turn: a refusal would end the session."""
    turns = [
        Message("user", [Text("old"), *[Image(PNG)] * 7]),
        Message("assistant", [Text("seen")]),
        Message("user", [Text("new"), *[Image(PNG)] * 6]),
    ]
    state = json.loads(build(messages=turns).state)
    old = state["history"][0]["userInputMessage"]
    assert len(old["images"]) == 4
    assert old["content"] == "old\n[3 earlier images are left out here]"
    assert len(state["currentMessage"]["userInputMessage"]["images"]) == 6


@pytest.mark.parametrize(
    ("thinking", "effort"),
    [
        (ThinkingMode(), ""),
        (ThinkingMode("adaptive"), "high"),
        (ThinkingMode("adaptive", effort="low"), "low"),
        (ThinkingMode("adaptive", effort="unheard of"), "high"),
        (ThinkingMode("enabled", 4000), "low"),
        (ThinkingMode("enabled", 16_000), "medium"),
        (ThinkingMode("enabled", 31_999), "high"),
        (ThinkingMode("enabled", 100_000), "xhigh"),
    ],
)
def test_native_effort(thinking: ThinkingMode, effort: str) -> None:
    """Protocol notes 3.9."""
    assert effort_of(thinking) == effort


def test_effort_field_stands_at_the_root() -> None:
    request = KiroRequest(b"{}", Model("m", "M"), Expectations(), effort="max")
    assert json.loads(request.body("arn", with_effort=True)) == {
        "profileArn": "arn",
        "conversationState": {},
        "additionalModelRequestFields": {"output_config": {"effort": "max"}},
    }
    assert json.loads(request.body()) == {"conversationState": {}}


def test_expectations() -> None:
    built = build(
        stop_sequences=["END"],
        tool_choice=ToolChoice(parallel=False),
        messages=[Message("user", [Text("word " * 1000)])],
    )
    expected = built.expectations
    assert expected.stop_sequences == ["END"]
    assert not expected.parallel_tools
    assert expected.context_window == 123_000
    assert 800 < expected.input_tokens < 2000
    assert not expected.complete_without_trailer


def test_big_integers_survive() -> None:
    """Q14."""
    built = build(
        messages=[
            Message("user", [Text("a")]),
            Message("assistant", [ToolUse("t1", "t", {"n": 2**70})]),
        ]
    )
    [use] = state_of(built)["history"][1]["assistantResponseMessage"]["toolUses"]
    assert use["input"] == {"n": 2**70}
