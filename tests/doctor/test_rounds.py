"""All checks at once: order, limits, and faults of the doctor's own."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiroproxy.doctor import Finding, Patient, examine
from kiroproxy.doctor.finding import ok
from kiroproxy.doctor.rounds import CHECKS
from kiroproxy.errors import StoreLocked
from tests.doctor.helpers import make


def test_the_report_has_the_order_of_the_table(tmp_path: Path) -> None:
    def slow(patient: Patient) -> Iterator[Finding]:
        time.sleep(0.1)
        yield ok("slow", "x")
        yield ok("slow", "y")

    def quick(patient: Patient) -> list[Finding]:
        return [ok("quick", "z")]

    checks = {"slow": slow, "none": lambda patient: [], "quick": quick}
    found = examine(make(tmp_path), checks=checks)
    assert [one.text for one in found] == ["x", "y", "z"]


def test_a_check_that_hangs_costs_no_more_than_the_limit(tmp_path: Path) -> None:
    release = threading.Event()

    def hangs(patient: Patient) -> list[Finding]:
        release.wait(30)
        return []

    began = time.monotonic()
    (one,) = examine(make(tmp_path), checks={"hangs": hangs}, limit_s=0.2)
    assert time.monotonic() - began < 2
    assert (one.check, one.state, one.text) == ("hangs", "warning", "was not finished after 0.2 s")
    release.set()


@pytest.mark.parametrize("error", [OSError(13, "no"), StoreLocked("locked"), ValueError("odd")])
def test_a_check_that_breaks_is_a_finding(tmp_path: Path, error: Exception) -> None:
    def breaks(patient: Patient) -> list[Finding]:
        raise error

    (one,) = examine(make(tmp_path), checks={"breaks": breaks})
    assert (one.check, one.state) == ("breaks", "failure")
    assert str(error) in one.text


def test_everything_together_ends_in_time_and_says_no_secret(tmp_path: Path) -> None:
    """Nothing is there: every check has something to say, none hangs."""
    began = time.monotonic()
    found = examine(make(tmp_path))
    assert time.monotonic() - began < 15
    assert {one.check for one in found} >= {"config", "files", "state", "gunicorn", "region"}
    told = str([one.as_json() for one in found])
    for secret in ("refresh-token-of-a-test", "access-token-of-a-test", "sk-client"):
        assert secret not in told
    assert all(one.remedy for one in found if one.state != "ok")
    assert len(CHECKS) == 13
