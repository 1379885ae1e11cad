"""kiro2api's database, read as the document that the same program keeps in a file (S121).

The generation with groups holds its tokens, groups and client keys in SQLite (`KIRO_DB_PATH`). It
moves tokens that are spent or refused into groups of its own, `exhausted` and `banned`, and with
that forgets where they were: here they are in no group of their own, and the refused ones are
switched off. The file is only read.

Source: columns as the program with groups writes them; those that a version lacks are left out.
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from kiroproxy.credentials.groups import AUTOMATIC

TOKEN_COLUMNS: Final[Mapping[str, str]] = {
    "auth_type": "auth",
    "refresh_token": "refreshToken",
    "access_token": "accessToken",
    "access_token_expires_at": "expiresAt",
    "client_id": "clientId",
    "client_secret": "clientSecret",
    "group_name": "group",
    "name": "name",
    "user_email": "email",
}
"""Column → key of an entry."""
GROUP_SETTINGS: Final = ("priority", "rate_limit_qps", "rate_limit_burst", "cooldown_sec")
REFUSED: Final = "banned"
ROWS: Final = 100_000
READ_S: Final = 2.0
"""For a whole database: a table of somebody else's file may be a view that never ends."""


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a database that nothing shall be written to.

    Raises:
        sqlite3.Error: there is none.
    """
    db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1)
    until = time.monotonic() + READ_S
    db.set_progress_handler(lambda: time.monotonic() > until, 100_000)
    return db


def is_kiro2api(path: Path) -> bool:
    """Whether that program keeps its tokens in this file; False if it cannot be read."""
    try:
        with contextlib.closing(open_read_only(path)) as db:
            return _has_tokens(db)
    except sqlite3.Error:
        return False


def _has_tokens(db: sqlite3.Connection) -> bool:
    return {"refresh_token", "group_name"} <= _columns(db, "tokens")


def read_document(db: sqlite3.Connection) -> dict[str, Any] | None:
    """What the database holds as `tokens`, `groups` and `api_keys`; None: it is another one.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    if not _has_tokens(db):
        return None
    return {
        "tokens": [_token(row) for row in _rows(db, "tokens")],
        "groups": {
            row["name"]: _group(row)
            for row in _rows(db, "groups")
            if row.get("name") not in (None, *AUTOMATIC)
        },
        "api_keys": [_key(row) for row in _rows(db, "api_keys")],
    }


def _columns(db: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in db.execute(f"PRAGMA table_info({table})")}


def _rows(db: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    """Its rows in the order in which they were written; none if there is no such table."""
    if not _columns(db, table):
        return []
    found = db.execute(f"SELECT * FROM {table} LIMIT {ROWS}")  # noqa: S608 - our own names
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def _token(row: Mapping[str, Any]) -> dict[str, Any]:
    entry = {key: row[column] for column, key in TOKEN_COLUMNS.items() if row.get(column)}
    if entry.get("group") in AUTOMATIC:
        del entry["group"]
    if row.get("disabled") or REFUSED in (row.get("status"), row.get("group_name")):
        entry |= {"disabled": True, "disabledReason": "Manual"}
    return entry


def _group(row: Mapping[str, Any]) -> dict[str, Any]:
    """Its settings; 0 means the program's default there, so it is left out."""
    settings = {name: row[name] for name in GROUP_SETTINGS if row.get(name)}
    return {"display_name": row.get("display_name") or "", "settings": settings}


def _key(row: Mapping[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"key": row.get("key"), "name": row.get("name") or ""}
    if groups := _names(row.get("allowed_groups")):
        entry["allowed_groups"] = groups
    return entry


def _names(value: object) -> list[str]:
    """A list that is stored as JSON, or with commas."""
    try:
        parsed = json.loads(str(value or ""))
    except ValueError:
        parsed = str(value or "").split(",")
    items = parsed if isinstance(parsed, list) else [parsed]
    return [str(item).strip() for item in items if str(item or "").strip()]
