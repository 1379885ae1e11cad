import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kiroproxy import errors as e
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.policy import (
    FAULTY,
    RANKINGS_KEPT,
    THROTTLED,
    Capabilities,
    Choice,
    Freshness,
    Mode,
    Roster,
    Verdict,
    View,
    choose,
    freshness,
    judge,
    next_month,
)
from kiroproxy.runtime import Note, Shared, State

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def credential(id_: int = 1, **more: Any) -> Credential:
    return Credential(id=id_, refresh_token=f"rt-{id_}", **more)


@pytest.mark.parametrize(
    ("left_min", "expected"),
    [
        (60, Freshness.FRESH),
        (10.1, Freshness.FRESH),
        (10, Freshness.AHEAD),
        (5, Freshness.DUE),
        (0.1, Freshness.DUE),
        (0, Freshness.EXPIRED),
        (-60, Freshness.EXPIRED),
    ],
)
def test_freshness(left_min: float, expected: Freshness) -> None:
    """S101: 5 minutes before use, 10 minutes ahead."""
    one = credential(access_token="a", expires_at=NOW + left_min * MINUTE)
    assert freshness(one, NOW) is expected


def test_a_short_life_shrinks_the_margins() -> None:
    """Else a server that gives tokens of four minutes would be asked at every request."""
    one = credential(access_token="a", refreshed_at=NOW, expires_at=NOW + 4 * MINUTE)
    ages = [freshness(one, NOW + minutes * MINUTE) for minutes in (0, 1.9, 2, 3, 4)]
    assert ages == [0, 0, Freshness.AHEAD, Freshness.DUE, Freshness.EXPIRED]
    hour = credential(access_token="a", refreshed_at=NOW, expires_at=NOW + 60 * MINUTE)
    assert freshness(hour, NOW + 49 * MINUTE) is Freshness.FRESH
    assert freshness(hour, NOW + 55 * MINUTE) is Freshness.DUE


def test_unknown_expiry_is_expired_and_api_keys_never_are() -> None:
    """X12, protocol 5.1."""
    assert freshness(credential(access_token="a"), NOW) is Freshness.EXPIRED
    assert freshness(credential(expires_at=NOW + 60 * MINUTE), NOW) is Freshness.EXPIRED
    key = Credential(auth_method="api_key", kiro_api_key="ksk_example")
    assert freshness(key, NOW) is Freshness.FRESH


# ---- choosing ------------------------------------------------------------------------------


def roster(*credentials: Credential, **more: Any) -> Roster:
    return Roster(credentials, NOW, **more)


def view(*credentials: Credential, mode: Mode = "priority", **shared: Any) -> View:
    return View(roster(*credentials, mode=mode), Shared(1000.0, **shared))


def pick(view: View, session: str = "", group: str = "", model: str = "m", **more: Any) -> Choice:
    return choose(view, model, group, session, view.shared.now, **more)


def picked(view: View, *args: Any, **more: Any) -> int | None:
    found = pick(view, *args, **more).credential
    return found.id if found is not None else None


def reasons(choice: Choice) -> dict[int, str]:
    return {skip.id: skip.reason for skip in choice.skips}


def cooling(left_s: float, why: str = THROTTLED, **more: Any) -> State:
    return State(cooling_until=1000 + left_s, why=why, **more)


def test_lowest_priority_first_and_stable() -> None:
    """S95, S106."""
    pool = view(credential(1, priority=2), credential(2, priority=1), credential(3, priority=1))
    assert picked(pool) == 2
    assert picked(pool, exclude={2}) == 3


def test_sequential_goes_by_the_files_order() -> None:
    """S113: moving on when one is resting."""
    both = credential(1, priority=2), credential(2, priority=1)
    assert picked(view(*both, mode="sequential")) == 1
    assert picked(view(*both, mode="sequential", states={1: cooling(5)})) == 2


def test_balanced_takes_the_least_recently_used_among_equals() -> None:
    pool = roster(credential(1), credential(2), credential(3, priority=1), mode="balanced")
    assert picked(View(pool, used={1: 20.0, 2: 10.0})) == 2
    assert picked(View(pool, used={1: 20.0, 2: 30.0})) == 1
    busy = Shared(in_flight={1: 8, 2: 8})
    assert picked(View(pool, busy)) == 3


def test_every_skip_has_a_reason() -> None:
    """Design 5: an operator can read why each one was passed over."""
    free = Capabilities(lacks={(6, "claude-opus-4.8")}, no_opus={7})
    until = NOW + timedelta(days=3)
    pool = roster(
        credential(1, disabled=True),
        credential(2, disabled=True, disabled_reason="InvalidRefreshToken"),
        credential(3, disabled=True, disabled_reason="QuotaExceeded", disabled_until=until),
        credential(4),
        credential(5, group="pro"),
        credential(6),
        credential(7),
        credential(8),
        credential(9),
        credential(10),
        credential(11),
        capabilities=free,
    )
    states = {8: cooling(11.2), 10: State(budget=4)}
    shared = Shared(1000.0, in_flight={9: 8}, states=states)
    choice = choose(
        View(pool, shared, unready={11: "no token"}, cost=5),
        "claude-opus-4.8",
        "default",
        "",
        1000.0,
        exclude=[4],
    )
    assert choice.credential is None
    assert reasons(choice) == {
        1: "disabled: Manual",
        2: "disabled: InvalidRefreshToken (log in again)",
        3: "disabled: QuotaExceeded until 2026-11-23 12:00 UTC",
        4: "already tried",
        5: "group pro only",
        6: "no claude-opus-4.8",
        7: "no opus",
        8: "cooling 12 s (throttled)",
        9: "busy",
        10: "retry budget spent",
        11: "no token",
    }


def test_what_was_not_needed_is_not_skipped() -> None:
    pool = view(credential(1), credential(2), credential(3, priority=1), states={3: cooling(5)})
    assert pick(pool).skips == ()


def test_groups_never_mix() -> None:
    """S119, S120; an empty group means any."""
    pool = view(credential(1, group="pro"), credential(2))
    assert (picked(pool, group="pro"), picked(pool, group="default")) == (1, 2)
    assert picked(pool, group="other") is None
    assert picked(pool) == 1


def test_a_groups_priority_comes_before_its_credentials() -> None:
    pool = roster(credential(1), credential(2, group="pro"), group_priority={"default": 1})
    assert picked(View(pool)) == 2


def test_a_tier_without_opus_serves_all_else() -> None:
    pool = roster(credential(1), credential(2, priority=1), capabilities=Capabilities((), {1}))
    assert picked(View(pool), model="claude-opus-4.8") == 2
    assert picked(View(pool), model="claude-sonnet-4.5") == 1


def test_a_conversation_sticks_to_its_credential() -> None:
    both = credential(1), credential(2, priority=1)
    assert picked(view(*both, pinned=2), "s") == 2
    assert picked(view(*both, pinned=2)) == 1, "no session, no pin"
    assert picked(view(*both, pinned=9), "s") == 1, "it is gone"
    moved = pick(view(*both, pinned=2, states={2: cooling(9)}), "s")
    assert moved.credential is both[0]
    assert moved.pin
    away = pick(view(*both, pinned=2, in_flight={2: 8}), "s")
    assert away.credential is both[0]
    assert not away.pin, "its own one is only busy"


def test_places_are_limited() -> None:
    both = credential(1, max_concurrent=2), credential(2, priority=1)
    assert picked(view(*both, in_flight={1: 1})) == 1
    assert picked(view(*both, in_flight={1: 2})) == 2
    full = pick(view(*both, in_flight={1: 2, 2: 8}))
    assert (full.credential, full.wait) == (None, True)


def test_who_waits_longer_goes_first() -> None:
    choice = pick(view(credential(1), ahead=1))
    assert (choice.credential, choice.wait) == (None, True)
    assert pick(view(credential(1), rate_wait_s=0.5)).wait


def test_cooling_ones_are_skipped_by_others() -> None:
    """S112: it returns by itself."""
    both = credential(1), credential(2, priority=5)
    choice = pick(view(*both, states={1: cooling(12)}))
    assert choice.credential is both[1]
    assert reasons(choice) == {1: "cooling 12 s (throttled)"}
    assert picked(view(*both, states={1: cooling(0)})) == 1


def test_a_requests_own_next_attempt_may_use_a_cooling_one() -> None:
    pool = view(credential(1), states={1: cooling(30, probed_at=999.9)})
    assert picked(pool, only=1) == 1
    assert picked(pool) is None


def test_when_all_are_cooling_one_request_a_second_is_a_probe() -> None:
    """On the one that ends first."""
    both = credential(1), credential(2)
    states = {1: cooling(30), 2: cooling(20)}
    choice = pick(view(*both, states=states))
    assert choice.credential is both[1]
    assert choice.probe
    states[1] = cooling(30, probed_at=999.5)
    refused = pick(view(*both, states=states))
    assert refused.credential is None
    assert (refused.rest_s, refused.why, refused.wait) == (20, THROTTLED, False)


@pytest.mark.parametrize("why", ["daily limit", "limited by Kiro", "payment needed"])
def test_long_rests_are_not_probed(why: str) -> None:
    """Protocol 8: an account that upstream suspects is left alone."""
    assert picked(view(credential(1), states={1: cooling(600, why)})) is None


def test_a_rest_that_is_over_needs_another_roster() -> None:
    """S109: a quota returns at its date, without a person."""
    until = NOW + timedelta(hours=1)
    resting = credential(1, disabled=True, disabled_reason="QuotaExceeded", disabled_until=until)
    early = roster(resting)
    assert early.valid_until == until
    assert picked(View(early)) is None
    assert picked(View(Roster([resting], until))) == 1


def test_models_of_clients_do_not_pile_up() -> None:
    pool = roster(credential(1))
    for n in range(3 * RANKINGS_KEPT):
        pool.ranking(f"m{n}", "")
    assert len(pool._rankings) <= RANKINGS_KEPT


def test_choosing_from_nothing() -> None:
    assert picked(view()) is None


def calls_of(act: Callable[[], object]) -> int:
    """How many functions are called, C's included: as good as a clock, on any machine."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event.endswith("call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(before)
    return calls


def test_choosing_among_a_thousand_is_quick() -> None:
    """Issue 4: 100 µs, of which `make bench` has the figure: no call for each of them."""
    pool = roster(*(credential(n, priority=n % 7) for n in range(1, 1001)), mode="balanced")
    states = {n: cooling(30) for n in range(1, 1001, 10)}
    shared = Shared(1000.0, in_flight=dict.fromkeys(range(1, 200), 1), states=states)
    view = View(pool, shared, used={n: float(n) for n in range(1, 1001)})
    pick(view)  # what is arranged once for a roster
    assert calls_of(lambda: pick(view)) < 1000


# ---- judging -------------------------------------------------------------------------------


def throttled(scope: Any = "", retry_after_s: float | None = None) -> e.Throttled:
    error = e.Throttled("x", retry_after_s=retry_after_s)
    error.scope = scope
    return error


def unpaid() -> e.QuotaExhausted:
    error = e.QuotaExhausted("x")
    error.payment = True
    return error


NEXT_MONTH = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("outcome", "verdict"),
    [
        (None, Verdict(Note(failed=False))),
        (throttled("", 10), Verdict(Note(cooldown_s=11, why=THROTTLED))),
        (throttled(), Verdict(Note(cooldown_s=33, why=THROTTLED))),
        (throttled("day"), Verdict(Note(cooldown_s=12 * 3600, why="daily limit"))),
        (throttled("account", 600), Verdict(Note(cooldown_s=660, why="limited by Kiro"))),
        (e.BearerRejected("x"), Verdict(Note(failed=True))),
        (e.Suspended("x"), Verdict(Note(failed=True), disable="Suspended")),
        (e.QuotaExhausted("x"), Verdict(disable="QuotaExceeded", until=NEXT_MONTH)),
        (unpaid(), Verdict(Note(cooldown_s=3600, why="payment needed"))),
        (e.ServerFault("x"), Verdict(Note(fault=True, cooldown_s=4, why=FAULTY))),
        (e.Overloaded("x"), Verdict(Note(fault=True, cooldown_s=4, why=FAULTY))),
        (e.ModelUnavailable("x"), Verdict(lacks_model=True)),
        (e.InvalidRequest("x"), Verdict()),
        (e.ContextTooLong(2, 1), Verdict()),
        (e.Refused("x", status=400), Verdict()),
        (e.Unreachable("x"), Verdict()),
        (e.UpstreamTimeout("x"), Verdict()),
        (e.TruncatedStream(1, offset=0), Verdict()),
        (GeneratorExit(), Verdict()),
    ],
)
def test_judging(outcome: BaseException | None, verdict: Verdict) -> None:
    """S109 to S114: 400 and the network are not the credential's fault; 429 never disables."""
    assert judge(outcome, NOW, State(faults=2), chance=1.0) == verdict


def test_s108_the_third_refusal_in_a_row_disables() -> None:
    verdicts = [judge(e.BearerRejected("x"), NOW, State(n)).disable for n in range(4)]
    assert verdicts == ["", "", "TooManyFailures", "TooManyFailures"]


def test_a_refusal_without_a_cause_rests_from_the_second_on() -> None:
    """Protocol 8."""
    rests = [judge(e.AccessDenied("x"), NOW, State(n)).note.cooldown_s for n in range(3)]
    assert rests == [0, 30, 30]


def test_server_faults_rest_a_minute_at_most() -> None:
    assert judge(e.ServerFault("x"), NOW, State(faults=50), chance=1.0).note.cooldown_s == 60
    assert judge(e.ServerFault("x"), NOW, State(faults=50), chance=0.0).note.cooldown_s == 0


def test_a_quota_returns_next_month_in_any_month() -> None:
    for month in range(1, 13):
        until = next_month(datetime(2026, month, 28, 23, 59, tzinfo=UTC))
        assert (until.day, until.hour, until.month) == (1, 0, month % 12 + 1)
