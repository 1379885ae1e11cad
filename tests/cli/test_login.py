"""`kiroproxy login` as people and scripts run it, against a simulator."""

import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pexpect
import pytest

from kiroproxy.cli.login import has_browser
from tests.servers import clean_environment, free_port
from tests.simulation import Simulator

TOKEN = "a-refresh-token-" + "x" * 100
FOLLOW = "import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=10).read()"
NO_DESKTOP = {"DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_TTY", "BROWSER"}


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[Simulator]:
    with Simulator("--strict") as simulator:
        yield simulator


@pytest.fixture
def sim(shared_simulator: Simulator) -> Simulator:
    shared_simulator.reset()
    shared_simulator.device(interval=0.1)
    return shared_simulator


class Place:
    """A directory with a configuration, and the commands run in it."""

    def __init__(self, path: Path, upstream: str) -> None:
        self.path = path
        document = {"apiKey": "sk-test", "apiUrl": upstream}
        document |= {"oidcUrl": upstream, "socialAuthUrl": upstream}
        (path / "config.json").write_text(json.dumps(document))
        env = clean_environment(NO_PROXY="*", TERM="xterm", LANG="C.UTF-8", COLUMNS="100")
        self.environ = {name: value for name, value in env.items() if name not in NO_DESKTOP}

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "kiroproxy", "login", *arguments]

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.path,
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def run(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*arguments),
            cwd=self.path,
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
        )

    def terminal(self, *arguments: str, **environ: str) -> "pexpect.spawn[str]":
        executable, *rest = self.command(*arguments)
        return pexpect.spawn(
            executable,
            rest,
            cwd=str(self.path),
            env=self.environ | environ,
            encoding="utf-8",
            timeout=20,
            dimensions=(60, 100),
        )

    def stored(self) -> list[dict[str, Any]]:
        path = self.path / "credentials.json"
        found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
        return found

    def write(self, *entries: dict[str, Any]) -> None:
        path = self.path / "credentials.json"
        path.write_text(json.dumps(entries))
        path.chmod(0o600)


@pytest.fixture
def place(sim: Simulator, tmp_path: Path) -> Place:
    return Place(tmp_path, sim.url)


def follow(url: str) -> tuple[int, str, str]:
    """One step of a browser: status, where it is sent, what it shows."""
    parts = urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        response = connection.getresponse()
        return response.status, response.getheader("location") or "", response.read().decode()
    finally:
        connection.close()


def finished(child: "pexpect.spawn[str]") -> int:
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus is not None
    return child.exitstatus


# ---- for scripts -------------------------------------------------------------------------------


def test_plain_lines(place: Place) -> None:
    done = place.run("--method", "builder-id", "--label", "mine", "--group", "pro")
    assert (done.returncode, done.stderr) == (0, "")
    first, second, third, last = done.stdout.splitlines()
    assert first.startswith("Open this address in a browser: http://127.0.0.1:")
    assert second.removeprefix("It must show this code: ") in first
    assert third == "This sign-in waits for 10 min."
    assert last == "Signed in and stored as #1 mine (a…@example.com, KIRO PRO)."
    assert place.stored()[0]["group"] == "pro"
    assert "\x1b" not in done.stdout


def test_one_object_a_line(place: Place) -> None:
    done = place.run(
        *("--method", "idc", "--start-url", "https://example.awsapps.com/start"),
        *("--region", "eu-west-1", "--priority", "-3", "--json"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    pending, result = map(json.loads, done.stdout.splitlines())
    assert (pending["event"], result["event"]) == ("pending", "done")
    assert pending["userCode"] in pending["url"]
    assert 590 <= pending["expiresIn"] <= 600
    assert (result["credentialId"], result["priority"], result["group"]) == (1, -3, "default")
    entry = place.stored()[0]
    for key in ("accessToken", "refreshToken", "clientSecret"):
        assert entry[key] not in done.stdout


@pytest.mark.parametrize(
    ("mode", "code", "words"),
    [("deny", "access_denied", "denied"), ("expire", "expired_token", "Nobody approved")],
)
def test_refusals_are_one_sentence_and_store_nothing(
    sim: Simulator, place: Place, mode: str, code: str, words: str
) -> None:
    sim.device(mode=mode)
    done = place.run("--method", "builder-id", "--json")
    failed = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, failed["event"], failed["error"]) == (1, "failed", code)
    assert words in failed["message"]
    assert done.stderr == f"Error: {failed['message']}\n"
    assert place.stored() == []


def test_slow_down_is_obeyed(sim: Simulator, place: Place) -> None:
    sim.device(slowDowns=1)
    assert place.run("--method", "builder-id").returncode == 0
    polls = [one["time"] for one in sim.requests("/token")]
    assert polls[1] - polls[0] >= 5


def test_no_network_is_told(place: Place) -> None:
    place.environ |= {"KIROPROXY_OIDC_URL": f"http://127.0.0.1:{free_port()}"}
    done = place.run("--method", "builder-id")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: 127.0.0.1 refused the connection\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--method"),
        (["--method", "magic"], "magic"),
        (["--method", "idc"], "--start-url"),
        (["--method", "idc", "--start-url", "ftp://x"], "https"),
        (["--method", "idc", "--start-url", "https://x", "--region", "moon"], "moon"),
        (["--method", "builder-id", "--region", "eu-west-1"], "Builder ID"),
        (["--method", "builder-id", "--paste"], "--paste"),
        (["--method", "builder-id", "--port", "9"], "--port"),
        (["--method", "google", "--port", "0"], "--port"),
        (["--method", "google", "--group", "v1"], "v1"),
        (["--method", "google", "--priority", "high"], "high"),
        (["--relogin", "0"], "--relogin"),
        (["--relogin", "9"], "9"),
        (["--relogin", "2"], "--method"),
        (["--relogin", "3"], "api_key"),
        (["--relogin", "1", "--group", "pro", "--priority", "0"], "--group, --priority"),
    ],
)
def test_bad_input_changes_nothing(
    sim: Simulator, place: Place, arguments: list[str], words: str
) -> None:
    place.write(
        {"id": 1, "refreshToken": TOKEN, "provider": "Google"},
        {"id": 2, "refreshToken": TOKEN + "2"},
        {"id": 3, "kiroApiKey": "ksk_x"},
    )
    before = (place.path / "credentials.json").read_bytes()
    done = place.run(*arguments)
    assert done.returncode == 2, done
    assert words in done.stderr
    assert (place.path / "credentials.json").read_bytes() == before
    assert sim.requests() == []


def test_the_browser_comes_back_to_a_port(place: Place) -> None:
    port = free_port()
    process = place.start("--method", "google", "--port", str(port), "--json")
    assert process.stdout is not None
    pending = json.loads(process.stdout.readline())
    assert pending["redirectUri"] == f"http://127.0.0.1:{port}/oauth/callback"
    status, _, page = follow(f"http://127.0.0.1:{port}/oauth/callback?code=c&state=forged")
    assert (status, "another sign-in" in page) == (400, True)
    _, address, _ = follow(pending["url"])
    status, _, page = follow(address)
    out, err = process.communicate(timeout=20)
    assert (status, process.returncode) == (200, 0), err
    assert "Signed in" in page
    assert json.loads(out)["event"] == "done"
    assert "another sign-in" in err


def test_a_denied_browser_is_told_too(sim: Simulator, place: Place) -> None:
    sim.device(mode="deny")
    process = place.start("--method", "github", "--port", str(free_port()))
    assert process.stdout is not None
    _, address, _ = follow(process.stdout.readline().split()[-1])
    status, _, page = follow(address)
    _, err = process.communicate(timeout=20)
    assert (status, process.returncode) == (400, 1)
    assert "Not signed in" in page
    assert "denied in the browser" in err


def test_a_taken_port_is_told_before_anything_begins(sim: Simulator, place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = place.run("--method", "google", "--port", port)
    assert done.returncode == 2
    assert f"Port {port} is taken" in done.stderr
    assert sim.requests() == []


def test_a_credential_that_was_removed_meanwhile(place: Place) -> None:
    place.write({"id": 1, "refreshToken": TOKEN, "provider": "Google"})
    process = place.start("--relogin", "1", "--paste", "--json")
    assert process.stdout is not None
    _, address, _ = follow(json.loads(process.stdout.readline())["url"])
    place.write()
    out, err = process.communicate(f"{address}\n", timeout=20)
    assert (process.returncode, json.loads(out)["event"]) == (1, "failed")
    assert err == "Error: There is no credential 1.\n"
    assert place.stored() == []


def test_where_nothing_can_be_stored_nobody_signs_in(sim: Simulator, place: Place) -> None:
    done = place.run("--method", "builder-id", "--credentials", "no/such/place/credentials.json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be stored" in done.stderr
    assert "no/such/place" in done.stderr
    assert sim.requests() == []


def test_a_pasted_address_on_stdin(place: Place) -> None:
    process = place.start("--method", "google", "--paste")
    assert process.stdout is not None
    assert process.stdin is not None
    link, hint, _ = (process.stdout.readline() for _ in range(3))  # communicate loses what is read
    _, address, _ = follow(link.split()[-1])
    out, err = process.communicate(f"  '{address}'\n", timeout=20)
    assert (process.returncode, err) == (0, "")
    assert "http://127.0.0.1:3128/oauth/callback" in hint
    assert "stored as #1" in out


@pytest.mark.parametrize("text", ["", "nonsense\n", "?code=a&state=b\n"])
def test_a_wrong_address_on_stdin_ends_it(place: Place, text: str) -> None:
    done = place.run("--method", "google", "--paste", stdin=text)
    assert done.returncode == 1
    assert "address" in done.stderr
    assert place.stored() == []


def test_relogin_keeps_the_row(place: Place) -> None:
    row = {
        **{"id": 4, "refreshToken": TOKEN, "authMethod": "idc", "provider": "BuilderId"},
        **{"clientId": "a", "clientSecret": "b", "group": "pro", "priority": 7, "label": "mine"},
        **{"disabled": True, "disabledReason": "InvalidRefreshToken", "odd": [1]},
    }
    place.write({"id": 2, "refreshToken": TOKEN + "2"}, row)
    done = place.run("--relogin", "4")
    assert (done.returncode, done.stderr) == (0, "")
    assert "stored as #4 mine" in done.stdout
    other, after = place.stored()
    assert other["refreshToken"] == TOKEN + "2"
    assert after["refreshToken"] != TOKEN
    kept = {key: after[key] for key in ("id", "group", "priority", "label", "odd", "disabled")}
    assert kept == {
        **{"id": 4, "group": "pro", "priority": 7, "label": "mine", "odd": [1], "disabled": False}
    }
    assert after["generation"] == 1
    assert "disabledReason" not in after


def test_the_same_account_and_a_row_that_stays_off_are_told(sim: Simulator, place: Place) -> None:
    sim.device(email="me@example.com")
    place.run("--method", "builder-id")
    twice = place.run("--method", "builder-id").stdout
    assert "same account as #1" in twice
    assert "kiroproxy credentials remove" in twice
    first, second = place.stored()
    place.write(first, second | {"disabled": True, "disabledReason": "Manual"})
    sim.device(email="you@example.com")
    again = place.run("--relogin", "2").stdout
    assert "another account before" in again
    assert "still disabled (Manual): `kiroproxy credentials enable 2`" in again


# ---- for people --------------------------------------------------------------------------------


def test_it_asks_shows_a_code_and_counts_down(sim: Simulator, place: Place) -> None:
    sim.device(mode="manual")
    child = place.terminal()
    child.expect("How do you sign in")
    child.sendline("1")
    child.expect(r"user_code=([0-9A-F-]+)")
    assert child.match is not None
    code = child.match[1]
    child.expect("█▀▀▀▀▀▀▀█")  # a QR code's corner
    child.expect("   ".join(code))
    child.expect(r"waiting for you, (9:5\d) left; Ctrl-C stops")
    first = child.match[1]
    child.expect(rf"waiting for you, (?!{first})9:5\d left")
    sim.device(userCode=code, mode="approve")
    child.expect(r"Signed in and stored as #1")
    assert finished(child) == 0


def test_it_asks_for_an_organisation(sim: Simulator, place: Place) -> None:
    child = place.terminal("--no-browser")
    child.expect("How do you sign in")
    child.sendline("idc")
    child.expect("Start URL of your organisation")
    child.sendline("https://example.awsapps.com/start")
    child.expect("Region")
    child.sendline("eu-west-1")
    child.expect("stored as #1")
    assert finished(child) == 0
    assert place.stored()[0]["region"] == "eu-west-1"


def test_the_link_is_opened_where_there_is_a_browser(sim: Simulator, place: Place) -> None:
    """The browser is a program that follows the redirect."""
    browser = place.path / "browser.py"
    browser.write_text(FOLLOW)
    child = place.terminal(
        *("--method", "github", "--port", str(free_port())),
        DISPLAY=":0",
        BROWSER=f"{sys.executable} {browser} %s",
    )
    child.expect("stored as #1")
    assert finished(child) == 0
    assert place.stored()[0]["provider"] == "Github"


@pytest.mark.parametrize(
    "arguments", [["--method", "builder-id"], ["--method", "google", "--no-browser"]]
)
def test_ctrl_c_stores_nothing_and_closes_the_port(
    sim: Simulator, place: Place, arguments: list[str]
) -> None:
    sim.device(mode="manual")
    port = free_port()
    more = ["--port", str(port)] if "google" in arguments else []
    child = place.terminal(*arguments, *more, DISPLAY=":0")
    child.expect("waiting for you")
    child.sendintr()
    child.expect("The sign-in was stopped; nothing was stored.")
    assert finished(child) == 1
    assert "Traceback" not in str(child.before)
    assert place.stored() == []
    if more:
        with pytest.raises(ConnectionRefusedError):
            follow(f"http://127.0.0.1:{port}/oauth/callback?x=1")


def test_ctrl_c_at_a_question(place: Place) -> None:
    child = place.terminal()
    child.expect("How do you sign in")
    child.sendintr()
    assert finished(child) == 1
    assert not (place.path / "credentials.json").exists()


def test_far_from_a_browser_the_address_is_pasted(sim: Simulator, place: Place) -> None:
    """Over SSH the browser's own loopback is another machine's."""
    child = place.terminal("--method", "google", DISPLAY=":0", SSH_CONNECTION="1 2 3 4")
    child.expect(r"(http://\S+/login\?\S+)")
    assert child.match is not None
    _, address, _ = follow(child.match[1])
    child.expect("does not load")
    child.expect("Address: ")
    child.sendline("http://127.0.0.1:3128/oauth/callback?code=1&state=2")
    child.expect("another sign-in")
    child.expect("Address: ")
    child.sendline(address)
    child.expect("stored as #1")
    assert finished(child) == 0


def test_ctrl_c_at_the_address(place: Place) -> None:
    child = place.terminal("--method", "google", "--paste")
    child.expect("Address: ")
    child.sendintr()
    child.expect("nothing was stored")
    assert finished(child) == 1


def test_relogin_at_a_terminal(sim: Simulator, place: Place) -> None:
    place.write({"id": 3, "refreshToken": TOKEN, "provider": "Github", "label": "mine"})
    child = place.terminal("--relogin", "3", "--paste")
    child.expect(r"(http://\S+/login\?\S+)")
    assert child.match is not None
    assert "idp=Github" in child.match[1]
    _, address, _ = follow(child.match[1])
    child.expect("Address: ")
    child.sendline(address)
    child.expect("stored as #3 mine")
    assert finished(child) == 0
    assert place.stored()[0]["refreshToken"] != TOKEN


@pytest.mark.parametrize(
    ("variables", "platform", "there"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "w"}, "linux", True),
        ({}, "linux", False),
        ({}, "darwin", True),
        ({}, "win32", True),
        ({"DISPLAY": ":10", "SSH_CONNECTION": "x"}, "linux", False),
        ({"SSH_TTY": "x"}, "darwin", False),
    ],
)
def test_where_a_browser_would_be_seen(
    variables: dict[str, str], platform: str, there: bool
) -> None:
    assert has_browser(variables, platform) is there
