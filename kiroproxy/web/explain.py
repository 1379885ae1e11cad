"""Headers of each answer: the id that `GET /api/admin/explain/<id>` takes, and what is free."""

import functools
import math
import time
from datetime import UTC, datetime

from flask import Flask, Response, g, request

from kiroproxy.credentials.borrowing import Borrower, Limits
from kiroproxy.credentials.policy import DEFAULT_GROUP
from kiroproxy.ledger.limits import Entrance, anthropic_headers, openai_headers
from kiroproxy.web.openai import is_openai
from kiroproxy.web.services import services

EXHAUSTED = (429, 503, 529)


def install(app: Flask) -> None:
    """Add the trace's id, and what pool and client key could still take, to each answer."""

    @app.after_request
    def label(response: Response) -> Response:
        borrower: Borrower | None = g.get("borrower")
        if borrower is not None:
            _label(response, borrower)
        entrance: Entrance | None = g.get("entrance")
        if entrance is None and "caller" in g:
            limits, group = services().ledger.limits, g.get("group", DEFAULT_GROUP)
            entrance = limits.entrance(g.caller, group)
        if entrance is not None:
            _tell_key(response, entrance)
        return response


def _label(response: Response, borrower: Borrower) -> None:
    response.headers["x-kiroproxy-trace"] = borrower.trace.id
    exhausted = response.status_code in EXHAUSTED
    limits = borrower.limits(afresh=exhausted)
    if limits is not None:
        _add_limits(response, limits)
        if exhausted and limits.reset_s > 0 and "retry-after" not in response.headers:
            response.headers["retry-after"] = str(math.ceil(limits.reset_s))


def _tell_key(response: Response, entrance: Entrance) -> None:
    """A client key's own limits count for its holder, not the pool's; and what is nearly spent."""
    if entrance.passage is None:
        entrance.look()  # it was refused before its gate, or comes to none
        if entrance.passage is None:
            return
    response.headers.update(anthropic_headers(entrance, datetime.now(UTC)))
    if is_openai(request):
        response.headers.update(openai_headers(entrance))
    if warnings := entrance.warnings():
        response.headers["x-kiroproxy-warning"] = "; ".join(warnings)


@functools.lru_cache(maxsize=64)
def _timestamp(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _add_limits(response: Response, limits: Limits) -> None:
    """The names under which the genuine API tells them; places are what we count."""
    response.headers["anthropic-ratelimit-requests-limit"] = str(limits.places)
    response.headers["anthropic-ratelimit-requests-remaining"] = str(limits.free)
    response.headers["anthropic-ratelimit-requests-reset"] = _timestamp(
        int(time.time() + limits.reset_s)
    )
