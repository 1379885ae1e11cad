"""What is told of a request when it ends."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from kiroproxy import errors as e
from kiroproxy.conversation import Stop, Usage
from kiroproxy.credentials.trace import Attempt, Trace
from kiroproxy.ledger.keys import ClientKey
from kiroproxy.ledger.usage import UsageRow
from kiroproxy.web.account import Account, dialect_of
from tests.web.conftest import BODY, Counters, Place

KEY = ClientKey("k1", "0" * 64, "agent")


class Entrance:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def leave(self, output_tokens: int, credits: float) -> None:
        self.told.append((output_tokens, credits))

    def settle(self) -> None:
        self.told.append("settled")


class Ledger:
    """Takes what it is given."""

    def __init__(self) -> None:
        self.rows: list[UsageRow] = []
        self.way = Entrance()
        self.limits = self.usage = self

    def entrance(self, key: Any, group: str) -> Entrance:
        return self.way

    def record(self, row: UsageRow) -> None:
        self.rows.append(row)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def account(ledger: Ledger) -> Account:
    one = Account(
        "/v1/messages",
        stream=True,
        model="claude-sonnet-4-5",
        dialect="anthropic",
        client="192.0.2.1",
        group="pro",
        key=KEY,
        ledger=cast(Any, ledger),
        request_id="req_1",
    )
    one.trace = Trace("req_1", "claude-sonnet-4.5")
    one.trace.attempts = [Attempt(7, "a", 0.0, False), Attempt(8, "b", 0.1, False)]
    return one


def test_a_good_end(ledger: Ledger, tmp_path: Path) -> None:
    one = account(ledger)
    one.first_event()
    usage = Usage(10, 5, "upstream", cache_read_tokens=3, credits=0.25)
    one.end(200, "end_turn", Stop("end_turn", usage))
    one.end(500, "again")
    one.settle()
    (row,) = ledger.rows
    assert ledger.way.told == [(5, 0.25), "settled"]
    told = (row.trace_id, row.key_id, row.group, row.credential_id, row.attempts, row.dialect)
    assert told == ("req_1", "k1", "pro", 8, 2, "anthropic")
    assert (row.model_asked, row.model) == ("claude-sonnet-4-5", "claude-sonnet-4.5")
    assert (row.input_tokens, row.output_tokens, row.cache_read_tokens) == (10, 5, 3)
    assert (row.usage_source, row.credits, row.stop_reason) == ("upstream", 0.25, "end_turn")
    assert (row.status, row.error_type, row.streamed, row.client) == (200, "", True, "192.0.2.1")
    assert row.first_event_s is not None
    assert row.first_event_s <= row.duration_s


def test_an_error_inside_the_stream_has_the_status_that_it_would_have_had(ledger: Ledger) -> None:
    one = account(ledger)
    one.end(200, "Throttled", error=e.Throttled("slow", retry_after_s=1))
    (row,) = ledger.rows
    assert (row.status, row.error_type, row.stop_reason) == (429, "Throttled", "")
    assert ledger.way.told == [(0, 0.0)]


def test_what_a_client_that_left_has_used_is_counted(ledger: Ledger) -> None:
    class Source:
        def usage(self) -> Usage:
            return Usage(10, 4, credits=0.5)

    one = account(ledger)
    one.source = cast(Any, Source())
    one.end(200, "client_gone")
    (row,) = ledger.rows
    assert (row.status, row.error_type, row.output_tokens, row.credits) == (
        499,
        "client_gone",
        4,
        0.5,
    )
    assert ledger.way.told == [(4, 0.5)]


def test_what_failed_attempts_had_cost_is_counted(ledger: Ledger) -> None:
    one = account(ledger)
    one.lost(Usage(10, 4, credits=0.5))
    usage = Usage(10, 5, "upstream", credits=0.25)
    one.end(200, "end_turn", Stop("end_turn", usage))
    assert ledger.way.told == [(5, 0.75)]
    assert ledger.rows[0].credits == 0.75
    assert usage.credits == 0.25, "the answer's own"
    none = account(ledger)
    none.lost(Usage(10, 4, credits=0.5))
    none.end(502, "ServerFault", error=e.ServerFault("no"))
    assert ledger.rows[1].credits == 0.5


def test_nothing_was_asked_of_kiro(ledger: Ledger) -> None:
    one = Account("/v1/messages", stream=False, model="m", ledger=cast(Any, ledger))
    one.end(429, "LimitExceeded", error=e.LimitExceeded("no", retry_after_s=1))
    (row,) = ledger.rows
    assert (row.credential_id, row.attempts, row.key_id, row.usage_source) == (0, 0, "", "")


@pytest.mark.parametrize(
    ("ending", "error", "outcome"),
    [
        ("end_turn", None, "ok"),
        ("client_gone", None, "client_gone"),
        ("stopped", None, "error"),
        ("Throttled", e.Throttled("slow", retry_after_s=1), "error"),
        ("InvalidRequest", e.InvalidRequest("no"), "refused"),
    ],
)
def test_whose_doing_the_end_was(
    ledger: Ledger, counters: Counters, ending: str, error: Exception | None, outcome: str
) -> None:
    one = account(ledger)
    one.listed_model = "claude-sonnet-4.5"
    one.end(200, ending, error=error)
    labels = {"dialect": "anthropic", "model": "claude-sonnet-4.5", "route": "/v1/messages"}
    assert counters.of("requests_total", outcome=outcome, **labels) == 1
    assert counters.of("requests_total") == 1


def test_tokens_and_credits_are_counted(ledger: Ledger, counters: Counters) -> None:
    one = account(ledger)
    one.listed_model = "claude-sonnet-4.5"
    usage = Usage(10, 5, "upstream", cache_read_tokens=3, credits=0.25)
    one.end(200, "end_turn", Stop("end_turn", usage))
    kinds = {kind: counters.of("tokens_total", kind=kind) for kind in ("input", "output")}
    kinds["cache_read"] = counters.of("tokens_total", kind="cache_read")
    assert kinds == {"input": 10, "output": 5, "cache_read": 3}
    assert counters.of("credits_total", model="claude-sonnet-4.5") == 0.25


@pytest.mark.parametrize(
    ("route", "dialect"),
    [
        ("/v1/messages/count_tokens", "anthropic"),
        ("/<group:group>/v1/v1/messages", "anthropic"),
        ("/cc/v1/messages", "anthropic"),
        ("/v1/chat/completions", "openai_chat"),
        ("/v1/responses/<response_id>", "openai_responses"),
        ("/v1/models", ""),
        ("/health", ""),
        ("other", ""),
    ],
)
def test_the_dialect_of_a_route(route: str, dialect: str) -> None:
    assert dialect_of(route) == dialect


def test_requests_without_an_account_are_counted_too(place: Place, counters: Counters) -> None:
    place.client.get("/v1/models")
    place.client.get("/no/such/path-" + "x" * 100)
    place.client.post("/v1/messages", json=BODY)
    place.post("/v1/messages/count_tokens")
    assert counters.of("requests_total", route="/v1/models", status="401") == 1
    assert counters.of("requests_total", route="other", status="404", outcome="refused") == 1
    refused = {"route": "/v1/messages", "dialect": "anthropic", "outcome": "refused"}
    assert counters.of("requests_total", **refused) == 1
    assert counters.of("requests_total", route="/v1/messages/count_tokens", status="200") == 1
    assert counters.of("requests_total") == 4
    assert counters.of("requests_in_flight") == 0


def test_a_model_that_nobody_lists_is_other(make: Callable[..., Place], counters: Counters) -> None:
    """Clients may write any name: it must not become a label."""
    place = make(unknown_model="pass")
    assert place.post(json={"model": "made-up-by-a-client"}).status_code == 200
    assert place.post(json={"model": "claude-opus-77-66"}).status_code == 200
    assert place.post().status_code == 200
    assert counters.of("requests_total", model="other") == 2
    assert counters.of("requests_total", model="claude-sonnet-4.5") == 1
