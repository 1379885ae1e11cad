"""A real browser for the page: it fails a test on any error in its console, and takes pictures."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.servers import REPOSITORY

ADMIN = "sk-admin-of-the-page"
PICTURES = REPOSITORY / "build" / "page"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_MS = 8000
WATCH = """
addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""

expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's; a developer without it skips, CI must have it."""
    if CHROMIUM is None:
        if "KIROPROXY_CI_TOOLS" in os.environ:  # .ci/run could install what tests need
            pytest.fail("CI needs chromium: apt-get install chromium")
        pytest.skip("no chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Place(Protocol):
    """Where the page is."""

    url: str


class Desk:
    """An operator in front of the page."""

    def __init__(self, browser: Browser, proxy: Place, **context: Any) -> None:
        self._context = browser.new_context(viewport={"width": 1360, "height": 900}, **context)
        self._context.set_default_timeout(PATIENCE_MS)
        self._context.add_init_script(WATCH)
        self.proxy = proxy
        self.page = self._context.new_page()
        self.trouble: list[str] = []
        self.allowed: tuple[str, ...] = ()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.trouble.append(f"uncaught: {error}"))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.trouble.append(f"{message.text} ({message.location.get('url', '')})")

    def allow(self, *statuses: int) -> None:
        """The browser logs refusals as errors; those that a test provokes are no trouble."""
        self.allowed += tuple(f"responded with a status of {status} " for status in statuses)

    def open(self, screen: str = "") -> Page:
        """Go to a screen, signing in if need be."""
        self.page.goto(f"{self.proxy.url}/admin/{screen}".rstrip("/"))
        key = self.page.get_by_label("Admin key").or_(self.page.get_by_label("管理密钥"))
        expect(key.or_(self.page.locator("nav"))).to_be_visible()
        if key.is_visible():
            key.fill(ADMIN)
            self.page.keyboard.press("Enter")
            expect(self.page.locator("nav")).to_be_visible()
        expect(self.page.locator("main h1")).to_be_visible()
        return self.page

    def menu(self, name: str, item: str) -> None:
        """Choose from the menu of a row."""
        self.page.get_by_role("button", name=f"Actions for {name}").click()
        self.page.get_by_role("menuitem", name=item, exact=True).click()

    def told(self, text: str) -> None:
        """Wait for a message, and close it."""
        notice = self.page.locator(".notice", has_text=text).last
        expect(notice).to_be_visible()
        notice.get_by_role("button").click()

    def settled(self) -> None:
        """Wait until what a screen shows has come."""
        expect(self.page.locator("main .loading")).to_have_count(0)
        expect(self.page.locator("main h1")).to_be_visible()
        self.page.wait_for_timeout(100)

    def picture(self, name: str) -> None:
        """For a person to look at."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png")

    def close(self) -> None:
        """Leave; what was in the console fails the test."""
        self._context.close()
        found = [one for one in self.trouble if not any(part in one for part in self.allowed)]
        assert not found, found


@contextmanager
def desk(browser: Browser, proxy: Place, **context: Any) -> Iterator[Desk]:
    """Closed at the end; an error of the test itself comes first."""
    one = Desk(browser, proxy, **context)
    try:
        yield one
    except BaseException:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        one.page.screenshot(path=PICTURES / "failed.png")
        if one.trouble:
            print(one.trouble)
        one._context.close()
        raise
    one.close()
