"""Where the browser comes back to."""

import http.client
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kiroproxy.errors import InvalidRequest
from kiroproxy.upstream import loopback as module
from kiroproxy.upstream.loopback import Loopback
from tests.servers import free_port


def visit(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(("ok", "status"), [(True, 200), (False, 400)])
def test_a_browser_waits_for_its_answer(ok: bool, status: int) -> None:
    with Loopback(free_port()) as loopback, ThreadPoolExecutor(1) as pool:
        browser = pool.submit(visit, loopback.port, "/oauth/callback?code=a&state=b")
        came = loopback.wait(5)
        assert came is not None
        assert came.redirect == "/oauth/callback?code=a&state=b"
        assert not browser.done()
        came.answer(ok, "<script>it</script>")
        got, page = browser.result()
    assert got == status
    assert "&lt;script&gt;it" in page


def test_other_paths_and_methods_are_nobodys() -> None:
    with Loopback(free_port()) as loopback:
        assert visit(loopback.port, "/favicon.ico")[0] == 404
        assert visit(loopback.port, "/oauth/callback/../x")[0] == 404
        assert visit(loopback.port, "/oauth/callback", "POST")[0] == 501
        assert loopback.wait(0.01) is None


def test_the_port_is_given_back_and_waiting_browsers_are_told() -> None:
    loopback = Loopback(free_port())
    with ThreadPoolExecutor(1) as pool:
        browser = pool.submit(visit, loopback.port, "/oauth/callback?x")
        while loopback._visits.empty():
            threading.Event().wait(0.01)
        loopback.close()
        assert browser.result()[0] == 400
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", loopback.port))
    Loopback(loopback.port).close()


def test_it_listens_on_the_loopback_address_only() -> None:
    with Loopback(free_port()) as loopback:
        assert loopback._server.server_address[0] == "127.0.0.1"


def test_the_next_free_port_of_the_list_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(free_port()) as first:
        second = free_port()
        monkeypatch.setattr(module, "REDIRECT_PORTS", (first.port, second))
        with Loopback() as other:
            assert other.port == second
            with pytest.raises(InvalidRequest, match=r"All ports.*--paste"):
                Loopback()
        with pytest.raises(InvalidRequest, match=rf"Port {first.port} is taken.*--port") as error:
            Loopback(first.port)
        assert error.value.param == "port"


def test_a_silent_visitor_does_not_keep_it_open() -> None:
    loopback = Loopback(free_port())
    with socket.create_connection(("127.0.0.1", loopback.port)):
        loopback.close()
