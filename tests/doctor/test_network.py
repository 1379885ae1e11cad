"""The way to Kiro, with each fault provoked."""

import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.doctor import Finding, Patient, network
from kiroproxy.transport import Route
from tests.doctor.helpers import REFRESH, credential, make, only
from tests.servers import free_port
from tests.wire import CERTIFICATE, HttpProxy, Wire, answer


def dated(shift_s: float = 0) -> bytes:
    """An answer of a server whose clock is off."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=shift_s), usegmt=True)
    return answer(b"{}", f"Date: {date}", status="404 Not Found")


def walk(patient: Patient) -> dict[str, Finding]:
    return {one.check: one for one in network.check_network(patient)}


def test_all_is_well(tmp_path: Path) -> None:
    with Wire([[dated()]]) as wire:
        found = walk(make(tmp_path, upstream=wire.url))
    assert {name: one.state for name, one in found.items()} == {"network": "ok", "clock": "ok"}


@pytest.mark.parametrize(
    ("shift_s", "state", "words"),
    [
        (0, "ok", "agrees"),
        (100, "warning", "behind"),
        (-100, "warning", "ahead"),
        (-4000, "failure", "ahead"),
        (86400, "failure", "behind"),
    ],
)
def test_the_clock(tmp_path: Path, shift_s: float, state: str, words: str) -> None:
    with Wire([[dated(shift_s)]]) as wire:
        one = walk(make(tmp_path, upstream=wire.url))["clock"]
    assert (one.state, words in one.text) == (state, True)
    if shift_s:
        assert abs(one.facts["seconds"] - abs(shift_s)) <= 2


def test_the_clock_of_this_machine_is_what_is_judged(tmp_path: Path) -> None:
    with Wire([[dated()]]) as wire:
        hour_late = make(
            tmp_path, upstream=wire.url, now=lambda: datetime.now(UTC) - timedelta(hours=1)
        )
        assert walk(hour_late)["clock"].state == "failure"


@pytest.mark.parametrize("date", ["", "Date: yesterday", "Date: Tue, 01 Jan 2030 00:00:00"])
def test_a_server_that_does_not_say_the_time(tmp_path: Path, date: str) -> None:
    with Wire([[answer(b"", *([date] if date else []))]]) as wire:
        assert walk(make(tmp_path, upstream=wire.url))["clock"].state == "ok"


def test_a_name_that_does_not_exist(tmp_path: Path) -> None:
    found = only(
        network.check_network(make(tmp_path, upstream="http://no-such-host.invalid")), "failure"
    )
    assert found["check"] == "dns"
    assert "no-such-host.invalid" in found["message"]


def test_nobody_listens(tmp_path: Path) -> None:
    found = only(
        network.check_network(make(tmp_path, upstream=f"http://127.0.0.1:{free_port()}")), "failure"
    )
    assert found["check"] == "network"
    assert "refused" in found["message"]


def test_a_server_that_stays_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "STEP_S", 0.3)
    with Wire([[30.0]]) as wire:
        began = time.monotonic()
        found = only(network.check_network(make(tmp_path, upstream=wire.url)), "failure")
        assert time.monotonic() - began < 5
    assert "in time" in found["message"]


def test_a_resolver_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "WALK_S", 0.2)
    monkeypatch.setattr(network.socket, "getaddrinfo", lambda *args: time.sleep(1))
    found = only(network.check_network(make(tmp_path)), "failure")
    assert found["check"] == "dns"


def test_tls(tmp_path: Path) -> None:
    """A certificate that is not trusted, and one that is."""
    with Wire([[dated()]], [[dated()]], tls=True) as wire:
        found = only(network.check_network(make(tmp_path, upstream=wire.url)), "failure")
        assert (found["check"], "caBundle" in found["remedy"]) == ("tls", True)
        trusting = make(tmp_path, {"caBundle": str(CERTIFICATE)}, upstream=wire.url)
        assert walk(trusting)["tls"].state == "ok"


def test_a_server_that_does_not_speak_tls(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            client = listener.accept()[0]
            client.sendall(b"220 mail.example ESMTP\r\n")
            client.recv(65536)
            client.close()

        thread = threading.Thread(target=talk)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        found = only(network.check_network(make(tmp_path, upstream=url)), "failure")
        thread.join()
    assert (found["check"], "caBundle to" in found["remedy"]) == ("tls", False)


def test_a_proxy_that_is_there(tmp_path: Path) -> None:
    with Wire([[dated()]]) as wire, HttpProxy() as proxy:
        found = walk(
            make(tmp_path, {"proxyUrl": f"http://127.0.0.1:{proxy.port}"}, upstream=wire.url)
        )
    assert "through" in found["network"].text


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
def test_a_proxy_that_is_not_there(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://user:secret@127.0.0.1:{free_port()}"
    patient = make(tmp_path, {"proxyUrl": url}, upstream="http://no-such-host.invalid")
    found = only(network.check_network(patient), "failure")
    assert (found["check"], "proxyUrl" in found["remedy"]) == ("proxy", True)
    assert "secret" not in str(found)


def test_a_proxy_that_is_none(tmp_path: Path) -> None:
    with Wire([[answer(b"", status="403 Forbidden")]], tls=True) as wire, Wire([["close"]]) as odd:
        found = only(
            network.check_network(make(tmp_path, {"proxyUrl": odd.url}, upstream=wire.url)),
            "failure",
        )
    assert found["check"] == "proxy"


def test_every_way_is_walked_once(tmp_path: Path) -> None:
    """API and sign-in services, by region and proxy, without those that are off."""
    config: dict[str, Any] = {
        "apiUrl": "https://q.{region}.example",
        "socialAuthUrl": "https://auth.{region}.example",
        "oidcUrl": "https://oidc.{region}.example",
    }
    idc = {"authMethod": "idc", "clientId": "c", "clientSecret": "s"}
    credentials = [
        credential(),
        credential(id=2, refreshToken="b" * 120, apiRegion="eu-central-1"),
        credential(id=3, refreshToken="c" * 120, region="eu-north-1", **idc),
        credential(id=4, refreshToken="d" * 120, proxyUrl="http://proxy.example:3128"),
        {"id": 5, "kiroApiKey": "ksk_x", "authMethod": "api_key"},
        credential(id=6, refreshToken="e" * 120, region="us-west-2", disabled=True),
    ]
    found = network.ways(make(tmp_path, config, credentials))
    assert sorted((way.host, way.proxy) for way in found) == [
        ("auth.us-east-1.example", ""),
        ("auth.us-east-1.example", "http://proxy.example:3128"),
        ("oidc.eu-north-1.example", ""),
        ("q.eu-central-1.example", ""),
        ("q.us-east-1.example", ""),
        ("q.us-east-1.example", "http://proxy.example:3128"),
    ]
    assert REFRESH not in str(found)


def test_hosts_without_the_proxy() -> None:
    route = Route(proxy_url="http://p:1", no_proxy=("example.org",))
    assert network.Way("https://q.example.org/", route).proxy == ""
    assert network.Way("https://q.example.com/", route).proxy == "http://p:1"


@pytest.mark.parametrize(
    ("region", "api_url", "state"),
    [
        ("us-east-1", "https://q.{region}.example", "ok"),
        ("eu-central-1", "https://q.{region}.example", "ok"),
        ("eu-north-1", "https://q.{region}.example", "warning"),
        ("eu-north-1", "https://vpc.example", "ok"),
    ],
)
def test_the_region(tmp_path: Path, region: str, api_url: str, state: str) -> None:
    patient = make(tmp_path, {"region": region, "apiUrl": api_url})
    assert region in only(network.check_regions(patient), state)["message"]
