"""Who changed what: the audit log of the admin API and the command line.

Secrets never get here: values of fields that look like one are masked before they are written.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from kiroproxy.errors import ConfigError, DatabaseError
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.usage import new_id
from kiroproxy.masking import MASK, mask_secrets

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

log = logging.getLogger(__name__)

LIMIT: Final = 1000
TEXT_LIMIT: Final = 20_000
SECRET_FIELDS: Final = frozenset({"key", "secret", "hash", "old_hash"})
"""Beside those that logs mask."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. `who` is a key's name, `admin`, or `cli`; `before` and `after` may be partial."""

    id: str
    time: datetime
    who: str
    client: str
    action: str
    target: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Made:
    """A change that was made, to be noted."""

    action: str
    target: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Some of the entries, newest first, and how many there are."""

    entries: list[Entry]
    total: int


class AuditLog:
    """The audit log in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self,
        action: str,
        target: str,
        *,
        who: str,
        client: str = "",
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> bool:
        """Note a change that was made, such as `key.create`; whether it is written.

        It is in the program's log, too, and an ill database does not undo the change.
        """
        return self.extend([Made(action, target, before, after)], who=who, client=client)

    def extend(self, made: Sequence[Made], *, who: str, client: str = "") -> bool:
        """Note many changes at once: a bulk act is one transaction."""
        rows = [_row(one, who, client, number) for number, one in enumerate(made)]
        if not rows:
            return True
        for row in rows:
            log.info("audit: %s %s by %s", row["action"], row["target"], row["who"])

        def work(connection: "Connection") -> None:
            from sqlalchemy import insert

            from kiroproxy.ledger import tables

            connection.execute(insert(tables.audit), rows)

        try:
            self._database.write(work)
        except (DatabaseError, ConfigError) as error:
            for one in made:
                told = "not in the audit log: %s %s by %s: %s"
                log.error(told, one.action, one.target, who, error)
            return False
        return True

    def entries(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        where: Mapping[str, Sequence[str]] | None = None,
        page: int = 1,
        page_size: int = 100,
    ) -> EntryPage:
        """The newest changes, of any of these values of `who`, `client`, `action`, `target`.

        Raises:
            DatabaseError: it cannot be read.
        """
        size = max(min(page_size, LIMIT), 1)

        def work(connection: "Connection") -> EntryPage:
            from sqlalchemy import and_, func, select, true

            from kiroproxy.ledger import tables

            table = tables.audit
            parts: list[ColumnElement[bool]] = [true()]
            parts += [table.c[name].in_(list(values)) for name, values in (where or {}).items()]
            if since is not None:
                parts.append(table.c.time >= round(since.timestamp() * 1000))
            if until is not None:
                parts.append(table.c.time < round(until.timestamp() * 1000))
            condition = and_(*parts)
            query = select(table).where(condition).order_by(table.c.time.desc(), table.c.id.desc())
            rows = connection.execute(query.limit(size).offset((max(page, 1) - 1) * size))
            count = select(func.count()).select_from(table).where(condition)
            return EntryPage(
                [_entry(row._mapping) for row in rows], connection.execute(count).scalar() or 0
            )

        return self._database.read(work)


def build_entry(entry: Entry) -> dict[str, Any]:
    """As JSON."""
    values = {name: getattr(entry, name) for name in Entry.__dataclass_fields__}
    at = entry.time.isoformat(timespec="milliseconds")
    return values | {"time": at.replace("+00:00", "Z")}


def without_secrets(document: Mapping[str, Any]) -> dict[str, Any]:
    """The same, with secrets masked at any depth, by the names of fields and by their looks."""
    masked = mask_secrets(None, "", dict(document))
    return {name: _without(name, value) for name, value in masked.items()}


def _without(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {inner: _without(str(inner), one) for inner, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without(name, one) for one in value]
    if name.lower() in SECRET_FIELDS and isinstance(value, str):
        return MASK
    if isinstance(value, str) and value.startswith("kp_") and "…" not in value:
        return MASK
    return value


def _row(made: Made, who: str, client: str, number: int) -> dict[str, Any]:
    id_ = new_id()
    return {
        # those of one act share their millisecond, and stay in order
        "id": f"{id_[:12]}{number % 0x10000:04x}{id_[16:]}",
        "time": round(time.time() * 1000),
        "who": _clean(who, 200),
        "client": _clean(client, 64),
        "action": _clean(made.action, 64),
        "target": _clean(made.target, 200),
        "before": _document(made.before),
        "after": _document(made.after),
    }


def _document(document: Mapping[str, Any] | None) -> str:
    if document is None:
        return ""
    text = msgspec.json.encode(without_secrets(document), enc_hook=str).decode()
    return text if len(text) <= TEXT_LIMIT else msgspec.json.encode({"too_long": True}).decode()


def _clean(text: str, length: int) -> str:
    return text.replace("\0", "").encode(errors="replace").decode()[:length]


def _entry(row: Mapping[Any, Any]) -> Entry:
    documents = {
        name: msgspec.json.decode(row[name]) if row[name] else None for name in ("before", "after")
    }
    return Entry(
        id=row["id"],
        time=datetime.fromtimestamp(row["time"] / 1000, UTC),
        who=row["who"],
        client=row["client"],
        action=row["action"],
        target=row["target"],
        **documents,
    )
