"""`/api/admin/docs`: the OpenAPI document for people, without inline script or CDN (design, Q16).

The page is empty: its script asks for the key and for `openapi.json`, which needs it.
"""

from pathlib import Path

from flask import Blueprint, Response

from kiroproxy.errors import NotFound
from kiroproxy.web.admin.api import PREFIX

STATIC = Path(__file__).parents[1] / "static" / "admin-docs"
FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
}
OPEN = frozenset({f"{PREFIX}/docs", *(f"{PREFIX}/docs/{name}" for name in FILES)})
"""Paths that need no key."""
CSP = "; ".join(
    f"{name} {value}"
    for name, value in {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }.items()
)

blueprint = Blueprint("docs", __name__, url_prefix=f"{PREFIX}/docs")


@blueprint.get("", defaults={"name": ""})
@blueprint.get("/<name>")
def show(name: str) -> Response:
    """The page, or one of its files."""
    if name not in FILES:
        raise NotFound(f"No such path: {PREFIX}/docs/{name}")
    file, content_type = FILES[name]
    response = Response((STATIC / file).read_bytes(), content_type=content_type)
    response.headers["content-security-policy"] = CSP
    return response
