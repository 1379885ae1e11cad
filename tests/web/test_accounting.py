"""/api/stats and /api/logs (requirements 13): kiro2api's surface on the usage ledger."""

import csv
import io
import time
from typing import Any

import pytest

from kiroproxy.ledger import usage_rows
from kiroproxy.ledger.usage import UsageRow
from tests.web.conftest import ADMIN, AUTH, Place

OPERATOR = {"x-api-key": ADMIN}
PATHS = ("/api/stats", "/api/stats/records", "/api/logs", "/api/logs/stats")


def get(place: Place, path: str) -> Any:
    answer = place.client.get(path, headers=OPERATOR)
    assert answer.status_code == 200, answer.get_data()
    return answer.get_json()


def record(place: Place, *rows: dict[str, Any]) -> None:
    made = []
    for number, row in enumerate(rows):
        at = time.time() - row.pop("ago", 60 - number)
        defaults: dict[str, Any] = {"group": "default", "credential_id": 1, "duration_s": 2.0}
        made.append(UsageRow(time=at, **(defaults | row)))
    database = place.services.ledger.database
    database.write(lambda connection: usage_rows.insert(connection, made, 0))


@pytest.fixture
def used(place: Place) -> Place:
    record(
        place,
        {"key_id": "k1", "model": "a", "input_tokens": 5, "output_tokens": 7, "credits": 0.5},
        {"key_id": "k1", "model": "b", "status": 429, "error_type": "Throttled"},
        {"model": "a", "group": "pro", "credential_id": 2, "credits": 0.25},
        {"model": "a", "credits": 9.0, "ago": 3 * 86400},
    )
    return place


def test_x17_all_of_it_needs_the_admin_key(used: Place) -> None:
    for number, path in enumerate(PATHS):  # each from elsewhere: wrong keys are throttled
        elsewhere = {"REMOTE_ADDR": f"192.0.2.{number}"}
        for headers in ({}, AUTH):
            answer = used.client.get(path, headers=headers, environ_base=elsewhere)
            assert answer.status_code == 401, path
    assert used.client.delete("/api/logs", headers=AUTH).status_code == 401
    assert get(used, "/api/logs")["total"] == 4


def test_stats(used: Place) -> None:
    said = get(used, "/api/stats")
    assert (said["total_requests"], said["success_count"], said["failure_count"]) == (3, 2, 1)
    assert said["success_rate"] == 0.6667
    assert (said["input_tokens"], said["output_tokens"], said["total_tokens"]) == (5, 7, 12)
    assert said["credits"] == 0.75
    assert said["avg_latency"] == 2.0
    assert {one["key_id"]: one["total_requests"] for one in said["by_key"]} == {"k1": 2, "": 1}
    assert {one["model"]: one["credits"] for one in said["by_model"]} == {"a": 0.75, "b": 0}
    assert {one["group"]: one["total_requests"] for one in said["by_group"]} == {
        "default": 2,
        "pro": 1,
    }
    assert {one["credential_id"] for one in said["by_token"]} == {1, 2}
    assert get(used, "/api/stats?since=7d")["credits"] == 9.75
    assert get(used, "/api/stats?since=7d&key=k1&model=a")["total_requests"] == 1
    series = get(used, "/api/stats?since=7d&period=day")["series"]
    assert sum(one["requests"] for one in series) == 4


def test_stats_of_nothing(place: Place) -> None:
    said = get(place, "/api/stats")
    assert (said["total_requests"], said["success_rate"], said["avg_latency"]) == (0, 0, 0)
    assert said["by_key"] == []
    assert get(place, "/api/logs/stats")["error_rate"] == 0


def test_records_and_exports(used: Place) -> None:
    said = get(used, "/api/stats/records?page=2&page_size=3")
    assert (said["total"], said["page"], len(said["records"])) == (4, 2, 1)
    assert get(used, "/api/stats/records?status=429")["records"][0]["error_type"] == "Throttled"
    answer = used.client.get("/api/stats/records?format=csv", headers=OPERATOR)
    assert answer.headers["content-disposition"] == "attachment; filename=usage.csv"
    assert len(list(csv.DictReader(io.StringIO(answer.get_data(as_text=True))))) == 4
    assert len(get(used, "/api/stats/records?format=json&group=pro")) == 1


def test_the_log_and_its_emptying(used: Place) -> None:
    newest = get(used, "/api/logs?page_size=1")["logs"][0]
    assert (newest["token_id"], newest["level"], newest["duration_ms"]) == (2, "info", 2000)
    errors = get(used, "/api/logs?status=429")["logs"]
    assert [(one["level"], one["error"]) for one in errors] == [("error", "Throttled")]
    stats = get(used, "/api/logs/stats")
    assert (stats["total"], stats["error"], stats["by_status"]) == (4, 1, {"200": 3, "429": 1})
    cleared = used.client.delete("/api/logs", headers=OPERATOR)
    assert (cleared.status_code, cleared.get_json()["cleared"]) == (200, 4)
    assert get(used, "/api/logs")["logs"] == []
    assert get(used, "/api/logs?since=30d")["total"] == 0
    assert get(used, "/api/logs/stats")["total"] == 0
    assert get(used, "/api/stats?since=7d")["total_requests"] == 4, "budgets are reckoned from it"
    record(used, {"ago": -1})
    assert get(used, "/api/logs")["total"] == 1
    assert used.services.ledger.audit.entries().entries[0].action == "logs.clear"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "query",
    [
        "since=soon",
        "until=x",
        "since=1d&until=2d",
        "colour=red",
        "credential_id=one",
        "credential_id=99999999999999999999",
        "credential_id=-99999999999999999999",
        "credits=nan",
        "credits=inf",
        "credits=1e300",
        "duration_s=-inf",
        "token_id=x",
        "status=good",
        "streamed=perhaps",
    ],
)
def test_bad_questions(used: Place, path: str, query: str) -> None:
    answer = used.client.get(f"{path}?{query}", headers=OPERATOR)
    assert answer.status_code == 400, answer.get_data()
    assert answer.get_json()["error"]["type"] == "invalid_request"


@pytest.mark.parametrize(
    "path",
    [
        "/api/stats?period=year",
        "/api/stats?period=day&status=200",
        "/api/stats/records?page=0",
        "/api/stats/records?page_size=1001",
        "/api/stats/records?page_size=x",
        "/api/stats/records?format=xml",
        "/api/logs?page=-1",
        "/api/logs?page=1e3",
        "/api/logs?level=debug",
    ],
)
def test_bad_parameters(used: Place, path: str) -> None:
    assert used.client.get(path, headers=OPERATOR).status_code == 400
