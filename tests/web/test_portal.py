"""/portal: static, ours alone, under a strict policy, in two languages."""

import json
import re

import pytest

from kiroproxy.web.portal import KINDS, PAGE, PLACE, POLICY
from tests.web.conftest import Place

PARTS = [name for name in KINDS if name != PAGE]


@pytest.mark.parametrize("path", ["/portal", *(f"/static/portal/{name}" for name in PARTS)])
def test_it_is_served_with_a_strict_policy(place: Place, path: str) -> None:
    answer = place.client.get(path)
    assert answer.status_code == 200, "without a key"
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    again = place.client.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.get_data()) == (304, b"")


@pytest.mark.parametrize(
    "name", ["portal.html", "nothing.js", "..%2fportal.html", "../../portal.py", ""]
)
def test_there_is_nothing_else(place: Place, name: str) -> None:
    assert place.client.get(f"/static/portal/{name}").status_code == 404


def test_nothing_inline_and_nothing_from_elsewhere() -> None:
    page = (PLACE / PAGE).read_text("utf-8")
    assert not re.search(r"\son\w+=|style=|<style|javascript:", page)
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page) == [""]
    for name in KINDS:
        text = (PLACE / name).read_text("utf-8")
        assert not re.search(r"(?:https?:)?//[a-z]+\.|@import|innerHTML|eval\(", text), name
    assert sorted(path.name for path in PLACE.iterdir()) == sorted(KINDS)


def texts() -> dict[str, dict[str, str]]:
    source = (PLACE / "texts.js").read_text("utf-8")
    found: dict[str, dict[str, str]] = json.loads(
        source.partition("export const TEXTS =")[2].strip().rstrip(";")
    )
    return found


def test_both_languages_say_the_same() -> None:
    found = texts()
    assert set(found) == {"en", "zh"}
    assert list(found["en"]) == list(found["zh"])
    for name, english in found["en"].items():
        words = re.findall(r"\{\w+\}", english)
        assert sorted(words) == sorted(re.findall(r"\{\w+\}", found["zh"][name])), name
        assert found["zh"][name].strip()
        assert english.strip()


def test_every_text_that_is_used_exists() -> None:
    known = set(texts()["en"])
    used = set(re.findall(r'data-text="([^"]+)"', (PLACE / PAGE).read_text("utf-8")))
    used |= set(re.findall(r'say\("([^"]+)"', (PLACE / "portal.js").read_text("utf-8")))
    assert used <= known
    assert {
        f"budget.{scope}.{period}" for scope in ("key", "group") for period in ("day", "month")
    } <= known


def test_every_element_that_is_used_exists() -> None:
    page = (PLACE / PAGE).read_text("utf-8")
    ids = set(re.findall(r'id="([^"]+)"', page))
    script = (PLACE / "portal.js").read_text("utf-8")
    assert set(re.findall(r'byId\("([^"]+)"\)', script)) <= ids
    labels = set(re.findall(r'<label for="([^"]+)"', page))
    assert {"key", "group"} <= labels
