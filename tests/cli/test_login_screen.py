"""What a sign-in looks like."""

import json
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner

from kiroproxy.cli.login_screen import (
    JsonLines,
    Lines,
    Screen,
    Terminal,
    choose_screen,
    hidden,
    qr_code,
)
from kiroproxy.credentials.model import Credential
from kiroproxy.errors import LoginFailed, StoreLocked
from kiroproxy.upstream.oauth import Client
from kiroproxy.upstream.sign_in import SignIn, Wish

SIGN_IN = SignIn(
    id="x",
    wish=Wish(),
    method="builder-id",
    region="us-east-1",
    url="https://device.example/?user_code=ABCD-EFGH",
    page="https://device.example/",
    user_code="ABCD-EFGH",
    expires_at=time.time() + 600,
    client=Client("the-client", "the-secret"),
    device_code="the-device",
)
STORED = Credential(id=3, label="mine", email="me@example.com", refresh_token="the-token")


def shown(screen: Screen, capsys: pytest.CaptureFixture[str]) -> str:
    screen.show(SIGN_IN, False)
    with screen.waiting() as tick:
        tick(SIGN_IN)
        tick(replace(SIGN_IN, trouble="it rains"))
        tick(replace(SIGN_IN, trouble="it rains"))
    screen.failed(LoginFailed("no", code="access_denied"))
    screen.done(replace(SIGN_IN, phase="done", credential_id=3), STORED)
    captured = capsys.readouterr()
    for secret in ("the-client", "the-secret", "the-device", "the-token", "me@example.com"):
        assert secret not in captured.out + captured.err
    assert "\x1b" not in captured.out, "no escape codes away from a terminal"
    return captured.out + captured.err


def test_lines_say_trouble_once(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(Lines(), capsys)
    assert text.count("it rains") == 1
    assert "stored as #3 mine (m…@example.com)" in text


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    screen = JsonLines()
    lines = [json.loads(line) for line in shown(screen, capsys).splitlines()]
    assert [line["event"] for line in lines] == ["pending", "failed", "done"]
    assert lines[1]["error"] == "access_denied"
    screen.failed(StoreLocked("locked"))
    off = replace(STORED, disabled=True)
    screen.done(replace(SIGN_IN, phase="done"), off)
    failed, done = map(json.loads, capsys.readouterr().out.splitlines())
    assert (failed["error"], done["disabledReason"]) == ("error", "Manual")


def test_a_terminal_shows_the_code_large(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(Terminal(), capsys)
    assert "A   B   C   D   -   E   F   G   H" in text
    assert f"\n{SIGN_IN.url}\n" in text


def test_programs_get_lines_and_people_a_screen() -> None:
    assert isinstance(choose_screen(True), JsonLines)
    with CliRunner().isolation():
        screen = choose_screen(False)
    assert type(screen) is Lines
    assert not screen.interactive


def test_a_qr_code_is_a_square_without_colours() -> None:
    lines = qr_code(SIGN_IN.url)
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) in (2 * len(lines), 2 * len(lines) - 1)
    assert set("".join(lines)) <= set(" █▀▄")


@pytest.mark.parametrize(
    ("email", "seen"),
    [("me@example.com", "m…@example.com"), ("x", "x…"), ("", None), (None, None)],
)
def test_an_address_is_recognised_by_its_owner_only(email: str | None, seen: str | None) -> None:
    assert hidden(email) == seen
