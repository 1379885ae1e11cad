"""`kiroproxy explain`."""

import time
from datetime import UTC, datetime

from kiroproxy.credentials.policy import Skip
from kiroproxy.credentials.trace import Attempt, Trace
from kiroproxy.recording.folder import Folder
from kiroproxy.runtime import Runtime
from tests.cli.home import Home


def keep(home: Home, trace: Trace) -> None:
    runtime = Runtime(home.place / "runtime.db")
    assert runtime.keep_traces({trace.id: trace.encode().decode()})
    runtime.close()


def test_the_story_of_a_request(home: Home) -> None:
    trace = Trace("abc", model="claude-sonnet-4.5", group="pro", waited_s=0.5)
    trace.skipped((Skip(2, "cooling: throttled"),))
    trace.attempts.append(Attempt(1, "one", 0.1, False, 0.3, "Throttled", "429"))
    trace.attempts.append(Attempt(7, "gone", 0.4, True))
    trace.error = "no Kiro credential is usable"
    keep(home, trace)
    result = home.run("explain", "abc")
    assert result.exit_code == 0
    for part in (
        "model claude-sonnet-4.5, group pro",
        "It waited 0.500 s",
        "#2 two",
        "cooling: throttled",
        "#1 one",
        "0.300",
        "Throttled",
        "429",
        "#7 gone (probe)",
        "in progress",
        "It ended with: no Kiro credential is usable",
    ):
        assert part in result.stdout
    assert "It is recorded" not in result.stdout
    told = home.json("explain", "abc")
    assert told["skipped"] == [{"attempt": 1, "credential_id": 2, "reason": "cooling: throttled"}]
    assert [one["outcome"] for one in told["attempts"]] == ["Throttled", "in progress"]


def test_a_recorded_failure_is_named(home: Home) -> None:
    keep(home, Trace("abc"))
    folder = Folder(home.place / "recordings", 5)
    folder.add("abc", datetime(2026, 1, 1, tzinfo=UTC), b"{}")
    assert "kiroproxy recordings show abc" in home.run("explain", "abc").stdout
    assert home.json("explain", "abc")["recording"] == str(folder.entries()[0].path)


def test_a_trace_that_is_not_there(home: Home) -> None:
    began = time.monotonic()
    assert "no trace xyz" in home.refused("explain", "xyz", code=1)
    assert time.monotonic() - began < 5
    home.refused("explain")
