"""Forward with a backup, never backward."""

import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, MetaData, text

from kiroproxy.errors import ConfigError, DatabaseError
from kiroproxy.ledger import tables
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.schema import Schema, stored_version


def add_note(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE client_keys ADD COLUMN note VARCHAR(20)"))


def fail(connection: Connection) -> None:
    add_note(connection)
    connection.execute(text("SELECT * FROM nowhere"))


def at(version: int, **migrations: Callable[[Connection], None]) -> Callable[[], Schema]:
    steps = {int(name.removeprefix("to")): step for name, step in migrations.items()}
    return lambda: Schema(tables.METADATA, version, steps)


def test_a_fresh_database_is_at_the_newest_version(database: Database) -> None:
    assert database.read(stored_version) == Schema().version
    assert database.problems() == []


def test_migrations_are_applied_once_after_a_backup(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    Database(path).open()
    assert list(tmp_path.glob("*.bak")) == [], "there was nothing to copy"
    again = Database(path, schema=at(3, to2=add_note, to3=lambda connection: None))
    assert again.read(stored_version) == 3
    (copy,) = tmp_path.glob("*.bak")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("SELECT max(version) FROM schema_version").fetchone() == (1,)
    Database(path, schema=at(3)).open()
    assert len(list(tmp_path.glob("*.bak"))) == 1
    with closing(sqlite3.connect(path)) as db:
        assert "note" in {row[1] for row in db.execute("PRAGMA table_info(client_keys)")}


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    Database(path).open()
    with pytest.raises(DatabaseError, match="nowhere"):
        Database(path, schema=at(2, to2=fail)).open()
    database = Database(path)
    assert database.read(stored_version) == 1
    with closing(sqlite3.connect(path)) as db:
        assert "note" not in {row[1] for row in db.execute("PRAGMA table_info(client_keys)")}


def test_a_newer_database_is_refused_in_clear_words(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    Database(path, schema=at(7)).open()
    before = path.read_bytes()
    with pytest.raises(
        ConfigError, match=r"newer kiroproxy \(schema 7, this one knows 1\)"
    ) as told:
        Database(path).open()
    assert "backup" in str(told.value)
    assert path.read_bytes() == before


def test_other_tables_in_the_file_are_left_alone(tmp_path: Path) -> None:
    """Groups of credentials lie in the same file (S122)."""
    path = tmp_path / "k.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE groups (name TEXT)")
        db.execute("INSERT INTO groups VALUES ('pro')")
    path.chmod(0o644)
    Database(path).open()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT name FROM groups").fetchall() == [("pro",)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.glob("*.bak")) == [], "nothing of ours was there to be changed"


def test_a_schema_is_a_plain_value() -> None:
    assert Schema().metadata is tables.METADATA
    assert isinstance(Schema().metadata, MetaData)
