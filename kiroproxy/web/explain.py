"""Headers of each answer: the id that `GET /api/admin/explain/<id>` takes, and what is free."""

import functools
import math
import time
from datetime import UTC, datetime

from flask import Flask, Response, g

from kiroproxy.credentials.borrowing import Borrower, Limits

EXHAUSTED = (429, 503, 529)


def install(app: Flask) -> None:
    """Add the trace's id and what the pool could still take to each answer."""

    @app.after_request
    def label(response: Response) -> Response:
        borrower: Borrower | None = g.get("borrower")
        if borrower is None:
            return response
        response.headers["x-kiroproxy-trace"] = borrower.trace.id
        exhausted = response.status_code in EXHAUSTED
        limits = borrower.limits(afresh=exhausted)
        if limits is not None:
            _add_limits(response, limits)
            if exhausted and limits.reset_s > 0 and "retry-after" not in response.headers:
                response.headers["retry-after"] = str(math.ceil(limits.reset_s))
        return response


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
