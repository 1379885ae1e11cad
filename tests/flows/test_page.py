"""The page at /admin in a real browser, on the real server and the simulator."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests.flows.browser import ADMIN, Desk, chromium, desk
from tests.flows.conftest import credential
from tests.flows.test_nginx import nginx
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
        Proxy(tmp_path, {"adminApiKey": ADMIN, "queueWaitSec": 1}, [], upstream=sim.url) as proxy,
        desk(browser, proxy) as one,
    ):
        sim.device(interval=0.2)
        began = time.monotonic()
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
        assert time.monotonic() - began < 120
        users = page.get_by_role("region", name="Who uses it, last hour")
        expect(users.get_by_text("1 request")).to_be_visible()
        one.picture("serving")

        sim.fault("/generateAssistantResponse", status=429, times=9)
        assert ask(proxy).status_code == 429
        page.get_by_role("link", name="Overview").click()
        expect(page.get_by_text("1 cooling")).to_be_visible()
        expect(page.get_by_text("All credentials rest")).to_be_visible()
        back = page.locator("[data-until]").first
        before = back.inner_text()
        expect(back).not_to_have_text(before)
        assert page.locator("[data-state]").get_attribute("data-state") in ("down", "degraded")
        one.picture("cooling")
        page.get_by_role("link", name="Usage").click()
        expect(page.get_by_text("No balance is known yet.")).to_be_visible()
        page.get_by_role("link", name="Credentials", exact=True).click()
        expect(page.locator("[data-back]")).to_be_visible()

        one.trouble.clear()
        proxy.stop()
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")
        one.allowed = ("ERR_CONNECTION",)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy with some credentials; tests leave them as they were."""
    stored = [
        credential(id=1, label="alpha", refreshToken="a" * 120),
        credential(id=2, label="beta", refreshToken="b" * 120, priority=1),
        credential(id=3, label="gamma", refreshToken="c" * 120, priority=2, disabled=True),
    ]
    with (
        Simulator() as sim,
        Proxy(
            tmp_path_factory.mktemp("office"),
            {"adminApiKey": ADMIN, "queueWaitSec": 1},
            stored,
            upstream=sim.url,
        ) as running,
    ):
        sim.device(interval=0.2)
        yield running


@pytest.fixture
def one(browser: Browser, office: Proxy) -> Iterator[Desk]:
    with desk(browser, office) as sitting:
        yield sitting


def ask(proxy: Proxy, text: str = "hello", **headers: str) -> requests.Response:
    """A request as a client sends it."""
    return requests.post(
        f"{proxy.url}/v1/messages",
        json={
            "model": "claude-sonnet-4-5",
            "max_tokens": 50,
            "messages": [{"role": "user", "content": text}],
        },
        headers={"x-api-key": proxy.key} | headers,
        timeout=20,
    )


def test_the_key_is_asked_for_and_kept_in_the_tab(browser: Browser, office: Proxy) -> None:
    with desk(browser, office) as one:
        one.allow(401)
        page = one.page
        page.goto(f"{office.url}/admin/credentials")
        page.get_by_label("Admin key").fill("sk-wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert").get_by_text("Invalid or missing")).to_be_visible()
        page.get_by_label("Admin key").fill(ADMIN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Credentials")).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", name="Credentials")).to_be_visible()
        assert ADMIN not in str(page.context.storage_state())
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Admin key")).to_be_visible()
        assert page.evaluate("sessionStorage.length") == 0


def test_a_credential_is_changed_step_by_step(one: Desk) -> None:
    page = one.open("credentials")
    row = page.locator("tr[data-id='2']")
    expect(row).to_contain_text("beta")
    page.get_by_label("Search", exact=True).fill("bet")
    expect(page.locator("tr[data-id]")).to_have_count(1)
    row.get_by_label("Priority of beta").fill("7")
    page.keyboard.press("Enter")
    one.told("Priority of beta is 7 now.")
    row.get_by_label("Priority of beta").fill("1")
    page.keyboard.press("Enter")
    one.told("Priority of beta is 1 now.")
    one.menu("beta", "Disable")
    one.told("beta is disabled.")
    expect(row).to_contain_text("switched off by hand")
    one.menu("beta", "Enable")
    one.told("beta is enabled.")
    one.menu("beta", "Ask for its balance")
    one.told("credits left")
    expect(row.locator(".bar")).to_be_visible()
    one.menu("beta", "Renew its token")
    one.told("The token of beta is renewed.")
    one.menu("beta", "Forget failures (reset)")
    one.told("beta begins afresh.")
    one.menu("beta", "Test with a model")
    page.get_by_role("dialog").get_by_role("button", name="Ask").click()
    expect(page.get_by_role("dialog").get_by_text("First token after")).to_be_visible()
    page.keyboard.press("Escape")
    one.menu("beta", "Edit")
    page.get_by_role("dialog").get_by_label("E-mail").fill("beta@example.org")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    one.told("Saved: email.")
    row.get_by_role("button", name="beta", exact=True).click()
    drawer = page.get_by_role("dialog")
    expect(drawer.get_by_text("beta@example.org")).to_be_visible()
    drawer.get_by_role("tab", name="History").click()
    expect(drawer.get_by_text("Credential 2 (beta@example.org): changed").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)


def test_a_refusal_says_what_to_do(one: Desk) -> None:
    one.allow(400)
    page = one.open("credentials/1")
    drawer = page.get_by_role("dialog", name="alpha")
    expect(drawer).to_be_visible()
    page.keyboard.press("Escape")
    one.menu("alpha", "Edit")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("proxyUrl").fill("http://169.254.169.254/")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Nothing was changed.")


def test_paste_preview_import_and_delete(one: Desk) -> None:
    """One is there already, one is new; the new one is deleted, which needs two steps."""
    page = one.open("credentials")
    page.get_by_role("button", name="Add a credential").click()
    page.get_by_role("button", name="Paste or upload").click()
    new = {"refreshToken": "n" * 120, "authMethod": "social", "label": "newcomer"}
    known = {"refreshToken": "c" * 120, "authMethod": "social"}
    page.get_by_label("Content of a file").fill(json.dumps([known, new]))
    page.get_by_role("button", name="Look at it").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1 new, 1 there already")
    one.picture("import-preview")
    dialog.get_by_role("button", name="Import 1").click()
    expect(dialog).to_contain_text("1 added")
    dialog.get_by_role("button", name="Close").last.click()
    expect(page.get_by_role("button", name="newcomer", exact=True)).to_be_visible()
    one.menu("newcomer", "Delete")
    expect(page.get_by_role("dialog")).to_contain_text("only a disabled credential can be deleted")
    page.get_by_role("button", name="Disable it").click()
    expect(page.get_by_role("dialog")).to_contain_text("Its tokens are taken out")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    one.told("newcomer is deleted.")
    expect(page.get_by_role("button", name="newcomer", exact=True)).to_have_count(0)


def test_signing_in_by_an_address_that_is_brought_back(one: Desk) -> None:
    """Social: the browser ends at an address of this machine; and again for one that is there."""
    page = one.open("credentials")
    page.get_by_role("button", name="Add a credential").click()
    page.get_by_role("button", name="Google or GitHub").click()
    page.get_by_label("Label").fill("sociable")
    page.get_by_role("button", name="Go on").click()
    bring_back(page)
    one.told("Signed in")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    one.menu("sociable", "Sign in again")
    bring_back(page)
    expect(page.get_by_role("dialog")).to_contain_text("Signed in")
    one.told("Signed in")
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_label("Choose sociable").check()
    bulk = page.get_by_role("region", name="With those that are chosen")
    bulk.get_by_role("button", name="Disable").click()
    page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    expect(page.get_by_role("dialog")).to_contain_text("1 done, 0 failed.")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    bulk.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("1")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("dialog")).to_contain_text("1 done, 0 failed.")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="sociable", exact=True)).to_have_count(0)


def bring_back(page: Page) -> None:
    """Approve as a person would, and paste the address at which the browser ends."""
    link = page.get_by_role("link", name="Open the sign-in page")
    approved = requests.get(str(link.get_attribute("href")), allow_redirects=False, timeout=10)
    page.get_by_label("That address").fill(approved.headers["location"])
    page.get_by_role("button", name="Finish").click()


def test_giving_a_sign_in_up_leaves_nothing(one: Desk) -> None:
    page = one.open("credentials")
    page.get_by_role("button", name="Add a credential").click()
    page.get_by_role("button", name="IAM Identity Center").click()
    page.get_by_label("Start URL").fill("https://example.awsapps.com/start")
    page.get_by_role("button", name="Get a code").click()
    expect(page.locator("[data-code]")).to_be_visible()
    with page.expect_request(lambda asked: asked.method == "DELETE") as gone:
        page.keyboard.press("Escape")
    assert "/logins/" in gone.value.url
    expect(page.get_by_text("3 credentials")).to_be_visible()


def test_many_at_once_with_a_result_for_each(one: Desk) -> None:
    page = one.open("credentials")
    page.get_by_label("Choose all that are shown").check()
    bulk = page.get_by_role("region", name="With those that are chosen")
    expect(bulk).to_contain_text("3 chosen")
    bulk.get_by_role("button", name="Renew tokens").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("3 done, 0 failed.")
    expect(dialog.get_by_role("row")).to_have_count(4)
    page.keyboard.press("Escape")
    bulk.get_by_role("button", name="Disable").click()
    expect(page.get_by_role("dialog")).to_contain_text("every request will be refused")
    page.get_by_role("button", name="Cancel").click()
    bulk.get_by_role("button", name="Choose none").click()
    expect(bulk).to_have_count(0)


def test_lines_for_clients_have_the_right_address(one: Desk) -> None:
    page = one.open("connect")
    url = one.proxy.url
    for client, line in {
        "Claude Code": f"export ANTHROPIC_BASE_URL={url}\n",
        "Codex": f'base_url = "{url}/v1"',
        "Cursor": f"Base URL: {url}/v1\n",
        "Cline": f"Base URL: {url}\n",
        "Anthropic SDK": f'base_url="{url}"',
        "OpenAI SDK": f'base_url="{url}/v1"',
        "curl": f"curl -N {url}/v1/messages",
    }.items():
        page.get_by_role("tab", name=client).click()
        expect(page.get_by_role("tabpanel")).to_contain_text(line)
    page.get_by_role("button", name="Make a key for this client").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("x-api-key: kp_")


def test_who_would_serve_and_who_would_not(one: Desk) -> None:
    page = one.open("routing")
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_text("alpha would serve it")).to_be_visible()
    expect(page.get_by_role("row", name="gamma")).to_contain_text("switched off by hand")
    page.get_by_label("Try a name").fill("claude-opus-4-8")
    page.get_by_role("button", name="Try", exact=True).click()
    expect(page.get_by_text("claude-opus-4-8 → claude-opus-4.8")).to_be_visible()
    page.get_by_role("button", name="New group").click()
    page.get_by_role("dialog").get_by_label("Name").fill("pro")
    page.get_by_role("dialog").get_by_label("Requests a second, at most").fill("5")
    page.get_by_role("button", name="Create").click()
    one.told("Group pro is there")
    expect(page.get_by_role("row", name="pro")).to_contain_text("/pro/v1")
    one.menu("pro", "Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    one.told("Group pro is deleted.")
    trace = ask(one.proxy).headers["x-kiroproxy-trace"]
    page.goto(f"{one.proxy.url}/admin/routing?trace={trace}")
    expect(page.get_by_role("list", name="Attempts")).to_contain_text("alpha")


def test_a_key_is_shown_once_and_opens(one: Desk) -> None:
    page = one.open("keys")
    page.get_by_role("button", name="New key").first.click()
    form = page.get_by_role("dialog")
    form.get_by_label("Name", exact=True).fill("ci")
    form.get_by_label("Requests a minute").fill("60")
    form.get_by_role("button", name="Make the key").click()
    secret = page.locator("[data-secret]").inner_text()
    assert secret.startswith("kp_")
    expect(page.get_by_role("tabpanel")).to_contain_text(secret)
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(page.locator("dialog")).to_have_count(0)
    assert secret not in page.content()
    expect(page.get_by_role("row", name="ci")).to_contain_text("60 a minute")
    page.wait_for_timeout(1100)  # within a second every worker knows it
    assert ask(one.proxy, **{"x-api-key": secret}).status_code == 200
    one.menu("ci", "Rotate")
    page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    expect(page.locator("[data-secret]")).not_to_have_text(secret)
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    one.menu("ci", "Disable")
    page.get_by_role("dialog").get_by_role("button", name="Disable").click()
    expect(page.get_by_role("row", name="ci")).to_contain_text("disabled")
    one.menu("ci", "Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    one.told("ci is deleted.")


def test_requests_come_in_live_and_show_their_way(one: Desk) -> None:
    page = one.open("requests")
    page.get_by_role("button", name="Live").click()
    expect(page.get_by_role("status").get_by_text("live")).to_be_visible()
    page.wait_for_timeout(300)
    assert ask(one.proxy).status_code == 200
    expect(page.get_by_role("row").nth(1)).to_contain_text("claude-sonnet-4-5")
    page.get_by_role("row").nth(1).get_by_role("button").click()
    drawer = page.get_by_role("dialog")
    expect(drawer.get_by_role("list", name="Attempts")).to_contain_text("alpha")
    expect(drawer).to_contain_text(f"curl -N {one.proxy.url}/v1/messages")
    one.picture("request")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Stop").click()
    page.get_by_label("Status").select_option("429")
    expect(page.get_by_role("heading", name="No request fits")).to_be_visible()
    one.open("credentials/1").get_by_role("tab", name="Requests").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("claude-sonnet-4.5")


def test_usage_is_drawn_summed_and_downloaded(one: Desk) -> None:
    assert ask(one.proxy).status_code == 200
    page = one.open("usage")
    sums = page.get_by_role("table", name="Sums")
    deadline = time.monotonic() + 10
    while not sums.get_by_text("claude-sonnet-4.5").count() and time.monotonic() < deadline:
        page.wait_for_timeout(500)
        page.get_by_label("Span").select_option("24h")
    expect(sums).to_contain_text("claude-sonnet-4.5")
    page.get_by_label("What").select_option("requests")
    expect(page.locator("figure.chart rect").first).to_be_attached()
    page.get_by_label("By").select_option("credential_id")
    expect(sums).to_contain_text("alpha")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download as CSV").click()
    assert waiting.value.suggested_filename.endswith(".csv")


def test_settings_doctor_audit_and_backup(one: Desk) -> None:
    page = one.open("settings")
    page.get_by_label("Search settings").fill("cooldown")
    page.get_by_role("button", name="Change cooldownSec").click()
    page.get_by_role("dialog").get_by_label("cooldownSec").fill("31")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    one.told("cooldownSec is saved.")
    expect(page.locator("[data-key=cooldownSec]")).to_contain_text("31")
    page.get_by_role("button", name="Change cooldownSec").click()
    page.get_by_role("button", name="Back to the default").click()
    one.told("cooldownSec is saved.")
    page.get_by_role("tab", name="Doctor").click()
    page.get_by_role("button", name="Examine").click()
    expect(page.get_by_role("table", name="Findings")).to_be_visible(timeout=20_000)
    one.picture("doctor")
    page.get_by_role("tab", name="Audit log").click()
    expect(page.get_by_role("row", name="cooldownSec").first).to_be_visible()
    page.get_by_role("tab", name="Backup").click()
    page.get_by_role("button", name="Download a backup").click()
    with page.expect_download() as waiting:
        page.get_by_role("dialog").get_by_role("button", name="Download").click()
    assert "gz" in waiting.value.suggested_filename


SCREENS = ("", "credentials", "connect", "routing", "keys", "usage", "requests", "settings")
ACCESSIBLE = Path(__file__).with_name("accessibility.js").read_text("utf-8")


def dialogs(one: Desk) -> Iterator[str]:
    """Open each dialog in turn, and close it after it was looked at."""
    page = one.page
    add = page.get_by_role("button", name="Add a credential")
    ways = {
        "add-builder-id": "A code to approve",
        "add-identity-center": "The company's sign-in",
        "add-social": "In a browser;",
        "add-machine": "What the Kiro IDE",
        "add-paste": "Files of kiroproxy",
        "add-api-key": "A Kiro API key",
        "add-form": "A refresh token with",
    }
    one.open("credentials")
    expect(page.locator("tr[data-id='1']")).to_be_visible()
    add.click()
    yield "add"
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    for name, text in ways.items():
        add.click()
        page.locator("dialog .choice", has_text=text).click()
        expect(page.locator("dialog .choice")).to_have_count(0)
        expect(page.get_by_role("dialog")).to_be_visible()
        expect(page.locator("dialog .loading")).to_have_count(0)
        yield name
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
    for item in ("Edit", "Test with a model", "Move to a group", "Delete"):
        one.menu("alpha", item)
        expect(page.get_by_role("dialog")).to_be_visible()
        yield f"credential-{item.split()[0].lower()}"
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
    for screen, opener in (
        ("keys", "New key"),
        ("routing", "New group"),
        ("settings", "Change cooldownSec"),
        ("settings?tab=backup", "Download a backup"),
    ):
        one.open(screen)
        page.get_by_role("button", name=opener).first.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        yield opener.split()[0].lower() + "-" + opener.split()[-1].lower()
        page.keyboard.press("Escape")


def test_every_screen_is_fit_for_everybody(browser: Browser, office: Proxy) -> None:
    """Names, contrast, references; and a picture of each screen for a person to look at."""
    found = {}
    with desk(browser, office, reduced_motion="reduce") as one:

        def look(name: str) -> None:
            for theme in ("dark", "light"):
                one.page.evaluate("(one) => document.documentElement.dataset.bsTheme = one", theme)
                one.picture(f"{name}-{theme}")
                found[f"{name} {theme}"] = one.page.evaluate(ACCESSIBLE)

        for screen in (*SCREENS, "settings?tab=audit", "nowhere"):
            one.open(screen)
            one.settled()
            look(screen.replace("?tab=", "-") or "overview")
        one.open("credentials/1")
        expect(one.page.get_by_role("dialog").get_by_role("tabpanel")).to_be_visible()
        expect(one.page.locator("dialog .loading")).to_have_count(0)
        look("drawer")
        one.page.keyboard.press("Escape")
        one.page.get_by_role("button", name="Actions for alpha").click()
        look("menu")
        one.page.keyboard.press("Escape")
        one.page.get_by_label("Choose all that are shown").check()
        look("bulk")
        one.page.get_by_role("button", name="As cards").click()
        look("cards")
        one.page.get_by_role("button", name="As a table").click()
        for name in dialogs(one):
            look(name)
    assert not {screen: all_ for screen, all_ in found.items() if all_}


TOO_WIDE = """() => [...document.querySelectorAll("main *")]
  .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
  .filter((one) => !one.closest(".table-scroll, pre"))
  .map((one) => `${one.tagName} ${one.className}`).slice(0, 5)"""


def test_a_narrow_window_shows_everything(browser: Browser, office: Proxy) -> None:
    """A telephone's width: nothing sticks out sideways, the menu is there."""
    with desk(browser, office) as one:
        one.page.set_viewport_size({"width": 390, "height": 844})
        for screen in SCREENS:
            page = one.open(screen)
            one.settled()
            one.picture(f"{screen or 'overview'}-narrow")
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, (screen, page.evaluate(TOO_WIDE))
            for link in page.locator("nav a").all():
                expect(link).to_be_in_viewport()


def test_behind_a_prefix_that_nginx_cuts(browser: Browser, office: Proxy, tmp_path: Path) -> None:
    """Everything is asked for below the prefix, and the lines for clients have it."""
    upstream = f"upstream kiroproxy {{ server 127.0.0.1:{office.port}; }}"
    cut = {
        "location / {": "location /kiro/ {",
        "proxy_pass http://kiroproxy;": "proxy_pass http://kiroproxy/;",
    }
    with nginx(tmp_path, upstream, **cut) as front:
        site = f"http://127.0.0.1:{front.port}/kiro"
        with desk(browser, Behind(site)) as one:
            page = one.open("credentials/1")
            expect(page.get_by_role("dialog", name="alpha")).to_be_visible()
            page.keyboard.press("Escape")
            page.get_by_role("link", name="Connect").click()
            expect(page.get_by_role("tabpanel")).to_contain_text(f"ANTHROPIC_BASE_URL={site}\n")
            page.get_by_role("button", name="Send a test").click()
            expect(page.get_by_text("First token after")).to_be_visible()
            page.get_by_role("link", name="Why it went").click()
            assert page.url.startswith(f"{site}/admin/routing?trace=")
            page.goto(f"{site}/portal")
            page.get_by_label("Client key").fill(office.key)
            page.get_by_role("button", name="Show").click()
            expect(page.locator("#clients")).to_contain_text(f"ANTHROPIC_BASE_URL='{site}'")
            page.goto(f"{site}/api/admin/docs")
            page.get_by_label("Admin key").fill(ADMIN)
            page.get_by_role("button", name="Show").click()
            expect(page.get_by_role("link", name="GET /overview")).to_be_visible()


@dataclass
class Behind:
    """A proxy at another address."""

    url: str


def test_the_portal_of_a_key_holder(browser: Browser, office: Proxy) -> None:
    """Refused in words, then limits, use and lines; in both languages, fit for everybody."""
    wanted = {"name": "robin", "limits": {"requests_per_minute": 9}}
    admin = {"x-api-key": ADMIN}
    keys = f"{office.url}/api/admin/keys"
    made = requests.post(keys, json=wanted, headers=admin, timeout=10).json()
    try:
        with desk(browser, office) as one:
            one.allow(401)
            page = one.page
            page.goto(f"{office.url}/portal")
            page.get_by_label("Client key").fill("kp_of-nobody")
            page.keyboard.press("Enter")
            expect(page.get_by_role("alert")).to_contain_text("Ask whoever gave it to you")
            one.picture("portal-refused")
            page.wait_for_timeout(1100)  # within a second every worker knows the key
            page.get_by_label("Client key").fill(made["key"])
            page.keyboard.press("Enter")
            expect(page.locator("#facts")).to_contain_text("robin")
            expect(page.get_by_text("0 of 9")).to_be_visible()
            expect(page.locator("#clients")).to_contain_text("ANTHROPIC_BASE_URL")
            assert made["key"] not in page.locator("#clients").inner_text()
            for theme in ("dark", "light"):
                page.emulate_media(color_scheme=theme)
                one.picture(f"portal-{theme}")
                assert page.evaluate(ACCESSIBLE) == []
            page.get_by_role("button", name="Language").click()
            expect(page.get_by_role("heading", name="剩余额度")).to_be_visible()
            assert page.evaluate(ACCESSIBLE) == []
            page.reload()
            expect(page.locator("#facts")).to_contain_text("robin")
            page.get_by_role("button", name="清除密钥").click()
            assert page.evaluate("sessionStorage.getItem('key')") is None
    finally:
        requests.delete(f"{keys}/{made['id']}", headers=admin, timeout=10)


def test_a_keyboard_is_enough(one: Desk) -> None:
    """Tab goes in reading order and is always seen; menus know arrows and Escape."""
    page = one.open("credentials")
    expect(page.locator("tr[data-id='1']")).to_be_visible()
    page.keyboard.press("Tab")
    places = []
    for _ in range(14):
        page.keyboard.press("Tab")
        seen = page.evaluate(
            "() => { const one = document.activeElement, at = one.getBoundingClientRect();"
            " return [at.width > 0 && at.bottom <= innerHeight + 1,"
            " getComputedStyle(one).outlineStyle !== 'none' ||"
            " getComputedStyle(one).boxShadow !== 'none',"
            " one.closest('aside') ? 0 : 1, Math.round(at.top), Math.round(at.left)] }"
        )
        assert seen[0], "the focus is out of sight"
        assert seen[1], "the focus is not marked"
        places.append(seen[2])
    assert places == sorted(places), "the navigation comes before the content"
    opener = page.get_by_role("button", name="Actions for alpha")
    opener.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("menuitem").nth(1)).to_be_focused()
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("End")
    expect(page.get_by_role("menuitem", name="Delete")).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")  # disables: the row is drawn anew
    one.told("alpha is disabled.")
    expect(opener).to_be_focused()
    one.menu("alpha", "Edit")
    expect(page.get_by_label("Label")).to_be_focused()
    page.wait_for_timeout(1500)  # the row below is drawn anew meanwhile
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Actions for alpha")).to_be_focused()
    one.menu("alpha", "Enable")
    one.told("alpha is enabled.")


UNTRANSLATED = """async () => {
  const words = await (await fetch("/admin/words/zh.json")).json();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    const given = element.closest("code, pre, dd, .chip, option, td strong");
    if (words[text] && words[text] !== text && !given) found.push(text);
  }
  return found;
}"""


def test_in_chinese(browser: Browser, office: Proxy) -> None:
    """The switch changes every screen; nothing of the page's own stays English."""
    with desk(browser, office, locale="zh-CN") as one:
        page = one.open("credentials")
        expect(page.get_by_role("heading", name="凭据")).to_be_visible()
        expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
        for screen in SCREENS:
            one.open(screen)
            one.settled()
            assert page.evaluate(UNTRANSLATED) == []
        one.picture("settings-zh")
        expect(page.locator("[data-key=cooldownSec]")).to_contain_text("凭据")
        one.allow(400)
        page.get_by_role("button", name="更改 region").click()
        page.get_by_role("dialog").get_by_label("region").fill("somewhere else")
        page.get_by_role("button", name="保存").click()
        expect(page.get_by_role("alert").get_by_text("region：必须是 AWS 区域")).to_be_visible()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="English").click()
        expect(page.get_by_role("heading", name="Settings")).to_be_visible()


def test_five_hundred_stay_smooth(browser: Browser, tmp_path: Path) -> None:
    """Only what is in sight is built; searching and scrolling take no time that one notices."""
    stored = [
        credential(id=n, label=f"member {n:03}", refreshToken=f"{n:0120}", priority=n % 7)
        for n in range(1, 501)
    ]
    config = {"adminApiKey": ADMIN}
    with Proxy(tmp_path, config, stored, workers=1) as proxy, desk(browser, proxy) as one:
        page = one.open("credentials")
        expect(page.get_by_text("500 credentials")).to_be_visible()
        assert page.locator("tr[data-id]").count() < 60
        took = page.evaluate(
            "async () => { const place = document.querySelector('.virtual');"
            " const steps = [];"
            " for (let at = 0; at < place.scrollHeight; at += 1500) {"
            "  const before = performance.now(); place.scrollTop = at;"
            "  await new Promise(requestAnimationFrame); await new Promise(requestAnimationFrame);"
            "   steps.push(performance.now() - before); }"
            " return steps.sort((a, b) => a - b)[steps.length >> 1]; }"
        )
        assert took < 150, f"half of the steps of scrolling took {took} ms"
        expect(page.locator("tr[data-id]").last).to_be_visible()
        page.get_by_label("Search", exact=True).fill("member 477")
        expect(page.locator("tr[data-id]")).to_have_count(1)
