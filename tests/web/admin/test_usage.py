"""Requests, sums, the forecast and the audit log."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from kiroproxy.ledger.usage import UsageRow
from kiroproxy.upstream.usage import Usage
from kiroproxy.web.admin import usage
from tests.web.admin.conftest import Desk


@pytest.fixture
def used(desk: Desk) -> Desk:
    """Four requests of this hour."""
    for n in range(4):
        desk.parts.ledger.usage.record(row(n))
    desk.parts.ledger.usage.flush()
    return desk


def row(n: int) -> UsageRow:
    return UsageRow(
        trace_id=f"trace-{n}",
        key_id="k1" if n % 2 else "",
        credential_id=1 + n % 2,
        model="claude-sonnet-4.5",
        model_asked="=SUM(A1)",
        status=429 if n == 3 else 200,
        error_type="Throttled" if n == 3 else "",
        input_tokens=10,
        output_tokens=5,
        first_event_s=0.5 + n,
        duration_s=2.0,
        credits=0.25,
    )


def test_requests_are_filtered_and_paged(used: Desk) -> None:
    told = used.get("/requests?page_size=3")
    assert (told["total"], len(told["requests"]), told["page"]) == (4, 3, 1)
    assert used.get("/requests?key_id=k1")["total"] == 2
    assert used.get("/requests?credential_id=1&credential_id=2&status=200")["total"] == 3
    assert used.get("/requests?since=1h&until=2099-01-01")["total"] == 4
    assert used.get("/requests?until=1h")["total"] == 0


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday",
        "status=many",
        f"credential_id={10**30}",
        "page=0",
        "page=x",
        "page_size=5000",
        "credits=nan",
        "unknown=1",
    ],
)
def test_questions_that_nobody_understands(used: Desk, query: str) -> None:
    for path in ("/requests", "/audit"):
        if path == "/audit" and query.split("=")[0] in ("status", "credential_id", "credits"):
            continue
        assert used.refused("GET", f"{path}?{query}")["type"] == "invalid_request"


def test_sums(used: Desk) -> None:
    [total] = used.get("/usage")["totals"]
    assert (total["requests"], total["errors"], total["credits"]) == (4, 1, 1.0)
    by_key = used.get("/usage?by=key_id&by=status")["totals"]
    assert {(one["key_id"], one["status"]): one["requests"] for one in by_key} == {
        ("", 200): 2,
        ("k1", 200): 1,
        ("k1", 429): 1,
    }
    series = used.get("/usage/series?level=minute&by=credential_id")["series"]
    assert sum(one["requests"] for one in series) == 4
    used.refused("GET", "/usage?by=nonsense")
    used.refused("GET", "/usage/series?level=century")


def test_export(used: Desk) -> None:
    answer = used.call("GET", "/usage/export")
    assert answer.content_type.startswith("text/csv")
    assert len(answer.text.splitlines()) == 5
    assert ",=SUM" not in answer.text, "no formula for a spreadsheet"
    found = json.loads(used.call("GET", "/usage/export?format=json&status=429").text)
    assert [one["trace_id"] for one in found] == ["trace-3"]
    used.refused("GET", "/usage/export?format=xlsx")


def test_forecast(used: Desk) -> None:
    assert used.get("/usage/forecast")["pool"]["dryAt"] is None, "no balance is known"
    end = datetime.now(UTC) + timedelta(days=30)
    used.accounts.usages[1] = Usage("PRO", 50.0, 49.0, end)
    used.get("/credentials/1/balance")
    told = used.get("/usage/forecast")
    assert told["pool"]["left"] == 1.0
    assert told["pool"]["perDay"] > 0
    [one] = told["credentials"]
    assert (one["credentialId"], bool(one["dryAt"])) == (1, True)


def test_live(used: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "LIFE_S", 0.3)
    monkeypatch.setattr(usage, "LOOK_S", 0.05)
    answer = used.call("GET", "/requests/stream?since=1h&key_id=k1")
    assert answer.content_type == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [one["type"] for one in lines] == ["ping", "request", "request", "end"]
    answer = used.call("GET", "/requests/stream", buffered=False)
    pieces = answer.iter_encoded()
    assert json.loads(next(pieces)) == {"type": "ping"}
    fresh = row(2)
    fresh.time = time.time() + 1
    used.parts.ledger.usage.record(fresh)
    used.parts.ledger.usage.flush()
    assert json.loads(next(pieces))["id"] == fresh.id
    answer.close()


def test_audit(used: Desk) -> None:
    for n in range(3):
        used.post("/credentials/1/priority", {"priority": n + 1})
    used.post("/credentials/2/disabled", {"disabled": True})
    told = used.get("/audit?page_size=2")
    assert (told["total"], len(told["entries"])) == (4, 2)
    newest = told["entries"][0]
    assert (newest["action"], newest["target"]) == ("credential.disable", "credential 2")
    assert (newest["who"], newest["client"]) == ("admin ***dmin", "127.0.0.1")
    assert used.get("/audit?action=credential.priority")["total"] == 3
    assert used.get("/audit?target=credential 2")["total"] == 1
    assert used.get("/audit?until=1h")["total"] == 0


def test_an_ill_database(used: Desk) -> None:
    place = used.parts.ledger.database.path
    assert place is not None
    place.unlink()
    place.mkdir()
    error = used.refused("GET", "/requests", status=503)
    assert error["type"] == "unavailable"
    told = used.get("/overview")
    assert told["pool"]["total"] == 2, "the rest goes on"
    assert told["problems"]
