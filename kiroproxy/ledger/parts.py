"""The ledger's parts, joined: what a worker or the command line has of this package."""

from dataclasses import dataclass
from pathlib import Path

from kiroproxy.ledger.audit import AuditLog
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.key_book import KeyBook
from kiroproxy.ledger.keys import KeyRing
from kiroproxy.ledger.limits import Limits
from kiroproxy.ledger.spool import Spool
from kiroproxy.ledger.usage import DEFAULT_RETENTION, Retention, UsageLedger
from kiroproxy.ledger.usage_query import UsageReader
from kiroproxy.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything that knows who may use us, and who did."""

    database: Database
    keys: KeyRing
    """Whose key is it: for requests."""
    book: KeyBook
    """Make, change, delete keys: for people."""
    limits: Limits
    usage: UsageLedger
    """Record a request."""
    reader: UsageReader
    """Ask what was recorded."""
    audit: AuditLog

    def start(self) -> None:
        """Begin the threads of this process, after the fork."""
        self.limits.begin()
        self.keys.start()
        self.usage.start()

    def housekeep(self) -> None:
        """Once in a while, by any worker."""
        self.limits.tidy()

    def close(self) -> None:
        """Write what is left; the process ends."""
        self.keys.close()
        self.usage.close()

    def problems(self) -> list[str]:
        """What an operator should know, without secrets; requests go on regardless."""
        found = (*self.database.problems(), *self.keys.problems(), *self.usage.problems())
        return list(dict.fromkeys(found))


def build_ledger(
    url: str, state_dir: Path, runtime: Runtime, *, retention: Retention = DEFAULT_RETENTION
) -> Ledger:
    """Join the parts; nothing is opened yet, so this may happen before a fork.

    Raises:
        ConfigError: the URL is of no use.
    """
    database = Database(url)
    place = database.path
    spool = Spool(Path(f"{place}.spool") if place is not None else state_dir / "usage-spool")
    keys = KeyRing(database)
    limits = Limits(runtime, group_budgets=keys.group_budgets)
    reader = UsageReader(database)

    def catch_up() -> None:
        limits.catch_up(reader.counters)

    usage = UsageLedger(database, spool, retention=retention, on_caught_up=catch_up)
    return Ledger(database, keys, KeyBook(database), limits, usage, reader, AuditLog(database))
