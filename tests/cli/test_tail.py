"""`kiroproxy tail`: each request once, also those that are written late."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from kiroproxy.cli.tail import Follower
from kiroproxy.ledger.usage_query import Asked, UsageReader
from tests.cli.home import Home
from tests.cli.ledger import database, record
from tests.servers import clean_environment


def test_the_last_ones(home: Home) -> None:
    record(home, *({"trace_id": f"req_{n}", "ago": 100 - n} for n in range(5)))
    result = home.run("tail", "--no-follow", "-n", 3, "--json")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["trace_id"] for line in lines] == ["req_2", "req_3", "req_4"]
    table = home.run("tail", "--no-follow").stdout.splitlines()
    assert len(table) == 6
    assert table[0].startswith("Time")
    assert "(apiKey)" in table[1]
    assert len(home.run("tail", "--no-follow", "-n", 0).stdout.splitlines()) == 1


def test_filters(home: Home) -> None:
    record(home, {"status": 429}, {"group": "pro"}, {"credential_id": 2})
    for option, count in (("--status=429", 1), ("--group=pro", 1), ("--credential=1", 2)):
        shown = home.run("tail", "--no-follow", "--json", option).stdout
        assert len(shown.splitlines()) == count
    shown = home.run("tail", "--no-follow", "--json", "--key", "root").stdout
    assert len(shown.splitlines()) == 3


def test_each_once_and_late_ones_too(home: Home) -> None:
    """Rows are dated by their end, and workers write them later."""
    follower = Follower(UsageReader(database(home)), Asked())
    record(home, {"trace_id": "old", "ago": 500}, {"trace_id": "first", "ago": 2})
    now = datetime.now(UTC)
    assert [row.trace_id for row in follower.first(10, now)] == ["old", "first"]
    assert follower.look(now) == []
    record(home, {"trace_id": "late", "ago": 10}, {"trace_id": "new", "ago": 1})
    assert [row.trace_id for row in follower.look(now)] == ["late", "new"]
    assert follower.look(now) == []
    assert follower.look(now + timedelta(hours=1)) == []
    assert follower._seen == {}, "no growth"


def test_more_than_a_page_between_two_looks(home: Home) -> None:
    follower = Follower(UsageReader(database(home)), Asked())
    assert follower.first(0, datetime.now(UTC)) == []
    record(home, *({"ago": 5} for _ in range(1500)))
    assert len(follower.look(datetime.now(UTC))) == 1500


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_it_follows_until_ctrl_c(home: Home, options: list[str]) -> None:
    record(home, {"trace_id": "req_before", "ago": 1, "stop_reason": "before"})
    process = subprocess.Popen(
        [sys.executable, "-m", "kiroproxy", "tail", "--every", "0.1", *options],
        cwd=home.place,
        env=clean_environment(HOME=str(home.place)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        while "before" not in process.stdout.readline():
            pass
        record(home, {"stop_reason": "after", "ago": 0})
        assert "after" in process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, err.strip()) == (0, "", "")


@pytest.mark.parametrize(
    "options", [("--every=0",), ("--every=x",), ("-n=-1",), ("--credential=x",), ("more",)]
)
def test_bad_arguments(home: Home, options: tuple[str, ...]) -> None:
    record(home, {})
    home.refused("tail", *options)
    home.refused("tail", "--key", "nobody", code=1)
