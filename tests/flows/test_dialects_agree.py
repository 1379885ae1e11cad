"""The same script gives the same text, tools, stop and usage through all dialects."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.dialects.openai_chat.helpers import assemble as assemble_chat
from tests.dialects.openai_chat.helpers import chunks_of
from tests.dialects.openai_responses.helpers import assemble as assemble_response
from tests.dialects.openai_responses.helpers import events_of as response_events
from tests.flows.client import assemble, body, events_of, post
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

TRAILERS: list[Any] = [{"context": 3.5}, {"metering": 0.01}]
SCHEMA = {"type": "object", "properties": {"a": {}}, "required": ["a"]}
MESSAGES = [{"role": "user", "content": "the same words"}]
TOOLS: list[Any] = [
    {"name": "write", "description": "w", "input_schema": SCHEMA},
]
FUNCTION = {"name": "write", "description": "w", "parameters": SCHEMA}
WRITE: Any = {"tool": {"name": "write", "input": {"a": "é🧪"}, "fragments": 5}}
CUT: Any = {"tool": {"name": "write", "input": '{"a": "', "stop": False}}
THOUGHT = [{"text": "<thinking>\nHm"}, {"text": ".</thinking>\n\n"}]
TOKENS = {"uncachedInputTokens": 11, "outputTokens": 22, "cacheReadInputTokens": 33}
SCRIPTS: dict[str, list[Any]] = {
    "text": [{"text": "Hello "}, {"text": "there"}, *TRAILERS],
    "thinking": [*THOUGHT, {"text": "So."}, *TRAILERS],
    "only thinking": [*THOUGHT, *TRAILERS],
    "tools": [{"text": "I "}, {"text": "do."}, WRITE, WRITE, *TRAILERS],
    "tool alone": [WRITE, *TRAILERS],
    "text after a tool": [WRITE, {"text": "Done."}, *TRAILERS],
    "cut tool": [{"text": "I do."}, CUT, *TRAILERS],
    "no trailer": [{"text": "Once upon"}],
    "full": [{"text": "Once upon"}, {"context": 100.0}, {"metering": 1}],
    "filtered": [{"text": "Once upon"}, {"metadata": {"stopReason": "CONTENT_FILTERED"}}],
    "upstream's counts": [{"text": "a"}, {"metadata": {"tokenUsage": TOKENS}}, *TRAILERS],
    "cut body": [{"text": "Once upon"}, {"close": True}],
    "exception": [{"text": "Once upon"}, {"exception": "ThrottlingException"}],
}
STOPS = {
    "end_turn": "whole",
    "tool_use": "whole",
    "max_tokens": "cut",
    "model_context_window_exceeded": "cut",
    "refusal": "filtered",
    "stop": "whole",
    "tool_calls": "whole",
    "length": "cut",
    "content_filter": "filtered",
}
INCOMPLETE = {"max_output_tokens": "cut", "content_filter": "filtered"}
Outcome = dict[str, Any]
FAILED: Outcome = {"stop": "failed"}


def outcome(text: str, thoughts: str, calls: list[Any], stop: str, counts: Any) -> Outcome:
    """What all dialects are to agree upon; cut calls are left out."""
    whole = []
    for name, arguments in calls:
        try:
            whole.append((name, json.loads(arguments)))
        except ValueError:
            assert stop == "cut"
    return {"text": text, "thoughts": thoughts, "calls": whole, "stop": stop, "counts": counts}


def of_anthropic(proxy: Proxy, stream: bool) -> Outcome:
    thinking = {"type": "enabled", "budget_tokens": 4000}
    request = body(messages=MESSAGES, tools=TOOLS, thinking=thinking, max_tokens=9000)
    if stream:
        message = assemble(events_of(proxy, request))
        if message["stop_reason"].startswith("error:"):
            return FAILED
    else:
        answer = post(proxy, request)
        if answer.status_code != 200:
            return FAILED
        message = answer.json()
    blocks = message["content"]
    usage = message["usage"]
    cached = usage.get("cache_read_input_tokens", 0) + usage.get("cache_creation_input_tokens", 0)
    return outcome(
        "".join(b["text"] for b in blocks if b["type"] == "text"),
        "".join(b["thinking"] for b in blocks if b["type"] == "thinking"),
        [
            (b["name"], b.get("cut") or json.dumps(b["input"]))
            for b in blocks
            if b["type"] == "tool_use"
        ],
        STOPS[message["stop_reason"]],
        (usage["input_tokens"] + cached, usage["output_tokens"]),
    )


def of_chat(proxy: Proxy, stream: bool) -> Outcome:
    request = {
        "model": "claude-sonnet-4-5",
        "messages": MESSAGES,
        "tools": [{"type": "function", "function": FUNCTION}],
        "reasoning_effort": "low",
        "stream": stream,
        "stream_options": {"include_usage": True},
    }
    answer = post(proxy, request, "/v1/chat/completions")
    if answer.status_code != 200:
        return FAILED
    if stream:
        chunks = chunks_of(answer.content)
        if "error" in chunks[-1]:
            return FAILED
        message = assemble_chat(chunks, include_usage=True)
        calls = [(call["name"], call["arguments"]) for call in message["calls"]]
        finish, usage = message["finish_reason"], message["usage"]
    else:
        [choice] = answer.json()["choices"]
        message, finish, usage = choice["message"], choice["finish_reason"], answer.json()["usage"]
        functions = [call["function"] for call in message.get("tool_calls", ())]
        calls = [(function["name"], function["arguments"]) for function in functions]
    return outcome(
        message["content"] or "",
        message.get("reasoning_content", ""),
        calls,
        STOPS[finish],
        (usage["prompt_tokens"], usage["completion_tokens"]),
    )


def of_responses(proxy: Proxy, stream: bool) -> Outcome:
    request = {
        "model": "claude-sonnet-4-5",
        "input": MESSAGES,
        "tools": [{"type": "function", **FUNCTION}],
        "reasoning": {"effort": "low"},
        "stream": stream,
    }
    answer = post(proxy, request, "/v1/responses")
    if answer.status_code != 200:
        return FAILED
    if stream:
        response = assemble_response(response_events(answer.content)).response
    else:
        response = answer.json()
    if response["status"] == "failed":
        return FAILED
    items = response["output"]
    details, usage = response["incomplete_details"], response["usage"]
    return outcome(
        "".join(i["content"][0]["text"] for i in items if i["type"] == "message"),
        "".join(i["summary"][0]["text"] for i in items if i["type"] == "reasoning"),
        [(i["name"], i["arguments"]) for i in items if i["type"] == "function_call"],
        INCOMPLETE[details["reason"]] if details else "whole",
        (usage["input_tokens"], usage["output_tokens"]),
    )


DIALECTS: list[Callable[[Proxy, bool], Outcome]] = [of_anthropic, of_chat, of_responses]


@pytest.mark.parametrize("name", SCRIPTS)
def test_all_dialects_agree_streamed_and_not(sim: Simulator, proxy: Proxy, name: str) -> None:
    sim.script({"steps": SCRIPTS[name]}, times=None)
    outcomes = [dialect(proxy, stream) for dialect in DIALECTS for stream in (True, False)]
    assert outcomes == [outcomes[0]] * len(outcomes)
    assert (outcomes[0] == FAILED) == (name in ("cut body", "exception"))
    bodies = [r["body"]["conversationState"] for r in sim.requests("/generateAssistantResponse")]
    asked = [
        {k: v for k, v in one.items() if k not in ("conversationId", "agentContinuationId")}
        for one in bodies
    ]
    if outcomes[0] != FAILED:
        assert asked == [asked[0]] * len(outcomes), "and Kiro was asked the same"
