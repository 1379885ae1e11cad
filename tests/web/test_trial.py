"""One question through one credential."""

from collections.abc import Callable

import pytest

from kiroproxy import errors as e
from kiroproxy.web.trial import QUESTION, try_credential
from tests.web.conftest import GOOD, Place, frame, text


def test_a_good_answer(make: Callable[..., Place]) -> None:
    place = make(credentials=2)
    end = try_credential(place.services, 2)
    assert (end.credential_id, end.model, end.answer) == (2, "claude-haiku-4.5", "hello you")
    assert (end.attempts, end.credits) == (1, 0.5)
    assert 0 <= end.first_event_s <= end.total_s
    asked = place.kiro.requests[0]["conversationState"]["currentMessage"]["userInputMessage"]
    assert QUESTION in asked["content"]
    assert place.in_flight == {}
    place.services.pool.traces.flush()
    found = place.services.pool.traces.find(end.trace)
    assert found is not None
    assert [one["credential_id"] for one in found["attempts"]] == [2]


def test_no_other_one_helps_out(make: Callable[..., Place]) -> None:
    place = make(credentials=3)
    place.kiro.scripts = [e.Suspended("locked"), GOOD]
    with pytest.raises(e.Suspended):
        try_credential(place.services, 2)
    assert len(place.kiro.requests) == 1
    assert place.services.pool.store.snapshot().credentials[1].disabled_reason == "Suspended"
    with pytest.raises(e.NoCredential, match="Suspended"):
        try_credential(place.services, 2)
    assert place.in_flight == {}


def test_it_may_rest(make: Callable[..., Place]) -> None:
    place = make(credentials=1)
    place.services.pool.lease("m").release(e.Throttled("429", retry_after_s=60))
    assert try_credential(place.services, 1).answer == "hello you"
    assert place.services.pool._runtime.states() == {}, "and is well again"


def test_an_answer_that_breaks_off(place: Place) -> None:
    broken = [text("hello"), frame("assistantResponseEvent", content=" you")[:-3]]
    place.kiro.scripts = [broken]
    with pytest.raises(e.KiroProxyError):
        try_credential(place.services, 1)
    assert place.in_flight == {}
    assert place.kiro.exchanges[0].closed


def test_what_is_not_there(place: Place) -> None:
    with pytest.raises(e.NotFound, match="no credential 9"):
        try_credential(place.services, 9)
    with pytest.raises(e.NotFound, match="gpt-none"):
        try_credential(place.services, 1, "gpt-none")
