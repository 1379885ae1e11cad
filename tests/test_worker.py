"""The worker's own parts; tests/flows/test_reload.py shows it at work, with real signals."""

import json
import socket as plain
from collections.abc import Iterator

import gevent
import pytest
from gevent import socket
from gevent.pool import Pool
from gunicorn.config import Config
from gunicorn.workers.ggevent import GeventWorker

from kiroproxy.worker import CLIENT, IDLE_S, Worker, plain_refusal


class Log:
    """Says nothing."""

    def warning(self, *args: object) -> None:
        """Nor here."""


@pytest.fixture
def one() -> Iterator[Worker]:
    """A worker that was not forked."""
    cfg = Config()
    cfg.set("keepalive", 75)
    cfg.set("graceful_timeout", 1)
    made = Worker(1, 0, [], None, 30, cfg, Log())
    made.wsgi = None
    yield made
    made.tmp.close()


def test_gunicorn_takes_it_for_its_own() -> None:
    """What this class overrides exists; a new gunicorn that renames it fails here."""
    assert Worker.__mro__[1] is GeventWorker
    assert GeventWorker.server_class is None
    names = ("handle", "handle_error", "timeout_ctx", "handle_exit", "handle_quit")
    for name in names:
        assert callable(getattr(GeventWorker, name))


def test_connections_are_closed_when_they_were_idle_for_a_while(one: Worker) -> None:
    ended: list[str] = []

    def connection(name: str) -> None:
        with one.timeout_ctx():
            gevent.sleep(30)
            ended.append("never")
        ended.append(name)

    old = gevent.spawn(connection, "old")
    gevent.sleep(0)
    for waiting in one._waiting:
        waiting.since -= IDLE_S
    young = gevent.spawn(connection, "young")
    gevent.sleep(0)
    one._close_idle()
    gevent.sleep(0.01)
    assert ended == ["old"]
    assert old.ready()
    assert not young.ready()
    one._close_idle(0)
    young.join(5)
    assert ended == ["old", "young"]
    assert not one._waiting


def test_a_request_that_has_just_come_is_not_closed_upon(one: Worker) -> None:
    """It lies in the socket while its greenlet waits to run: nginx would have to answer 502."""
    ended: list[str] = []

    def connection(client: socket.socket, name: str) -> None:
        setattr(gevent.getcurrent(), CLIENT, client)
        with one.timeout_ctx():
            gevent.sleep(0.2)
            ended.append(f"{name} heard")
        ended.append(name)

    ends = [socket.socketpair() for _ in range(3)]
    greenlets = [
        gevent.spawn(connection, client, name)
        for (client, _), name in zip(ends, ("busy", "idle", "left"), strict=True)
    ]
    gevent.sleep(0)
    ends[0][1].sendall(b"POST /v1/messages HTTP/1.1")
    ends[2][1].close()
    for waiting in one._waiting:
        waiting.since -= IDLE_S
    one._close_idle()
    gevent.sleep(0.01)
    assert sorted(ended) == ["idle", "left"]
    gevent.joinall(greenlets, timeout=5)
    assert ended[2:] == ["busy heard", "busy"]
    for pair in ends:
        for one_end in pair:
            one_end.close()


def test_who_has_connected_is_served_before_the_listener_closes(one: Worker) -> None:
    """The kernel has accepted them while the worker was busy."""
    served: list[bytes] = []
    one.handle = lambda listener, client, addr: served.append(client.recv(100))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = one.server_class(listening, spawn=Pool(10), application=None, log=None)
        server.start()
        clients = [plain.create_connection(listening.getsockname()) for _ in range(5)]
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


def test_a_second_term_starts_no_second_end(one: Worker) -> None:
    one.grace_s = 0
    one.handle_exit(15, None)
    first = one._ending
    one.handle_exit(15, None)
    assert one._ending is first
    assert first is not None
    assert not one.alive
    first.kill()
