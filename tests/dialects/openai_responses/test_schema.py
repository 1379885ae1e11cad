"""The outer object of a Responses request."""

from typing import Any

import pytest

from kiroproxy.dialects.openai_responses.schema import load_responses
from kiroproxy.errors import InvalidRequest

BODY: dict[str, Any] = {"model": "m", "input": "Hi"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"input": []},
        {"input": None, "previous_response_id": "resp_1"},
        {"store": False, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k"},
        {"metadata": {"a": "b"}, "truncation": "auto", "max_output_tokens": 7, "user": "u"},
        {"client_metadata": {}, "service_tier": "auto", "stream_options": {}, "max_tool_calls": 3},
        {"background": False, "top_logprobs": 0, "conversation": None, "prompt": None},
        {"temperature": 0, "top_p": 0.5, "context_management": [], "unheard_of": 1},
    ],
)
def test_accepted(more: dict[str, Any]) -> None:
    assert load_responses(BODY | more)["model"] == "m"


@pytest.mark.parametrize(
    "more",
    [
        {"background": True},
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"top_logprobs": 2},
        {"include": ["message.output_text.logprobs"]},
        {"modalities": ["audio"]},
    ],
)
def test_what_cannot_be_had_is_named(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load_responses(BODY | more)
    assert caught.value.param in more
    assert caught.value.details == {"code": "unsupported_parameter"}


@pytest.mark.parametrize(
    "more",
    [
        {"input": 7},
        {"input": None},
        {"model": 7},
        {"tools": {}},
        {"reasoning": "high"},
        {"text": "x"},
        {"stream": "true"},
        {"store": "no"},
        {"include": "x"},
        {"max_output_tokens": 0},
        {"temperature": "hot"},
        {"metadata": []},
    ],
)
def test_wrong_fields_are_named(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load_responses(BODY | more)
    assert caught.value.param in more
