"""`POST /api/admin/credentials/bulk`: one act on many credentials, with the outcome of each."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import marshmallow as ma

from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.registry import Registry
from kiroproxy.errors import InvalidRequest, KiroProxyError
from kiroproxy.web.admin import rows
from kiroproxy.web.admin.api import count, rest, room, text, whole, word
from kiroproxy.web.admin.changes import difference, note, note_all
from kiroproxy.web.admin.credentials import registry_of
from kiroproxy.web.admin.lines import LINES, told
from kiroproxy.web.admin.shapes import BulkRow, list_of
from kiroproxy.web.services import Services, services

blueprint = room("bulk", "One act on many credentials.")
LIMIT = 1000
AT_ONCE = 4
"""Calls to Kiro at a time."""
STORED = ("enable", "disable", "reset", "priority", "move", "delete")
NEEDED = {"priority": "priority", "move": "group"}
"""Acts that need another field."""
ASKED = ("refresh", "verify", "balance")

Act = Callable[[list[int]], list[Credential]]
Row = dict[str, Any]


class BulkBody(ma.Schema):
    """What to do with whom."""

    action = word(*STORED, *ASKED, required=True)
    ids = ma.fields.List(
        whole(validate=ma.validate.Range(1, 2**53)),
        required=True,
        validate=ma.validate.Length(1, LIMIT),
    )
    priority = count()
    group = text(100)


class BulkEnd(ma.Schema):
    """The outcome of each."""

    action = ma.fields.String()
    total = ma.fields.Integer()
    succeeded = ma.fields.Integer()
    failed = ma.fields.Integer()
    results = list_of(BulkRow)


@rest(blueprint, "POST", "/credentials/bulk", body=BulkBody, answer=BulkEnd, also=LINES)
def change_many(body: dict[str, Any]) -> Any:
    """Do the same with many credentials; each has an outcome of its own."""
    parts = services()
    action, ids = body["action"], list(dict.fromkeys(body["ids"]))
    registry = registry_of(parts)
    if action in STORED:
        results = _stored(registry, action, ids, _act(registry, body))
    else:
        results = _asked(parts, registry, action, ids)

    def summary(done: list[Row]) -> Row:
        good = sum(one["success"] for one in done)
        return {
            "action": action,
            "total": len(done),
            "succeeded": good,
            "failed": len(done) - good,
        }

    return told(results, summary)


# ---- acts on the store ---------------------------------------------------------------------


def _act(registry: Registry, body: dict[str, Any]) -> Act:
    """The act, with what it needs.

    Raises:
        InvalidRequest: that is missing or wrong.
    """
    action = body["action"]
    needed = NEEDED.get(action)
    if needed is not None and needed not in body:
        raise InvalidRequest(f"{needed}: is needed for {action}", param=needed)
    if action == "move":
        group = body["group"].strip()
        registry.check_group(group)
        return lambda ids: registry.move_all(ids, group)
    acts: dict[str, Act] = {
        "enable": registry.enable,
        "disable": registry.disable,
        "reset": registry.reset,
        "delete": registry.remove_all,
        "priority": lambda ids: registry.prioritise(ids, body["priority"]),
    }
    return acts[action]


def _stored(registry: Registry, action: str, ids: list[int], act: Act) -> Iterator[Row]:
    before = {one.id: one for one in registry.credentials()}
    there = [id_ for id_ in ids if id_ in before]
    changed, refused = in_few_edits(there, act)
    note_all(
        [
            difference(f"credential.{action}", before[id_], None if action == "delete" else after)
            for id_, after in changed.items()
        ]
    )
    for id_ in ids:
        if id_ in changed:
            yield {"id": id_, "success": True}
        else:
            why = refused.get(id_, f"There is no credential {id_}.")
            yield {"id": id_, "success": False, "error": why}


def in_few_edits(ids: Sequence[int], act: Act) -> tuple[dict[int, Credential], dict[int, str]]:
    """Do it with all at once; where one is refused, with halves of them, to find out which.

    An act is one edit of the store with all or none of its credentials.
    """
    if not ids:
        return {}, {}
    try:
        return {one.id: one for one in act(list(ids))}, {}
    except KiroProxyError as error:
        if len(ids) == 1 or not isinstance(error, InvalidRequest):
            return {}, dict.fromkeys(ids, str(error))
    middle = len(ids) // 2
    good, bad = in_few_edits(ids[:middle], act)
    more_good, more_bad = in_few_edits(ids[middle:], act)
    return good | more_good, bad | more_bad


# ---- acts that ask Kiro --------------------------------------------------------------------


def _asked(parts: Services, registry: Registry, action: str, ids: list[int]) -> Iterator[Row]:
    def ask(id_: int) -> Row:
        try:
            return {"id": id_, "success": True} | _ask(parts, registry, action, id_)
        except KiroProxyError as error:
            return {"id": id_, "success": False, "error": str(error)}

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for job in as_completed([threads.submit(ask, id_) for id_ in ids]):
            row = job.result()
            if row["success"] and "expiresAt" in row and row["expiresAt"]:
                note("credential.refresh", f"credential {row['id']}")
            yield row


def _ask(parts: Services, registry: Registry, action: str, id_: int) -> Row:
    one = registry.credential(id_)
    if action == "balance" or not one.renewable:
        usage, _ = parts.balances.current(one, fresh=action != "balance")
        return rows.balance_row(id_, usage) if action == "balance" else {"expiresAt": None}
    return {"expiresAt": rows.time(registry.refresh(id_).expires_at)}
