"""A listener's end and gunicorn's refusals; with real servers in tests/flows."""

import json
import socket as plain
from typing import Any

import gevent
from gevent import socket
from gevent.pool import Pool

from kiroproxy.reception import Listener, Place, plain_refusal


def test_who_has_connected_is_served_before_the_listener_closes() -> None:
    """The kernel has accepted them while the worker was busy."""
    served: list[bytes] = []
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        place = Place(listening)
        name = listening.getsockname()

        def handle(client: Any, addr: Any) -> None:
            served.append(client.recv(100))
            assert place.getsockname() == name, "the listener has none any more"

        server = Listener(listening, handle=handle, spawn=Pool(10))
        server.start()
        clients = [plain.create_connection(name) for _ in range(5)]
        for number, client in enumerate(clients):
            client.sendall(b"%d" % number)
        server.close()
        server.close()
        gevent.sleep(0.05)
        assert sorted(served) == [b"0", b"1", b"2", b"3", b"4"]
        for client in clients:
            client.close()


def test_a_page_of_gunicorns_becomes_json() -> None:
    page = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/html\r\n\r\n<html>"
    head, _, data = plain_refusal(page, ValueError("limit")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n")
    assert f"Content-Length: {len(data)}".encode() in head
    assert json.loads(data)["error"] == {
        "type": "invalid_request_error",
        "message": "Request Header Fields Too Large: limit",
    }
    page = b"HTTP/1.1 500 Internal Server Error\r\n\r\n<html>"
    assert b"secret" not in plain_refusal(page, ValueError("secret")), "a fault of ours"
