"""The page at /admin without a browser: what is served, under which rules, and in which words."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin

import pytest
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from flask.testing import FlaskClient

from kiroproxy.web import ui
from tests.web.conftest import Place

MODULES = sorted((ui.HERE / "static" / "admin").glob("*.js"))
TEMPLATES = sorted((ui.HERE / "templates" / "admin").glob("*.html"))
LITERAL = r'"((?:[^"\\]|\\.)*)"'
CATALOGUE = ui.TRANSLATIONS / "zh" / "LC_MESSAGES"


@pytest.fixture
def page() -> FlaskClient:
    """The page's own application, as /admin reaches it."""
    return ui.application().test_client(use_cookies=False)


def test_without_an_admin_key_there_is_nothing(make: Callable[..., Place]) -> None:
    """S126."""
    place = make(admin_api_key="  ")
    for path in ("/admin", "/admin/", "/admin/credentials", "/admin/static/app.js"):
        assert place.client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/admin", "/admin/", "/admin/credentials", "/admin/no/such/é"])
def test_every_address_below_gives_the_page(place: Place, path: str) -> None:
    """S137: a screen's address can be opened, kept and sent to somebody."""
    answer = place.client.get(path)
    assert answer.status_code == 200
    assert answer.content_type == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )


def test_everything_comes_from_here(place: Place) -> None:
    """S137: no other host, nothing inline; each address in the page can be fetched."""
    for page in ("/admin", "/admin/", "/admin/credentials", "/admin/credentials/3"):
        html = place.client.get(page).text
        addresses = re.findall(r'(?:href|src)="([^"#]+)"', html)
        assert len(addresses) >= 5
        for address in addresses:
            whole = urljoin(page, address)
            assert not address.startswith("/"), "a reverse proxy may have cut a prefix"
            assert whole.startswith("/admin/"), whole
            with place.client.get(whole) as answer:
                assert answer.status_code == 200, whole
    assert not re.search(r"<style|style=|<script(?![^>]*src=)|\son\w+=", html)


def test_an_unchanged_file_is_not_sent_again(place: Place) -> None:
    for path in ("/admin/static/app.js", "/admin/icons.svg"):
        with place.client.get(path) as first:
            mark = {"if-none-match": first.headers["etag"]}
        with place.client.get(path, headers=mark) as again:
            assert again.status_code == 304


def test_a_file_elsewhere_cannot_be_reached(place: Place) -> None:
    for path in ("/admin/static/../../ui.py", "/admin/static/%2e%2e/%2e%2e/ui.py"):
        with place.client.get(path) as answer:
            assert "Blueprint" not in answer.text


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_modules_never_build_html_from_text(module: Path) -> None:
    """What a credential or a server says must not become markup, and the policy forbids eval."""
    source = module.read_text("utf-8")
    for danger in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert danger not in source
    assert not re.search(
        r"https?://(?!www\.w3\.org|example)", source.replace('"http://localhost', "")
    )


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_modules_import_what_is_there(module: Path) -> None:
    """Without a bundler nobody else looks."""
    source = module.read_text("utf-8")
    for names, other in re.findall(r'import \{([^}]+)\} from "\./([\w.]+)"', source):
        exported = (module.parent / other).read_text("utf-8")
        for name in filter(None, (one.strip() for one in names.split(","))):
            assert re.search(rf"export (async )?(const|class|function)\*? {name}\b", exported), name
            assert len(re.findall(rf"(?<!\w)(?<![\w)\]]\.){name}\b", source)) > 1, (
                f"{name} is not used"
            )


def test_icons_are_in_the_sprite(page: FlaskClient) -> None:
    """Those that the modules name, and no other of the two thousand."""
    sprite = page.get("/icons.svg")
    assert sprite.content_type.startswith("image/svg+xml")
    there = set(re.findall(r'\bid="([^"]+)"', sprite.text))
    named = {name for path in MODULES for name in re.findall(r'"([a-z0-9-]+)"', path.read_text())}
    assert there <= named
    direct = r'(?:icon\(|icon: |badge\([^,]+, [^,]+, )"([a-z0-9-]+)"'
    asked = {name for path in MODULES for name in re.findall(direct, path.read_text("utf-8"))}
    assert asked <= there


def test_what_the_server_says_is_still_what_it_says() -> None:
    """Each sentence that the page knows by its template is one that some module here has."""
    package = ui.HERE.parent
    source = "".join(path.read_text("utf-8") for path in package.rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source).replace('\\"', '"')
    told = (ui.HERE / "static" / "admin" / "said.js").read_text("utf-8")
    foreign = {
        "Missing data for",
        "Unknown field",
        "Field may not",
        "Not a valid",
        "Longer than",
    }  # marshmallow's
    for template in re.findall(rf"said\({LITERAL}", told):
        fixed = max(re.split(r"\{\w+\}", template), key=len).strip()
        assert fixed in source or any(one in template for one in foreign), template


# ---- words ---------------------------------------------------------------------------------


def sentences() -> list[str]:
    """What modules and templates say."""
    found = []
    for path in MODULES:
        source = path.read_text("utf-8")
        found += re.findall(rf"(?<!\w)(?:t|said)\(\s*{LITERAL}", source)
        for pair in re.findall(rf'(?<!\w)tn\([^"]*?{LITERAL},\s*{LITERAL}', source):
            found += pair
    for path in TEMPLATES:
        found += re.findall(r"_\('((?:[^'\\]|\\.)*)'\)", path.read_text("utf-8"))
    return list(dict.fromkeys(found))


def test_both_languages_have_the_same_sentences(page: FlaskClient) -> None:
    english, chinese = (page.get(f"/words/{code}.json").json for code in ui.LANGUAGES)
    assert set(english) == set(chinese) == set(sentences())
    for sentence, translation in chinese.items():
        assert translation, sentence
        places = [Counter(re.findall(r"\{\w+\}", text)) for text in (sentence, translation)]
        assert places[0] == places[1], sentence


def test_the_catalogue_is_compiled() -> None:
    """`make translations` was run."""
    with (CATALOGUE / "web.po").open("rb") as source, (CATALOGUE / "web.mo").open("rb") as file:
        wanted = {one.id: one.string for one in read_po(source) if one.id}
        assert {one.id: one.string for one in read_mo(file) if one.id} == wanted


def test_nothing_is_said_that_cannot_be_translated() -> None:
    """`t` takes a literal; the screens' names and what the server says are the exceptions.

    They stand in a comment, and in `said`.
    """
    for path in MODULES:
        if path.name == "words.js":
            continue
        others = re.findall(r'(?<![\w.])t\((?!["`)])[^)]*\)', path.read_text("utf-8"))
        assert set(others) <= {"t(name)", "t(screen[2])", "t(one, values)"}, path.name


@pytest.mark.parametrize(
    ("headers", "language"),
    [
        ({}, "en"),
        ({"accept-language": "zh-CN,zh;q=0.9,en;q=0.5"}, "zh-Hans"),
        ({"accept-language": "fr,de;q=0.5"}, "en"),
        ({"cookie": "kiroproxy_language=zh", "accept-language": "en"}, "zh-Hans"),
        ({"cookie": "kiroproxy_language=../../etc", "accept-language": "zh"}, "zh-Hans"),
    ],
)
def test_the_language_is_chosen_or_the_browsers(
    page: FlaskClient, headers: dict[str, str], language: str
) -> None:
    assert f'<html lang="{language}"' in page.get("/", headers=headers).text
