"""How often, in which order and after which pauses Kiro is asked (design 5, S102, S107 to S117)."""

import random
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import gevent
import pytest

from kiroproxy import errors as e
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.policy import Verdict, judge
from kiroproxy.credentials.pool import Lease, Pool
from kiroproxy.credentials.refresh import RefreshFailure
from kiroproxy.credentials.stores.file import FileStore
from kiroproxy.runtime import Runtime
from kiroproxy.upstream import failover
from tests.web.conftest import Counters

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
Failure = BaseException | None


class ScriptedLease:
    """A lease that remembers how it was given back."""

    def __init__(self, credential: Credential) -> None:
        self.credential = credential
        self.outcomes: list[BaseException | None] = []

    def release(self, outcome: BaseException | None = None) -> None:
        self.outcomes.append(outcome)


class ScriptedPool:
    """Credentials 1…n in order; `away` ones cannot be had, `renewable` ones can be refreshed."""

    def __init__(self, size: int, renewable: Collection[int] | None = None) -> None:
        self.ids = range(1, size + 1)
        self.renewable = set(self.ids if renewable is None else renewable)
        self.away: set[int] = set()
        self.leases: list[ScriptedLease] = []
        self.refreshes: list[tuple[int, str]] = []
        self.bearers = Counter[int]()
        self.profiles: list[int] = []
        self.with_profile: set[int] = set()
        self.on_refresh: Callable[[], None] = lambda: None

    def lease(
        self, model: str, exclude: Collection[int] = (), only: int | None = None
    ) -> ScriptedLease:
        assert model == "m"
        for id_ in self.ids:
            if id_ not in self.away and id_ not in exclude and only in (None, id_):
                token = f"at-{id_}-{self.bearers[id_]}"
                self.leases.append(ScriptedLease(Credential(id=id_, access_token=token)))
                return self.leases[-1]
        raise e.NoCredential("none", retry_after_s=1)

    def force_refresh(self, credential: Credential, rejected: str) -> None:
        self.on_refresh()
        self.refreshes.append((credential.id, rejected))
        if credential.id not in self.renewable:
            raise e.RefreshFailed("no")
        self.bearers[credential.id] += 1

    def resolve_profile(self, credential: Credential) -> bool:
        self.profiles.append(credential.id)
        return credential.id in self.with_profile

    def check(self) -> None:
        """Every lease has been given back once."""
        assert all(len(one.outcomes) == 1 for one in self.leases)

    def verdicts(self) -> list[tuple[int, bool | None]]:
        """Whom each outcome blames: True for the credential, None for nobody."""
        return [(one.credential.id, judge(one.outcomes[0], NOW).failed) for one in self.leases]


class Calls:
    """An attempt whose outcomes are scripted by `of(credential id, number of the call)`."""

    def __init__(self, of: Callable[[int, int], Failure]) -> None:
        self._of = of
        self.ids: list[int] = []
        self.bearers: list[str | None] = []
        self.pauses: list[float] = []

    def __call__(self, lease: Lease) -> str:
        self.ids.append(lease.credential.id)
        self.bearers.append(lease.credential.bearer)
        failure = self._of(lease.credential.id, len(self.ids))
        if failure is not None:
            raise failure
        lease.release(None)
        return f"from {lease.credential.id}"

    def run(self, pool: Any) -> str:
        return failover.run(self, cast(Pool, pool), "m", sleep=self.pauses.append)


def always(make: Callable[[], Failure]) -> Calls:
    return Calls(lambda id_, number: make())


def in_turn(*failures: Failure) -> Calls:
    """These, then success."""
    return Calls(lambda id_, number: failures[number - 1] if number <= len(failures) else None)


TRANSIENT: list[Callable[[], e.KiroProxyError]] = [
    lambda: e.Throttled("429"),
    lambda: e.ServerFault("500"),
    lambda: e.Overloaded("503"),
    lambda: e.Unreachable("reset"),
    lambda: e.UpstreamTimeout("504"),
    lambda: e.AccessDenied("403"),
    lambda: e.TruncatedStream(1, offset=3),
    lambda: e.BadPayload("no JSON"),
]


# ---- how often -----------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "calls"), [(1, 3), (2, 6), (3, 9), (5, 9)])
@pytest.mark.parametrize("make", [*TRANSIENT, lambda: e.BearerRejected("401")])
def test_s107_every_call_fails(make: Callable[[], e.KiroProxyError], size: int, calls: int) -> None:
    pool, attempt = ScriptedPool(size), always(make)
    with pytest.raises(type(make())):
        attempt.run(pool)
    assert len(attempt.ids) == calls
    assert max(Counter(attempt.ids).values()) <= 3
    pool.check()


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize(
    "error", [e.InvalidRequest("bad"), e.ContextTooLong(9, 1), e.Refused("404", status=404)]
)
def test_s110_a_mistake_is_not_repeated(error: e.KiroProxyError, size: int) -> None:
    pool, attempt = ScriptedPool(size), always(lambda: error)
    with pytest.raises(type(error)) as caught:
        attempt.run(pool)
    assert caught.value is error
    assert attempt.ids == [1]
    assert attempt.pauses == []
    pool.check()
    assert pool.verdicts() == [(1, None)], "no penalty"
    assert judge(error, NOW) == Verdict()


@pytest.mark.parametrize(("size", "ids"), [(1, [1, 1]), (2, [1, 2]), (5, [1, 2])])
@pytest.mark.parametrize("make", TRANSIENT)
def test_the_first_fails_once(
    make: Callable[[], e.KiroProxyError], size: int, ids: list[int]
) -> None:
    pool, attempt = ScriptedPool(size), in_turn(make())
    assert attempt.run(pool) == f"from {ids[1]}"
    assert attempt.ids == ids
    assert len(attempt.pauses) == (size == 1), "a healthy one is asked at once"
    pool.check()
    assert pool.leases[1].outcomes == [None]


def test_success_is_one_call_and_the_lease_stays_with_the_answer() -> None:
    pool = ScriptedPool(2)
    result = failover.run(lambda lease: lease, cast(Pool, pool), "m")
    assert cast(ScriptedLease, result).outcomes == []
    assert len(pool.leases) == 1


def test_order_is_untried_first_then_the_least_tried() -> None:
    pool, attempt = ScriptedPool(3), always(lambda: e.ServerFault("500"))
    with pytest.raises(e.ServerFault):
        attempt.run(pool)
    assert attempt.ids == [1, 2, 3] * 3


# ---- pauses --------------------------------------------------------------------------------


def test_s111_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """200 ms · 2ⁿ, before another attempt with the same credential only."""
    monkeypatch.setattr(random, "uniform", lambda low, high: low)
    attempt = always(lambda: e.ServerFault("500"))
    with pytest.raises(e.ServerFault):
        attempt.run(ScriptedPool(2))
    assert attempt.pauses == [0.2, 0.2, 0.4, 0.4]
    monkeypatch.setattr(random, "uniform", lambda low, high: high)
    attempt = always(lambda: e.ServerFault("500"))
    with pytest.raises(e.ServerFault):
        attempt.run(ScriptedPool(1))
    assert attempt.pauses == [0.25, 0.5], "up to a quarter more"


def test_s111_back_off_is_capped() -> None:
    values = [failover._backoff(n) for n in range(12)]
    assert all(0.2 * 2**n <= values[n] <= 0.25 * 2**n for n in range(4))
    assert all(2.0 <= value <= 2.5 for value in values[4:])


# ---- refused tokens ------------------------------------------------------------------------


def test_s102_a_refused_token_is_refreshed_and_tried_at_once() -> None:
    pool, attempt = ScriptedPool(2), in_turn(e.BearerRejected("401"))
    assert attempt.run(pool) == "from 1"
    assert attempt.bearers == ["at-1-0", "at-1-1"]
    assert attempt.pauses == []
    assert pool.refreshes == [(1, "at-1-0")]
    pool.check()
    assert pool.verdicts()[0] == (1, None), "the first refusal does not count, nor does it absolve"


def test_s102_once_per_credential_then_it_counts() -> None:
    pool, attempt = ScriptedPool(2), always(lambda: e.BearerRejected("401"))
    with pytest.raises(e.BearerRejected):
        attempt.run(pool)
    assert attempt.ids == [1, 1, 2, 2, 1, 2]
    assert pool.refreshes == [(1, "at-1-0"), (2, "at-2-0")]
    pool.check()
    assert pool.verdicts() == [(1, None), (1, True), (2, None), (2, True), (1, True), (2, True)]


def test_a_token_that_cannot_be_renewed_counts_and_the_next_one_serves() -> None:
    pool, attempt = ScriptedPool(2, renewable=[]), in_turn(e.BearerRejected("401"))
    assert attempt.run(pool) == "from 2"
    pool.check()
    assert pool.verdicts() == [(1, True), (2, False)]


def test_a_token_that_cannot_be_renewed_is_not_tried_again() -> None:
    pool, attempt = ScriptedPool(1, renewable=[]), always(lambda: e.BearerRejected("401"))
    with pytest.raises(e.BearerRejected):
        attempt.run(pool)
    assert attempt.ids == [1]


def test_a_renewed_credential_that_is_gone_leaves_the_others() -> None:
    pool, attempt = ScriptedPool(2), in_turn(e.BearerRejected("401"))
    pool.on_refresh = lambda: pool.away.add(1)
    assert attempt.run(pool) == "from 2"


def test_a_refresh_does_not_grant_a_fourth_attempt() -> None:
    pool = ScriptedPool(1)
    attempt = in_turn(e.ServerFault("1"), e.ServerFault("2"), e.BearerRejected("3"))
    with pytest.raises(e.BearerRejected):
        attempt.run(pool)
    assert attempt.ids == [1, 1, 1]
    pool.check()


# ---- hopeless ones -------------------------------------------------------------------------

HOPELESS: list[e.UpstreamError] = [
    e.QuotaExhausted("402"),
    e.Suspended("403"),
    e.ModelUnavailable("400"),
    e.ProfileArnRequired("400"),
]


@pytest.mark.parametrize("error", HOPELESS, ids=lambda one: type(one).__name__)
def test_s109_what_is_hopeless_moves_on_to_the_next(error: e.UpstreamError) -> None:
    pool, attempt = ScriptedPool(3), in_turn(error)
    assert attempt.run(pool) == "from 2"
    pool.check()
    assert pool.leases[0].outcomes == [error]


@pytest.mark.parametrize("error", HOPELESS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_what_is_hopeless_is_asked_once(error: e.UpstreamError, size: int) -> None:
    pool, attempt = ScriptedPool(size), always(lambda: error)
    with pytest.raises(type(error)):
        attempt.run(pool)
    assert attempt.ids == list(range(1, size + 1))
    assert attempt.pauses == []


def test_mixed_failures() -> None:
    """One spent, one with hiccups: the second gets all its attempts."""
    pool = ScriptedPool(2)
    attempt = Calls(lambda id_, _: HOPELESS[0] if id_ == 1 else e.ServerFault("500"))
    with pytest.raises(e.ServerFault):
        attempt.run(pool)
    assert attempt.ids == [1, 2, 2, 2]


def test_one_that_disappears_leaves_the_others() -> None:
    pool = ScriptedPool(2)

    def of(id_: int, number: int) -> Failure:
        if number == 2:
            pool.away.add(1)
        return e.ServerFault("500")

    attempt = Calls(of)
    with pytest.raises(e.ServerFault):
        attempt.run(pool)
    assert attempt.ids == [1, 2, 2, 2]


# ---- empty answers, and none at all --------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5])
def test_empty_answers_are_tried_once_more(size: int) -> None:
    pool, attempt = ScriptedPool(size), always(lambda: e.EmptyReply("empty"))
    with pytest.raises(e.EmptyReply):
        attempt.run(pool)
    assert len(attempt.ids) == 2
    pool.check()


def test_an_empty_answer_then_a_good_one() -> None:
    assert in_turn(e.EmptyReply("empty")).run(ScriptedPool(1)) == "from 1"


def test_no_credential_at_all() -> None:
    with pytest.raises(e.NoCredential):
        always(lambda: None).run(ScriptedPool(0))


def test_the_error_says_whose_it_was() -> None:
    attempt = always(lambda: e.ServerFault("500"))
    with pytest.raises(e.ServerFault) as caught:
        attempt.run(ScriptedPool(2))
    assert caught.value.credential_id == "2"


# ---- broken off ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [gevent.GreenletExit(), KeyboardInterrupt(), SystemExit(), ZeroDivisionError()]
)
def test_s43_broken_off_by_anything_else(error: BaseException) -> None:
    """It is given back once, and nobody is judged."""
    pool, attempt = ScriptedPool(2), always(lambda: error)
    with pytest.raises(type(error)):
        attempt.run(pool)
    assert attempt.ids == [1]
    pool.check()
    assert pool.verdicts() == [(1, None)]


def test_s43_broken_off_while_a_token_is_renewed() -> None:
    pool, attempt = ScriptedPool(2), always(lambda: e.BearerRejected("401"))

    def gone() -> None:
        raise gevent.GreenletExit

    pool.on_refresh = gone
    with pytest.raises(gevent.GreenletExit):
        attempt.run(pool)
    pool.check()
    assert pool.verdicts() == [(1, None)]


def test_s43_broken_off_during_the_pause() -> None:
    pool = ScriptedPool(1)
    attempt = always(lambda: e.ServerFault("500"))

    def gone(seconds: float) -> None:
        raise gevent.GreenletExit

    with pytest.raises(gevent.GreenletExit):
        failover.run(attempt, cast(Pool, pool), "m", sleep=gone)
    pool.check()


# ---- with the real pool --------------------------------------------------------------------


class Auth:
    """Renews everything."""

    def redeem(self, credential: Credential, now: datetime) -> Credential | RefreshFailure:
        until = now + timedelta(hours=1)
        token = f"{credential.access_token}+"
        return replace(credential, access_token=token, expires_at=until, refreshed_at=now)


def real_pool(place: Path, size: int) -> tuple[Pool, Runtime, FileStore]:
    store = FileStore(place / "credentials.json")

    def fill(credentials: list[Credential]) -> None:
        for n in range(size):
            until = NOW + timedelta(hours=1)
            given = {"access_token": f"at-{n}", "refresh_token": f"rt-{n}", "expires_at": until}
            credentials.append(Credential(**cast(Any, given)))

    store.edit(fill)
    Runtime.wipe(place / "runtime.db")
    runtime = Runtime(place / "runtime.db", clock=NOW.timestamp)
    pool = Pool(store, Auth(), runtime, queue_wait_s=0.2, clock=lambda: NOW)
    return pool, runtime, store


@pytest.mark.parametrize(("size", "calls"), [(1, 3), (2, 6), (5, 9)])
@pytest.mark.parametrize(
    "make",
    [lambda: e.BearerRejected("401"), lambda: e.Throttled("429"), lambda: e.ServerFault("500")],
)
def test_s107_with_the_real_pool(
    tmp_path: Path, make: Callable[[], e.KiroProxyError], size: int, calls: int
) -> None:
    pool, runtime, store = real_pool(tmp_path, size)
    attempt = always(make)
    with pytest.raises(type(make())):
        attempt.run(pool)
    assert len(attempt.ids) == calls
    assert runtime.in_flight() == {}
    assert not any(one.disabled for one in store.snapshot().credentials), "429 never disables"
    assert pool.drain(5)
    runtime.close()


def test_first_fails_once_with_the_real_pool(tmp_path: Path) -> None:
    for size, ids in ((1, [1, 1]), (2, [1, 2]), (5, [1, 2])):
        place = tmp_path / str(size)
        place.mkdir()
        pool, runtime, _ = real_pool(place, size)
        attempt = in_turn(e.Throttled("429"))
        attempt.run(pool)
        assert attempt.ids == ids
        assert runtime.in_flight() == {}
        runtime.close()


def test_s108_the_third_refusal_in_a_row_disables(tmp_path: Path) -> None:
    """Two of the three calls of a request count; S115: it comes back, once, if no other is left."""
    pool, runtime, store = real_pool(tmp_path, 1)
    attempts = [always(lambda: e.BearerRejected("401")) for _ in range(2)]
    for attempt in attempts:
        with pytest.raises(e.BearerRejected):
            attempt.run(pool)
    assert [len(attempt.ids) for attempt in attempts] == [3, 2]
    [stored] = store.snapshot().credentials
    assert stored.disabled_reason == "TooManyFailures"
    assert in_turn(e.BearerRejected("401")).run(pool) == "from 1"
    assert not store.snapshot().credentials[0].disabled
    assert 1 not in runtime.states() or not runtime.states()[1].failures, "success resets"
    assert pool.drain(5)
    runtime.close()


# ---- profiles ------------------------------------------------------------------------------


def denied() -> e.AccessDenied:
    error = e.AccessDenied("403")
    error.profile_suspect = True
    return error


@pytest.mark.parametrize("make", [denied, lambda: e.ProfileArnRequired("400")])
def test_a_profile_is_looked_for_once_and_the_same_credential_goes_again(
    make: Callable[[], e.UpstreamError],
) -> None:
    """Protocol 8: "profileArn is required", and a 403 that a wrong one explains."""
    pool, attempt = ScriptedPool(2), in_turn(make())
    pool.with_profile = {1}
    assert attempt.run(pool) == "from 1"
    assert (attempt.ids, pool.profiles, attempt.pauses) == ([1, 1], [1], [])
    pool.check()
    assert pool.verdicts()[0] == (1, None)
    pool, attempt = ScriptedPool(2), in_turn(make())
    assert attempt.run(pool) == "from 2", "there is none"
    pool.check()


@pytest.mark.parametrize(("size", "failovers"), [(1, 0), (2, 1)])
def test_going_on_to_another_credential_is_counted(size: int, failovers: int) -> None:
    counters = Counters()
    in_turn(e.Throttled("slow")).run(ScriptedPool(size))
    assert counters.of("failovers_total", reason="Throttled") == failovers
    assert counters.of("failovers_total") == failovers
