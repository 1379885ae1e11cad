"""kiro2api's database: what is taken over from it (S121, S122)."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.credentials.groups import GroupSettings
from kiroproxy.credentials.imports import Found, read_source
from kiroproxy.credentials.kiro2api_db import is_kiro2api
from kiroproxy.errors import ConfigError

SCHEMA = """
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT, auth_type TEXT, refresh_token TEXT UNIQUE,
    client_id TEXT, client_secret TEXT, disabled INTEGER DEFAULT 0,
    group_name TEXT DEFAULT 'default', name TEXT, status TEXT DEFAULT '', user_email TEXT,
    access_token TEXT, access_token_expires_at DATETIME, total_limit REAL DEFAULT 0
);
CREATE TABLE groups (
    name TEXT PRIMARY KEY, display_name TEXT, priority INTEGER DEFAULT 0,
    rate_limit_qps REAL DEFAULT 0, rate_limit_burst INTEGER DEFAULT 0, cooldown_sec INTEGER
);
CREATE TABLE api_keys (key TEXT PRIMARY KEY, name TEXT, allowed_groups TEXT);
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT);
"""


def refresh_token(letter: str) -> str:
    return "aor" + letter * 120


def write(path: Path, schema: str = SCHEMA, **tables: list[dict[str, Any]]) -> Path:
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(schema)
        for table, rows in tables.items():
            for row in rows:
                places = ", ".join("?" * len(row))
                db.execute(
                    f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", [*row.values()]
                )
    return path


def read(path: Path) -> Found:
    return read_source(str(path), "kiro2api.db")


def test_tokens_groups_and_keys(tmp_path: Path) -> None:
    path = write(
        tmp_path / "kiro2api.db",
        tokens=[
            {"auth_type": "Social", "refresh_token": refresh_token("a"), "name": "first"},
            {
                "auth_type": "IdC",
                "refresh_token": refresh_token("b"),
                "client_id": "id",
                "client_secret": "secret",
                "group_name": "pro",
                "user_email": "me@example.org",
                "access_token": "access",
                "access_token_expires_at": "2099-01-01 00:00:00+00:00",
            },
        ],
        groups=[
            {"name": "default", "display_name": "Default"},
            {"name": "pro", "display_name": "Pro", "priority": 1, "rate_limit_qps": 2.5},
            {"name": "exhausted"},
        ],
        api_keys=[
            {"key": "kp_one", "name": "one", "allowed_groups": '["pro"]'},
            {"key": "kp_two", "name": "two", "allowed_groups": "pro, default"},
            {"key": "kp_all", "name": "", "allowed_groups": "[]"},
        ],
    )
    before = path.read_bytes()
    found = read(path)
    first, second = found.credentials
    assert (first.auth_method, first.name, first.group) == ("social", "first", "default")
    assert (second.auth_method, second.client_id, second.client_secret) == ("idc", "id", "secret")
    assert (second.group, second.email, second.access_token) == ("pro", "me@example.org", "access")
    assert second.expires_at is not None
    assert {one.name: one.settings for one in found.groups} == {
        "default": GroupSettings(),
        "pro": GroupSettings(priority=1, rate_limit_qps=2.5),
    }
    assert found.client_keys == (
        {"key": "kp_one", "name": "one", "allowed_groups": ["pro"]},
        {"key": "kp_two", "name": "two", "allowed_groups": ["pro", "default"]},
        {"key": "kp_all", "name": ""},
    )
    assert not found.problems
    assert path.read_bytes() == before


def test_what_the_program_has_put_away(tmp_path: Path) -> None:
    """Spent ones serve again when their credits return; refused ones wait for a person."""
    path = write(
        tmp_path / "kiro2api.db",
        tokens=[
            {
                "auth_type": "Social",
                "refresh_token": refresh_token(letter),
                "group_name": group,
                "status": status,
                "disabled": disabled,
            }
            for letter, group, status, disabled in (
                ("a", "exhausted", "exhausted", 0),
                ("b", "banned", "banned", 0),
                ("c", "default", "", 1),
            )
        ],
    )
    found = read(path)
    assert [one.disabled for one in found.credentials] == [False, True, True]
    assert [one.group for one in found.credentials] == [None, None, "default"]


def test_an_older_database_and_a_token_that_was_cut(tmp_path: Path) -> None:
    """Columns and tables may be missing; a row that cannot be used is named."""
    schema = "CREATE TABLE tokens (auth_type TEXT, refresh_token TEXT, group_name TEXT)"
    path = write(
        tmp_path / "kiro2api.db",
        schema,
        tokens=[
            {"auth_type": "Social", "refresh_token": "short"},
            {"auth_type": "Social", "refresh_token": refresh_token("a")},
        ],
    )
    found = read(path)
    assert [one.refresh_token for one in found.credentials] == [refresh_token("a")]
    [problem] = found.problems
    assert "refreshToken" in problem
    assert (found.groups, found.client_keys) == ((), ())


def test_another_database_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "other.db", "CREATE TABLE tokens (id INTEGER)")
    with pytest.raises(ConfigError, match="neither kiro-cli's database nor kiro2api's"):
        read(path)


def test_whose_database_it_is(tmp_path: Path) -> None:
    """Ours, none, and what is no database are not its; looking makes no file."""
    assert is_kiro2api(write(tmp_path / "kiro2api.db"))
    assert not is_kiro2api(write(tmp_path / "ours.db", "CREATE TABLE client_keys (id INTEGER)"))
    (tmp_path / "text.db").write_text("no database")
    assert not is_kiro2api(tmp_path / "text.db")
    assert not is_kiro2api(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_view_that_never_ends(tmp_path: Path) -> None:
    """Somebody else's file, perhaps uploaded: it is given up after two seconds."""
    endless = """
    CREATE VIEW tokens AS
    WITH RECURSIVE more (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM more WHERE n > 0)
    SELECT count(*) AS refresh_token, 'pro' AS group_name FROM more
    """
    path = write(tmp_path / "endless.db", endless)
    with pytest.raises(ConfigError, match="interrupted"):
        read(path)
