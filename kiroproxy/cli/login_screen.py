"""How a sign-in is shown: to a person at a terminal, in plain lines, or as JSON to a program."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import click

from kiroproxy.cli.base import console
from kiroproxy.cli.texts import translated as _
from kiroproxy.errors import KiroProxyError, LoginFailed

if TYPE_CHECKING:
    from rich.status import Status

    from kiroproxy.credentials.model import Credential
    from kiroproxy.upstream.sign_in import SignIn

Tick = Callable[["SignIn"], None]


class Screen(Protocol):
    """How a sign-in is shown."""

    interactive: bool
    """Whether a person can be asked."""

    def show(self, sign_in: "SignIn", paste: bool) -> None:
        """What to open."""

    def waiting(self) -> contextlib.AbstractContextManager[Tick]:
        """While it waits; the function is called several times a second."""

    def note(self, text: str) -> None:
        """Something went wrong that does not end it."""

    def failed(self, error: KiroProxyError) -> None:
        """It came to nothing; the sentence on stderr follows."""

    def done(self, sign_in: "SignIn", stored: "Credential") -> None:
        """The credential is stored."""


def choose_screen(as_json: bool) -> Screen:
    """The one that fits whoever reads."""
    if as_json:
        return JsonLines()
    return Terminal() if sys.stdin.isatty() and sys.stdout.isatty() else Lines()


class JsonLines:
    """One object a line, for programs."""

    interactive = False

    def show(self, sign_in: "SignIn", paste: bool) -> None:
        """`pending`."""
        left_s = round(sign_in.expires_at - time.time())
        self._line("pending", **sign_in.describe() | {"expiresIn": left_s, "paste": paste})

    @contextlib.contextmanager
    def waiting(self) -> Iterator[Tick]:
        """In silence."""
        yield lambda _: None

    def note(self, text: str) -> None:
        """On stderr: the lines keep their order of events."""
        click.echo(text, err=True)

    def failed(self, error: KiroProxyError) -> None:
        """`failed`."""
        code = error.code if isinstance(error, LoginFailed) else "error"
        self._line("failed", error=code, message=str(error))

    def done(self, sign_in: "SignIn", stored: "Credential") -> None:
        """`done`."""
        self._line(
            "done",
            **sign_in.describe()
            | {
                "label": stored.label,
                "group": stored.group or "default",
                "priority": stored.priority,
                "email": hidden(stored.email),
                "subscription": stored.subscription,
                "disabledReason": (stored.disabled_reason or "Manual") if stored.disabled else None,
            },
        )

    def _line(self, event: str, **fields: Any) -> None:
        click.echo(json.dumps({"event": event} | fields, ensure_ascii=False))


class Lines:
    """Plain lines, away from a terminal."""

    interactive = False

    def show(self, sign_in: "SignIn", paste: bool) -> None:
        """Link and code."""
        click.echo(_("Open this address in a browser: {url}").format(url=sign_in.url))
        if sign_in.device:
            click.echo(_("It must show this code: {code}").format(code=sign_in.user_code))
        elif paste:
            click.echo(_paste_hint(sign_in))
        minutes = max(round((sign_in.expires_at - time.time()) / 60), 1)
        click.echo(_("This sign-in waits for {minutes} min.").format(minutes=minutes))

    @contextlib.contextmanager
    def waiting(self) -> Iterator[Tick]:
        """Says what goes wrong, once."""
        said: set[str] = set()

        def tick(sign_in: "SignIn") -> None:
            if sign_in.trouble and sign_in.trouble not in said:
                said.add(sign_in.trouble)
                self.note(sign_in.trouble)

        yield tick

    def note(self, text: str) -> None:
        """On stderr."""
        click.echo(text, err=True)

    def failed(self, error: KiroProxyError) -> None:
        """Nothing: the sentence on stderr says it."""

    def done(self, sign_in: "SignIn", stored: "Credential") -> None:
        """Where it is, and what is odd about it."""
        whose = ", ".join(filter(None, (hidden(stored.email), stored.subscription)))
        shown = f"{stored.display_name} ({whose})" if whose else stored.display_name
        click.echo(_("Signed in and stored as {name}.").format(name=shown))
        for remark in _remarks(sign_in, stored):
            click.echo(remark)


class Terminal(Lines):
    """For a person: a large code, a QR code, a countdown."""

    interactive = True

    def show(self, sign_in: "SignIn", paste: bool) -> None:
        """Link, code and, where there is room, the link as a QR code."""
        from rich.padding import Padding
        from rich.panel import Panel
        from rich.text import Text

        out = console()
        out.print(_("Open this address in a browser:"))
        click.echo(sign_in.url)  # neither wrapped nor styled, so that it can be copied
        if paste:
            out.print(_paste_hint(sign_in))
        if not sign_in.device:
            return
        picture = qr_code(sign_in.url)
        if len(picture) + 12 <= out.height and len(picture[0]) <= out.width:
            out.print(Text("\n".join(picture)))
        code = Text("   ".join(sign_in.user_code), style="bold")
        title = _("The page must show this code")
        out.print(Panel(Padding(code, (1, 3)), title=title, expand=False))

    @contextlib.contextmanager
    def waiting(self) -> Iterator[Tick]:
        """A countdown; under `NO_COLOR` only its beginning, since it moves by escape codes."""
        if os.environ.get("NO_COLOR"):
            with super().waiting() as tick:
                yield _after_first(lambda sign_in: click.echo(_count(sign_in)), tick)
            return
        with console().status("…") as status:
            yield lambda sign_in: _count_down(status, sign_in)


def _after_first(first: Tick, each: Tick) -> Tick:
    """A tick that does something more the first time."""
    begin = [first]

    def tick(sign_in: "SignIn") -> None:
        while begin:
            begin.pop()(sign_in)
        each(sign_in)

    return tick


def _count(sign_in: "SignIn") -> str:
    left_s = max(int(sign_in.expires_at - time.time()), 0)
    left = f"{left_s // 60}:{left_s % 60:02}"
    return _("waiting for you, {left} left; Ctrl-C stops").format(left=left)


def _count_down(status: "Status", sign_in: "SignIn") -> None:
    from rich.text import Text

    words = _count(sign_in)
    status.update(Text(f"{words} ({sign_in.trouble})" if sign_in.trouble else words))


def qr_code(url: str) -> list[str]:
    """The lines of a QR code, of block characters without colours."""
    import io

    import segno

    out = io.StringIO()
    segno.make(url, error="l", micro=False).terminal(out, compact=True, border=1)
    return out.getvalue().splitlines()


def hidden(email: str | None) -> str | None:
    """An address that its owner recognises."""
    if not email:
        return None
    name, at, host = email.partition("@")
    return f"{name[:1]}…{at}{host}"


def _paste_hint(sign_in: "SignIn") -> str:
    return _(
        "After the sign-in the browser ends at {redirect}…, which does not load: copy that address "
        "from its address bar and paste it here."
    ).format(redirect=sign_in.redirect_uri)


def _remarks(sign_in: "SignIn", stored: "Credential") -> list[str]:
    """What a person should know besides."""
    remarks = []
    if sign_in.same_as:
        same = _(
            "It is the same account as {ids}, with the same credits: keep one of them "
            "(`kiroproxy credentials remove ID`), and use --relogin next time."
        )
        remarks.append(same.format(ids=", ".join(f"#{id_}" for id_ in sign_in.same_as)))
    if sign_in.other_account:
        other = _(
            "It was another account before: its credits and models are now those of this one."
        )
        remarks.append(other)
    if stored.disabled:
        off = _("It is still disabled ({reason}): `kiroproxy credentials enable {id}`.")
        remarks.append(off.format(reason=stored.disabled_reason or "Manual", id=stored.id))
    return remarks
