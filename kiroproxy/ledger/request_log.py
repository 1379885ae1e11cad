"""The request log of `/api/logs`: the usage ledger's rows since somebody has last emptied it.

Emptying hides rows and deletes none: budgets and statistics are reckoned from them. How long they
are kept is `usageDays`.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kiroproxy.ledger.database import Database
from kiroproxy.ledger.usage_query import Asked

if TYPE_CHECKING:
    from sqlalchemy import Connection

MARK: Final = "request log"


class RequestLog:
    """From when on rows are shown."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begins_at(self) -> datetime | None:
        """When it was emptied; None if never.

        Raises:
            DatabaseError: it cannot be read.
        """

        def work(connection: "Connection") -> int | None:
            from sqlalchemy import select

            from kiroproxy.ledger import tables

            query = select(tables.marks.c.value).where(tables.marks.c.name == MARK)
            return connection.execute(query).scalar()

        value = self._database.read(work)
        return None if value is None else datetime.fromtimestamp(value / 1000, UTC)

    def clear(self, now: datetime) -> None:
        """Let it begin anew.

        Raises:
            DatabaseError: it is as it was.
        """

        def work(connection: "Connection") -> None:
            from kiroproxy.ledger import tables
            from kiroproxy.ledger.statements import upsert

            row = {"name": MARK, "value": round(now.timestamp() * 1000)}
            upsert(connection, tables.marks, [row], replace=["value"])

        self._database.write(work)

    def within(self, asked: Asked) -> Asked:
        """The same question, of rows that are shown."""
        begins_at = self.begins_at()
        if begins_at is None or (asked.since is not None and asked.since >= begins_at):
            return asked
        return replace(asked, since=begins_at)
