"""What the workers of a host share while they run.

Leases, cooldowns, failures in a row, retry budgets, pins of conversations, the queue, group rates,
the use of client keys, what is known of models and quotas, and the last traces. One SQLite file in
the state directory, wiped when the master starts. Admitting a request is one short
`BEGIN IMMEDIATE` transaction, and so is giving it back. SQLite's own busy handler would stall the
hub, so we retry with `time.sleep`, which gevent makes cooperative. A busy or broken database never
fails a request: it is counted in `faults`, and the request is admitted.

Times are seconds of the host's monotonic clock, which no step of the wall clock touches; only
`last_used` and what `remember` keeps are times of day.

Source: design 5, "Where state lives".
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from kiroproxy import gate as gates
from kiroproxy.gate import Counter, Gate, Passage
from kiroproxy.shared_db import SharedDatabase, connect
from kiroproxy.turns import places_ahead

T = TypeVar("T")

FULL_BUDGET: Final = 500.0
"""Of retries, per credential: AWS SDKs' standard retry mode."""
PIN_LIFE_S: Final = 3600.0
"""A conversation that rests longer may go to another credential: upstream's cache is cold."""
PIN_TOUCH_S: Final = 60.0
"""A pin's age is written at most this often."""
TRACES_KEPT: Final = 4000
COUNTING: Final = "counting began"

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS leases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    credential_id INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    at REAL NOT NULL,
    client TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS leases_by_credential ON leases (credential_id);
CREATE TABLE IF NOT EXISTS states (
    credential_id INTEGER PRIMARY KEY,
    failures INTEGER NOT NULL,
    cooling_until REAL NOT NULL,
    why TEXT NOT NULL,
    faults INTEGER NOT NULL,
    probed_at REAL NOT NULL,
    budget REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS tallies (
    credential_id INTEGER PRIMARY KEY,
    requests INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    seconds REAL NOT NULL,
    last_used REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS pins (
    session TEXT PRIMARY KEY,
    credential_id INTEGER NOT NULL,
    at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS waiters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lane TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started TEXT NOT NULL,
    until REAL NOT NULL,
    client TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS turns (client TEXT PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS rates (name TEXT PRIMARY KEY, tokens REAL NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS lacks (
    credential_id INTEGER NOT NULL,
    model TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (credential_id, model)
);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS traces (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    value TEXT NOT NULL
);
"""


class Ticket(msgspec.Struct, frozen=True):
    """An admitted request. `id` 0 was admitted without the database.

    `cooling`: it was admitted although its credential rests, so that its success ends the rest.
    `cost` of a retry was taken from the credential's budget.
    """

    id: int
    credential_id: int
    at: float = 0.0
    cooling: bool = False
    cost: float = 0.0


class State(msgspec.Struct, frozen=True):
    """What is wrong with a credential; one without a state is well.

    `failures` in a row are its own (refused tokens), `faults` in a row are the server's.
    """

    failures: int = 0
    cooling_until: float = 0.0
    why: str = ""
    faults: int = 0
    probed_at: float = -1e9
    budget: float = FULL_BUDGET


_WELL: Final = State()


class Shared(msgspec.Struct, frozen=True):
    """What the host's workers know at the moment of a decision."""

    now: float = 0.0
    in_flight: Mapping[int, int] = msgspec.field(default_factory=dict)
    states: Mapping[int, State] = msgspec.field(default_factory=dict)
    pinned: int | None = None
    ahead: int = 0
    """Requests that wait and come first (`kiroproxy.turns`)."""
    waiting: int = 0
    """All that wait for the same credentials."""
    rate_wait_s: float = 0.0
    """Until the group's rate allows another request."""


class Decision(msgspec.Struct, frozen=True):
    """What to do with a request: take a credential, or none (`credential_id` 0).

    `wait` joins the queue, `pin` binds the conversation to the credential.
    """

    credential_id: int = 0
    wait: bool = False
    pin: bool = False
    probe: bool = False
    cost: float = 0.0


class Rate(msgspec.Struct, frozen=True):
    """At most `qps` requests a second, `burst` at once, for everything called `name`."""

    name: str
    qps: float
    burst: float


class Demand(msgspec.Struct, frozen=True):
    """Who asks to be admitted: for pins, for the queue, and for a group's rate.

    `waiter` is the place in the queue that it has already, `until` when it gives up waiting.
    `client` is its key's id, `gate` that key's limits, which each request passes once.
    """

    session: str = ""
    lane: str = ""
    waiter: int = 0
    until: float = 0.0
    rate: Rate | None = None
    gate: Gate | None = None
    client: str = ""


NO_DEMAND = Demand()


class Admission(msgspec.Struct, frozen=True):
    """The outcome: a ticket, or a place in the queue, or neither; and what it was decided on.

    `passage` is what became of it at its gate, None without one or without the database. Refused
    there, nobody was asked for a credential.
    """

    ticket: Ticket | None
    waiter: int
    shared: Shared
    passage: Passage | None = None


class Note(msgspec.Struct, frozen=True):
    """What an outcome does to a credential's state.

    `failed` None leaves the count of failures in a row alone, False resets everything.
    """

    failed: bool | None = None
    fault: bool = False
    cooldown_s: float = 0.0
    why: str = ""


class Tally(msgspec.Struct, frozen=True):
    """How a credential has been used; `seconds` is the sum of its calls' durations."""

    requests: int = 0
    successes: int = 0
    seconds: float = 0.0
    last_used: float = 0.0


class Runtime(SharedDatabase):
    """Access to the shared file; one connection per process, opened after fork."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(path)
        self.now = clock
        self._owed: dict[int, None] = {}
        """Leases given back that are not yet deleted."""
        self._owed_slots: dict[int, None] = {}
        self._owed_counts: dict[Counter, int] = {}
        self._unhurried_counts: dict[Counter, int] = {}
        """Go with the traces, five times a second at most: five rows a request add up."""
        self._started = start_time(self._pid)

    @staticmethod
    def wipe(path: Path) -> None:
        """Begin anew, when the master starts.

        Raises:
            OSError: the file cannot be made; the server runs without it.
        """
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            _open(path).close()
        except sqlite3.Error as error:
            raise OSError(f"{path} cannot be used: {error}") from error

    # ---- a request -------------------------------------------------------------------------

    def admit(self, decide: Callable[[Shared], Decision], demand: Demand = NO_DEMAND) -> Admission:
        """Let `decide` choose on what all workers know, and take what it chose.

        `decide` does no IO: it runs inside the transaction. If it is full everywhere, places of
        workers that are gone are freed and it is asked again.
        """

        def work(db: sqlite3.Connection) -> Admission:
            passage = self._pass(db, demand.gate) if demand.gate is not None else None
            if passage is not None and passage.refused:
                return Admission(None, demand.waiter, Shared(now=self.now()), passage)
            shared = self._shared(db, demand)
            decision = decide(shared)
            if decision.wait and _reclaim(db):
                shared = self._shared(db, demand)
                decision = decide(shared)
            admission = self._carry_out(db, shared, decision, demand)
            return admission if passage is None else replace(admission, passage=passage)

        def without() -> Admission:
            shared = Shared(now=self.now())
            decision = decide(shared)
            taken = Ticket(0, decision.credential_id, shared.now)
            return Admission(taken if decision.credential_id else None, demand.waiter, shared)

        return self._transaction(work, None) or without()

    def _shared(self, db: sqlite3.Connection, demand: Demand) -> Shared:
        now = self.now()
        counts = db.execute("SELECT credential_id, count(*) FROM leases GROUP BY credential_id")
        pinned = None
        if demand.session:
            row = db.execute(
                "SELECT credential_id FROM pins WHERE session = ? AND at > ?",
                (demand.session, now - PIN_LIFE_S),
            ).fetchone()
            pinned = row[0] if row else None
        ahead, waiting = _ahead(db, demand, now) if demand.lane else (0, 0)
        wait_s = _rate_wait(db, demand.rate, now) if demand.rate is not None else 0.0
        return Shared(now, dict(counts.fetchall()), _states(db), pinned, ahead, waiting, wait_s)

    def _carry_out(
        self, db: sqlite3.Connection, shared: Shared, decision: Decision, demand: Demand
    ) -> Admission:
        if not decision.credential_id:
            return Admission(None, self._queue(db, decision, demand), shared)
        if demand.waiter:
            db.execute("DELETE FROM waiters WHERE id = ?", (demand.waiter,))
        if demand.rate is not None:
            db.execute("UPDATE rates SET tokens = tokens - 1 WHERE name = ?", (demand.rate.name,))
        if decision.pin and demand.session:
            _pin(db, demand.session, decision.credential_id, shared)
        state = shared.states.get(decision.credential_id, _WELL)
        after = replace(
            state,
            budget=state.budget - decision.cost,
            probed_at=shared.now if decision.probe else state.probed_at,
        )
        if after != state:
            _save_state(db, decision.credential_id, after)
        row = (decision.credential_id, self._pid, self._started, shared.now, demand.client)
        cursor = db.execute(
            "INSERT INTO leases (credential_id, pid, started, at, client) VALUES (?, ?, ?, ?, ?)",
            row,
        )
        if shared.waiting:
            _note_turn(db, demand.client, cursor.lastrowid or 0)
        cooling = state.cooling_until > shared.now
        ticket = Ticket(cursor.lastrowid or 0, row[0], shared.now, cooling, decision.cost)
        return Admission(ticket, 0, shared)

    def _queue(self, db: sqlite3.Connection, decision: Decision, demand: Demand) -> int:
        if not decision.wait or demand.waiter or not demand.lane:
            return demand.waiter
        row = (demand.lane, self._pid, self._started, demand.until, demand.client)
        cursor = db.execute(
            "INSERT INTO waiters (lane, pid, started, until, client) VALUES (?, ?, ?, ?, ?)", row
        )
        return cursor.lastrowid or 0

    # ---- client keys -----------------------------------------------------------------------

    def _pass(self, db: sqlite3.Connection, gate: Gate) -> Passage:
        passage = gates.enter(db, gate, self.now(), self._pid, self._started)
        if passage.refused == gates.STREAMS and gates.reclaim(db, is_alive):
            passage = gates.enter(db, gate, self.now(), self._pid, self._started)
        return passage

    def enter(self, gate: Gate) -> Passage | None:
        """Pass a key's gate without taking a credential; None if the database does not say."""
        return self._transaction(lambda db: self._pass(db, gate), None)

    def look_at(self, gate: Gate) -> Passage | None:
        """What a key's limits stand at; None if the database does not say."""
        return self._transaction(lambda db: gates.look(db, gate, self.now()), None)

    def recent(self, name: str) -> tuple[int, float]:
        """How often `attempt` was called for a name in this minute; seconds until one is over."""
        return self._transaction(lambda db: gates.recent(db, name, self.now()), (0, 0.0))

    def attempt(self, name: str, per_minute: int) -> Passage | None:
        """Count something that may happen so often a minute; None if the database does not say."""

        def work(db: sqlite3.Connection) -> Passage:
            gates.forget_old(db, self.now())
            return self._pass(db, Gate(name, per_minute))

        return self._transaction(work, None)

    def leave(self, slot: int, counts: Mapping[Counter, int], *, hurried: bool = True) -> None:
        """Free a key's place and count what was used, along with the next transaction.

        Counts on which nothing depends are not hurried: they wait for `write_counts`.
        """
        if slot:
            self._owed_slots[slot] = None
        _add(self._owed_counts if hurried else self._unhurried_counts, counts)

    def write_counts(self) -> None:
        """Write what has been counted so far."""
        self._hurry()
        self.settle()

    def _hurry(self) -> None:
        counts, self._unhurried_counts = self._unhurried_counts, {}
        _add(self._owed_counts, counts)

    def settle(self) -> None:
        """Write what is owed yet; costs nothing if no more is."""
        if self._owed_slots or self._owed_counts or self._owed:
            self._transaction(lambda db: None, None)

    def gate_load(self, key_id: str) -> tuple[int, int]:
        """A limited key's requests of the last minute, and its requests at once."""
        return self._transaction(lambda db: gates.load(db, key_id, self.now()), (0, 0))

    def counters(self, wanted: Iterable[Counter]) -> dict[Counter, int]:
        """What counters stand at."""
        self._hurry()
        return self._transaction(lambda db: gates.read_counters(db, wanted), {})

    def begin_counting(self, now: float) -> tuple[float, bool]:
        """When counting began, and whether what was used before has been added.

        `now` is the time of day; the first worker's counts.
        """

        def work(db: sqlite3.Connection) -> tuple[float, bool]:
            row = db.execute("SELECT value, at FROM notes WHERE name = ?", (COUNTING,)).fetchone()
            if row is None:
                _remember(db, COUNTING, "", now)
            return (row[1], bool(row[0])) if row is not None else (now, False)

        return self._transaction(work, (now, False))

    def add_earlier(self, counts: Mapping[Counter, int], kept: Iterable[str]) -> None:
        """Add, once for all workers, what was used before counting began; drop other periods."""

        def work(db: sqlite3.Connection) -> None:
            note = "UPDATE notes SET value = 'added' WHERE name = ? AND value = ''"
            if db.execute(note, (COUNTING,)).rowcount:
                gates.leave(db, (), counts)
            gates.drop_counters(db, kept)

        self._transaction(work, None)

    def drop_counters(self, kept: Iterable[str]) -> None:
        """Forget what was counted in all periods but these."""
        self._transaction(lambda db: gates.drop_counters(db, kept), None)

    def leave_queue(self, waiter: int) -> None:
        """Give up a place in the queue."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM waiters WHERE id = ?", (waiter,))

        self._transaction(work, None)

    def give_back(self, ticket: Ticket, judge: Callable[[State], Note] | None) -> State:
        """Free the place and note the outcome; returns the credential's state afterwards.

        `judge` None means that there is nothing to be learnt from it.
        """
        if ticket.id:
            self._owed[ticket.id] = None  # a busy database takes it with the next transaction

        def work(db: sqlite3.Connection) -> State:
            state = _state(db, ticket.credential_id)
            if judge is None:
                return state
            note = judge(state)
            now = self.now()
            _count(db, ticket.credential_id, note.failed is False, now - ticket.at)
            after = _after(state, note, ticket, now)
            if after != state:
                _save_state(db, ticket.credential_id, after)
            return after

        return self._transaction(work, _WELL)

    def proved(self, ticket: Ticket) -> None:
        """The answer has started: whatever the credential rested for is over."""

        def work(db: sqlite3.Connection) -> None:
            state = _state(db, ticket.credential_id)
            after = _after(state, Note(failed=False), replace(ticket, cost=0.0), self.now())
            if after != state:
                _save_state(db, ticket.credential_id, after)

        if ticket.cooling:
            self._transaction(work, None)

    def claim(self, name: str, every_s: float) -> bool:
        """Whether it is this caller's turn to do what one worker does at most so often."""

        def work(db: sqlite3.Connection) -> bool:
            now = self.now()
            row = db.execute("SELECT at FROM notes WHERE name = ?", (name,)).fetchone()
            if row is not None and now - row[0] < every_s:
                return False
            _remember(db, name, "", now)
            return True

        return self._transaction(work, False)

    def forget(self, credential_ids: Iterable[int]) -> None:
        """Whatever was wrong with these is over."""

        def work(db: sqlite3.Connection) -> None:
            for one in credential_ids:
                for table in ("states", "lacks"):
                    db.execute(f"DELETE FROM {table} WHERE credential_id = ?", (one,))  # noqa: S608

        self._transaction(work, None)

    # ---- what changes slowly ---------------------------------------------------------------

    def note_lack(self, credential_id: int, model: str, for_s: float) -> None:
        """Remember that a credential does not have a model."""

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO lacks (credential_id, model, until) VALUES (?, ?, ?)"
                " ON CONFLICT (credential_id, model) DO UPDATE SET until = excluded.until",
                (credential_id, model, self.now() + for_s),
            )

        self._transaction(work, None)

    def lacks(self) -> frozenset[tuple[int, str]]:
        """Which credential does not have which model."""

        def work(db: sqlite3.Connection) -> frozenset[tuple[int, str]]:
            rows = db.execute("SELECT credential_id, model FROM lacks WHERE until > ?", (now,))
            return frozenset(rows.fetchall())

        now = self.now()
        return self._transaction(work, frozenset())

    def remember(self, name: str, value: str) -> None:
        """Keep a text for all workers."""
        self._transaction(lambda db: _remember(db, name, value, time.time()), None)

    def recall(self, prefix: str) -> dict[str, tuple[str, float]]:
        """Texts whose names begin so, with the time of day at which they were kept."""

        def work(db: sqlite3.Connection) -> dict[str, tuple[str, float]]:
            rows = db.execute("SELECT name, value, at FROM notes WHERE name LIKE ?", (like,))
            return {row[0]: (row[1], row[2]) for row in rows}

        like = prefix + "%"
        return self._transaction(work, {})

    def look(self, demand: Demand = NO_DEMAND) -> Shared:
        """What the workers know now; with a demand, also its pin."""
        return self._transaction(lambda db: self._shared(db, demand), Shared(now=self.now()))

    # ---- for people ------------------------------------------------------------------------

    def states(self) -> dict[int, State]:
        """The state of each credential that has one."""
        return self._transaction(_states, {})

    def tallies(self) -> dict[int, Tally]:
        """How each credential was used since the master started."""

        def work(db: sqlite3.Connection) -> dict[int, Tally]:
            rows = db.execute(
                "SELECT credential_id, requests, successes, seconds, last_used FROM tallies"
            )
            return {row[0]: Tally(*row[1:]) for row in rows}

        return self._transaction(work, {})

    def in_flight(self) -> dict[int, int]:
        """How many places of each credential are taken."""

        def work(db: sqlite3.Connection) -> dict[int, int]:
            rows = db.execute("SELECT credential_id, count(*) FROM leases GROUP BY credential_id")
            return dict(rows.fetchall())

        return self._transaction(work, {})

    def keep_traces(self, traces: Mapping[str, str]) -> bool:
        """Write traces by id, and drop the oldest; whether they are written."""

        def work(db: sqlite3.Connection) -> bool:
            db.executemany(
                "INSERT INTO traces (id, value) VALUES (?, ?)"
                " ON CONFLICT (id) DO UPDATE SET value = excluded.value",
                list(traces.items()),
            )
            db.execute(
                "DELETE FROM traces WHERE number <= (SELECT max(number) FROM traces) - ?",
                (TRACES_KEPT,),
            )
            db.execute("DELETE FROM pins WHERE at < ?", (self.now() - PIN_LIFE_S,))
            return True

        self._hurry()
        return self._transaction(work, False)

    def trace(self, trace_id: str) -> str | None:
        """A trace that some worker has kept."""

        def work(db: sqlite3.Connection) -> str | None:
            row = db.execute("SELECT value FROM traces WHERE id = ?", (trace_id,)).fetchone()
            return row[0] if row else None

        return self._transaction(work, None)

    # ---- one transaction -------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        return _open(self.path)

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Along with the work, delete the leases that could not be deleted when they ended."""
        owed, slots, counts = list(self._owed), list(self._owed_slots), self._owed_counts

        def with_owed(db: sqlite3.Connection) -> T:
            if owed:
                db.executemany("DELETE FROM leases WHERE id = ?", [(one,) for one in owed])
            if slots or counts:
                gates.leave(db, slots, counts)
            return work(db)

        self._owed_counts = {}
        try:
            result = super()._attempt(with_owed)
        except BaseException:
            _add(self._owed_counts, counts)
            raise
        for one in owed:
            self._owed.pop(one, None)
        for one in slots:
            self._owed_slots.pop(one, None)
        return result

    def _after_fork(self) -> None:
        super()._after_fork()
        self._owed, self._owed_slots = {}, {}
        self._owed_counts, self._unhurried_counts = {}, {}
        self._started = start_time(self._pid)


def _add(into: dict[Counter, int], counts: Mapping[Counter, int]) -> None:
    for counter, amount in counts.items():
        into[counter] = into.get(counter, 0) + amount


def _open(path: Path) -> sqlite3.Connection:
    # Only for its owner: sign-ins that wait for a person are kept here.
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    db = connect(path)
    try:
        db.executescript(SCHEMA + gates.SCHEMA)  # nothing is written where all is there
    except BaseException:
        db.close()
        raise
    return db


# ---- statements ----------------------------------------------------------------------------


def _ahead(db: sqlite3.Connection, demand: Demand, now: float) -> tuple[int, int]:
    """How many come first in its lane, and how many wait there."""
    rows = db.execute(
        "SELECT id, client FROM waiters WHERE lane = ? AND until > ? ORDER BY id",
        (demand.lane, now),
    ).fetchall()
    if not rows:
        return 0, 0
    running = dict(db.execute("SELECT client, count(*) FROM leases GROUP BY client").fetchall())
    served = dict(db.execute("SELECT client, number FROM turns").fetchall())
    return places_ahead(rows, running, demand.client, demand.waiter, served), len(rows)


def _note_turn(db: sqlite3.Connection, client: str, number: int) -> None:
    db.execute(
        "INSERT INTO turns (client, number) VALUES (?, ?)"
        " ON CONFLICT (client) DO UPDATE SET number = excluded.number",
        (client, number),
    )


def _states(db: sqlite3.Connection) -> dict[int, State]:
    rows = db.execute(
        "SELECT credential_id, failures, cooling_until, why, faults, probed_at, budget FROM states"
    )
    return {row[0]: State(*row[1:]) for row in rows}


def _state(db: sqlite3.Connection, credential_id: int) -> State:
    row = db.execute(
        "SELECT failures, cooling_until, why, faults, probed_at, budget FROM states"
        " WHERE credential_id = ?",
        (credential_id,),
    ).fetchone()
    return State(*row) if row else _WELL


def _save_state(db: sqlite3.Connection, credential_id: int, state: State) -> None:
    if state == _WELL:
        db.execute("DELETE FROM states WHERE credential_id = ?", (credential_id,))
        return
    db.execute(
        "INSERT INTO states"
        " (credential_id, failures, cooling_until, why, faults, probed_at, budget)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (credential_id) DO UPDATE SET"
        " failures = excluded.failures, cooling_until = excluded.cooling_until,"
        " why = excluded.why, faults = excluded.faults, probed_at = excluded.probed_at,"
        " budget = excluded.budget",
        (
            credential_id,
            state.failures,
            state.cooling_until,
            state.why,
            state.faults,
            state.probed_at,
            state.budget,
        ),
    )


def _after(state: State, note: Note, ticket: Ticket, now: float) -> State:
    """A state after an outcome (pure).

    A success pays its retry back, or 1. It ends a rest only if it began during that rest: a
    stream that had begun before says nothing about it.
    """
    if note.failed is False:
        budget = min(state.budget + max(ticket.cost, 1.0), FULL_BUDGET)
        resting = state.cooling_until > now and not ticket.cooling
        rest = (state.cooling_until, state.why) if resting else (0.0, "")
        probed_at = state.probed_at if resting or budget < FULL_BUDGET else _WELL.probed_at
        return State(0, *rest, 0, probed_at, budget)
    until, why = state.cooling_until, state.why
    if note.cooldown_s > 0 and now + note.cooldown_s > until:
        until, why = now + note.cooldown_s, note.why
    return replace(
        state,
        failures=state.failures + bool(note.failed),
        faults=state.faults + note.fault,
        cooling_until=until,
        why=why,
    )


def _count(db: sqlite3.Connection, credential_id: int, success: bool, seconds: float) -> None:
    db.execute(
        "INSERT INTO tallies (credential_id, requests, successes, seconds, last_used)"
        " VALUES (?, 1, ?, ?, ?) ON CONFLICT (credential_id) DO UPDATE SET"
        " requests = tallies.requests + 1, successes = tallies.successes + excluded.successes,"
        " seconds = tallies.seconds + excluded.seconds, last_used = excluded.last_used",
        (credential_id, int(success), max(seconds, 0.0), time.time()),
    )


def _pin(db: sqlite3.Connection, session: str, credential_id: int, shared: Shared) -> None:
    fresh = shared.now - PIN_TOUCH_S if shared.pinned == credential_id else shared.now + 1
    db.execute(
        "INSERT INTO pins (session, credential_id, at) VALUES (?, ?, ?)"
        " ON CONFLICT (session) DO UPDATE SET credential_id = excluded.credential_id,"
        " at = excluded.at WHERE pins.at < ?",
        (session, credential_id, shared.now, fresh),
    )


def _rate_wait(db: sqlite3.Connection, rate: Rate, now: float) -> float:
    """Fill the group's bucket up to now; seconds until it holds a request's token."""
    row = db.execute("SELECT tokens, at FROM rates WHERE name = ?", (rate.name,)).fetchone()
    burst = max(rate.burst, 1.0)
    tokens = min(row[0] + max(now - row[1], 0.0) * rate.qps, burst) if row else burst
    db.execute(
        "INSERT INTO rates (name, tokens, at) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET tokens = excluded.tokens, at = excluded.at",
        (rate.name, tokens, now),
    )
    return max(1.0 - tokens, 0.0) / rate.qps


def _remember(db: sqlite3.Connection, name: str, value: str, at: float) -> None:
    db.execute(
        "INSERT INTO notes (name, value, at) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value, at = excluded.at",
        (name, value, at),
    )


def _reclaim(db: sqlite3.Connection) -> bool:
    """Delete the leases and places in the queue of workers that are gone; whether there were."""
    holders = db.execute("SELECT pid, started FROM leases UNION SELECT pid, started FROM waiters")
    dead = [one for one in holders.fetchall() if not is_alive(*one)]
    for holder in dead:
        db.execute("DELETE FROM leases WHERE pid = ? AND started = ?", holder)
        db.execute("DELETE FROM waiters WHERE pid = ? AND started = ?", holder)
    return bool(dead)


def start_time(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty where there is no /proc."""
    return _proc_stat(pid)[1]


def _proc_stat(pid: int) -> tuple[str, str]:
    """State letter and start time, fields 3 and 22 of /proc/<pid>/stat."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "", ""
    fields = stat.rpartition(b")")[2].decode().split()  # the name before may hold blanks
    return fields[0], fields[19]


def is_alive(pid: int, started: str) -> bool:
    """Whether that very process still runs: a number alone may have been given to another."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    state, now = _proc_stat(pid)
    return state not in ("Z", "X") and (not now or not started or now == started)
