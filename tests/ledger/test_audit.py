"""Who changed what, without secrets."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kiroproxy.ledger.audit import AuditLog, Made, build_entry, without_secrets
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.keys import new_secret


def test_entries(database: Database) -> None:
    audit = AuditLog(database)
    assert audit.append("key.create", "ci", who="admin", client="10.0.0.1", after={"name": "ci"})
    assert audit.append("key.change", "ci", who="cli", before={"owner": ""}, after={"owner": "x"})
    page = audit.entries()
    assert page.total == 2
    newest, oldest = page.entries
    assert (newest.action, newest.before, newest.after) == (
        "key.change",
        {"owner": ""},
        {"owner": "x"},
    )
    assert (oldest.who, oldest.client, oldest.before) == ("admin", "10.0.0.1", None)
    assert abs(newest.time - datetime.now(UTC)) < timedelta(minutes=1)
    shown = build_entry(oldest)
    assert list(shown) == ["id", "time", "who", "client", "action", "target", "before", "after"]
    assert str(shown["time"]).endswith("Z")


def test_questions(database: Database) -> None:
    audit = AuditLog(database)
    for n in range(5):
        audit.append(f"a{n % 2}", f"t{n}", who="admin")
    assert [one.target for one in audit.entries(page=2, page_size=2).entries] == ["t2", "t1"]
    assert audit.entries(where={"action": ["a1"], "who": ["admin", "cli"]}).total == 2
    assert audit.entries(where={"target": ["nobody's"]}).entries == []
    now = datetime.now(UTC)
    assert audit.entries(since=now - timedelta(hours=1), until=now + timedelta(hours=1)).total == 5
    assert audit.entries(until=now - timedelta(hours=1)).total == 0


def test_secrets_are_masked_at_any_depth(database: Database) -> None:
    secret = new_secret()
    document = {
        "name": "ci",
        "key": "anything",
        "note": secret,
        "hint": "kp_…abcd",
        "inner": [{"refreshToken": "rt", "proxyUrl": "http://u:p@host/"}, {"hash": "0123"}],
        "limits": {"output_tokens_per_day": 5},
        "at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    audit = AuditLog(database)
    audit.append("x", "y", who="z", after=document)
    after = audit.entries().entries[0].after
    assert after is not None
    assert after["hint"] == "kp_…abcd"
    assert after["limits"] == {"output_tokens_per_day": 5}
    text = str(after)
    for hidden in ("anything", secret, "'rt'", "u:p", "0123"):
        assert hidden not in text
    assert document["key"] == "anything", "the document itself stays"
    assert without_secrets({"a": ["kp_x"]}) == {"a": ["***"]}


def test_whatever_comes_fits(database: Database) -> None:
    audit = AuditLog(database)
    assert audit.append("a" * 500, "\0\udc80" * 500, who="w" * 500, after={"x": "y" * 50_000})
    (one,) = audit.entries().entries
    assert one.after == {"too_long": True}


def test_an_ill_database_undoes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    audit = AuditLog(Database(tmp_path / "file" / "k.db"))
    with caplog.at_level(logging.ERROR):
        assert not audit.append("key.create", "ci", who="admin")
    assert "key.create ci by admin" in caplog.text


def test_many_at_once(database: Database) -> None:
    audit = AuditLog(database)
    made = [Made("a", f"t{n}", None, {"key": "secret", "n": n}) for n in range(3)]
    assert audit.extend(made, who="admin", client="10.0.0.1")
    assert audit.extend([], who="admin")
    found = audit.entries().entries
    assert [one.target for one in found] == ["t2", "t1", "t0"], "in the order of the acts"
    assert found[0].after == {"key": "***", "n": 2}
    assert {one.client for one in found} == {"10.0.0.1"}
