"""The real `anthropic` SDK against the real server."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.flows.client import PROMPT
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = [
    pytest.mark.flow,
    pytest.mark.filterwarnings("ignore:The model .* is deprecated:DeprecationWarning"),
]

TRAILERS = [{"context": 3.5}, {"metering": 0.01}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "Get the current weather in a given location",
    "input_schema": {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "City and state"}},
        "required": ["location"],
    },
}
HELLO: Any = {
    "model": "claude-sonnet-4-5",  # 200,000 tokens: 3.5 % are 7000
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": PROMPT}],
}


def plain(content: Any) -> list[dict[str, Any]]:
    """Blocks without the SDK's own classes: its stream helper has some of its own."""
    own = {"parsed_output", "__json_buf"}
    return [block.model_dump(exclude_none=True, exclude=own) for block in content]


@pytest.fixture(params=["/", "/v1"], ids=["base URL", "doubled /v1 (X5)"])
def client(proxy: Proxy, request: pytest.FixtureRequest) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=proxy.url + request.param, api_key=proxy.key, max_retries=0
    ) as made:
        yield made


def test_create_and_stream_agree(sim: Simulator, client: anthropic.Anthropic) -> None:
    """S4, S22, S44."""
    sim.script({"steps": [{"text": "Hello "}, {"text": "there 你好"}, *TRAILERS]}, times=2)
    message = client.messages.create(**HELLO)
    with client.messages.stream(**HELLO) as stream:
        assert "".join(stream.text_stream) == "Hello there 你好"
        streamed = stream.get_final_message()
    assert plain(message.content) == plain(streamed.content)
    assert message.stop_reason == streamed.stop_reason == "end_turn"
    assert message.usage.input_tokens == streamed.usage.input_tokens == 7000
    assert message.model == streamed.model == HELLO["model"], "S71"


def test_auth_token_of_the_sdk(proxy: Proxy, sim: Simulator) -> None:
    """S23: ANTHROPIC_AUTH_TOKEN goes as a bearer."""
    with anthropic.Anthropic(base_url=proxy.url, auth_token=proxy.key, api_key=None) as client:
        assert client.messages.create(**HELLO).stop_reason == "end_turn"


def test_s55_tool_loop(sim: Simulator, client: anthropic.Anthropic) -> None:
    call = {"tool": {"name": "get_weather", "input": {"location": "Zürich 🌤"}, "fragments": 7}}
    second = {"tool": {"name": "get_weather", "input": {"location": "Bern"}}}
    sim.script({"steps": [{"text": "I will look."}, call, second, *TRAILERS]})
    first = client.messages.create(**HELLO, tools=[WEATHER])
    assert first.stop_reason == "tool_use"
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [block.input for block in calls] == [{"location": "Zürich 🌤"}, {"location": "Bern"}]
    results: Any = [
        {"type": "tool_result", "tool_use_id": calls[0].id, "content": "sunny"},
        {
            "type": "tool_result",
            "tool_use_id": calls[1].id,
            "content": [{"type": "text", "text": "broken"}],
            "is_error": True,
        },
    ]
    turns: Any = [
        *HELLO["messages"],
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": results},
    ]
    with client.messages.stream(**HELLO | {"messages": turns}, tools=[WEATHER]) as stream:
        assert stream.get_final_message().stop_reason == "end_turn"
    recorded = sim.requests("/generateAssistantResponse")[-1]
    assert recorded["refused"] is None
    current = recorded["body"]["conversationState"]["currentMessage"]["userInputMessage"]
    assert [
        (result["content"], result["status"])
        for result in current["userInputMessageContext"]["toolResults"]
    ] == [([{"text": "sunny"}], "success"), ([{"text": "broken"}], "error")]


def test_s45_s47_thinking(sim: Simulator, client: anthropic.Anthropic) -> None:
    steps = [{"text": "<think"}, {"text": "ing>\nHm. "}, {"text": "So.</thinking>\n"}]
    sim.script({"steps": [*steps, {"text": "\nThe answer."}, *TRAILERS]}, times=2)
    wanted: Any = HELLO | {
        "max_tokens": 16000,
        "thinking": {"type": "enabled", "budget_tokens": 10000},
    }
    message = client.messages.create(**wanted)
    with client.messages.stream(**wanted) as stream:
        assert plain(stream.get_final_message().content) == plain(message.content)
    thinking, text = message.content
    assert thinking.type == "thinking"
    assert (thinking.thinking, bool(thinking.signature)) == ("Hm. So.", True)
    assert text.type == "text"
    assert text.text == "The answer."
    recorded = sim.requests("/generateAssistantResponse")[-1]
    system = recorded["body"]["conversationState"]["history"][0]["userInputMessage"]["content"]
    assert system.startswith(
        "<thinking_mode>enabled</thinking_mode><max_thinking_length>10000</max_thinking_length>"
    )


def test_native_reasoning(sim: Simulator, client: anthropic.Anthropic) -> None:
    steps: list[Any] = [{"reasoning": "Hm."}, {"reasoning": " So.", "signature": "c2ln"}]
    sim.script({"steps": [*steps, {"text": "Yes."}, *TRAILERS]}, times=2)
    wanted: Any = HELLO | {"max_tokens": 16000, "thinking": {"type": "adaptive"}}
    message = client.messages.create(**wanted)
    with client.messages.stream(**wanted) as stream:
        assert plain(stream.get_final_message().content) == plain(message.content)
    [thinking, _] = message.content
    assert thinking.type == "thinking"
    assert (thinking.thinking, thinking.signature) == ("Hm. So.", "c2ln")


def test_s7_count_tokens(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model=HELLO["model"], messages=HELLO["messages"])
    assert counted.input_tokens >= 1


def test_s1_s2_models(client: anthropic.Anthropic) -> None:
    listed = client.models.list()
    ids = {model.id for model in listed}
    assert {
        "claude-sonnet-4-5-20250929",
        "claude-opus-4-5-20251101",
        "claude-haiku-4-5-20251001",
    } <= ids
    assert listed.has_more is False
    assert client.models.retrieve("claude-sonnet-4-5-20250929").display_name


ERRORS = [
    ({"status": 400, "body": {"message": "Improperly formed request."}}, anthropic.BadRequestError),
    (
        {"status": 400, "body": {"message": "m", "reason": "CONTENT_LENGTH_EXCEEDS_THRESHOLD"}},
        anthropic.BadRequestError,
    ),
    ({"status": 429, "body": {"message": "slow"}}, anthropic.RateLimitError),
    ({"status": 500, "body": {"message": "boom"}}, anthropic.InternalServerError),
    (
        {"status": 429, "body": {"message": "m", "reason": "INSUFFICIENT_MODEL_CAPACITY"}},
        anthropic.OverloadedError,
    ),
]


@pytest.mark.parametrize(("refusal", "kind"), ERRORS, ids=[row[1].__name__ for row in ERRORS])
def test_errors_as_their_classes(
    sim: Simulator, client: anthropic.Anthropic, refusal: dict[str, Any], kind: type[Exception]
) -> None:
    sim.script(refusal, times=None)
    with pytest.raises(kind) as caught:
        client.messages.create(**HELLO)
    assert isinstance(caught.value, anthropic.APIStatusError)
    assert caught.value.request_id
    assert (
        refusal["body"]["message"] not in str(caught.value) or len(refusal["body"]["message"]) < 6
    )


def test_own_errors_as_their_classes(proxy: Proxy, client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**HELLO | {"messages": []})
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(**HELLO | {"model": "no-such-model"})
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("no-such-model")
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.list()
    wrong = client.with_options(api_key="wrong")
    with pytest.raises(anthropic.AuthenticationError):
        wrong.messages.create(**HELLO)


def test_broken_stream_is_an_exception(sim: Simulator, client: anthropic.Anthropic) -> None:
    sim.script({"steps": [{"text": "Once"}, {"close": True}]})
    with (
        pytest.raises(anthropic.APIStatusError),
        client.messages.stream(**HELLO) as stream,
    ):
        stream.get_final_message()


def test_tool_runner_falls_back_from_threads(sim: Simulator, client: anthropic.Anthropic) -> None:
    """clients.md: only the right 400 makes it send its whole history."""

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """Get weather.

        Args:
            city: the city
        """
        return f"sunny in {city}"

    call = {"tool": {"name": "get_weather", "input": {"city": "Bern"}}}
    sim.script({"steps": [call, *TRAILERS]})
    runner = client.beta.messages.tool_runner(
        model=HELLO["model"], max_tokens=200, messages=HELLO["messages"], tools=[get_weather]
    )
    final = runner.until_done()
    assert final.stop_reason == "end_turn"
    last = sim.requests("/generateAssistantResponse")[-1]
    state = last["body"]["conversationState"]
    result = state["currentMessage"]["userInputMessage"]["userInputMessageContext"]["toolResults"]
    assert result[0]["content"] == [{"text": "sunny in Bern"}]
