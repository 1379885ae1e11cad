"""Answers line by line."""

import json
from collections.abc import Iterator
from typing import Any

from flask import Flask

from kiroproxy.web.admin.lines import told

ROWS = [{"id": 1}, {"id": 2}, {"id": 3}]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"total": len(rows)}


def test_all_at_once() -> None:
    with Flask("x").test_request_context():
        assert told(iter(ROWS), summary) == {"total": 3, "results": ROWS}


def test_line_by_line() -> None:
    with Flask("x").test_request_context(headers={"accept": "application/x-ndjson"}):
        response: Any = told(iter(ROWS), summary)
        lines = [json.loads(line) for line in response.get_data().splitlines()]
    assert lines == [*({"type": "row", **one} for one in ROWS), {"type": "summary", "total": 3}]


def test_work_goes_on_when_the_caller_leaves() -> None:
    done = []

    def work() -> Iterator[dict[str, Any]]:
        for one in ROWS:
            done.append(one["id"])
            yield one

    with Flask("x").test_request_context(headers={"accept": "application/x-ndjson"}):
        response: Any = told(work(), summary)
        pieces = iter(response.response)
        next(pieces)
        pieces.close()
    assert done == [1, 2, 3]
