"""What stands before the admin application: it is built by the first request for it.

A worker that nobody administrates never imports flask-smorest and what comes with it, and no
worker does at its start. The application has the worker's own `Services`; what one changes, the
other sees.
"""

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import gevent

from kiroproxy.web.services import Services

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment
    from flask import Flask

PLACES = ("/api/admin", "/admin")


class AdminDoor:
    """Hands requests for the admin's places to their application, and all others on.

    Without an admin key nothing is handed over: then nobody knows these paths (S126).
    """

    def __init__(self, others: "WSGIApplication", parts: Services) -> None:
        self._others = others
        self._parts = parts
        self._lock = threading.Lock()
        self._app: Flask | None = None

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request, or hand it on."""
        if not is_for_admin(environ) or not self._parts.config.admin_api_key.strip():
            return self._others(environ, start_response)
        return self.application()(environ, start_response)

    @property
    def is_built(self) -> bool:
        """Whether somebody has asked for it."""
        return self._app is not None

    def application(self) -> "Flask":
        """The admin application; the first call builds it, while the worker's streams go on."""
        if self._app is None:
            with self._lock:
                if self._app is None:
                    self._app = gevent.get_hub().threadpool.apply(_build, (self._parts,))
        return self._app


def is_for_admin(environ: "WSGIEnvironment") -> bool:
    """Whether a request's path lies in one of the admin's places."""
    path: Any = environ.get("PATH_INFO", "")
    return any(path == place or path.startswith(f"{place}/") for place in PLACES)


def _build(parts: Services) -> "Flask":
    from kiroproxy.web.admin.app import build_admin_app

    return build_admin_app(parts)
