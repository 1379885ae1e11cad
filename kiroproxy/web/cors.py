"""Which other sites' pages may call us (S13, S175).

The client APIs are open to pages from anywhere: without a key they do nothing, and no browser adds
one by itself. The operator's API is for its own origin and those of `corsOrigins`.
"""

import re

from flask import Flask, Response, request

from kiroproxy.web.services import services

CLIENT_PATH = re.compile(r"(?!/api/)(?:/[^/]+)?/v1/")
"""Groups have the client APIs, too."""
OPERATOR_PATH = "/api/"
PREFLIGHT_LIFE_S = 600


def install(app: Flask) -> None:
    """Answer preflights before anybody is asked for a key, and mark what others may read."""

    @app.before_request
    def preflight() -> Response | None:
        if request.method != "OPTIONS" or not allowed_origin():
            return None
        if "access-control-request-method" in request.headers or not _is_for_operator():
            return Response(status=204)
        return None

    @app.after_request
    def allow(response: Response) -> Response:
        if _is_for_operator() and services().config.cors_origins:
            response.vary.add("Origin")
        origin = allowed_origin()
        if origin:
            response.headers["access-control-allow-origin"] = origin
            # stars, for nothing here asks browsers for cookies
            response.headers["access-control-expose-headers"] = "*"
            if request.method == "OPTIONS":
                asked = request.headers.get("access-control-request-headers", "*")
                response.headers["access-control-allow-headers"] = asked
                response.headers["access-control-allow-methods"] = "*"
                response.headers["access-control-max-age"] = str(PREFLIGHT_LIFE_S)
        return response


def allowed_origin() -> str:
    """What `access-control-allow-origin` says to the current request; empty if nothing."""
    if CLIENT_PATH.match(request.path):
        return "*"
    origin = request.headers.get("origin", "").lower()
    may = _is_for_operator() and origin in services().config.cors_origins
    return origin if may else ""


def _is_for_operator() -> bool:
    return request.path.startswith(OPERATOR_PATH)
