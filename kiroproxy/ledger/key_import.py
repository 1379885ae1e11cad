"""Client keys of other programs: the `api_keys` of kiro2api's files (S121).

They keep their secrets, names and groups, so that clients need not be told. Each is taken once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from kiroproxy.errors import InvalidRequest
from kiroproxy.ledger.key_book import GivenKey, KeyBook, own_secret, parse_settings
from kiroproxy.ledger.keys import hint_of

Status = Literal["new", "added", "duplicate", "failed"]
SETTINGS: Final = ("name", "allowed_groups", "disabled")
"""What entries say beside their key; anything else in them means nothing to us."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """What becomes of one entry. `why` says what is wrong with it, `hint` what may be shown."""

    number: int
    status: Status
    name: str = ""
    hint: str = ""
    why: str = ""
    id: str = ""


def take_over(book: KeyBook, entries: Sequence[object], *, dry_run: bool = False) -> list[KeyRow]:
    """Make client keys of entries; with `dry_run` only say what would become of them.

    Raises:
        DatabaseError: nothing was taken.
    """
    if not entries:
        return []
    given: dict[int, GivenKey] = {}
    rows: dict[int, KeyRow] = {}
    for number, entry in enumerate(entries, 1):
        try:
            given[number] = read_entry(entry)
        except InvalidRequest as error:
            rows[number] = KeyRow(number, "failed", why=str(error))
    keys = book.adopt(list(given.values()), dry_run=dry_run)
    for (number, one), key in zip(given.items(), keys, strict=True):
        name, hint = str(one.settings.get("name", "")), hint_of(one.secret)
        if key is None:
            rows[number] = KeyRow(number, "duplicate", name, hint, "was taken over before")
        else:
            id_ = "" if dry_run else key.id
            rows[number] = KeyRow(number, "new" if dry_run else "added", name, hint, id=id_)
    return [rows[number] for number in sorted(rows)]


def read_entry(entry: object) -> GivenKey:
    """One entry: an object with `key`, or the key alone.

    Raises:
        InvalidRequest: names what cannot be used; never the key.
    """
    raw: dict[str, Any] = {"key": entry} if isinstance(entry, str) else {}
    if isinstance(entry, dict):
        raw = entry
    secret = raw.get("key")
    if not isinstance(secret, str) or not secret:
        raise InvalidRequest("key: must be a text", param="key")
    known = {name: raw[name] for name in SETTINGS if raw.get(name) is not None}
    return GivenKey(own_secret(secret), parse_settings(known))


def summary(rows: Iterable[KeyRow]) -> list[str]:
    """What an operator should know of an import at start: what is new, and what cannot be used."""
    rows = list(rows)
    added = sum(one.status == "added" for one in rows)
    said = [f"{added} client keys of KIRO_AUTH_TOKEN are client keys here now"] if added else []
    return said + [
        f"KIRO_AUTH_TOKEN: api_keys[{one.number - 1}]: {one.why}"
        for one in rows
        if one.status == "failed"
    ]
