"""What the document says of plain objects is what they hold."""

from typing import Any

import marshmallow as ma
import pytest

from kiroproxy.credentials.trace import Attempt, Trace, explain
from kiroproxy.ledger.budgets import Budgets
from kiroproxy.ledger.keys import KeyLimits
from kiroproxy.ledger.usage import UsageRow
from kiroproxy.ledger.usage_query import Total, build_row
from kiroproxy.web.admin import shapes
from tests.web.admin.conftest import Desk


def names(schema: type[ma.Schema]) -> set[str]:
    return set(schema().fields)


def test_requests_and_sums() -> None:
    assert names(shapes.RequestRow) == set(build_row(UsageRow()))
    assert set(Total.__dataclass_fields__) - {"by"} <= names(shapes.Sum)


def test_limits_and_budgets() -> None:
    assert names(shapes.KeyLimitFacts) == set(KeyLimits.__dataclass_fields__)
    assert names(shapes.BudgetFacts) == set(Budgets.__dataclass_fields__)


def test_traces() -> None:
    trace = Trace("id", attempts=[Attempt(1, "n", 0.0, False)])
    told = explain(trace.encode())
    assert names(shapes.TraceFacts) == set(told)
    assert names(shapes.TraceAttempt) == set(told["attempts"][0])


def test_what_is_told_goes_out_untouched() -> None:
    class Box(ma.Schema):
        inner = shapes.list_of(shapes.Sum)

    assert Box().dump({"inner": [{"odd": 1}]}) == {"inner": [{"odd": 1}]}


@pytest.mark.parametrize("value", [7, "x", [1]])
def test_what_is_given_must_be_an_object(desk: Desk, value: Any) -> None:
    for path in ("/groups", "/keys"):
        error = desk.refused("POST", path, {"name": "n", "budgets": value})
        assert error["param"] == "budgets"


def test_every_operation_tells_its_errors_and_has_a_name(desk: Desk) -> None:
    document = desk.get("/openapi.json")
    assert document["security"] == [{"key": []}, {"bearer": []}]
    found = [
        (path, method, one)
        for path, methods in document["paths"].items()
        for method, one in methods.items()
        if method != "parameters"
    ]
    for path, method, one in found:
        answers = one["responses"]
        assert {"400", "401", "429", "500", "503"} <= set(answers), path
        assert "404" in answers or "{" not in path
        good = [answer for status, answer in answers.items() if status < "300"]
        assert all(answer["content"] for answer in good), (method, path)
        assert "413" in answers or "requestBody" not in one
    ids = [one["operationId"] for _, _, one in found]
    assert len(set(ids)) == len(ids)
    for refused in ("UNAUTHORIZED", "NOT_FOUND", "TOO_MANY_REQUESTS"):
        content = document["components"]["responses"][refused]["content"]
        assert content["application/json"]["schema"]["$ref"].endswith("/Error")
