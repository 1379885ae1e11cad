"""Is it serving: /health, /healthz, /readyz, /metrics, and HEAD /."""

import time
from datetime import UTC, datetime

from flask import Blueprint, Response, request

from kiroproxy import __version__
from kiroproxy.web.operator import admit_operator
from kiroproxy.web.scrape import exposition
from kiroproxy.web.services import services
from kiroproxy.web.v1 import json_response

blueprint = Blueprint("health", __name__)
_started = time.monotonic()


@blueprint.get("/")
def root() -> Response:
    """Claude Code asks HEAD / first; a person gets a hint."""
    return json_response({"name": "kiroproxy", "version": __version__, "health": "/health"})


@blueprint.get("/healthz")
def healthz() -> Response:
    """This process answers."""
    return Response("OK\n", content_type="text/plain")


@blueprint.get("/health")
def health() -> Response:
    """S159; text for those who ask for text (X16)."""
    accept = request.accept_mimetypes
    if accept["text/plain"] > accept["application/json"]:
        return Response("OK", content_type="text/plain")
    parts = services()
    status = parts.pool.status()
    return json_response(
        {
            "status": "healthy",
            "version": __version__,
            "uptime": int(time.monotonic() - _started),
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "database": "connected" if parts.groups.reachable() else "disconnected",
            "active_tokens": status.usable,
            "token_pools": dict(status.groups),
        }
    )


@blueprint.get("/readyz")
def readyz() -> Response:
    """Whether there is a usable credential and a store that can be written; says why not.

    Without the latter it serves on for as long as its tokens live, and is not ready all the same.
    """
    parts = services()
    status = parts.pool.status()
    reasons = [
        *status.problems,
        *parts.ledger.problems(),
        *(why for ask in parts.readiness if (why := ask())),
    ]
    if not status.usable:
        reasons.insert(0, "no usable credential")
    body = {"ready": status.ready, "usable": status.usable, "reasons": reasons}
    return json_response(body, 200 if status.ready else 503)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Prometheus' text format, summed over the workers; behind the admin key."""
    body, kind = exposition(admit_operator())
    return Response(body, content_type=kind)
