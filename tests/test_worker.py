"""The worker's own parts; tests/flows/test_reload.py shows it at work, with real signals."""

from collections.abc import Iterator

import gevent
import pytest
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.workers.ggevent import GeventWorker

from kiroproxy.web.draining import LastPiece
from kiroproxy.worker import IDLE_S, Response, Worker


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
    for name in ("timeout_ctx", "handle_exit", "handle_quit"):
        assert callable(getattr(GeventWorker, name))


class Client:
    """A client's socket."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        """As a packet."""
        self.sent.append(data)


class Request:
    """What a response asks of its request."""

    method, version = "GET", (1, 1)

    def should_close(self) -> bool:
        """A kept connection."""
        return False


def test_the_head_comes_with_the_first_piece() -> None:
    client = Client()
    response = wsgi.create.__globals__["Response"](Request(), client, Config())
    assert type(response) is Response
    response.start_response("200 OK", [("x-one", "1")])
    response.write(b"hello")
    response.write(b"world")
    response.close()
    first, *others = client.sent
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert first.endswith(b"\r\n\r\n5\r\nhello\r\n")
    assert others == [b"5\r\nworld\r\n", b"0\r\n\r\n"]


def test_the_end_comes_with_the_last_piece() -> None:
    client = Client()
    response = Response(Request(), client, Config())
    response.start_response("200 OK", [])
    response.write(b"hello")
    response.write(LastPiece(b"world"))
    assert len(client.sent) == 1
    response.close()
    assert client.sent[1:] == [b"5\r\nworld\r\n0\r\n\r\n"]


def test_an_answer_of_one_piece_is_one_packet() -> None:
    client = Client()
    response = Response(Request(), client, Config())
    response.start_response("200 OK", [])
    response.write(LastPiece(b"all of it"))
    response.close()
    (packet,) = client.sent
    assert packet.endswith(b"\r\n\r\n9\r\nall of it\r\n0\r\n\r\n")


def test_an_empty_answer_has_its_head() -> None:
    client = Client()
    response = Response(Request(), client, Config())
    response.start_response("204 No Content", [])
    response.close()
    (packet,) = client.sent
    assert packet.startswith(b"HTTP/1.1 204 No Content\r\n")


def test_a_first_piece_that_is_none_leaves_nothing_sent() -> None:
    client = Client()
    response = Response(Request(), client, Config())
    response.start_response("200 OK", [])
    with pytest.raises(TypeError):
        response.write("text")
    assert not client.sent
    assert not response.headers_sent


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


def test_a_second_term_starts_no_second_end(one: Worker) -> None:
    one.grace_s = 0
    one.handle_exit(15, None)
    first = one._ending
    one.handle_exit(15, None)
    assert one._ending is first
    assert first is not None
    assert not one.alive
    first.kill()
