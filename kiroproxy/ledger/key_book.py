"""Making, changing and deleting client keys: for the admin API and the command line.

A change counts in every process within a second. Nothing here shows a secret, but for the answer
that makes it.
"""

import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from kiroproxy.errors import DatabaseError, InvalidRequest, NotFound
from kiroproxy.ledger.budgets import Budgets
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.keys import (
    MARK,
    ClientKey,
    KeyLimits,
    Snapshot,
    copy_path,
    hash_of,
    hint_of,
    new_secret,
    save_copy,
)
from kiroproxy.ledger.threads import in_thread

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")

NAME_LIMIT: Final = 200
SECRET_MIN: Final = 8
"""Of secrets that are brought along from another program (S121)."""
OVERLAP_S: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key and its secret, which nobody can show again."""

    key: ClientKey
    secret: str


class KeyBook:
    """The client keys in the database."""

    def __init__(
        self, database: Database, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._clock = clock

    def all(self) -> list[ClientKey]:
        """The keys, oldest first.

        Raises:
            DatabaseError: they cannot be read.
        """
        return list(self._database.read(_read).keys)

    def get(self, reference: str) -> ClientKey:
        """The key with this id, else the only one of this name.

        Raises:
            NotFound: there is none.
            InvalidRequest: several have that name.
        """
        return _one(self._database.read(_read), reference)

    def create(self, settings: Mapping[str, Any] | None = None, *, secret: str = "") -> NewKey:
        """Make a key of parsed settings; a `secret` comes from another program.

        Raises:
            InvalidRequest: there is a key with that secret already.
        """
        secret = _own_secret(secret) if secret else new_secret()
        key = ClientKey(
            id=uuid.uuid4().hex[:12],
            hash=hash_of(secret),
            hint=hint_of(secret),
            created_at=self._now(),
        )
        key = replace(key, **(settings or {}))
        try:
            self._write(lambda connection: _insert(connection, key))
        except DatabaseError as error:
            if error.reason == "conflict":
                raise InvalidRequest("key: there is this key already", param="key") from None
            raise
        return NewKey(key, secret)

    def change(self, reference: str, settings: Mapping[str, Any]) -> ClientKey:
        """Give a key other settings; those that are not named stay.

        Raises:
            NotFound: there is no such key.
        """
        return self._edit(reference, lambda key: replace(key, **settings))

    def rotate(self, reference: str, overlap_s: float = OVERLAP_S) -> NewKey:
        """Give a key another secret; the old one is good for a while yet, at most to its expiry.

        Raises:
            NotFound: there is no such key.
            InvalidRequest: the overlap is no length of time.
        """
        if not (math.isfinite(overlap_s) and 0 <= overlap_s <= 366 * 86400):
            raise InvalidRequest("overlap: must be seconds, at most a year", param="overlap")
        secret = new_secret()
        until = self._now() + timedelta(seconds=overlap_s)

        def work(key: ClientKey) -> ClientKey:
            return replace(
                key,
                hash=hash_of(secret),
                hint=hint_of(secret),
                old_hash=key.hash if overlap_s else "",
                old_until=until if overlap_s else None,
            )

        return NewKey(self._edit(reference, work), secret)

    def delete(self, reference: str) -> ClientKey:
        """Forget a key; what it did stays in the ledger.

        Raises:
            NotFound: there is no such key.
        """

        def work(connection: "Connection") -> ClientKey:
            from sqlalchemy import delete

            from kiroproxy.ledger import tables

            key = _one(_read(connection), reference)
            connection.execute(delete(tables.client_keys).where(tables.client_keys.c.id == key.id))
            return key

        return self._write(work)

    def group_budgets(self) -> dict[str, Budgets]:
        """What groups may spend."""
        return dict(self._database.read(_read).group_budgets)

    def set_group_budgets(self, group: str, budgets: Budgets) -> None:
        """Say what a group may spend; no budgets remove it."""

        def work(connection: "Connection") -> None:
            from sqlalchemy import delete

            from kiroproxy.ledger import tables
            from kiroproxy.ledger.statements import upsert

            table = tables.group_budgets
            if budgets == Budgets():
                connection.execute(delete(table).where(table.c.name == group))
                return
            row = {"name": group, "budgets": msgspec.json.encode(budgets).decode()}
            upsert(connection, table, [row], replace=["budgets"])

        self._write(work)

    def _now(self) -> datetime:
        """In the milliseconds that are stored."""
        now = self._clock()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def _edit(self, reference: str, change: Callable[[ClientKey], ClientKey]) -> ClientKey:
        def work(connection: "Connection") -> ClientKey:
            from sqlalchemy import update

            from kiroproxy.ledger import key_rows, tables

            key = change(_one(_read(connection), reference))
            table = tables.client_keys
            values = key_rows.build_row(key)
            connection.execute(update(table).where(table.c.id == key.id).values(values))
            return key

        return self._write(work)

    def _write(self, work: "Callable[[Connection], T]") -> T:
        def marked(connection: "Connection") -> tuple[T, Snapshot]:
            from kiroproxy.ledger.statements import move_mark

            move_mark(connection, MARK)  # first: it is the lock that changes wait for
            return work(connection), _read(connection)

        result, after = self._database.write(marked)
        in_thread(lambda: save_copy(copy_path(self._database), after))
        return result


def _read(connection: "Connection") -> Snapshot:
    from kiroproxy.ledger import key_rows

    snapshot = key_rows.read_snapshot(connection, None)
    assert snapshot is not None  # noqa: S101 - no mark was given
    return snapshot


def _insert(connection: "Connection", key: ClientKey) -> None:
    from sqlalchemy import insert

    from kiroproxy.ledger import key_rows, tables

    connection.execute(insert(tables.client_keys).values(key_rows.build_row(key)))


def _one(snapshot: Snapshot, reference: str) -> ClientKey:
    if reference in snapshot.by_id:
        return snapshot.by_id[reference]
    named = [one for one in snapshot.keys if one.name == reference and reference]
    if not named:
        raise NotFound(f"There is no client key {reference}.")
    if len(named) > 1:
        ids = ", ".join(one.id for one in named)
        raise InvalidRequest(f"Several client keys are called {reference}: say which of {ids}.")
    return named[0]


def _own_secret(secret: str) -> str:
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise InvalidRequest("key: must be ASCII text without blanks", param="key")
    if len(secret) < SECRET_MIN:
        raise InvalidRequest(f"key: must have at least {SECRET_MIN} characters", param="key")
    return secret


# ---- as JSON -------------------------------------------------------------------------------


def parse_settings(given: object) -> dict[str, Any]:
    """What `create` and `change` take, from JSON; what is not mentioned stays as it is.

    Raises:
        InvalidRequest: names what cannot be used.
    """
    if not isinstance(given, dict):
        raise InvalidRequest("a JSON object is wanted")
    unknown = sorted(set(given) - set(_PARSERS))
    if unknown:
        raise InvalidRequest(f"{unknown[0]}: there is no such setting", param=unknown[0])
    return {name: _PARSERS[name](name, value) for name, value in given.items()}


def build_key(key: ClientKey, now: datetime) -> dict[str, Any]:
    """As JSON, without the secret and its hash."""
    overlap = key.old_until is not None and now < key.old_until
    return {
        "id": key.id,
        "name": key.name,
        "owner": key.owner,
        "hint": key.hint,
        "allowed_groups": list(key.allowed_groups),
        "models": list(key.models),
        "limits": asdict(key.limits),
        "budgets": asdict(key.budgets),
        "disabled": key.disabled,
        "expired": key.expires_at is not None and now >= key.expires_at,
        "created_at": _time(key.created_at),
        "expires_at": _time(key.expires_at),
        "last_used_at": _time(key.last_used_at),
        "old_key_until": _time(key.old_until) if overlap else None,
    }


def _time(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z") if at is not None else None


def _parse_text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > NAME_LIMIT or not value.isprintable():
        raise InvalidRequest(f"{name}: must be a text, at most {NAME_LIMIT} characters", param=name)
    return value.strip()


def _parse_names(name: str, value: object) -> tuple[str, ...]:
    value = [] if value is None else value
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidRequest(f"{name}: must be a list of texts", param=name)
    return tuple(dict.fromkeys(one.strip() for one in value if one.strip()))


def _parse_switch(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name}: must be true or false", param=name)
    return value


def _parse_time(name: str, value: object) -> datetime | None:
    if value is None or value == "":
        return None
    try:
        at = datetime.fromisoformat(str(value))
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        text = "must be a time such as 2027-01-31T12:00:00Z, or null"
        raise InvalidRequest(f"{name}: {text}", param=name) from None


def _parse_limits(name: str, value: object) -> KeyLimits:
    return KeyLimits(**_numbers(name, value, KeyLimits, int))


def parse_budgets(name: str, value: object) -> Budgets:
    """Budgets from JSON.

    Raises:
        InvalidRequest: names what cannot be used.
    """
    return Budgets(**_numbers(name, value, Budgets, int | float))


def _numbers(name: str, value: object, kind: Any, number: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name}: must be an object", param=name)
    known = {one: value[one] for one in kind.__dataclass_fields__ if value.get(one) is not None}
    for one in sorted(set(value) - set(kind.__dataclass_fields__)):
        raise InvalidRequest(f"{name}.{one}: there is no such setting", param=f"{name}.{one}")
    for one, amount in known.items():
        usable = isinstance(amount, number) and not isinstance(amount, bool)
        if not usable or not 0 <= amount <= 10**9:
            words = "a whole number" if number is int else "a number"
            raise InvalidRequest(
                f"{name}.{one}: must be {words} from 0 (no limit) to 1000000000",
                param=f"{name}.{one}",
            )
    return known


_PARSERS: Final[Mapping[str, Callable[[str, object], Any]]] = {
    "name": _parse_text,
    "owner": _parse_text,
    "allowed_groups": _parse_names,
    "models": _parse_names,
    "disabled": _parse_switch,
    "expires_at": _parse_time,
    "limits": _parse_limits,
    "budgets": parse_budgets,
}
