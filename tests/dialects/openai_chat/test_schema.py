"""The outer object of a chat completions request."""

from typing import Any

import pytest

from kiroproxy.dialects.openai_chat.schema import load_chat
from kiroproxy.errors import InvalidRequest

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def test_s26_the_smallest_request() -> None:
    loaded = load_chat(BODY)
    assert loaded["messages"] == BODY["messages"]
    assert loaded["max_tokens"] is None
    assert not loaded["stream"], "X18"


@pytest.mark.parametrize(
    "more",
    [
        {"seed": 7, "user": "u", "temperature": 0.1, "top_p": 1, "logit_bias": {"50256": -100}},
        {"presence_penalty": 0, "frequency_penalty": 0, "metadata": {}, "service_tier": "auto"},
        {"store": True, "verbosity": "low", "prediction": {}, "safety_identifier": "x"},
        {"n": 1, "logprobs": False, "top_logprobs": 0, "modalities": ["text"], "audio": None},
        {"tools": [], "tool_choice": None, "stop": None, "stream_options": None},
        {"unheard_of": [{}]},
    ],
)
def test_harmless_fields(more: dict[str, Any]) -> None:
    assert load_chat(BODY | more)


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"n": 0},
        {"logprobs": True},
        {"top_logprobs": 3},
        {"modalities": ["text", "audio"]},
        {"audio": {"voice": "x"}},
    ],
)
def test_what_cannot_be_had_is_named(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load_chat(BODY | more)
    assert caught.value.param in more
    assert caught.value.details == {"code": "unsupported_parameter"}


@pytest.mark.parametrize(
    "more",
    [
        {"messages": []},
        {"messages": "Hi"},
        {"messages": ["Hi"]},
        {"model": ""},
        {"model": None},
        {"stream": "yes"},
        {"tools": [7]},
        {"max_tokens": 0},
        {"max_completion_tokens": 1.5},
        {"reasoning_effort": 7},
        {"response_format": "json"},
        {"stop": 7},
        {"function_call": 7},
    ],
)
def test_wrong_fields_are_named(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load_chat(BODY | more)
    assert caught.value.param in more


@pytest.mark.parametrize("field", ["model", "messages"])
def test_missing_fields_are_named(field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load_chat({key: value for key, value in BODY.items() if key != field})
    assert caught.value.param == field
    assert caught.value.details == {"code": "missing_required_parameter"}
