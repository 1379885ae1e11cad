"""`kiroproxy login`."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from kiroproxy.cli.base import PlainErrors, json_option, open_services, path_options
from kiroproxy.cli.login_screen import Screen, Tick, choose_screen
from kiroproxy.cli.texts import translated as _
from kiroproxy.errors import InvalidRequest, KiroProxyError, LoginFailed, NotFound

if TYPE_CHECKING:
    from kiroproxy.upstream.login import SignIns
    from kiroproxy.upstream.loopback import Loopback
    from kiroproxy.upstream.oauth import Method
    from kiroproxy.upstream.sign_in import SignIn, Wish

METHODS = ("builder-id", "idc", "google", "github")
BROWSER_METHODS = ("google", "github")
TICK_S = 0.25
TRY_AGAIN = ("state_mismatch", "invalid_redirect")
"""Failures that say something about an address, not about the sign-in."""


@click.command(
    cls=PlainErrors,
    examples=(
        "kiroproxy login",
        "kiroproxy login --method builder-id",
        "kiroproxy login --method idc --start-url https://example.awsapps.com/start "
        "--region eu-west-1",
        "kiroproxy login --method google --paste    # the browser is on another machine",
        "kiroproxy login --relogin 3",
    ),
)
@path_options
@click.option("--method", type=click.Choice(METHODS), help="How to sign in; asked for if missing.")
@click.option("--start-url", default="", help="Sign-in page of your organisation, for idc.")
@click.option("--region", default="", help="Region of the IAM Identity Center, or of the sign-in.")
@click.option(
    "--relogin",
    type=click.IntRange(1),
    metavar="ID",
    help="Give this credential new tokens; everything else of it stays.",
)
@click.option("--group", default="", help="Group of the new credential.")
@click.option("--priority", type=int, help="Its priority; the lowest serves first.")
@click.option("--label", default="", help="What to call it.")
@click.option("--no-browser", is_flag=True, help="Show the link, do not open it.")
@click.option("--paste", is_flag=True, help="Paste the address that the browser ends at.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port for the browser to come back to.")
@json_option
def login(
    config_path: Path | None,
    credentials_path: Path | None,
    as_json: bool,
    no_browser: bool,
    paste: bool,
    port: int | None,
    **said: Any,
) -> None:
    """Sign in with Kiro and store the credential.

    Builder ID and IAM Identity Center show a code to approve on any device. Google and GitHub come
    back to a port of this machine, or, with --paste, as an address that you copy from the browser.

    Nothing is stored until Kiro has said yes; Ctrl-C stops without a trace. With --json, each line
    is an object: `pending` with what to open, then `done` or `failed`.
    """
    from kiroproxy.upstream.sign_in import Memory, Wish

    kept = [f"--{name}" for name in ("group", "priority", "label") if said[name] not in ("", None)]
    if said["relogin"] and kept:
        raise click.UsageError(
            _("{options} cannot go with --relogin: the credential keeps its own.").format(
                options=", ".join(kept)
            )
        )
    wish = Wish(**said | {"relogin": said["relogin"] or 0})
    screen = choose_screen(as_json)
    with open_services(config_path, credentials_path) as services:
        sign_ins = services.sign_ins.kept_in(Memory())
        with _wrong_usage():
            wish = sign_ins.complete(wish)
        wish = _asked(wish, screen.interactive)
        here = not no_browser and screen.interactive and _has_browser()
        try:
            done = _run(sign_ins, wish, screen, open_here=here, paste=paste, port=port)
        except KiroProxyError as error:
            screen.failed(error)
            raise
        stored = services.pool.store.snapshot().get(done.credential_id)
        if stored is not None:
            screen.done(done, stored)


@contextlib.contextmanager
def _wrong_usage() -> Iterator[None]:
    """Before anything has begun, what is not found or cannot be is wrong usage (exit code 2)."""
    try:
        yield
    except (InvalidRequest, NotFound) as error:
        raise click.UsageError(str(error)) from error


# ---- what is asked -------------------------------------------------------------------------


def _asked(wish: "Wish", interactive: bool) -> "Wish":
    """The wish with what it lacks, asked for on a terminal."""
    if wish.method is None:
        if not interactive:
            raise click.UsageError(_("Say how to sign in, for example --method builder-id."))
        wish = replace(wish, method=_ask_method())
    if wish.method != "idc" or wish.start_url:
        return wish
    if not interactive:
        raise click.UsageError(_("--method idc needs the --start-url of your organisation."))
    start_url = click.prompt(_("Start URL of your organisation")).strip()
    region = wish.region or click.prompt(
        _("Region of its IAM Identity Center"), default="us-east-1"
    )
    return replace(wish, start_url=start_url, region=region.strip())


def _ask_method() -> "Method":
    names = {
        "builder-id": _("AWS Builder ID"),
        "idc": _("IAM Identity Center, of an organisation"),
        "google": "Google",
        "github": "GitHub",
    }
    for number, method in enumerate(METHODS, 1):
        click.echo(f"  {number}  {names[method]}  ({method})")
    choices = [str(number) for number in range(1, len(METHODS) + 1)]
    answer = click.prompt(
        _("How do you sign in?"), type=click.Choice([*choices, *METHODS]), show_choices=False
    )
    chosen = METHODS[int(answer) - 1] if answer in choices else answer
    return cast("Method", chosen)


def has_browser(variables: Mapping[str, str], platform: str) -> bool:
    """Whether a browser that is opened here would be seen by the person who types."""
    if variables.keys() & {"SSH_CONNECTION", "SSH_TTY"}:
        return False
    if platform in ("win32", "darwin"):
        return True
    return bool(variables.keys() & {"DISPLAY", "WAYLAND_DISPLAY"})


def _has_browser() -> bool:
    from kiroproxy.config import desktop_variables

    return has_browser(desktop_variables(), sys.platform)


def _open(url: str) -> None:
    """In the background: some browsers return only when they are closed."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


# ---- the sign-in ---------------------------------------------------------------------------


def _run(
    sign_ins: "SignIns",
    wish: "Wish",
    screen: "Screen",
    *,
    open_here: bool,
    paste: bool,
    port: int | None,
) -> "SignIn":
    """Start, wait, end; the loopback port is closed on every way out."""
    from kiroproxy.upstream.loopback import Loopback

    browser = wish.method in BROWSER_METHODS
    if not browser and (paste or port):
        raise click.UsageError(_("--paste and --port are for google and github only."))
    far = screen.interactive and not open_here and not port and not _has_browser()
    paste = browser and (paste or far)
    with contextlib.ExitStack() as stack:
        with _wrong_usage():
            loopback = stack.enter_context(Loopback(port)) if browser and not paste else None
            chosen = loopback.port if loopback else port
            sign_in = sign_ins.start(replace(wish, port=chosen) if chosen else wish)
        try:
            screen.show(sign_in, paste)
            if open_here:
                _open(sign_in.url)
            if paste:
                return _pasted(sign_ins, sign_in, screen)
            with screen.waiting() as tick:
                if loopback:
                    return _come_back(sign_ins, sign_in, loopback, screen, tick)
                return _approved(sign_ins, sign_in, tick)
        except (KeyboardInterrupt, click.Abort):
            if sign_ins.cancel(sign_in.id).phase == "done":
                raise  # too late: it is stored
            message = _("The sign-in was stopped; nothing was stored.")
            raise LoginFailed(message, code="cancelled") from None


def _approved(sign_ins: "SignIns", sign_in: "SignIn", tick: Tick) -> "SignIn":
    """Poll until the person has approved the code."""
    while sign_in.phase != "done":
        tick(sign_in)
        time.sleep(TICK_S)
        sign_in = sign_ins.poll(sign_in.id)
    return sign_in


def _come_back(
    sign_ins: "SignIns", sign_in: "SignIn", loopback: "Loopback", screen: "Screen", tick: Tick
) -> "SignIn":
    """Wait until the browser comes back; one of another sign-in is told so, and waited on."""
    while True:
        tick(sign_in)
        visit = loopback.wait(TICK_S)
        if visit is None:
            sign_in = sign_ins.poll(sign_in.id)
            continue
        try:
            sign_in = sign_ins.receive(sign_in.id, visit.redirect)
        except KiroProxyError as error:
            visit.answer(False, str(error))
            if isinstance(error, LoginFailed) and error.code in TRY_AGAIN:
                screen.note(str(error))
                continue
            raise
        except BaseException:
            visit.answer(False, "The sign-in was stopped.")
            raise
        visit.answer(True, "You can close this page and go back to your terminal.")
        return sign_in


def _pasted(sign_ins: "SignIns", sign_in: "SignIn", screen: "Screen") -> "SignIn":
    """Ask for the address; on a terminal again and again, until it is the right one."""
    with contextlib.suppress(ImportError):
        # Without it a terminal takes no more than 1,024 (macOS) or 4,096 characters a line.
        import readline  # noqa: F401
    while True:
        if screen.interactive:
            text = click.prompt(_("Address"), prompt_suffix=": ")
        else:
            text = sys.stdin.readline()
        try:
            return sign_ins.receive(sign_in.id, text)
        except LoginFailed as error:
            if error.code not in TRY_AGAIN or not screen.interactive:
                raise
            screen.note(str(error))
