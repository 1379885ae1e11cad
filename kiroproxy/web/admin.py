"""/api/admin: off (404) unless `adminApiKey` is configured (S126)."""

from flask import Blueprint, Response, request

from kiroproxy import __version__
from kiroproxy.web.auth import require_admin
from kiroproxy.web.services import services
from kiroproxy.web.v1 import json_response

blueprint = Blueprint("admin", __name__, url_prefix="/api/admin")


@blueprint.before_request
def _guard() -> None:
    require_admin(request, services().config.admin_api_key)


@blueprint.get("/status")
def status() -> Response:
    """The pool at a glance; never a token."""
    pool = services().pool.status()
    return json_response(
        {
            "version": __version__,
            "total": pool.total,
            "usable": pool.usable,
            "store_writable": pool.store_writable,
            "problems": list(pool.problems),
        }
    )
