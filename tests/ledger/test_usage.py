"""Remembered at once, written later, once, whatever happens to the database meanwhile."""

import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import Queue
from pathlib import Path

import pytest

from kiroproxy.errors import DatabaseError
from kiroproxy.ledger import usage
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.spool import Spool
from kiroproxy.ledger.usage import BATCH, Retention, UsageLedger, UsageRow, new_id, prune
from kiroproxy.ledger.usage_query import Asked, UsageReader

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "k.db"


def make(place: Path | str, spool: Path, **settings: object) -> UsageLedger:
    return UsageLedger(Database(place), Spool(spool), **settings)  # type: ignore[arg-type]


@pytest.fixture
def ledger(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UsageLedger]:
    """Its thread is quick, and so is its patience."""
    monkeypatch.setattr(usage, "REST_S", 0.05)
    monkeypatch.setattr(usage, "PATIENCE_S", 0.1)
    ledger = make(path, path.parent / "spool", flush_s=0.05)
    yield ledger
    ledger.close()


def count(place: Path | str) -> int:
    totals = UsageReader(Database(place)).totals(Asked())
    return totals[0].requests if totals else 0


def rolled(place: Path | str) -> int:
    return sum(one.requests for one in UsageReader(Database(place)).series("day", Asked()))


def eventually(check: Callable[[], object], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ids_are_unique_and_in_order() -> None:
    made = [new_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    time.sleep(0.002)
    assert new_id() > max(made)


def test_recording_takes_microseconds_and_writes_later(ledger: UsageLedger, path: Path) -> None:
    ledger.start()
    started = time.perf_counter()
    for _ in range(1000):
        ledger.record(UsageRow(key_id="k", credits=0.1))
    assert (time.perf_counter() - started) / 1000 < 200e-6, "measured: 2 µs"
    eventually(lambda: ledger.counts.written == 1000)
    assert count(path) == rolled(path) == 1000
    assert ledger.waiting() == 0
    assert ledger.problems() == []


def test_a_full_batch_is_not_waited_for(path: Path) -> None:
    ledger = make(path, path.parent / "spool", flush_s=32.0)
    ledger.record(UsageRow())
    eventually(lambda: ledger.counts.written == 1)  # the first after a pause
    for _ in range(BATCH):
        ledger.record(UsageRow())
    eventually(lambda: ledger.counts.written == BATCH + 1)
    ledger.close()


def test_the_last_rows_are_written_at_shutdown(path: Path) -> None:
    ledger = make(path, path.parent / "spool", flush_s=60)
    ledger.record(UsageRow())
    ledger.close()
    assert count(path) == 1


def test_both_engines(database: Database, tmp_path: Path) -> None:
    ledger = UsageLedger(database, Spool(tmp_path / "spool"), flush_s=60)
    for n in range(1200):
        ledger.record(UsageRow(group="pro", output_tokens=n))
    ledger.flush()
    ledger.flush()
    (total,) = UsageReader(database).totals(Asked(), ["group"])
    assert (total.requests, total.output_tokens) == (1200, sum(range(1200)))
    ledger.close()


# ---- the database is ill -------------------------------------------------------------------


def record_while(ledger: UsageLedger, seconds: float) -> int:
    """Record all the time, and make sure that it never waits."""
    until, took = time.monotonic() + seconds, []
    while time.monotonic() < until:
        started = time.perf_counter()
        ledger.record(UsageRow())
        took.append(time.perf_counter() - started)
        time.sleep(0.01)
    assert sorted(took)[len(took) * 9 // 10] < 0.05, "the machine may stall a few, never all"
    return len(took)


def test_a_lock_of_seconds(ledger: UsageLedger, path: Path) -> None:
    """Thirty seconds are no other case than three: the spool is bounded by size alone."""
    ledger.database.open()
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    recorded = record_while(ledger, 3)
    assert ledger.counts.written == 0
    assert ledger.counts.spooled > 0
    assert any("not written" in one for one in ledger.problems())
    blocker.execute("ROLLBACK")
    blocker.close()
    eventually(lambda: count(path) == recorded)
    assert rolled(path) == recorded
    eventually(lambda: ledger.problems() == [])
    assert ledger.spool.files() == []


@pytest.mark.parametrize("harm", ["deleted", "corrupt", "directory"])
def test_a_file_that_is_lost_or_damaged(ledger: UsageLedger, path: Path, harm: str) -> None:
    before = record_while(ledger, 0.3)
    eventually(lambda: count(path) == before)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    if harm == "corrupt":
        path.write_bytes(b"garbage" * 5000)
    elif harm == "directory":
        path.mkdir()
    after = record_while(ledger, 0.5)
    if harm == "directory":
        assert ledger.problems()
        path.rmdir()
    eventually(lambda: count(path) == after)
    assert rolled(path) == after
    assert len(list(path.parent.glob("*.corrupt-*"))) == (harm == "corrupt")
    if harm != "directory":  # where our own look may have begun it
        assert any("begun" in one or "damaged" in one for one in ledger.database.problems())


FULL = """
import resource, signal, sys, time
from pathlib import Path
from kiroproxy.ledger import usage
usage.REST_S = 0.05
usage.PATIENCE_S = 0.1
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.spool import Spool
ledger = usage.UsageLedger(Database(sys.argv[1]), Spool(Path(sys.argv[2])), flush_s=0.05)
ledger.database.open()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = Path(sys.argv[1] + "-wal")
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
for n in range(3000):
    ledger.record(usage.UsageRow(trace_id="x" * 100))
ledger.flush()
assert ledger.problems(), "the disk is full"
assert ledger.counts.written < 3000
time.sleep(0.3)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
deadline = time.monotonic() + 10
while ledger.counts.written < 3000 and time.monotonic() < deadline:
    time.sleep(0.05)
ledger.close()
assert ledger.counts.dropped == 0, ledger.counts
"""


def test_files_that_cannot_grow(path: Path) -> None:
    """Database and spool alike, so that rows wait in memory."""
    subprocess.run(
        [sys.executable, "-c", FULL, str(path), str(path.parent / "spool")], check=True, timeout=60
    )
    assert count(path) == rolled(path) == 3000


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="needs a small tmpfs")
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode:
        pytest.skip("mount is not allowed")
    monkeypatch.setattr(usage, "REST_S", 0.05)
    try:
        ledger = make(disk / "k.db", tmp_path / "spool", flush_s=0.05)
        ledger.database.open()
        (disk / "ballast").write_bytes(b"x" * (shutil.disk_usage(disk).free - 16384))
        recorded = record_while(ledger, 1)
        for _ in range(200):
            ledger.record(UsageRow(trace_id="y" * 100))
        eventually(lambda: ledger.counts.spooled > 0)
        assert any("full" in one for one in ledger.problems())
        (disk / "ballast").unlink()
        eventually(lambda: count(disk / "k.db") == recorded + 200)
        assert rolled(disk / "k.db") == recorded + 200
        ledger.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_memory_is_bounded_where_nothing_can_be_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "BACKLOG", 100)
    (path.parent / "file").touch()
    nowhere = path.parent / "file"
    ledger = make(nowhere / "k.db", nowhere / "spool", flush_s=60)
    for _ in range(150):
        ledger.record(UsageRow())
    ledger.flush()
    assert ledger.waiting() == 100
    assert ledger.counts.dropped == 50
    told = ledger.problems()
    assert "kept in memory" in told[0]
    assert "50 rows of the usage ledger were lost" in told[1]
    ledger.close()


# ---- the process is ill --------------------------------------------------------------------


def work_until_killed(place: str, spool: Path, recorded: "Queue[int]", lock: bool) -> None:
    ledger = make(place, spool)
    if lock:
        usage.PATIENCE_S = 0.1  # type: ignore[misc]
    for n in range(100_000):
        ledger.record(UsageRow())
        recorded.put(n + 1)
        time.sleep(0.005)


@pytest.mark.parametrize("lock", [False, True])
def test_a_kill_loses_the_last_seconds_at_most_and_doubles_nothing(path: Path, lock: bool) -> None:
    Database(path).open()
    blocker = sqlite3.connect(path, isolation_level=None)
    if lock:
        blocker.execute("BEGIN IMMEDIATE")
    numbers: Queue[int] = SPAWN.Queue()
    spool = path.parent / "spool"
    worker = SPAWN.Process(target=work_until_killed, args=(str(path), spool, numbers, lock))
    worker.start()
    seen: list[tuple[float, int]] = []
    until = time.monotonic() + 5
    while time.monotonic() < until:
        seen.append((time.monotonic(), numbers.get(timeout=30)))
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    killed = time.monotonic()
    worker.join()
    if lock:
        blocker.execute("ROLLBACK")
    blocker.close()
    after = make(path, spool, flush_s=0.05)
    caught: list[bool] = []
    after._on_caught_up = lambda: caught.append(True)
    after.start()
    eventually(lambda: caught)
    written = count(path)
    assert written == rolled(path)
    early = max((n for at, n in seen if at < killed - 3), default=0)
    assert early <= written <= seen[-1][1] + 50
    assert written > 100
    after.close()


def test_a_batch_that_was_written_before_the_kill_is_not_counted_again(
    ledger: UsageLedger, path: Path
) -> None:
    """Killed between the commit and the spool file's end: the file is read again."""
    import msgspec

    rows = [UsageRow() for _ in range(5)]
    for row in rows:
        ledger.record(row)
    eventually(lambda: count(path) == 5)
    more = [*rows, UsageRow()]
    lines = [msgspec.json.encode(row) for row in more]
    ledger.spool.append([*lines, lines[-1][:20]])
    eventually(lambda: count(path) == 6)
    assert rolled(path) == 6


def test_a_forked_child_leaves_the_parents_rows_alone(path: Path) -> None:
    ledger = make(path, path.parent / "spool", flush_s=60)
    ledger.record(UsageRow())
    ledger._pid += 1  # as a child finds it
    ledger.record(UsageRow())
    assert ledger.waiting() <= 1
    ledger.close()


# ---- retention -----------------------------------------------------------------------------


def test_old_rows_go_and_their_sums_stay(database: Database, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    ledger = UsageLedger(
        database, Spool(tmp_path / "s"), retention=Retention(raw_days=0), flush_s=60
    )
    for days in (0, 1, 5, 100):
        ledger.record(UsageRow(time=(now - timedelta(days=days)).timestamp(), credits=1))
    ledger.flush()
    deleted = prune(database, Retention(3, 2, 10, 0, 0), now)
    assert deleted == 2 + 2 + 1
    reader = UsageReader(database)
    assert reader.rows(Asked()).total == 2
    assert [len(reader.series(one, Asked())) for one in ("minute", "hour", "day")] == [2, 3, 4]
    assert prune(database, Retention(3, 2, 10, 0, 0), now) == 0
    ledger.close()


def test_many_old_rows_go_in_slices(ledger: UsageLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    from kiroproxy.ledger import usage_rows

    monkeypatch.setattr(usage_rows, "SLICE", 10)
    ledger.retention = Retention(raw_days=0)
    for _ in range(35):
        ledger.record(UsageRow(time=time.time() - 5 * 86400))
    eventually(lambda: ledger.counts.written == 35)
    assert prune(ledger.database, Retention(3, 0, 0, 0, 0), datetime.now(UTC)) == 35


def test_pruning_an_ill_database(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseError):
        prune(Database(tmp_path / "file" / "k.db"), Retention(), datetime.now(UTC))


# ---- under gevent --------------------------------------------------------------------------

PATCHED = """
import gevent.monkey
gevent.monkey.patch_all()
import sys, time
from pathlib import Path
import gevent
from kiroproxy.ledger.database import Database
from kiroproxy.ledger.spool import Spool
from kiroproxy.ledger.usage import UsageLedger, UsageRow
worst = 0.0
def probe():
    global worst
    last = time.perf_counter()
    while True:
        gevent.sleep(0.001)
        now = time.perf_counter()
        worst, last = max(worst, now - last), now
gevent.spawn(probe)
gevent.sleep(0.01)
ledger = UsageLedger(Database(sys.argv[1]), Spool(Path(sys.argv[2])), flush_s=0.2)
for n in range(2000):
    ledger.record(UsageRow(key_id=str(n % 50)))
    if n % 20 == 0:
        gevent.sleep(0.005)
while ledger.counts.written < 2000:
    gevent.sleep(0.05)
ledger.close()
print(worst)
"""


def test_the_hub_is_never_stalled(tmp_path: Path) -> None:
    """By the best of some tries: a busy machine stalls everybody."""
    worst = []
    for turn in range(5):
        path = tmp_path / f"{turn}.db"
        done = subprocess.run(
            [sys.executable, "-c", PATCHED, str(path), str(tmp_path / f"spool-{turn}")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stderr == ""
        assert count(path) == 2000
        worst.append(float(done.stdout))
        if worst[-1] < 0.05:
            return
    raise AssertionError(worst)
