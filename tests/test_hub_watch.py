"""A loop that stands still is noticed, and who held it up; under gevent, in other processes."""

import json
import subprocess
import sys
from typing import Any

import pytest

from kiroproxy.hub_watch import DEPTH, HubWatch, stack_of
from tests.servers import clean_environment

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import gevent, json, sys, time
from kiroproxy import hub_watch

stalls, told = [], []
hub = gevent.get_hub()
watch = hub_watch.HubWatch(hub.loop, stalls.append, lambda *facts: told.append(facts))
watch.start()

def hog(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(100))

def several():
    for _ in range(4):
        gevent.spawn(hog, 0.03)

gevent.sleep(0.1)
"""


def run(body: str) -> dict[str, Any]:
    """The verdict of a program that ends well: an alarm must not outlive the watch."""
    script = PROGRAM + body + "\njson.dump({'stalls': stalls, 'told': told}, sys.stdout)\n"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=30,
        env=clean_environment(),
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    verdict: dict[str, Any] = json.loads(done.stdout)
    return verdict


def test_f14_a_stall_is_as_long_as_it_was() -> None:
    """The machine may add some of its own, never take any away."""
    got = run(
        "gevent.spawn(hog, 0.08); gevent.sleep(0.2); gevent.spawn(hog, 0.4); gevent.sleep(0.6)"
    )
    assert any(0.08 <= one < 0.4 for one in got["stalls"]), got
    assert any(0.4 <= one < 2 for one in got["stalls"]), got


def test_many_that_are_short_are_a_stall_together() -> None:
    got = run("gevent.spawn(several); gevent.sleep(0.4)")
    assert sum(got["stalls"]) >= 0.1


def test_the_stack_of_a_long_one_is_told_and_lines_are_few() -> None:
    got = run("""
hub_watch.QUIET_S = 1.0
def culprit(): hog(0.5)
for _ in range(3):
    gevent.spawn(culprit)
    gevent.sleep(0.7)
""")
    assert len(got["stalls"]) >= 3
    first, *more = got["told"]
    assert first[1] == 0
    assert any("hog" in call for call in first[2]), first
    assert any("culprit" in call for call in first[2])
    assert len(more) < len(got["stalls"])
    assert not more or more[-1][1] >= 1, "those that were not told are counted"


def test_waiting_is_no_stall() -> None:
    got = run("gevent.sleep(1); watch.stop(); gevent.spawn(hog, 0.2); gevent.sleep(0.3)")
    assert all(one < 0.2 for one in got["stalls"]), "after its end nothing is noticed"


class Loop:
    """Two callbacks to be called by the test."""

    MAXPRI, MINPRI = 2, -2

    def __init__(self) -> None:
        self.begin: Any = None
        self.end: Any = None

    def check(self, *, ref: bool, priority: int) -> "Watcher":
        assert (ref, priority) == (False, self.MAXPRI)
        return Watcher(self, "begin")

    def prepare(self, *, ref: bool, priority: int) -> "Watcher":
        assert (ref, priority) == (False, self.MINPRI)
        return Watcher(self, "end")


class Watcher:
    def __init__(self, loop: Loop, name: str) -> None:
        self._loop, self._name = loop, name

    def start(self, callback: Any) -> None:
        setattr(self._loop, self._name, callback)

    def stop(self) -> None:
        setattr(self._loop, self._name, None)


@pytest.mark.parametrize(("seconds", "stalled"), [(0.049, False), (0.051, True)])
def test_the_limit(seconds: float, stalled: bool) -> None:
    now, stalls, loop = [1.0], [], Loop()
    watch = HubWatch(loop, stalls.append, lambda *_: None, stacks=False, clock=lambda: now[0])
    watch.start()
    loop.end()  # of a turn that had begun before
    for _ in range(2):
        loop.begin()
        now[0] += seconds
        loop.end()
        now[0] += 3600  # it waits
    assert stalls == ([pytest.approx(seconds)] * 2 if stalled else [])
    watch.stop()
    assert loop.begin is loop.end is None


def test_a_stack_is_bounded() -> None:
    def deep(n: int) -> list[str]:
        return stack_of(sys._getframe()) if n == 0 else deep(n - 1)

    calls = deep(30)
    assert len(calls) == DEPTH
    assert all(call.endswith(" deep") for call in calls)
    assert stack_of(None) == []
