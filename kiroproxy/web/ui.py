"""/admin: one HTML page for all screens, its modules, and its words in two languages.

The page is an application of its own, made at the first request for it: Flask-Babel and
Bootstrap-Flask cost a worker's start more than all of its routes. Everything on the page comes
through /api/admin with the operator's key; nothing here knows a credential.
"""

import functools
import re
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, jsonify, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from kiroproxy import __version__

blueprint = Blueprint("ui", __name__)

HERE = Path(__file__).resolve().parent
TRANSLATIONS = HERE.parent / "translations"
DOMAIN = "web"
LANGUAGES = {"en": "English", "zh": "简体中文"}
BASE = "kiroproxy.base"
LANGUAGE_COOKIE = "kiroproxy_language"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",  # files are asked for anew, and mostly unchanged (304)
}
ICONS = re.compile(
    "activity|braces|arrow-clockwise|arrow-repeat|box-arrow-right|check-circle-fill|chevron-right|"
    "circle-half|clipboard|cloud-arrow-up|diagram-3|download|exclamation-triangle-fill|gear|"
    "globe2|graph-up|grid|hourglass-split|info-circle-fill|key|lightning-charge-fill|list-ul|"
    "pause-fill|pencil|people-fill|play-fill|plug|plus-lg|search|shield-check|speedometer2|"
    "three-dots|trash|x-circle-fill|x-lg"
)


@blueprint.get("/admin")
@blueprint.get("/admin/")
@blueprint.get("/admin/<path:_inside>")
def page(_inside: str = "") -> BaseResponse:
    """Hand the request over to the page's own application (S137)."""
    inside = request.environ["PATH_INFO"].removeprefix("/admin")
    environ = {
        **request.environ,
        "SCRIPT_NAME": request.script_root + "/admin",
        "PATH_INFO": inside or "/",
        BASE: base_of(inside),
    }
    return Response.from_app(application(), environ)


def base_of(inside: str) -> str:
    """How the page names its own directory: relative, since a reverse proxy may have cut a prefix.

    `inside` is what follows `/admin`: nothing, or a path that begins with a slash.
    """
    return "../" * (inside.count("/") - 1) if inside else "admin/"


@functools.cache
def application() -> Flask:
    """The page's own application; knows nothing of the proxy, so one serves them all."""
    from flask_babel import Babel
    from flask_bootstrap import Bootstrap5

    app = Flask(
        __name__,
        template_folder="templates/admin",
        static_folder="static/admin",
        static_url_path="/static",
    )
    app.config["BABEL_DOMAIN"] = DOMAIN
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = str(TRANSLATIONS)
    app.config["BOOTSTRAP_SERVE_LOCAL"] = True
    Babel(app, locale_selector=language)
    bootstrap = Bootstrap5(app)
    _add_views(app, HERE, bootstrap)

    @app.after_request
    def harden(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    return app


def _add_views(app: Flask, here: Path, bootstrap: Any) -> None:
    import flask_bootstrap

    wheel = Path(flask_bootstrap.__file__).parent / "static" / bootstrap.static_folder
    sprite = icon_sprite((wheel / "icons" / "bootstrap-icons.svg").read_text("utf-8"))

    @app.get("/", defaults={"screen": ""})
    @app.get("/<path:screen>")
    def shell(screen: str) -> str:
        return render_template(
            "shell.html",
            version=__version__,
            language=language(),
            base=request.environ.get(BASE, ""),
            bootstrap_css=f"bootstrap/static/css/{bootstrap.bootstrap_css_filename}",
        )

    @app.get("/icons.svg")
    def icons() -> Response:
        response = Response(sprite, content_type="image/svg+xml")
        response.add_etag()
        response.make_conditional(request)
        return response

    @app.get("/words/<code>.json")
    def words(code: str) -> Response:
        return jsonify(sentences(code if code in LANGUAGES else "en"))

    @app.get("/words/<code>/terms.json")
    def terms(code: str) -> Response:
        return jsonify(server_sentences() if code == "zh" else {})


def language() -> str:
    """What the operator chose, else what the browser prefers, else English."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    return request.accept_languages.best_match(list(LANGUAGES), "en")


@functools.cache
def sentences(code: str) -> dict[str, str]:
    """Each sentence of the page in a language; both languages have the same keys."""
    from babel.messages.mofile import read_mo

    with (TRANSLATIONS / "zh" / "LC_MESSAGES" / f"{DOMAIN}.mo").open("rb") as file:
        pairs = {str(one.id): str(one.string) for one in read_mo(file) if one.id}
    return pairs if code == "zh" else {english: english for english in pairs}


@functools.cache
def server_sentences() -> dict[str, str]:
    """What the server says of settings and the doctor of its findings, as the command line has it.

    They are templates, with facts in {places}.
    """
    from babel.messages.mofile import read_mo

    with (TRANSLATIONS / "zh" / "LC_MESSAGES" / "messages.mo").open("rb") as file:
        return {
            one.id: str(one.string) for one in read_mo(file) if one.id and isinstance(one.id, str)
        }


def icon_sprite(everything: str) -> str:
    """The symbols that the page shows, out of the two thousand that Bootstrap's wheel has."""
    symbols = re.findall(r"<symbol.*?</symbol>", everything, re.DOTALL)
    wanted = [one for one in symbols if ICONS.fullmatch(_id_of(one))]
    return f'<svg xmlns="http://www.w3.org/2000/svg">{"".join(wanted)}</svg>'


def _id_of(symbol: str) -> str:
    found = re.search(r'\bid="([^"]+)"', symbol)
    return found[1] if found else ""
