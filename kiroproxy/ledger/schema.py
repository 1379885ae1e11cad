"""The schema's version: made, brought forward with a backup first, refused if it is newer.

A fresh database is made as `tables` says and is at `VERSION` at once; migrations are for those that
exist. Each is a function of a connection in a transaction, and counts when that is committed.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, Engine, MetaData, func, insert, inspect, select
from sqlalchemy.exc import DBAPIError

from kiroproxy.errors import ConfigError
from kiroproxy.ledger import tables

VERSION = 1
MIGRATIONS: Mapping[int, Callable[[Connection], None]] = {}
"""The version that one leads to → how."""


@dataclass(frozen=True)
class Schema:
    """What this program expects to find."""

    metadata: MetaData = tables.METADATA
    version: int = VERSION
    migrations: Mapping[int, Callable[[Connection], None]] = field(
        default_factory=lambda: MIGRATIONS
    )


def stored_version(connection: Connection) -> int:
    """The database's version; 0 if it has none of our tables."""
    if not inspect(connection).has_table(tables.schema_version.name):
        return 0
    return connection.execute(select(func.max(tables.schema_version.c.version))).scalar() or 0


def check(found: int, known: int, place: str) -> bool:
    """Whether there is nothing to do.

    Raises:
        ConfigError: a newer program made it.
    """
    if found > known:
        raise ConfigError(
            "databaseUrl",
            f"{place} was written by a newer kiroproxy (schema {found}, this one knows {known}): "
            "run that version again, or restore the backup that was made beside the database "
            "when it was upgraded",
        )
    return found == known


def bring_forward(
    engine: Engine,
    schema: Schema,
    found: int,
    begun: Sequence[Callable[[Connection], None]] = (),
) -> None:
    """Make the tables, or apply what is missing one by one.

    `begun` fills new tables before anybody else sees them.
    """
    if found == 0:
        with engine.begin() as connection:
            schema.metadata.create_all(connection)
            _note(connection, schema.version)
            for fill in begun:
                fill(connection)
        return
    for version in range(found + 1, schema.version + 1):
        with engine.begin() as connection:
            schema.migrations[version](connection)
            _note(connection, version)


def bring_forward_together(engine: Engine, schema: Schema, found: int) -> None:
    """The same where no file lock holds others off: whoever loses the race finds it done."""
    try:
        bring_forward(engine, schema, found)
    except DBAPIError:
        with engine.connect() as connection:
            now = stored_version(connection)
        if now == found:
            raise
        if not check(now, schema.version, "the database"):
            bring_forward_together(engine, schema, now)


def _note(connection: Connection, version: int) -> None:
    row = {"version": version, "at": int(time.time() * 1000)}
    connection.execute(insert(tables.schema_version).values(row))


def back_up(path: Path, version: int) -> Path | None:
    """Copy a SQLite file, readable for us alone; None if there is nothing in it yet."""
    with closing(sqlite3.connect(path)) as source:
        if not source.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return None
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        copy = path.with_name(f"{path.name}.schema-{version}-{stamp}.bak")
        os.close(os.open(copy, os.O_CREAT | os.O_WRONLY, 0o600))
        with closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    return copy
