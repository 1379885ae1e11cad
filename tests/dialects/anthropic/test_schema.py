"""The outer object of a request: named 400s (S11), and tolerance for what is new."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.dialects.anthropic.schema import load_count, load_messages
from kiroproxy.errors import InvalidRequest

GOOD: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 1024,
    "messages": [{"role": "user", "content": "Hello, Claude!"}],
}


def test_smallest() -> None:
    loaded = load_messages(GOOD)
    assert loaded["stream"] is False
    assert loaded["messages"] == GOOD["messages"]
    assert load_count({"model": "m", "messages": GOOD["messages"]})["tools"] == []


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 1, "top_k": 5, "service_tier": "auto", "betas": ["x"], "unheard_of": {}},
        {"system": None, "tools": None, "tool_choice": None, "thinking": None, "metadata": None},
        {"stream": None, "stop_sequences": None, "output_config": None},
        {"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]},
        {"tools": [], "stream": True, "thread": None},
    ],
)
def test_tolerated(more: dict[str, Any]) -> None:
    load_messages(GOOD | more)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": "Hi"}, "messages"),
    ({"messages": ["Hi"]}, "messages"),
    ({"model": ""}, "model"),
    ({"model": None}, "model"),
    ({"model": 7}, "model"),
    ({"model": "x" * 257}, "model"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": "7"}, "max_tokens"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"system": 7}, "system"),
    ({"tools": {}}, "tools"),
    ({"tools": ["a"]}, "tools"),
    ({"tool_choice": "auto"}, "tool_choice"),
    ({"thinking": True}, "thinking"),
    ({"stream": "yes"}, "stream"),
    ({"stream": []}, "stream"),
    ({"stop_sequences": "END"}, "stop_sequences"),
    ({"stop_sequences": [1]}, "stop_sequences.0"),
    ({"metadata": []}, "metadata"),
]


@pytest.mark.parametrize(("change", "param"), REFUSED)
def test_refused_by_name(change: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load_messages(GOOD | change)
    assert caught.value.param == param
    assert str(caught.value).startswith(f"{param}: ")


@pytest.mark.parametrize("missing", ["model", "max_tokens", "messages"])
def test_missing_fields(missing: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{missing}: Field required$"):
        load_messages({key: value for key, value in GOOD.items() if key != missing})


def test_threads_are_refused_so_that_the_sdk_falls_back() -> None:
    for load in (load_messages, load_count):
        with pytest.raises(InvalidRequest) as caught:
            load(GOOD | {"thread": {"id": "x"}})
        assert caught.value.details == {"error_code": "thread_unsupported_request"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*GOOD, "system", "tools", "stream", "thread", "x"]), JSON))
def test_anything_else_is_a_400(body: dict[str, Any]) -> None:
    for load in (load_messages, load_count):
        with contextlib.suppress(InvalidRequest):
            load(body)
