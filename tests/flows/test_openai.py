"""The real `openai` SDK against the real server: chat completions and Responses."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import requests
from openai.lib.streaming.responses import ResponseTextDeltaEvent
from pydantic import BaseModel

from tests.flows.conftest import credential
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow

TRAILERS = [{"context": 3.5}, {"metering": 0.01}]
MODEL = "claude-sonnet-4-5"
SCHEMA: Any = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "w", "parameters": SCHEMA, "strict": True},
}
FLAT: Any = {"type": "function", **WEATHER["function"]}
HELLO: Any = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
ASK: Any = {"model": MODEL, "input": "hello"}
CALL = {"tool": {"name": "get_weather", "input": {"city": "Zürich 🌤"}, "fragments": 7}}
OPEN_CALL = {
    "tool": {"name": "get_weather", "input": '{"city": "Zü', "fragments": 2, "stop": False}
}
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


class Weather(BaseModel):
    city: str


@pytest.fixture(params=["/v1", "/v1/v1"], ids=["base URL", "doubled /v1 (X5)"])
def client(proxy: Proxy, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=proxy.url + request.param, api_key=proxy.key, max_retries=0
    ) as made:
        yield made


def upstream(sim: Simulator) -> dict[str, Any]:
    """The last request that reached Kiro."""
    recorded = sim.requests("/generateAssistantResponse")[-1]
    assert recorded["refused"] is None
    state: dict[str, Any] = recorded["body"]["conversationState"]
    return state


def current(sim: Simulator) -> dict[str, Any]:
    message: dict[str, Any] = upstream(sim)["currentMessage"]["userInputMessage"]
    return message


# ---- chat completions ------------------------------------------------------------------------


def test_s25_s27_create_stream_and_helper_agree(sim: Simulator, client: openai.OpenAI) -> None:
    sim.script({"steps": [{"text": "Hello "}, {"text": "there 你好"}, *TRAILERS]}, times=3)
    whole = client.chat.completions.create(**HELLO)
    assert whole.choices[0].message.content == "Hello there 你好"
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage
    assert whole.usage.prompt_tokens == 7000
    assert whole.model == MODEL, "S71"
    options: Any = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(**HELLO, **options))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "Hello there 你好"
    assert chunks[-1].usage == whole.usage
    with client.chat.completions.stream(**HELLO) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "Hello there 你好"
    assert final.usage is None, "nobody asked for it"


def test_s28_s29_chat_tool_loop(sim: Simulator, client: openai.OpenAI) -> None:
    second = {"tool": {"name": "get_weather", "input": {"city": "Bern"}}}
    sim.script({"steps": [{"text": "I look."}, CALL, second, *TRAILERS]}, times=2)
    with client.chat.completions.stream(**HELLO, tools=[WEATHER]) as stream:
        streamed = stream.get_final_completion().choices[0]
    first = client.chat.completions.create(**HELLO, tools=[WEATHER]).choices[0]
    assert first.finish_reason == streamed.finish_reason == "tool_calls"
    calls: Any = first.message.tool_calls
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Zürich 🌤", "Bern"]
    assert [call.function.arguments for call in streamed.message.tool_calls or ()] == [
        call.function.arguments for call in calls
    ]
    turns: Any = [
        {"role": "developer", "content": "Be brief."},
        *HELLO["messages"],
        first.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": calls[0].id, "content": "sunny"},
        {
            "role": "tool",
            "tool_call_id": calls[1].id,
            "content": [{"type": "text", "text": "rainy"}],
        },
    ]
    client.chat.completions.create(model=MODEL, messages=turns, tools=[WEATHER])
    results = current(sim)["userInputMessageContext"]["toolResults"]
    assert [result["content"][0]["text"] for result in results] == ["sunny", "rainy"]
    assert upstream(sim)["history"][0]["userInputMessage"]["content"] == "Be brief."


def test_s30_strict_schemas_reach_kiro_clean(sim: Simulator, client: openai.OpenAI) -> None:
    client.chat.completions.create(**HELLO, tools=[WEATHER])
    assert "additionalProperties" not in json.dumps(current(sim))


def test_parsed_output(sim: Simulator, client: openai.OpenAI) -> None:
    sim.script({"steps": [{"text": '{"city": '}, {"text": '"Bern"}'}, *TRAILERS]}, times=2)
    parsed = client.chat.completions.parse(**HELLO, response_format=Weather)
    assert parsed.choices[0].message.parsed == Weather(city="Bern")
    response = client.responses.parse(**ASK, text_format=Weather)
    assert response.output_parsed == Weather(city="Bern")
    assert "JSON Schema" in upstream(sim)["history"][0]["userInputMessage"]["content"]


def test_images_and_files(sim: Simulator, client: openai.OpenAI) -> None:
    text = base64.b64encode(b"words of a file").decode()
    content: Any = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "file", "file": {"filename": "a.txt", "file_data": text}},
    ]
    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    assert current(sim)["images"][0]["format"] == "png"
    assert "words of a file" in current(sim)["content"]
    content[1] = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    assert caught.value.param == "messages[0].content[1]"


def test_reasoning(sim: Simulator, client: openai.OpenAI) -> None:
    steps = [{"text": "<thinking>\nHm. "}, {"text": "So.</thinking>\n\nThe answer."}, *TRAILERS]
    sim.script({"steps": steps}, times=3)
    message: Any = (
        client.chat.completions.create(**HELLO, reasoning_effort="low").choices[0].message
    )
    assert (message.reasoning_content, message.content) == ("Hm. So.", "The answer.")
    system = upstream(sim)["history"][0]["userInputMessage"]["content"]
    assert system.startswith("<thinking_mode>enabled</thinking_mode>")
    stream = client.chat.completions.create(**HELLO, reasoning_effort="low", stream=True)
    deltas: Any = [chunk.choices[0].delta for chunk in stream]
    assert "".join(getattr(d, "reasoning_content", "") for d in deltas) == "Hm. So."
    response = client.responses.create(**ASK, reasoning={"effort": "low", "summary": "auto"})
    thought = response.output[0]
    assert thought.type == "reasoning"
    assert thought.summary[0].text == "Hm. So."
    assert response.output_text == "The answer."


def test_every_option_that_sdk_users_send(sim: Simulator, client: openai.OpenAI) -> None:
    """clients.md: SDK users send every option."""
    client.chat.completions.create(
        **HELLO,
        seed=7,
        user="u",
        temperature=0.2,
        top_p=0.9,
        n=1,
        logit_bias={"1": 1},
        frequency_penalty=0.1,
        presence_penalty=0.1,
        metadata={"a": "b"},
        service_tier="auto",
        store=False,
        stop=["END"],
        max_completion_tokens=700,
        parallel_tool_calls=True,
        tool_choice="auto",
        tools=[WEATHER],
        verbosity="low",
    )
    client.responses.create(
        **ASK,
        temperature=0.2,
        metadata={"a": "b"},
        truncation="auto",
        include=["reasoning.encrypted_content"],
        max_output_tokens=700,
        prompt_cache_key="k",
        user="u",
        text={"verbosity": "low"},
    )
    assert len(sim.requests("/generateAssistantResponse")) == 2


# ---- Responses -------------------------------------------------------------------------------


def test_responses_create_stream_and_helper_agree(sim: Simulator, client: openai.OpenAI) -> None:
    sim.script({"steps": [{"text": "Hello "}, {"text": "there 你好"}, *TRAILERS]}, times=3)
    whole = client.responses.create(**ASK, instructions="Be brief.")
    assert whole.output_text == "Hello there 你好"
    assert whole.usage
    assert whole.usage.input_tokens == 7000
    events = list(client.responses.create(**ASK, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "Hello there 你好"
    with client.responses.stream(**ASK) as stream:
        texts = [event.delta for event in stream if isinstance(event, ResponseTextDeltaEvent)]
        final = stream.get_final_response()
    assert "".join(texts) == final.output_text == "Hello there 你好"
    assert final.usage == whole.usage


def test_responses_tool_loop_by_previous_id(sim: Simulator, client: openai.OpenAI) -> None:
    sim.script({"steps": [{"text": "I look."}, CALL, *TRAILERS]})
    with client.responses.stream(**ASK, tools=[FLAT]) as stream:
        first = stream.get_final_response()
    call = first.output[-1]
    assert call.type == "function_call"
    assert json.loads(call.arguments) == {"city": "Zürich 🌤"}
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    sim.script({"steps": [{"text": "It is sunny."}, *TRAILERS]})
    second = client.responses.create(
        model=MODEL, input=[result], previous_response_id=first.id, tools=[FLAT]
    )
    assert second.output_text == "It is sunny."
    [sent] = current(sim)["userInputMessageContext"]["toolResults"]
    assert sent["content"] == [{"text": "sunny"}]
    assert upstream(sim)["history"][0]["userInputMessage"]["content"] == "hello"
    assert client.responses.retrieve(second.id).output_text == "It is sunny."
    client.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(second.id)


def test_responses_tool_loop_with_the_whole_input(sim: Simulator, client: openai.OpenAI) -> None:
    sim.script({"steps": [{"text": "I look."}, CALL, *TRAILERS]})
    given: Any = [{"role": "user", "content": "hello"}]
    first = client.responses.create(model=MODEL, input=given, tools=[FLAT], store=False)
    given += [item.model_dump(exclude_none=True) for item in first.output]
    given.append({"type": "function_call_output", "call_id": given[-1]["call_id"], "output": "ok"})
    client.responses.create(model=MODEL, input=given, tools=[FLAT], store=False)
    assert current(sim)["userInputMessageContext"]["toolResults"]
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_any_worker_knows_the_stored_ones(sim: Simulator, proxy: Proxy) -> None:
    """Each request on a new connection, so that both workers come to serve some."""
    previous: str | None = None
    for turn in range(8):
        body = ASK | {"input": f"turn {turn};", "previous_response_id": previous}
        headers = {"x-api-key": proxy.key, "connection": "close"}
        answer = requests.post(proxy.url + "/v1/responses", json=body, headers=headers, timeout=10)
        assert answer.status_code == 200, answer.text
        previous = answer.json()["id"]
    sent = json.dumps(upstream(sim))
    assert all(f"turn {turn};" in sent for turn in range(8))


def test_custom_and_namespaced_tools(sim: Simulator, client: openai.OpenAI) -> None:
    patch = '*** Begin Patch\n+é "🧪"\n*** End Patch'
    custom = {"name": "apply_patch", "input": {"input": patch}, "fragments": 9}
    spawn = {"name": "agents__spawn", "input": {"n": 1}}
    sim.script({"steps": [{"tool": custom}, {"tool": spawn}, *TRAILERS]}, times=2)
    tools: Any = [
        {"type": "custom", "name": "apply_patch", "description": "Edit."},
        {
            "type": "namespace",
            "name": "agents",
            "description": "a",
            "tools": [{"type": "function", "name": "spawn", "parameters": {"type": "object"}}],
        },
    ]
    whole = client.responses.create(**ASK, tools=tools)
    streamed = list(client.responses.create(**ASK, tools=tools, stream=True))
    pieces = [e.delta for e in streamed if e.type == "response.custom_tool_call_input.delta"]
    assert len(pieces) > 3, "as it comes"
    assert "".join(pieces) == patch
    last = streamed[-1]
    assert last.type == "response.completed"
    for output in (whole.output, last.response.output):
        one, two = output
        assert one.type == "custom_tool_call"
        assert one.input == patch
        assert two.type == "function_call"
        assert (two.name, two.namespace, json.loads(two.arguments)) == ("spawn", "agents", {"n": 1})


def test_web_search(sim: Simulator, client: openai.OpenAI) -> None:
    search = {"tool": {"name": "web_search", "input": {"query": "news"}}}
    for _ in range(2):
        sim.script({"steps": [{"text": "I will look. "}, search, *TRAILERS]})
        sim.script({"steps": [{"text": "Here is the news."}, *TRAILERS]})
    tools: Any = [FLAT, {"type": "web_search"}]
    whole = client.responses.create(**ASK, tools=tools, include=["web_search_call.action.sources"])
    assert [item.type for item in whole.output] == ["message", "web_search_call", "message"]
    call = whole.output[1]
    assert call.type == "web_search_call"
    assert call.action.type == "search"
    assert call.action.query == "news"
    assert call.action.sources
    options: Any = {"web_search_options": {}, "tools": [WEATHER]}
    chat = client.chat.completions.create(**HELLO, **options)
    assert chat.choices[0].message.content == "I will look. Here is the news."


# ---- ends and errors -------------------------------------------------------------------------


def test_a_cut_call_is_length(sim: Simulator, client: openai.OpenAI) -> None:
    """S170: streamed as it came, left out otherwise; never to be executed."""
    sim.script({"steps": [{"text": "a"}, OPEN_CALL, *TRAILERS]}, times=4)
    whole = client.chat.completions.create(**HELLO, tools=[WEATHER]).choices[0]
    assert (whole.finish_reason, whole.message.tool_calls) == ("length", None)
    chunks = list(client.chat.completions.create(**HELLO, tools=[WEATHER], stream=True))
    assert chunks[-1].choices[0].finish_reason == "length"
    cut = [call for c in chunks for call in c.choices[0].delta.tool_calls or ()]
    assert "".join(c.function.arguments or "" for c in cut if c.function) == '{"city": "Zü'
    response = client.responses.create(**ASK, tools=[FLAT])
    assert response.status == "incomplete"
    assert [item.type for item in response.output] == ["message"]
    events = list(client.responses.create(**ASK, tools=[FLAT], stream=True))
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details
    assert last.response.incomplete_details.reason == "max_output_tokens"
    done = [event.item.type for event in events if event.type == "response.output_item.done"]
    assert done == ["message"]


ERRORS = [
    (400, None, openai.BadRequestError, None),
    (400, "CONTENT_LENGTH_EXCEEDS_THRESHOLD", openai.BadRequestError, "context_length_exceeded"),
    (429, None, openai.RateLimitError, "rate_limit_exceeded"),
    (429, "INSUFFICIENT_MODEL_CAPACITY", openai.InternalServerError, "server_is_overloaded"),
    (500, None, openai.InternalServerError, "server_error"),
]
ABOUT_THE_ACCOUNT = [
    (400, "INVALID_MODEL_ID", openai.NotFoundError, "model_not_found"),
    (402, "MONTHLY_REQUEST_COUNT", openai.RateLimitError, "insufficient_quota"),
]
Kind = type[openai.APIStatusError]


def check_error(
    sim: Simulator, proxy: Proxy, row: tuple[int, str | None, Kind, str | None], create: str
) -> None:
    status, reason, kind, code = row
    refusal = {"status": status, "body": {"message": "SECRET words", "reason": reason}}
    sim.script(refusal, times=None)
    client = openai.OpenAI(base_url=proxy.url + "/v1", api_key=proxy.key, max_retries=0)
    stream = create.endswith("streamed")
    make: Any = client.responses.create
    wanted = ASK
    if create.startswith("chat"):
        make, wanted = client.chat.completions.create, HELLO
    with client, pytest.raises(kind) as caught:
        make(**wanted, stream=stream)
    assert caught.value.code == code
    assert caught.value.type
    assert caught.value.request_id
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("create", ["chat", "chat, streamed", "responses", "responses, streamed"])
@pytest.mark.parametrize("row", ERRORS, ids=lambda row: f"{row[0]} {row[1]}")
def test_errors_as_their_classes(sim: Simulator, proxy: Proxy, row: Any, create: str) -> None:
    check_error(sim, proxy, row, create)


@pytest.mark.parametrize("create", ["chat", "responses, streamed"])
@pytest.mark.parametrize("row", ABOUT_THE_ACCOUNT, ids=lambda row: row[1])
def test_errors_about_the_account(sim: Simulator, tmp_path: Path, row: Any, create: str) -> None:
    """They are remembered, so each gets a proxy of its own."""
    with Proxy(tmp_path, {}, [credential()], upstream=sim.url, workers=1) as proxy:
        check_error(sim, proxy, row, create)


def test_own_errors_as_their_classes(client: openai.OpenAI) -> None:
    chat, wrong = client.chat.completions, client.with_options(api_key="wrong")
    for call, kind, code in (
        (lambda: wrong.responses.create(**ASK), openai.AuthenticationError, "invalid_api_key"),
        (lambda: wrong.models.list(), openai.AuthenticationError, "invalid_api_key"),
        (lambda: client.models.retrieve("nope"), openai.NotFoundError, "model_not_found"),
        (
            lambda: chat.create(**HELLO | {"model": "gpt-4o"}),
            openai.NotFoundError,
            "model_not_found",
        ),
        (lambda: chat.create(**HELLO, n=3), openai.BadRequestError, None),
        (lambda: chat.create(**HELLO, logprobs=True), openai.BadRequestError, None),
        (
            lambda: client.responses.create(**ASK, previous_response_id="resp_gone"),
            openai.BadRequestError,
            "previous_response_not_found",
        ),
        (lambda: client.embeddings.create(model="m", input="x"), openai.NotFoundError, "not_found"),
        (lambda: client.batches.list(), openai.NotFoundError, "not_found"),
    ):
        with pytest.raises(kind) as caught:
            call()
        assert caught.value.request_id
        assert code is None or caught.value.code == code
        if kind is openai.BadRequestError:
            assert caught.value.param


BREAKS: list[Any] = [
    [{"close": True}],
    [{"corrupt": "payload"}, {"text": "x"}],
    [{"exception": "ThrottlingException", "payload": {"message": "slow"}}],
]


@pytest.mark.parametrize("ending", BREAKS, ids=["cut", "corrupt", "exception"])
def test_a_broken_stream_is_an_exception(
    sim: Simulator, client: openai.OpenAI, ending: list[Any]
) -> None:
    """Never a normal end."""
    sim.script({"steps": [{"text": "Once"}, *ending]}, times=4)
    with pytest.raises(openai.APIError) as caught:
        list(client.chat.completions.create(**HELLO, stream=True))
    assert caught.value.code
    with pytest.raises(openai.APIError):
        list(client.responses.create(**ASK, stream=True))
    with pytest.raises(openai.APIError), client.responses.stream(**ASK) as stream:
        stream.get_final_response()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_the_raw_end_of_a_broken_stream(sim: Simulator, proxy: Proxy, path: str) -> None:
    sim.script({"steps": [{"text": "Once"}, {"close": True}]})
    body = (HELLO if "chat" in path else ASK) | {"stream": True}
    headers = {"authorization": f"Bearer {proxy.key}"}
    text = requests.post(proxy.url + path, json=body, headers=headers, timeout=10).text
    assert "[DONE]" not in text
    assert "response.completed" not in text
    last = text.strip().split("\n\n")[-1]
    assert '"error":{' in last
    assert last.startswith("data: " if "chat" in path else "event: response.failed\n")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_pings_are_comments(sim: Simulator, hasty_proxy: Proxy, path: str) -> None:
    sim.script({"steps": [{"text": "a"}, {"delay": 0.8}, {"text": "b"}, *TRAILERS]})
    body = (HELLO if "chat" in path else ASK) | {"stream": True}
    headers = {"authorization": f"Bearer {hasty_proxy.key}"}
    answer = requests.post(hasty_proxy.url + path, json=body, headers=headers, timeout=10)
    assert "\n\n: ping\n\n" in answer.text
    assert "event: ping" not in answer.text


def test_s1_models(client: openai.OpenAI) -> None:
    models = list(client.models.list())
    assert {"claude-sonnet-4-5-20250929", "claude-sonnet-4.5"} <= {model.id for model in models}
    assert models[0].object == "model"
    assert client.models.retrieve("claude-sonnet-4-5").owned_by == "anthropic"


# ---- Cursor ----------------------------------------------------------------------------------


def test_a_responses_request_where_chat_completions_are_read(
    sim: Simulator, client: openai.OpenAI
) -> None:
    """Cursor sends the one to the path of the other, and reads the other's answer."""
    sim.script({"steps": [{"text": "Hi. "}, CALL, *TRAILERS]}, times=2)
    items = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        {"type": "function_call", "call_id": "c\nx", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c\nx", "output": "cold"},
    ]
    sent: Any = {"model": MODEL, "input": items, "tools": [FLAT], "max_output_tokens": 999}
    whole: Any = client.post("/chat/completions", body=sent, cast_to=object)
    [choice] = whole["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hi. ", "tool_calls")
    [call] = choice["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == CALL["tool"]["input"]
    results = current(sim)["userInputMessageContext"]["toolResults"]
    assert results[0]["content"] == [{"text": "cold"}]
    assert "Be brief." in str(upstream(sim)["history"])
    options = {"stream": True, "stream_options": {"include_usage": True}}
    with client.chat.completions.with_streaming_response.create(
        messages=openai.omit,  # type: ignore[arg-type]
        model=MODEL,
        extra_body=sent | options,
    ) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    last = json.loads(lines[-2].removeprefix("data: "))
    assert last["usage"]["prompt_tokens"] == whole["usage"]["prompt_tokens"]


def test_neither_messages_nor_input(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body={"model": MODEL}, cast_to=object)
    assert caught.value.param == "messages"


# ---- OpenAI's tools that the client runs -----------------------------------------------------

SHELL = {"tool": {"name": "shell", "input": {"commands": ["ls"]}, "fragments": 4}}
PATCH = {"type": "delete_file", "path": "a.txt"}


def test_shell_and_patch_tools(sim: Simulator, client: openai.OpenAI) -> None:
    """Their calls are items of their own; results find their calls, whatever the history holds."""
    patch = {"tool": {"name": "apply_patch", "input": PATCH}}
    sim.script({"steps": [{"text": "Looking. "}, SHELL, patch, {"text": "ok"}, *TRAILERS]}, times=2)
    tools: Any = [{"type": "shell"}, {"type": "apply_patch"}]
    whole = client.responses.create(**ASK, tools=tools, tool_choice={"type": "shell"})
    with client.responses.stream(**ASK, tools=tools) as stream:
        streamed = [event.item for event in stream if event.type == "response.output_item.done"]
    kinds = ["message", "shell_call", "apply_patch_call", "message"]
    assert [item.type for item in whole.output] == kinds == [item.type for item in streamed]
    said, ran, changed, _ = whole.output
    assert ran.type == "shell_call"
    assert ran.action.commands == ["ls"]
    assert changed.type == "apply_patch_call"
    assert changed.operation.model_dump() == PATCH
    outputs: Any = [
        {"type": "apply_patch_call_output", "call_id": changed.call_id, "status": "completed"},
        {
            "type": "shell_call_output",
            "call_id": ran.call_id,
            "output": [{"stdout": "a.txt", "stderr": "", "outcome": {"type": "timeout"}}],
        },
    ]
    history: Any = [item.model_dump(exclude_none=True) for item in (said, ran, changed)]
    items = [{"role": "user", "content": "hello"}, *history, *outputs]
    client.responses.create(model=MODEL, input=items, tools=tools)
    results = current(sim)["userInputMessageContext"]["toolResults"]
    assert [result["toolUseId"] for result in results] == [ran.call_id, changed.call_id]
    assert "a.txt" in results[0]["content"][0]["text"]
    uses = upstream(sim)["history"][-1]["assistantResponseMessage"]["toolUses"]
    assert [use["input"] for use in uses] == [{"commands": ["ls"]}, PATCH]


def test_a_cut_call_of_a_shell_is_left_out(sim: Simulator, client: openai.OpenAI) -> None:
    cut = {"tool": {"name": "local_shell", "input": '{"command": ["rm', "stop": False}}
    sim.script({"steps": [{"text": "Hm. "}, cut, *TRAILERS]})
    tools: Any = [{"type": "local_shell"}]
    whole = client.responses.create(**ASK, tools=tools)
    assert [item.type for item in whole.output] == ["message"]
    assert whole.status == "incomplete"
