"""Traces on their way to all workers."""

from pathlib import Path
from typing import Any

import pytest

from kiroproxy.credentials import trace as module
from kiroproxy.credentials.policy import Skip
from kiroproxy.credentials.trace import Attempt, Trace, Traces, explain
from kiroproxy.runtime import Runtime


@pytest.fixture
def runtime(tmp_path: Path) -> Any:
    runtime = Runtime(tmp_path / "runtime.db")
    yield runtime
    runtime.close()


def test_another_worker_finds_it_a_moment_later(runtime: Runtime) -> None:
    mine, theirs = Traces(runtime), Traces(runtime)
    trace = Trace("req_1", model="m", group="default", session="s")
    mine.keep(trace)
    trace.attempts.append(Attempt(1, "", 0.0, probe=False))
    found = theirs.find("req_1")
    assert found is not None
    assert found["attempts"][0]["outcome"] == "in progress"
    assert mine.find("req_1") == found
    trace.attempts[0].outcome = "ok"
    mine.keep(trace)
    mine.flush()
    found = theirs.find("req_1")
    assert found is not None
    assert found["attempts"][0]["outcome"] == "ok"


def test_what_nobody_knows(runtime: Runtime) -> None:
    assert Traces(runtime).find("req_none", patience_s=0.06) is None


def test_the_same_skips_are_noted_once_and_share_an_entry() -> None:
    trace = Trace("x")
    for _ in range(3):
        trace.skipped((Skip(1, "busy"), Skip(2, "busy"), Skip(3, "no opus")))
    trace.skipped(())
    assert len(trace.skips) == 1
    assert b'"credentials":[1,2]' in trace.encode()
    assert [(s["credential_id"], s["reason"]) for s in explain(trace.encode())["skipped"]] == [
        (1, "busy"),
        (2, "busy"),
        (3, "no opus"),
    ]


def test_a_broken_database_keeps_few_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKLOG", 5)
    (tmp_path / "file").touch()
    traces = Traces(Runtime(tmp_path / "file" / "runtime.db"))
    for n in range(20):
        traces.keep(Trace(f"t{n}"))
    traces.flush()
    assert len(traces._waiting) <= 6
