"""Noticing that a client has gone (design Q7, S43), with gevent patched, in another process."""

import subprocess
import sys

import pytest

from kiroproxy.web.disconnect import ClientGone, DisconnectWatcher
from tests.servers import REPOSITORY, clean_environment
from tests.wire import CERTIFICATE

HEAD = """
from gevent import monkey; monkey.patch_all()
import gc, ssl, struct, sys, time
import gevent
from gevent import socket
from kiroproxy.web.disconnect import ClientGone, DisconnectWatcher

ours, theirs = socket.socketpair()
told = []
def handler(sock=ours, work=lambda: gevent.sleep(0.5)):
    watcher = DisconnectWatcher({"gunicorn.socket": sock}).start()
    began = time.monotonic()
    try:
        work()
        told.append("done")
    except ClientGone:
        told.append("gone" if time.monotonic() - began < 0.3 else "late")
        raise
    finally:
        watcher.stop()
        told.append("finally")
def run(act, **given):
    job = gevent.spawn(handler, **given)
    gevent.sleep(0.05)
    act()
    job.join(5)
    assert job.ready()
    return job
"""

CASES = {
    "nothing happens": ("run(lambda: None)", ["done", "finally"]),
    "the client closes": ("run(theirs.close)", ["gone", "finally"]),
    "a half-close counts as gone": (
        "run(lambda: theirs.shutdown(socket.SHUT_WR))",
        ["gone", "finally"],
    ),
    "a reset": (
        """
listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen()
theirs = socket.create_connection(listener.getsockname()); ours = listener.accept()[0]
theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
run(theirs.close, sock=ours)
""",
        ["gone", "finally"],
    ),
    "gone before the watch began": ("theirs.close(); run(lambda: None)", ["gone", "finally"]),
    "bytes of the next request end the watch": (
        """
def act():
    theirs.sendall(b"GET / HTTP/1.1")
    gevent.sleep(0.05)
    theirs.close()
run(act)
told.append(ours.recv(99).decode())
""",
        ["done", "finally", "GET / HTTP/1.1"],
    ),
    "after stop nobody is killed": (
        """
def work():
    pass
def handler():
    watcher = DisconnectWatcher({"gunicorn.socket": ours}).start()
    watcher.stop()
    watcher.stop()
    theirs.close()
    gevent.sleep(0.1)
    told.append("done")
gevent.spawn(handler).join()
""",
        ["done"],
    ),
    "with": (
        """
def handler():
    with DisconnectWatcher({"gunicorn.socket": ours}):
        gevent.sleep(0.05)
    theirs.close()
    gevent.sleep(0.1)
    told.append("done")
gevent.spawn(handler).join()
""",
        ["done"],
    ),
    "no watcher is left": (
        """
def one():
    ours, theirs = socket.socketpair()
    run(theirs.close, sock=ours)
    ours.close()
one()
gc.collect()
before = len(gc.get_objects())
active = gevent.get_hub().loop.activecnt
for _ in range(20):
    one()
gc.collect()
told[:] = [
    gevent.get_hub().loop.activecnt - active,
    len(gc.get_objects()) - before < 200,
]
""",
        [0, True],
    ),
    "reading upstream is broken off": (
        """
upstream, kiro = socket.socketpair()
def work():
    try:
        upstream.recv(1)
    finally:
        upstream.close()
        told.append("closed")
run(theirs.close, work=work)
told.append(kiro.recv(1))
""",
        ["closed", "gone", "finally", b""],
    ),
    "the handler may go on writing and reading in between": (
        """
def work():
    ours.sendall(b"x" * 10)
    gevent.sleep(0.02)
    ours.sendall(b"y" * 10)
run(lambda: None, work=work)
told.append(theirs.recv(99))
""",
        ["done", "finally", b"x" * 10 + b"y" * 10],
    ),
    "no socket": (
        """
run(lambda: None, sock=None)
""",
        ["done", "finally"],
    ),
    "TLS": (
        f"""
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain({str(CERTIFICATE)!r})
client = ssl.create_default_context(cafile={str(CERTIFICATE)!r})
for polite in (False, True):
    a, b = socket.socketpair()
    job = gevent.spawn(context.wrap_socket, a, server_side=True)
    theirs = client.wrap_socket(b, server_hostname="localhost")
    ours = job.get()
    ours.sendall(b"x")
    theirs.recv(1)
    gevent.sleep(0.05)
    told.clear()
    if polite:
        run(lambda: theirs.sendall(b"next request"), sock=ours)
        assert ours.recv(99) == b"next request"
        assert told == ["done", "finally"], told
    else:
        run(lambda: theirs.shutdown(socket.SHUT_RDWR), sock=ours)
        assert told == ["gone", "finally"], told
""",
        ["done", "finally"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_watching(case: str) -> None:
    program, wanted = CASES[case]
    result = subprocess.run(
        [sys.executable, "-c", f"{HEAD}\n{program}\nprint(told)"],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.stdout.strip() == str(wanted), result.stderr
    assert "Traceback" not in result.stderr


def test_outside_gunicorn_nothing_is_watched() -> None:
    watcher = DisconnectWatcher({})
    with watcher as started:
        assert started is watcher
    watcher.stop()


def test_client_gone_ends_a_greenlet_quietly() -> None:
    """Q6: gunicorn knows GreenletExit; no `except Exception` stops it on its way."""
    import gevent

    assert issubclass(ClientGone, gevent.GreenletExit)
    assert not issubclass(ClientGone, Exception)
