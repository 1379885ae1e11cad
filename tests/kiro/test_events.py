"""Frames → events (protocol notes 1.4, 4.1; S40)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.eventstream import Frame
from kiroproxy.kiro import events as kiro
from tests.kiro.helpers import thorough


def frame(kind: str, payload: Any) -> Frame:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Frame({":message-type": "event", ":event-type": kind}, data)


def parse(kind: str, payload: Any) -> kiro.KiroEvent:
    [event] = kiro.parse_events([frame(kind, payload)])
    return event


TEXT = "assistantResponseEvent"
NAMED: list[tuple[str, Any, kiro.KiroEvent]] = [
    (TEXT, {"content": "Hi", "modelId": "m"}, kiro.AssistantResponse(content="Hi")),
    (TEXT, {"content": None, "followupPrompt": {}}, kiro.AssistantResponse(content=None)),
    (TEXT, {}, kiro.AssistantResponse()),
    (TEXT, b"", kiro.AssistantResponse()),
    (TEXT, {"content": "café 你好 🧪"}, kiro.AssistantResponse(content="café 你好 🧪")),
    (
        "toolUseEvent",
        {"toolUseId": "t", "name": "w", "input": '{"a', "stop": True},
        kiro.ToolUseEvent(tool_use_id="t", name="w", input='{"a', stop=True),
    ),
    ("toolUseEvent", {"toolUseId": "t"}, kiro.ToolUseEvent(tool_use_id="t")),
    ("toolUseEvent", {"input": {"a": 2**70}}, kiro.ToolUseEvent(input={"a": 2**70})),
    (
        "reasoningContentEvent",
        {"text": "hm", "signature": "s", "redactedContent": "cmVk"},
        kiro.ReasoningContent(text="hm", signature="s", redacted_content="cmVk"),
    ),
    (
        "contextUsageEvent",
        {"contextUsagePercentage": 3},
        kiro.ContextUsage(context_usage_percentage=3.0),
    ),
    ("meteringEvent", {"usage": 0.02, "unit": "credit"}, kiro.Metering(usage=0.02)),
    ("metadataEvent", {"stopReason": "X"}, kiro.Metadata(stopReason="X")),
    ("metadataEvent", {"stop_reason": "X"}, kiro.Metadata(stop_reason="X")),
    (
        "metadataEvent",
        {"tokenUsage": {"uncachedInputTokens": 1, "outputTokens": 2, "totalTokens": 3}},
        kiro.Metadata(tokenUsage=kiro.TokenUsage(uncached_input_tokens=1, output_tokens=2)),
    ),
    ("codeReferenceEvent", {"references": []}, kiro.Unknown("codeReferenceEvent")),
    ("messageMetadataEvent", b"not even JSON", kiro.Unknown("messageMetadataEvent")),
    ("somethingNew", {}, kiro.Unknown("somethingNew")),
]


@pytest.mark.parametrize(("kind", "payload", "event"), NAMED)
def test_named(kind: str, payload: Any, event: kiro.KiroEvent) -> None:
    assert parse(kind, payload) == event


def test_halves_of_a_character_survive_until_they_are_rejoined() -> None:
    assert parse(TEXT, rb'{"content":"a\ud83e"}') == kiro.AssistantResponse(content="a\ud83e")


def test_half_a_character_where_nothing_rejoins_it() -> None:
    event = parse("toolUseEvent", rb'{"toolUseId":"\ud83e","name":"a\ud83e","input":"\ud83e"}')
    assert event == kiro.ToolUseEvent(tool_use_id="\ufffd", name="a\ufffd", input="\ud83e")


BAD: dict[str, bytes] = {
    "cut": b'{"content": "a',
    "UTF-8": b'{"content": "\xff"}',
    "list": b"[]",
    "number": b"7",
    "text": b"Internal error",
    "type": b'{"content": 7}',
    "NaN": b'{"content": "\\ud83e", "x": NaN}',
    "deep": b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "deep half": b'{"content":"\\ud83e","x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "two": b'{"content":"a"}{}',
}


@pytest.mark.parametrize("payload", BAD.values(), ids=BAD)
def test_undecodable_payload(payload: bytes) -> None:
    """Frames' JSON is strict, and what is wrong with it is an event, never an exception."""
    assert isinstance(parse(TEXT, payload), kiro.Undecodable)


def test_infinite_percentage() -> None:
    event = parse("contextUsageEvent", b'{"contextUsagePercentage": 1e999}')
    assert isinstance(event, kiro.Undecodable)


EXCEPTIONS: list[tuple[dict[str, Any], bytes, kiro.UpstreamException]] = [
    (
        {":message-type": "exception", ":exception-type": "ThrottlingException"},
        b'{"message":"slow down","reason":"DAILY_REQUEST_COUNT"}',
        kiro.UpstreamException("ThrottlingException", "slow down", "DAILY_REQUEST_COUNT"),
    ),
    (
        {":message-type": "error", ":error-code": "InternalError", ":error-message": "boom"},
        b"",
        kiro.UpstreamException("InternalError", "boom"),
    ),
    (
        {":message-type": "exception"},
        b'{"__type":"com.amazon#ValidationException","Message":"bad","reason":null}',
        kiro.UpstreamException("ValidationException", "bad"),
    ),
    ({":message-type": "exception"}, b'{"code":"X"}', kiro.UpstreamException("X")),
    ({":message-type": "exception"}, b"\xff", kiro.UpstreamException("exception")),
    ({":message-type": "surprise"}, b"[]", kiro.UpstreamException("surprise")),
    ({":exception-type": "X"}, b"{}", kiro.UpstreamException("X")),
    ({":error-code": "X"}, b"{}", kiro.UpstreamException("X")),
    ({":message-type": 7, ":exception-type": b"x"}, b"{}", kiro.UpstreamException("b'x'")),
]


@pytest.mark.parametrize(("headers", "payload", "event"), EXCEPTIONS)
def test_trap_6_exceptions_inside_a_200(
    headers: dict[str, Any], payload: bytes, event: kiro.UpstreamException
) -> None:
    assert kiro.parse_events([Frame(headers, payload)]) == [event]


def test_message_type_may_be_absent() -> None:
    frames = [Frame({":event-type": TEXT}, b'{"content":"a"}'), Frame({}, b"")]
    assert kiro.parse_events(frames) == [kiro.AssistantResponse(content="a"), kiro.Unknown("")]


def test_order_is_kept() -> None:
    frames = [frame(TEXT, {"content": str(i)}) for i in range(5)]
    assert kiro.parse_events(frames) == [kiro.AssistantResponse(content=str(i)) for i in range(5)]


KINDS = st.sampled_from(
    [TEXT, "toolUseEvent", "reasoningContentEvent", "contextUsageEvent", "metadataEvent", "", "x"]
)
KEYS = st.sampled_from(
    ["content", "toolUseId", "input", "stop", "text", "contextUsagePercentage", "tokenUsage", "x"]
)
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({"a": [1]})


@thorough
@given(
    st.dictionaries(
        st.sampled_from([":message-type", ":event-type", ":exception-type"]), KINDS | st.binary()
    ),
    st.binary() | st.dictionaries(KEYS, VALUES).map(lambda value: json.dumps(value).encode()),
)
def test_nothing_raises(headers: dict[str, Any], payload: bytes) -> None:
    assert len(kiro.parse_events([Frame(headers, payload)])) == 1


@given(st.binary())
def test_lenient_json(data: bytes) -> None:
    assert isinstance(kiro.lenient_json(data), dict)
