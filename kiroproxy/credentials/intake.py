"""Taking credentials in, row by row: preview, verification, and what became of each.

A row that is verified lies in the store before its token is redeemed, switched off as
`Unverified`: a rotated token is thus never in memory alone (design 5, rules 3 and 4), and no
request meets a credential of which nobody knows whether it works. It is switched on when the
refresh succeeded, and deleted when not. If the process dies between, the row stays, switched off.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Final, Literal

from kiroproxy.credentials.groups import Group, check_name
from kiroproxy.credentials.imports import Found, token_hash
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.policy import DEFAULT_GROUP, group_of
from kiroproxy.credentials.pool import Pool
from kiroproxy.credentials.registry import Duplicate, Registry
from kiroproxy.errors import InvalidRequest, KiroProxyError

UNVERIFIED: Final = "Unverified"
AT_ONCE: Final = 4
"""Verifications at a time: auth servers throttle bursts."""

Status = Literal["new", "added", "duplicate", "failed"]
Probe = Callable[[Credential], object]
"""Asks Kiro something on behalf of a credential that has nothing to refresh; raises if refused."""


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of a source, or a problem with one. `why` says what `status` alone does not."""

    number: int
    status: Status
    why: str = ""
    credential: Credential | None = None

    @property
    def failed(self) -> bool:
        """Whether a person has to look at it."""
        return self.status == "failed"


def preview(
    registry: Registry,
    sources: Iterable[Found],
    *,
    group: str | None = None,
    priority: int | None = None,
) -> list[Row]:
    """What an import would do with each entry; changes nothing.

    `group` and `priority` take the place of what the entries say.
    """
    stored = registry.credentials()
    known = {token_hash(one): f"as #{one.id}" for one in stored}
    known |= {one.imported_from: f"as #{one.id}" for one in stored if one.imported_from}
    linked = {one.linked_to: f"linked as #{one.id}" for one in stored if one.linked_to}
    rows: list[Row] = []
    for found in sources:
        for one in found.credentials:
            number = len(rows) + 1
            one = _placed(one, group, priority)
            origin = token_hash(one)
            there = known.get(origin) or linked.get(one.linked_to or "")
            why = f"already there, {there}" if there else _bad_group(one, found.groups)
            status: Status = "duplicate" if there else "failed" if why else "new"
            rows.append(Row(number, status, why, replace(one, id=0, imported_from=origin)))
            known.setdefault(origin, f"as row {number}")
            if one.linked_to:
                linked.setdefault(one.linked_to, f"as row {number}")
        rows += [
            Row(len(rows) + 1 + at, "failed", problem) for at, problem in enumerate(found.problems)
        ]
    return rows


def _placed(one: Credential, group: str | None, priority: int | None) -> Credential:
    if group is not None:
        one = replace(one, group=None if group == DEFAULT_GROUP else group)
    return one if priority is None else replace(one, priority=priority)


def _bad_group(one: Credential, groups: Sequence[Group]) -> str:
    name = group_of(one)
    if name == DEFAULT_GROUP or any(name == other.name for other in groups):
        return ""
    try:
        check_name(name)
    except InvalidRequest as error:
        return f"group: {str(error).removeprefix('name: ')}"
    return ""


class Intake:
    """Puts rows into the store of a pool; with `verify`, only those that Kiro accepts."""

    def __init__(
        self, pool: Pool, registry: Registry, *, verify: bool = True, probe: Probe | None = None
    ) -> None:
        self._pool = pool
        self._registry = registry
        self._verify = verify
        self._probe = probe
        self._stop = threading.Event()

    def take(self, row: Row, then: Callable[[], None] = _nothing) -> Row:
        """Store one row, and say what became of it; never raises for what is wrong with it.

        `then` is called when the row lies in the store, before it is verified.
        """
        if row.status != "new" or row.credential is None:
            return row
        try:
            stored = self.admit(row.credential, then)
        except Duplicate as error:
            return replace(row, status="duplicate", why=str(error))
        except KiroProxyError as error:
            return replace(row, status="failed", why=str(error))
        return replace(row, status="added", credential=stored)

    def admit(self, new: Credential, then: Callable[[], None] = _nothing) -> Credential:
        """Store one, verified if that is wanted.

        Raises:
            Duplicate: it is there already.
            KiroProxyError: Kiro refuses it, or it cannot be stored; it is not in the store.
        """
        if not self._verify:
            return self._registry.insert(new)
        stored = self._registry.insert(
            replace(new, disabled=True, disabled_reason=UNVERIFIED, disabled_until=None)
        )
        then()
        try:
            self._check(stored)
        except KiroProxyError:
            self._drop(stored)
            raise
        return self._registry.update(
            stored.id,
            lambda one: replace(
                one,
                disabled=new.disabled,
                disabled_reason=new.disabled_reason,
                disabled_until=new.disabled_until,
            ),
        )

    def _check(self, stored: Credential) -> None:
        if stored.renewable:
            self._pool.renewals.force(stored, stored.access_token or "", anyway=True)
        elif self._probe is not None:
            self._probe(stored)

    def _drop(self, stored: Credential) -> None:
        """Delete a row that was refused, unless somebody has mended it meanwhile."""

        def work(credentials: list[Credential]) -> list[Credential]:
            return [
                one
                for one in credentials
                if one.id != stored.id or one.refresh_token != stored.refresh_token
            ]

        self._pool.store.edit(work)

    def run(self, rows: Sequence[Row]) -> Iterator[Row]:
        """Take all rows in, several at a time, and give each when it is done.

        They are stored in their order, which decides among credentials of one priority; without
        verification all in one edit. After Ctrl-C no more are begun: those come back as failed.
        Another one leaves at once.
        """
        if not self._verify:
            yield from self._store(rows)
            return
        turns = [threading.Event() for _ in range(len(rows) + 1)]
        turns[0].set()
        with ThreadPoolExecutor(AT_ONCE) as threads:
            pending = {
                threads.submit(self._in_turn, row, turns[at], turns[at + 1])
                for at, row in enumerate(rows)
            }
            while pending:
                try:
                    done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                except KeyboardInterrupt:
                    if self._stop.is_set():
                        raise
                    self._stop.set()
                    continue
                yield from (one.result() for one in done)

    def _store(self, rows: Sequence[Row]) -> Iterator[Row]:
        new = [row.credential for row in rows if row.status == "new" and row.credential is not None]
        ends: Sequence[Credential | KiroProxyError]
        try:
            ends = self._registry.insert_all(new)
        except KiroProxyError as error:
            ends = [error] * len(new)
        outcome = iter(ends)
        for row in rows:
            if row.status != "new" or row.credential is None:
                yield row
                continue
            end = next(outcome)
            if isinstance(end, Credential):
                yield replace(row, status="added", credential=end)
            else:
                status: Status = "duplicate" if isinstance(end, Duplicate) else "failed"
                yield replace(row, status=status, why=str(end))

    def _in_turn(self, row: Row, turn: threading.Event, following: threading.Event) -> Row:
        """Take a row in once the one before it is stored; it has been begun earlier."""
        turn.wait()
        try:
            if self._stop.is_set():
                return replace(row, status="failed", why="was not begun")
            return self.take(row, following.set)
        finally:
            following.set()
