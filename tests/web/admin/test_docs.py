"""The docs page: nothing from elsewhere, nothing inline (S126, design Q16)."""

import re

import pytest

from kiroproxy.web.admin.docs import FILES
from tests.web.admin.conftest import Desk


@pytest.mark.parametrize("name", FILES)
def test_its_files_need_no_key_and_nothing_else(desk: Desk, name: str) -> None:
    answer = desk.place.client.get(f"/api/admin/docs/{name}".rstrip("/"))
    assert answer.status_code == 200
    assert answer.content_type == FILES[name][1]
    csp = answer.headers["content-security-policy"]
    assert "default-src 'none'" in csp
    assert "unsafe" not in csp
    assert not re.search(r"https?://|//cdn", answer.text), "no CDN"
    assert not re.search(r"<script>|<script [^>]*>[^<]|\son\w+=|style=|innerHTML", answer.text)


def test_nothing_else_is_open(desk: Desk) -> None:
    for path in ("docs/other.js", "docs/../openapi.json", "docs/%2e%2e/api.py", "openapi.json"):
        assert desk.place.client.get(f"/api/admin/{path}").status_code in (401, 404)


def test_the_document(desk: Desk) -> None:
    spec = desk.get("/openapi.json")
    assert spec["openapi"].startswith("3.")
    operations = {
        (method.upper(), path.removeprefix("/api/admin"))
        for path, methods in spec["paths"].items()
        for method in methods
        if method != "parameters"
    }
    assert ("POST", "/credentials/{credential_id}/disabled") in operations
    assert all(
        one.get("summary")
        for methods in spec["paths"].values()
        for method, one in methods.items()
        if method != "parameters"
    )
    assert len(operations) > 50


def test_the_contract_names_every_operation(desk: Desk) -> None:
    """docs/admin-api.md and the document are about the same API."""
    from tests.servers import REPOSITORY

    text = (REPOSITORY / "docs" / "admin-api.md").read_text("utf-8")
    for path, methods in desk.get("/openapi.json")["paths"].items():
        short = path.removeprefix("/api/admin")
        short = re.sub(r"\{(credential_id|login_id|key_id|recording_id)\}", "{id}", short)
        short = short.replace("{trace_id}", "{trace}")
        for method in methods:
            if method != "parameters":
                assert f"`{method.upper()} {short}" in text, (method, short)
