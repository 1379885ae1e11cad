"""Answers that are told line by line (NDJSON): long work, and what goes on."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Response, request, stream_with_context

from kiroproxy.dialects.jsontext import dumps

CONTENT_TYPE = "application/x-ndjson"
LINE = {"type": "object", "properties": {"type": {"type": "string"}}, "required": ["type"]}
LINES = {CONTENT_TYPE: LINE}
"""That an operation may answer line by line, for the document."""


def wants_lines() -> bool:
    """Whether the caller of the current request would rather have lines."""
    return request.accept_mimetypes.best == CONTENT_TYPE


def lines(events: Iterable[dict[str, Any]]) -> Response:
    """One JSON object a line, sent when it is known; proxies must not gather them."""

    def encoded() -> Iterator[bytes]:
        for event in events:
            yield dumps(event) + b"\n"

    response = Response(stream_with_context(encoded()), content_type=CONTENT_TYPE)
    response.headers["cache-control"] = "no-store"
    response.headers["x-accel-buffering"] = "no"
    return response


def told(
    results: Iterable[dict[str, Any]], summary: Callable[[list[dict[str, Any]]], dict[str, Any]]
) -> Response | dict[str, Any]:
    """Rows as they come with their sum at the end, or all of it at once, as the caller wishes.

    The work goes on to its end, also when the caller leaves: it is not undone half-way.
    """
    if not wants_lines():
        rows = list(results)
        return summary(rows) | {"results": rows}

    def events() -> Iterator[dict[str, Any]]:
        rows = []
        rest = iter(results)
        try:
            for row in rest:
                rows.append(row)
                yield {"type": "row", **row}
        finally:
            for row in rest:
                rows.append(row)
        yield {"type": "summary", **summary(rows)}

    return lines(events())
