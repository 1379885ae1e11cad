"""LangChain's and LiteLLM's clients, where they happen to be installed."""

import json
from typing import Any

import pytest

from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = [pytest.mark.flow, pytest.mark.filterwarnings("ignore")]

TRAILERS: list[Any] = [{"context": 3.5}, {"metering": 0.01}]
CALL = {"tool": {"name": "get_weather", "input": {"city": "Zürich 🌤"}, "fragments": 7}}
MODEL = "claude-sonnet-4-5"
QUESTION = "how is the weather?"
SCHEMA: Any = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
WEATHER: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "w", "parameters": SCHEMA},
}


def tool_turn(sim: Simulator) -> None:
    sim.script({"steps": [{"text": "I look."}, CALL, *TRAILERS]})
    sim.script({"steps": [{"text": "It "}, {"text": "is sunny."}, *TRAILERS]})


def check_result(sim: Simulator) -> None:
    last = sim.requests("/generateAssistantResponse")[-1]
    assert last["refused"] is None
    message = last["body"]["conversationState"]["currentMessage"]["userInputMessage"]
    [result] = message["userInputMessageContext"]["toolResults"]
    assert (result["content"], result["status"]) == ([{"text": "sunny"}], "success")


def chat_model(proxy: Proxy, *, responses: bool) -> Any:
    langchain = pytest.importorskip("langchain_openai", exc_type=ImportError)
    return langchain.ChatOpenAI(
        model=MODEL,
        base_url=f"{proxy.url}/v1",
        api_key=proxy.key,
        use_responses_api=responses,
        max_retries=0,
        stream_usage=True,
    )


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
def test_langchain(sim: Simulator, proxy: Proxy, responses: bool) -> None:
    model = chat_model(proxy, responses=responses).bind_tools([WEATHER])
    tool_turn(sim)
    first = model.invoke(QUESTION)
    [call] = first.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Zürich 🌤"})
    assert first.usage_metadata["input_tokens"] == 7000
    turns = [
        ("user", QUESTION),
        first,
        {"role": "tool", "tool_call_id": call["id"], "content": "sunny"},
    ]
    whole = None
    for chunk in model.stream(turns):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert whole.text == "It is sunny."
    assert whole.usage_metadata["input_tokens"] == 7000
    check_result(sim)


def test_langchain_sees_that_a_chat_stream_broke(sim: Simulator, proxy: Proxy) -> None:
    openai = pytest.importorskip("openai")
    sim.script({"steps": [{"text": "Once"}, {"close": True}]})
    with pytest.raises(openai.APIError):
        list(chat_model(proxy, responses=False).stream(QUESTION))


def test_litellm(sim: Simulator, proxy: Proxy) -> None:
    litellm = pytest.importorskip("litellm", exc_type=ImportError)
    there: Any = {
        "model": f"openai/{MODEL}",
        "api_base": f"{proxy.url}/v1",
        "api_key": proxy.key,
        "tools": [WEATHER],
        "num_retries": 0,
    }
    tool_turn(sim)
    turns: list[Any] = [{"role": "user", "content": QUESTION}]
    first = litellm.completion(messages=turns, **there).choices[0]
    assert first.finish_reason == "tool_calls"
    [call] = first.message.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Zürich 🌤"}
    turns += [
        first.message.model_dump(),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    chunks = list(litellm.completion(messages=turns, stream=True, **there))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "It is sunny."
    check_result(sim)
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(messages=turns, **there | {"model": "openai/no-such-model"})
