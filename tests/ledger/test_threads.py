"""Blocking work stands no greenlet still."""

import subprocess
import sys
import threading

import pytest

from kiroproxy.ledger.threads import in_thread, is_cooperative

PATCHED = """
import gevent.monkey
gevent.monkey.patch_all()
import threading, time
import gevent
from kiroproxy.ledger.threads import in_thread, is_cooperative
assert is_cooperative()
native = gevent.monkey.get_original("time", "sleep")
ident = gevent.monkey.get_original("_thread", "get_ident")
worst = 0.0
def probe():
    global worst
    last = time.perf_counter()
    while True:
        gevent.sleep(0.002)
        now = time.perf_counter()
        worst, last = max(worst, now - last), now
gevent.spawn(probe)
gevent.sleep(0.01)
in_thread(lambda: native(0.3))
assert worst < 0.15, worst
assert in_thread(ident) != ident()
outer, inner = in_thread(lambda: (ident(), in_thread(ident)))
assert outer == inner, "what is in a thread already stays there"
def refuse():
    raise ValueError("no")
try:
    in_thread(refuse)
except ValueError as error:
    assert str(error) == "no"
else:
    raise AssertionError
print("well")
"""


def test_without_gevent_it_is_done_here() -> None:
    assert not is_cooperative()
    assert in_thread(threading.get_ident) == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        in_thread(lambda: 1 / 0)


def test_with_gevent_the_hub_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PATCHED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("well\n", "")
