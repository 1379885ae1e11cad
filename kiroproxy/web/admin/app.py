"""The admin application of one worker: its API, and whatever else lies below `/admin`."""

from flask import Flask, Response, request

from kiroproxy.web import cors, errors, ui
from kiroproxy.web.admin import (
    bulk,
    credentials,
    docs,
    groups,
    imports,
    keys,
    logins,
    models,
    overview,
    recordings,
    settings,
    upkeep,
    usage,
)
from kiroproxy.web.admin.api import PREFIX, AdminApi, api_settings
from kiroproxy.web.operator import admit_operator
from kiroproxy.web.services import EXTENSION, Services

ROOMS = (
    overview,
    credentials,
    bulk,
    imports,
    logins,
    groups,
    models,
    settings,
    upkeep,
    recordings,
    keys,
    usage,
)
"""Modules of the API, each with its `blueprint`, in the order of the document."""


def build_admin_app(parts: Services) -> Flask:
    """Join the views; `parts` are the worker's own."""
    app = Flask("kiroproxy.web.admin", static_folder=None)
    app.url_map.strict_slashes = False
    app.extensions[EXTENSION] = parts
    app.config.update(api_settings(), MAX_CONTENT_LENGTH=parts.config.max_body_bytes)
    errors.install(app)
    cors.install(app)
    app.before_request(_guard)
    app.after_request(_protect)
    api = AdminApi(app)
    for module in ROOMS:
        api.register_blueprint(module.blueprint)
    app.register_blueprint(docs.blueprint)
    app.register_blueprint(ui.blueprint)
    return app


def _guard() -> None:
    """The API and its document are for whoever has the key; pages are empty without it."""
    if request.path.startswith(f"{PREFIX}/") and request.path not in docs.OPEN:
        # what one worker has changed is there when the next question goes to another
        admit_operator().pool.look_again()


def _protect(response: Response) -> Response:
    """Nothing of this is for caches, or a browser's guesses."""
    response.headers.setdefault("cache-control", "no-store")
    response.headers["x-content-type-options"] = "nosniff"
    response.headers["referrer-policy"] = "no-referrer"
    return response
