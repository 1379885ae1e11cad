"""The exception tree: facts as attributes, and an answer for every class."""

import inspect
from collections.abc import Container, Iterator

import pytest

from kiroproxy import errors as e
from kiroproxy.dialects.anthropic.errors import TABLE, message_of, status_and_type

TYPES = {
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
}
"""All that the Anthropic API has, but for billing_error."""


def tree(root: type[Exception] = e.KiroProxyError) -> Iterator[type[Exception]]:
    """Every class of the tree, the root first."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == e.__name__:
            yield from tree(child)


EXAMPLES: dict[type[Exception], Exception] = {
    e.ConfigError: e.ConfigError("port", "x"),
    e.ContextTooLong: e.ContextTooLong(1, 2),
    e.Refused: e.Refused("x", status=418),
    e.EventStreamError: e.EventStreamError("x", offset=1),
    e.BadChecksum: e.BadChecksum("prelude", expected=1, computed=2, offset=3),
    e.BadLength: e.BadLength("x", offset=1),
    e.FrameTooLarge: e.FrameTooLarge(2, 1, offset=3),
    e.BadHeader: e.BadHeader("x", offset=1),
    e.TruncatedStream: e.TruncatedStream(1, offset=2),
}


def example(kind: type[Exception]) -> Exception:
    return EXAMPLES.get(kind) or kind("x")


STATUSES: dict[type[Exception], Container[int]] = {
    e.RequestError: range(400, 500),
    e.CredentialError: (429, 503, 529),
    e.EventStreamError: range(502, 503),
    e.ConfigError: range(500, 501),
}


@pytest.mark.parametrize("kind", list(tree()))
def test_every_class_is_answered_by_its_nearest_base(kind: type[Exception]) -> None:
    status, name = status_and_type(example(kind))
    row = next(base for base in kind.__mro__ if base in TABLE)
    assert (status, name) == TABLE[row]
    assert name in TYPES
    for branch, allowed in STATUSES.items():
        assert not issubclass(kind, branch) or status in allowed


@pytest.mark.parametrize("kind", list(tree()))
def test_every_class_has_words_for_people(kind: type[Exception]) -> None:
    error = example(kind)
    assert str(error)
    assert message_of(error)
    assert kind.__doc__


def test_no_answer_blames_the_clients_key_for_our_credentials() -> None:
    """Protocol notes 8: a 401 would tell clients that *their* key is bad."""
    for kind in tree(e.UpstreamError):
        assert status_and_type(example(kind))[0] != 401


def test_the_table_has_no_strangers() -> None:
    assert set(TABLE) <= set(tree())


def test_facts() -> None:
    assert e.Throttled("x", retry_after_s=3).retry_after_s == 3
    assert e.NoCredential("x", retry_after_s=3).retry_after_s == 3
    assert e.BadChecksum("prelude", expected=1, computed=2, offset=3).part == "prelude"
    assert e.TruncatedStream(7, offset=2).missing == 7
    assert e.FrameTooLarge(2, 1, offset=3).limit == 1
    assert e.BadPayload("x").offset == -1
    assert e.ConfigError("port", "must be a number").setting == "port"
    assert e.InvalidRequest("x", param="p", details={"a": 1}).details == {"a": 1}


@pytest.mark.parametrize(("tokens", "limit", "said"), [(5, 9, 10), (9, 9, 10), (12, 9, 12)])
def test_the_count_is_always_above_the_limit(tokens: int, limit: int, said: int) -> None:
    """Else Claude Code does not believe the message and does not compact."""
    error = e.ContextTooLong(tokens, limit)
    assert str(error) == f"prompt is too long: {said} tokens > {limit} maximum"


def test_all_classes_are_in_the_tree() -> None:
    named = [member for _, member in inspect.getmembers(e, inspect.isclass)]
    ours = {kind for kind in named if kind.__module__ == e.__name__}
    assert ours == set(tree())
