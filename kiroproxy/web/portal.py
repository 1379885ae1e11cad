"""`/portal`: a page for those who hold a client key. Static; it asks `/v1/me` with their key.

No key is needed to load it, and none is ever sent here but in a header of that call.
"""

import hashlib
from pathlib import Path
from typing import Final

from flask import Blueprint, Response, request

from kiroproxy.errors import NotFound

blueprint = Blueprint("portal", __name__)
PLACE: Final = Path(__file__).with_name("static") / "portal"
PAGE: Final = "portal.html"
KINDS: Final = {
    PAGE: "text/html; charset=utf-8",
    "portal.css": "text/css; charset=utf-8",
    "portal.js": "text/javascript; charset=utf-8",
    "texts.js": "text/javascript; charset=utf-8",
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


@blueprint.get("/portal")
def page() -> Response:
    """The page."""
    return _file(PAGE)


@blueprint.get("/static/portal/<name>")
def part(name: str) -> Response:
    """What the page is made of.

    Raises:
        NotFound: it is not.
    """
    if name not in KINDS or name == PAGE:
        raise NotFound(f"No such path: {request.path}")
    return _file(name)


def _file(name: str) -> Response:
    content = (PLACE / name).read_bytes()
    response = Response(content, content_type=KINDS[name], headers=HEADERS)
    response.set_etag(hashlib.sha256(content).hexdigest()[:16])
    response.make_conditional(request)
    return response
