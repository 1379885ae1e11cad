"""The parts together: a worker's life."""

import time
from pathlib import Path

import pytest

from kiroproxy.errors import ConfigError, LimitExceeded
from kiroproxy.ledger.key_book import parse_settings
from kiroproxy.ledger.parts import Ledger, build_ledger
from kiroproxy.ledger.usage import UsageRow
from kiroproxy.ledger.usage_query import Asked
from kiroproxy.runtime import Runtime


def begun(tmp_path: Path) -> Ledger:
    runtime = tmp_path / "state" / "runtime.db"
    Runtime.wipe(runtime)
    ledger = build_ledger(f"sqlite:///{tmp_path / 'k.db'}", tmp_path, Runtime(runtime))
    assert not (tmp_path / "k.db").exists(), "nothing is opened yet"
    return ledger


def request(ledger: Ledger, secret: str, tokens: int) -> None:
    key = ledger.keys.find(secret)
    assert key is not None
    entrance = ledger.limits.entrance(key, "default")
    entrance.enter()
    entrance.leave(tokens, credits=0.5)
    entrance.settle()
    ledger.usage.record(UsageRow(key_id=key.id, group="default", output_tokens=tokens, credits=0.5))


def test_a_restart_remembers_what_was_used(tmp_path: Path) -> None:
    ledger = begun(tmp_path)
    limits = {"limits": {"output_tokens_per_day": 100}, "budgets": {"month_soft": 0.5}}
    secret = ledger.book.create(parse_settings({"name": "ci"} | limits)).secret
    ledger.start()
    request(ledger, secret, 80)
    ledger.close()
    ledger.limits.runtime.close()

    runtime = tmp_path / "state" / "runtime.db"
    Runtime.wipe(runtime)
    time.sleep(0.01)
    ledger = build_ledger(f"sqlite:///{tmp_path / 'k.db'}", tmp_path, Runtime(runtime))
    ledger.start()
    key = ledger.keys.find(secret)
    assert key is not None
    deadline = time.monotonic() + 10
    while ledger.limits.output_tokens_today(key.id) != 80:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    entrance = ledger.limits.entrance(key, "default")
    entrance.enter()
    assert "0.50 of 0.5 credits" in entrance.warnings()[0]
    entrance.leave()
    ledger.housekeep()
    request(ledger, secret, 30)
    with pytest.raises(LimitExceeded, match="output tokens a day"):
        request(ledger, secret, 1)
    ledger.close()
    (total,) = ledger.reader.totals(Asked(), ["key_id"])
    assert (total.by["key_id"], total.output_tokens, total.credits) == (key.id, 110, 1.0)
    assert ledger.problems() == []
    ledger.limits.runtime.close()


def test_problems_are_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    runtime = Runtime(tmp_path / "runtime.db")
    ledger = build_ledger(f"sqlite:///{tmp_path}/file/k.db", tmp_path, runtime)
    ledger.start()
    assert ledger.keys.find("sk-root") is None
    ledger.usage.record(UsageRow())
    ledger.usage.flush()
    problems = ledger.problems()
    assert len(problems) == len(set(problems)) >= 2
    ledger.close()
    runtime.close()


def test_another_engine_spools_into_the_state_directory(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path / "runtime.db")
    ledger = build_ledger("postgresql://h/d", tmp_path, runtime)
    assert ledger.usage.spool.directory == tmp_path / "usage-spool"
    with pytest.raises(ConfigError):
        build_ledger("sqlite://", tmp_path, runtime)
