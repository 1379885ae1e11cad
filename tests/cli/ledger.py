"""Requests in the ledger of an operator's directory."""

import time
from typing import Any

from kiroproxy.ledger import usage_rows
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.usage import UsageRow
from tests.cli.home import Home


def database(home: Home) -> Database:
    return Database(home.place / "data" / "kiroproxy.db")


def record(home: Home, *rows: dict[str, Any]) -> list[UsageRow]:
    """Write rows; `ago` is in seconds."""
    made = []
    for number, row in enumerate(rows):
        at = time.time() - row.pop("ago", 60 - number)
        defaults: dict[str, Any] = {
            "group": "default",
            "credential_id": 1,
            "model": "claude-sonnet-4.5",
            "dialect": "anthropic",
            "duration_s": 2.0,
            "first_event_s": 0.5,
            "stop_reason": "end_turn",
        }
        made.append(UsageRow(time=at, **(defaults | row)))
    database(home).write(lambda connection: usage_rows.insert(connection, made, 0))
    return made
