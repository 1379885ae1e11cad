"""The table of design 4, "How the answer ends": every cell, streamed and not."""

from typing import Any

import pytest

from tests.flows.client import assemble, body, events_of, post
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

TEXT = {"text": "Once upon a time"}
TRAILERS = [{"context": 3.5}, {"metering": 0.01}]
OPEN_TOOL: dict[str, Any] = {
    "tool": {
        "id": "tooluse_1",
        "name": "write",
        "input": '{"path": "a", "text": "on',
        "fragments": 3,
        "stop": False,
    }
}
WHOLE_TOOL: dict[str, Any] = {
    "tool": {"id": "tooluse_1", "name": "write", "input": {"path": "a", "text": "b"}}
}
BROKEN_TOOL: dict[str, Any] = {
    "tool": {"id": "tooluse_1", "name": "write", "input": '{"path": "a", "te', "stop": True}
}
TOOLS = [
    {
        "name": "write",
        "description": "Write a file",
        "input_schema": {
            "type": "object",
            "properties": {"path": {"type": "string"}, "text": {"type": "string"}},
            "required": ["path", "text"],
        },
    }
]


def script(*steps: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"steps": list(steps)} | fields


CUT_BODY = {"close": True}
THROTTLED = {"exception": "ThrottlingException", "payload": {"message": "slow down"}}
TOO_LONG = {"exception": "ContentLengthExceededException", "payload": {"message": "output limit"}}
FILTERED = {"metadata": {"stopReason": "CONTENT_FILTERED"}}
BAD_PAYLOAD = {"event": "assistantResponseEvent", "payload": '{"content": '}

STREAMED = [
    # upstream's ending, after text, with an open call
    ("trailer", [*TRAILERS], "end_turn", "max_tokens"),
    ("metadata alone", [{"metadata": {}}], "end_turn", "max_tokens"),
    ("no trailer", [], "max_tokens", "max_tokens"),
    ("cut body", [CUT_BODY], "error:api_error", "error:api_error"),
    ("reset", [{"reset": True}], "error:api_error", "error:api_error"),
    ("half a frame", [{"cut": 20}, TEXT], "error:api_error", "error:api_error"),
    ("corrupt frame", [{"corrupt": "payload"}, TEXT], "error:api_error", "error:api_error"),
    ("undecodable", [BAD_PAYLOAD], "error:api_error", "error:api_error"),
    ("exception", [THROTTLED], "error:rate_limit_error", "error:rate_limit_error"),
    ("error frame", [{"error": "InternalError"}], "error:api_error", "error:api_error"),
    ("length exception", [TOO_LONG], "max_tokens", "max_tokens"),
    ("content filter", [FILTERED, *TRAILERS], "refusal", "refusal"),
    (
        "full",
        [{"context": 100.0}],
        "model_context_window_exceeded",
        "model_context_window_exceeded",
    ),
]


@pytest.mark.parametrize(("ending", "after_text"), [(row[1], row[2]) for row in STREAMED])
def test_after_text(sim: Simulator, proxy: Proxy, ending: list[Any], after_text: str) -> None:
    sim.script(script(TEXT, *ending))
    message = assemble(events_of(proxy, body()))
    assert message["content"] == [{"type": "text", "text": "Once upon a time"}]
    assert message["stop_reason"] == after_text


@pytest.mark.parametrize(("ending", "with_call"), [(row[1], row[3]) for row in STREAMED])
def test_with_an_open_call(sim: Simulator, proxy: Proxy, ending: list[Any], with_call: str) -> None:
    sim.script(script(OPEN_TOOL, *ending))
    message = assemble(events_of(proxy, body(tools=TOOLS)))
    assert message["stop_reason"] == with_call
    [call] = message["content"]
    assert call["cut"] == '{"path": "a", "text": "on', "passed on as it came, never completed"


@pytest.mark.parametrize(
    ("tool", "reason"), [(WHOLE_TOOL, "tool_use"), (BROKEN_TOOL, "max_tokens")]
)
def test_stopped_call(sim: Simulator, proxy: Proxy, tool: dict[str, Any], reason: str) -> None:
    sim.script(script(TEXT, tool, *TRAILERS), times=2)
    message = assemble(events_of(proxy, body(tools=TOOLS)))
    assert message["stop_reason"] == reason
    whole = post(proxy, body(tools=TOOLS)).json()
    assert whole["stop_reason"] == reason
    kinds = [block["type"] for block in whole["content"]]
    assert kinds == (["text", "tool_use"] if reason == "tool_use" else ["text"])


def test_s170_call_without_its_required_input_was_cut(sim: Simulator, proxy: Proxy) -> None:
    """Trap 1: never `{}` for a tool that needs more."""
    sim.script(script({"tool": {"name": "write", "input": "", "stop": True}}, *TRAILERS), times=2)
    events = events_of(proxy, body(tools=TOOLS))
    assert assemble(events)["stop_reason"] == "max_tokens"
    assert not any("{}" in str(event.get("delta", {}).get("partial_json")) for event in events)
    assert post(proxy, body(tools=TOOLS)).json()["stop_reason"] == "max_tokens"


NOT_STREAMED = [
    ("no trailer", [TEXT], 200, "max_tokens"),
    ("cut call", [TEXT, OPEN_TOOL, *TRAILERS], 200, "max_tokens"),
    ("length exception", [TEXT, TOO_LONG], 200, "max_tokens"),
    ("full", [TEXT, {"context": 100}], 200, "model_context_window_exceeded"),
    ("content filter", [TEXT, FILTERED], 200, "refusal"),
    ("cut body", [TEXT, CUT_BODY], 502, "api_error"),
    ("corrupt", [TEXT, {"corrupt": "crc"}, TEXT], 502, "api_error"),
    ("exception", [TEXT, THROTTLED], 429, "rate_limit_error"),
]


@pytest.mark.parametrize(
    ("steps", "status", "reason"),
    [row[1:] for row in NOT_STREAMED],
    ids=[r[0] for r in NOT_STREAMED],
)
def test_not_streamed(
    sim: Simulator, proxy: Proxy, steps: list[Any], status: int, reason: str
) -> None:
    sim.script(script(*steps), times=None)
    answer = post(proxy, body(tools=TOOLS))
    assert answer.status_code == status, answer.text
    if status == 200:
        assert answer.json()["stop_reason"] == reason
        assert answer.json()["content"] == [{"type": "text", "text": "Once upon a time"}]
    else:
        assert answer.json()["error"]["type"] == reason


NOTHING_SENT = [
    ("empty", [*TRAILERS], 502, "api_error", 2),
    ("nothing at all", [], 502, "api_error", 2),
    ("cut body", [CUT_BODY], 502, "api_error", 3),
    ("reset", [{"reset": True}], 502, "api_error", 3),
    ("half a frame", [{"cut": 20}, TEXT], 502, "api_error", 3),
    ("corrupt", [{"corrupt": "prelude"}, TEXT], 502, "api_error", 3),
    ("throttled", [THROTTLED], 429, "rate_limit_error", 3),
    ("full", [{"context": 100}, {"metering": 1}], 400, "invalid_request_error", 1),
    ("length exception", [TOO_LONG], 400, "invalid_request_error", 1),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("steps", "status", "kind", "calls"),
    [row[1:] for row in NOTHING_SENT],
    ids=[row[0] for row in NOTHING_SENT],
)
def test_nothing_sent_yet(
    sim: Simulator,
    proxy: Proxy,
    steps: list[Any],
    status: int,
    kind: str,
    calls: int,
    stream: bool,
) -> None:
    sim.script(script(*steps), times=None)
    answer = post(proxy, body(stream=stream))
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == kind
    assert len(sim.requests("/generateAssistantResponse")) == calls
    if status == 400:
        assert answer.json()["error"]["message"].startswith("prompt is too long: ")


def test_empty_answer_is_retried_once(sim: Simulator, proxy: Proxy) -> None:
    sim.script(script(*TRAILERS))
    sim.script(script(TEXT, *TRAILERS))
    assert assemble(events_of(proxy, body()))["stop_reason"] == "end_turn"


def test_failure_before_the_first_event_fails_over(sim: Simulator, proxy: Proxy) -> None:
    sim.script(script({"cut": 7}, TEXT))
    sim.script(script(TEXT, *TRAILERS))
    assert assemble(events_of(proxy, body()))["stop_reason"] == "end_turn"


@pytest.mark.parametrize("step", [TEXT, OPEN_TOOL])
def test_idle_limit(sim: Simulator, hasty_proxy: Proxy, step: dict[str, Any]) -> None:
    sim.script(script(step, {"hang": None}))
    message = assemble(events_of(hasty_proxy, body(tools=TOOLS)))
    assert message["stop_reason"] == "error:timeout_error"


def test_idle_limit_with_nothing_sent(sim: Simulator, hasty_proxy: Proxy) -> None:
    sim.script(script({"hang": None}), times=None)
    assert post(hasty_proxy, body()).status_code == 504


def test_untrailed_end_may_be_declared_complete(
    running_simulator: Simulator, sim: Simulator, tmp_path: Any
) -> None:
    from tests.flows.conftest import credential

    config = {"untrailedEnd": "complete"}
    with Proxy(tmp_path, config, [credential()], upstream=sim.url, workers=1) as proxy:
        sim.script(script(TEXT))
        assert assemble(events_of(proxy, body()))["stop_reason"] == "end_turn"


@pytest.mark.parametrize("trailers", [[{"metering": 0.1}], [{"metering": 0.1}, {"context": 2}]])
def test_upstream_that_never_closes(sim: Simulator, proxy: Proxy, trailers: list[Any]) -> None:
    """Protocol notes 4.2: after the metering the server often leaves the connection open."""
    sim.script(script(TEXT, *trailers, {"stay_open": True}))
    assert assemble(events_of(proxy, body()))["stop_reason"] == "end_turn"
    sim.wait_for(streamsOpen=0)
