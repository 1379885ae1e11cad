"""A server whose database falls ill: requests go on, it is told, and no row is lost (issue 7)."""

import os
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from kiroproxy.ledger.database import Database
from kiroproxy.ledger.key_book import KeyBook, parse_settings
from kiroproxy.ledger.usage_query import Asked, UsageReader
from tests.flows.client import body, post
from tests.flows.conftest import credential
from tests.servers import Proxy
from tests.simulation import Simulator

DISK_KB = 4096
LEFT_BYTES = 8192
"""What a full disk has left: less than one page of each file."""
SEEN_S = 1.2
WRITTEN_LIMIT_S = 30
ADMIN = {"x-api-key": "sk-admin"}


@dataclass
class Outage:
    """What clients and operators met while the database was ill, and what became of the rows."""

    statuses: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0
    told: bool = False
    """By /readyz, whose status stayed 200."""
    metered: bool = False
    missing: int = 0
    doubled: int = 0
    healed: bool = False
    """/readyz tells no more of what is over; of what was lost, it goes on telling."""

    def describe(self) -> str:
        return (
            f"{sum(self.statuses.values())} requests {dict(self.statuses)}, the slowest "
            f"{self.slowest_s:.2f} s; {self.missing} rows missing, {self.doubled} twice"
        )

    @property
    def survived(self) -> bool:
        """Whether all that was promised was kept."""
        whole = not self.missing and not self.doubled
        return set(self.statuses) == {200} and self.told and self.metered and whole and self.healed


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else writes, and does not come to an end."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


@contextmanager
def deleted(path: Path) -> Iterator[None]:
    """Somebody tidies up."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    yield


@contextmanager
def corrupt(path: Path) -> Iterator[None]:
    """Somebody puts something else in its place."""
    bad = path.with_name("bad")
    bad.write_bytes(os.urandom(50_000))
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    bad.replace(path)
    yield


@contextmanager
def full(path: Path) -> Iterator[None]:
    """Nothing more fits onto the disk, neither into the database nor into the spool."""
    ballast = path.with_name("ballast")
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        free = shutil.disk_usage(path.parent).free
        file.write(b"x" * max(free - LEFT_BYTES, 0))
    try:
        yield
    finally:
        ballast.unlink()


Harm = Callable[[Path], AbstractContextManager[None]]
HARMS: dict[str, Harm] = {
    "locked": locked,
    "deleted": deleted,
    "corrupt": corrupt,
    "full": full,
}


@contextmanager
def small_disk(place: Path) -> Iterator[bool]:
    """A directory that is soon full; False where none can be mounted."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KB}k", "tmpfs", str(place)]
    mounted = (
        os.geteuid() == 0
        and shutil.which("mount") is not None
        and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=False)


def outages(place: Path, seconds: float) -> dict[str, Outage]:
    """Let each thing happen to the database of one server, one after the other."""
    with small_disk(place / "disk") as is_small, Simulator() as sim:
        path = place / "disk" / "k.db"
        config = {"databasePath": str(path), "adminApiKey": "sk-admin", "logLevel": "error"}
        with Proxy(place, config, [credential()], upstream=sim.url) as proxy:
            made = KeyBook(Database(path)).create(parse_settings({"name": "agent"}))
            time.sleep(SEEN_S)
            found = {}
            for name, harm in HARMS.items():
                if name != "full" or is_small:
                    found[name] = _outage(proxy, made.secret, path, harm, seconds)
            return found


def _outage(proxy: Proxy, secret: str, path: Path, harm: Harm, seconds: float) -> Outage:
    outcome, traces = Outage(), []
    assert post(proxy, body(), headers={"x-api-key": secret}).status_code == 200
    time.sleep(2.5)  # what was sent before is written, and metrics are up to date
    known = {one for _ in range(8) for one in _reasons(proxy)}, _troubles(proxy)
    with harm(path):
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            headers = {"x-api-key": secret} if len(traces) % 2 else None
            answer = post(proxy, body(stream=len(traces) % 3 == 0), headers=headers)
            outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - now)
            outcome.statuses[answer.status_code] += 1
            traces.append(answer.headers["x-kiroproxy-trace"])
            _ask(proxy, outcome, *known)
            time.sleep(0.05)
    reader = UsageReader(Database(path))
    deadline = time.monotonic() + WRITTEN_LIMIT_S
    while time.monotonic() < deadline:
        with suppress(Exception):
            since = reader.rows(Asked(), page_size=1000).rows
            written = Counter(row.trace_id for row in since)
            outcome.missing = sum(trace not in written for trace in traces)
            outcome.doubled = sum(count > 1 for count in written.values())
            _ask(proxy, outcome, *known)
            if not outcome.missing and outcome.told and outcome.metered:
                break
        time.sleep(0.2)
    while time.monotonic() < deadline and not outcome.healed:
        told = " ".join(_reasons(proxy))
        outcome.healed = "not written" not in told and "out of date" not in told
        time.sleep(0.1)
    return outcome


def _reasons(proxy: Proxy) -> list[str]:
    answer = requests.get(f"{proxy.url}/readyz", timeout=10)
    assert answer.status_code == 200
    reasons: list[str] = answer.json()["reasons"]
    return reasons


def _troubles(proxy: Proxy) -> float:
    text = requests.get(f"{proxy.url}/metrics", headers=ADMIN, timeout=10).text
    lines = [one for one in text.splitlines() if one.startswith("kiroproxy_ledger_troubles")]
    return max((float(one.split()[-1]) for one in lines), default=0.0)


def _ask(proxy: Proxy, outcome: Outage, known: set[str], troubles: float) -> None:
    """Whether there is something new; what happened before is told for as long as we run."""
    outcome.told = outcome.told or not known.issuperset(_reasons(proxy))
    outcome.metered = outcome.metered or _troubles(proxy) > troubles
