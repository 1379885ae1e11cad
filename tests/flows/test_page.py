"""The page at /admin in a real browser, on the real server and the simulator."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.flows.browser import ADMIN, Desk, chromium, desk
from tests.flows.conftest import credential
from tests.servers import Proxy
from tests.simulation import Simulator

pytestmark = pytest.mark.flow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def test_from_an_empty_install_to_a_first_answer(browser: Browser, tmp_path: Path) -> None:
    """The wizard: sign in by device code, ask, connect; then the overview says that it serves."""
    with (
        Simulator() as sim,
        Proxy(tmp_path, {"adminApiKey": ADMIN}, [], upstream=sim.url) as proxy,
        desk(browser, proxy) as one,
    ):
        sim.device(interval=0.2)
        page = one.open()
        expect(page.get_by_role("heading", name="Welcome to kiroproxy")).to_be_visible()
        one.picture("wizard-light")
        page.get_by_role("button", name="Builder ID").click()
        page.get_by_label("Label").fill("first")
        page.get_by_role("button", name="Get a code").click()
        expect(page.locator("[data-code]")).to_have_text(re.compile(r"\w{4}-?\w{4}"))
        assert page.locator("img.qr").evaluate("(image) => image.naturalWidth") > 50
        one.picture("device-code")
        one.told("Signed in")
        page.get_by_role("dialog").get_by_role("button", name="Close").click()
        page.get_by_role("button", name="Send a test").click()
        expect(page.get_by_role("region", name="Answer")).to_have_text(re.compile(r"\w+ \w+"))
        expect(page.get_by_text("First token after")).to_be_visible()
        expect(page.locator("pre").first).to_contain_text(f"ANTHROPIC_BASE_URL={proxy.url}\n")
        page.get_by_role("link", name="Overview").click()
        expect(page.locator("[data-state=serving]")).to_be_visible()
