"""A usable access token for a credential, renewed exactly once across workers.

A refresh runs in a thread of its own (under gevent a greenlet): a client that goes away kills its
request, never a refresh, which would lose the rotated token. Requests of this process wait for
the one flight; processes meet at the store's refresh lock.

Source: design 5, "Refreshing a rotating token"; S101 to S104.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

import msgspec

from kiroproxy.credentials import failpoints
from kiroproxy.credentials.counts import Counts, NoCounts
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.policy import Freshness, disabled_reason, freshness
from kiroproxy.credentials.refresh import RefreshFailure
from kiroproxy.credentials.stores import RefreshSession, Store
from kiroproxy.errors import (
    ConfigError,
    CredentialError,
    NoCredential,
    RefreshFailed,
    RefreshTokenInvalid,
    StoreLocked,
    StoreUnwritable,
)

log = logging.getLogger(__name__)

PATIENCE_S: Final = 5.0
"""A request whose token still lives waits no longer for a refresh."""
FLIGHT_S: Final = 120.0
"""Longer than the refresh lock, the HTTP call and the store lock together may take."""
BACK_OFF_CAP_S: Final = 60.0
UNCONFIRMED_PAUSE_S: Final = 10.0
"""After an ambiguous end the same token is tried again no sooner than this."""
LONGEST_PAUSE_S: Final = 900.0
"""Whatever `Retry-After` says."""
MAX_REFUSALS: Final = 3
"""Refusals in a row that disable a credential (S103)."""


class Redeemer(Protocol):
    """What is needed of a `Refresher`."""

    def redeem(self, credential: Credential, now: datetime) -> Credential | RefreshFailure:
        """Ask the auth server once."""


class Links(Protocol):
    """Files of other programs that refresh the same tokens (design 5, rule 8)."""

    def newer(self, credential: Credential) -> Credential | None:
        """The credential with the other program's token, if that has another one."""

    def write_back(self, old: Credential, new: Credential) -> None:
        """Tell the other program the new token; what goes wrong is logged."""


class NoLinks:
    """Nobody else refreshes."""

    def newer(self, credential: Credential) -> Credential | None:
        """Nothing."""
        return None

    def write_back(self, old: Credential, new: Credential) -> None:
        """Nothing."""


class _Flight:
    """One refresh of one credential in this process."""

    def __init__(self, seen: Credential, rejected: str | None, anyway: bool = False) -> None:
        self.seen = seen
        self.rejected = rejected
        self.anyway = anyway
        self.done = threading.Event()
        self.credential: Credential | None = None
        self.error: CredentialError | None = None


class _Pause(msgspec.Struct):
    """When a credential may be refreshed again after failures."""

    until: float = 0.0
    times: int = 0
    refusals: int = 0
    reason: str = ""


class _Unsaved(msgspec.Struct, frozen=True):
    """A refresh whose result could not be stored yet: the only copy of a token."""

    base: Credential
    new: Credential


class Renewals:
    """Renews the credentials of a store. `clock` gives the time of day, in UTC."""

    def __init__(
        self,
        store: Store,
        refresher: Redeemer,
        *,
        clock: Callable[[], datetime],
        failpoint: failpoints.Failpoint = failpoints.no_failpoint,
        links: Links | None = None,
        counts: Counts | None = None,
    ) -> None:
        self._store = store
        self._refresher = refresher
        self._clock = clock
        self._failpoint = failpoint
        self._links = links or NoLinks()
        self._counts = counts or NoCounts()
        self._lock = threading.Lock()
        """Guards the dictionaries below; held for a few statements, never across IO."""
        self._flights: dict[int, _Flight] = {}
        self._pauses: dict[int, _Pause] = {}
        self._unsaved: dict[int, _Unsaved] = {}
        self._dead: dict[int, tuple[str | None, str]] = {}
        """Refresh tokens refused for good, by credential, in case the store cannot note it."""
        self.changes = 0
        """Moves when `known` would say something else of the same credentials."""

    def known(self, stored: Iterable[Credential]) -> list[Credential]:
        """The stored credentials with what this process knows better."""
        if not self._unsaved and not self._dead:
            return list(stored)
        return [self._better(one) for one in stored]

    def _better(self, stored: Credential) -> Credential:
        unsaved = self._unsaved.get(stored.id)
        if unsaved is not None and unsaved.base.refresh_token == stored.refresh_token:
            return unsaved.new
        token, reason = self._dead.get(stored.id, (None, ""))
        if reason and token == stored.refresh_token:
            return replace(stored, disabled=True, disabled_reason=reason)
        return stored

    def unready(self, find: Callable[[int], Credential | None]) -> dict[int, str]:
        """Those that have no living token and cannot get one yet, with the reason."""
        if not self._pauses:
            return {}
        now = self._clock()
        return {
            id_: f"{pause.reason}; next attempt in {max(pause.until - time.monotonic(), 0):.0f} s"
            for id_, pause in list(self._pauses.items())
            if self._paused(id_)
            and (one := find(id_)) is not None
            and freshness(one, now) is Freshness.EXPIRED
        }

    def refusals(self, credential_id: int) -> int:
        """How often in a row its refresh token was refused, as far as this process knows."""
        pause = self._pauses.get(credential_id)
        return pause.refusals if pause is not None else 0

    def forget(self, credential_id: int) -> None:
        """A person has mended it: try again at once."""
        self._pauses.pop(credential_id, None)
        if self._dead.pop(credential_id, None) is not None:
            self.changes += 1

    def soonest_s(self) -> float | None:
        """Until the first of those that failed may be renewed again."""
        waits = [max(one.until - time.monotonic(), 1.0) for one in list(self._pauses.values())]
        return min(waits, default=None)

    def hindrance(self, credential: Credential, now: datetime, unwritable: str | None) -> str:
        """What is wrong with a credential's token, or soon will be; empty if nothing is."""
        if credential.id in self._unsaved:
            return "its rotated token is not stored yet"
        if freshness(credential, now) in (Freshness.FRESH, Freshness.AHEAD):
            return ""
        if not credential.renewable:
            return "its access token ends and cannot be renewed"
        pause = self._pauses.get(credential.id)
        if pause is not None:
            return f"its refresh failed: {pause.reason}"
        return "its access token ends and a refresh could not be stored" if unwritable else ""

    def refresh_ahead(self, credentials: Iterable[Credential]) -> None:
        """Renew those that age and are used, without waiting for any."""
        now = self._clock()
        for one in credentials:
            age = freshness(one, now)
            ages = age in (Freshness.AHEAD, Freshness.DUE)
            if ages and one.renewable and not self._paused(one.id):
                self._fly(one)

    # ---- readiness -------------------------------------------------------------------------

    def ready(self, credential: Credential) -> Credential:
        """The credential with a usable bearer.

        A token that is due is refreshed before use; while it lives, whatever goes wrong with that
        lets the old one serve. One that is only ageing is refreshed without waiting (S101).
        """
        now = self._clock()
        age = freshness(credential, now)
        if credential.id in self._unsaved and not self._paused(credential.id):
            self._fly(credential)  # tries to store it again
        if age is Freshness.FRESH:
            return credential
        if not credential.renewable:
            if age is Freshness.EXPIRED:
                raise RefreshFailed("its access token has expired and there is no way to renew it")
            return credential
        if age is not Freshness.EXPIRED and self._paused(credential.id):
            return credential
        if age is Freshness.AHEAD:
            self._fly(credential)
            return credential
        patience_s = FLIGHT_S if age is Freshness.EXPIRED else PATIENCE_S
        try:
            return self._land(self._fly(credential), patience_s)
        except CredentialError:
            if freshness(credential, self._clock()) is Freshness.EXPIRED:
                raise
            return credential

    def force(
        self, credential: Credential, rejected_access_token: str, *, anyway: bool = False
    ) -> Credential:
        """Another access token than the one that upstream refused (S102).

        If the store already has another one, that is used and no call is made. `anyway`: a person
        wants to know, also of a credential that is disabled.

        Raises:
            CredentialError: there is none.
        """
        if not credential.renewable:
            raise RefreshFailed(f"credential {credential.display_name} cannot be refreshed")
        for _ in range(2):  # the first flight may be another request's, for another reason
            flight = self._fly(credential, rejected_access_token, anyway)
            renewed = self._land(flight, FLIGHT_S)
            if renewed.access_token != rejected_access_token:
                return renewed
        raise RefreshFailed(f"credential {credential.display_name} got its old token again")

    def _paused(self, credential_id: int) -> bool:
        pause = self._pauses.get(credential_id)
        return pause is not None and time.monotonic() < pause.until

    # ---- one flight per credential ---------------------------------------------------------

    def _fly(self, seen: Credential, rejected: str | None = None, anyway: bool = False) -> _Flight:
        """Join the credential's refresh in this process, or start it."""
        with self._lock:
            flight = self._flights.get(seen.id)
            if flight is not None:
                return flight
            flight = self._flights[seen.id] = _Flight(seen, rejected, anyway)
        pause = self._pauses.get(seen.id)
        if pause is not None and self._paused(seen.id):
            wait_s = pause.until - time.monotonic()
            flight.error = RefreshFailed(f"{pause.reason}; next attempt in {wait_s:.0f} s")
            self._finish(flight)
            return flight
        try:
            threading.Thread(
                target=self._run, args=(flight,), name=f"refresh-{seen.id}", daemon=False
            ).start()
        except RuntimeError as error:  # no more threads
            flight.error = RefreshFailed(f"a refresh cannot be started: {error}")
            self._finish(flight)
        return flight

    def _land(self, flight: _Flight, patience_s: float) -> Credential:
        if not flight.done.wait(patience_s):
            raise RefreshFailed("the refresh takes too long")
        if flight.credential is not None:
            return flight.credential
        error = flight.error or RefreshFailed("the refresh broke off")
        raise type(error)(str(error)) from error  # one exception object serves one request

    def _finish(self, flight: _Flight) -> None:
        with self._lock:
            self._flights.pop(flight.seen.id, None)
        flight.done.set()

    def _run(self, flight: _Flight) -> None:
        try:
            flight.credential = self._refresh(flight)
            self._pauses.pop(flight.seen.id, None)
        except RefreshTokenInvalid as error:
            flight.error = error
        except (StoreLocked, StoreUnwritable) as error:
            flight.error = error
            self._pause(flight.seen.id, str(error))
        except CredentialError as error:
            flight.error = error
        finally:
            self._finish(flight)

    def drain(self, timeout_s: float) -> bool:
        """Wait for the refreshes in flight, before the process ends; whether all have landed."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            flights = list(self._flights.values())
        for flight in flights:
            flight.done.wait(max(deadline - time.monotonic(), 0))
        return all(flight.done.is_set() for flight in flights)

    # ---- the refresh protocol --------------------------------------------------------------

    def _refresh(self, flight: _Flight) -> Credential:
        """Design 5, rules 1 to 5, for one credential."""
        with self._store.refreshing(flight.seen.id) as session:
            unsaved = self._unsaved.get(flight.seen.id)
            if unsaved is not None and self._save(session, unsaved) is None:
                # the stored token is spent: it must not be redeemed again
                raise StoreUnwritable("its rotated token is not stored yet")
            self._take_newer(session)
            if not self._wanted(session.current, flight):
                return session.current
            if session.unconfirmed:
                log.warning(
                    "a refresh of credential #%d broke off before; its stored token is tried once",
                    session.current.id,
                )
            redeemed = session.current.refresh_token
            failure = self._redeem(session)
            if isinstance(failure, Credential):
                return failure
            if failure.disable:  # rule 5: somebody may have replaced the token meanwhile
                self._take_newer(session)  # or redeemed it: the program that we share it with
                current = session.reread()
                if current.refresh_token != redeemed:
                    if not self._wanted(current, flight):
                        return current
                    failure = self._redeem(session)
                    if isinstance(failure, Credential):
                        return failure
            raise self._failed(session.current, failure)

    def _take_newer(self, session: RefreshSession) -> None:
        """Another program may have renewed the token that it shares with us (rule 8)."""
        newer = self._links.newer(session.current)
        if newer is not None:
            session.commit(newer)

    def _wanted(self, current: Credential, flight: _Flight) -> bool:
        """Whether the stored token must be renewed (rule 2).

        Raises:
            RefreshTokenInvalid: it was refused for good meanwhile.
            RefreshFailed: the credential is disabled, or cannot be renewed.
        """
        current = self._better(current)
        off = disabled_reason(current, self._clock())
        if off and not flight.anyway:
            dead = current.disabled_reason == "InvalidRefreshToken"
            raise RefreshTokenInvalid(off) if dead else RefreshFailed(off)
        if not current.renewable:
            raise RefreshFailed("there is no way to renew its access token")
        age = freshness(current, self._clock())
        if current.access_token is not None and current.access_token == flight.rejected:
            return True
        moved = current.generation > flight.seen.generation
        other = flight.rejected is not None
        return age is Freshness.EXPIRED or (age is not Freshness.FRESH and not moved and not other)

    def _redeem(self, session: RefreshSession) -> Credential | RefreshFailure:
        """Reserve, note the intent, call, store (rules 3 and 4)."""
        session.reserve()
        session.intent()
        base = session.current
        outcome = self._refresher.redeem(base, self._clock())
        self._failpoint(failpoints.AFTER_ANSWER)
        if isinstance(outcome, RefreshFailure):
            if not outcome.unconfirmed:
                session.drop_intent()
            self._counts.refreshed(_kind(outcome))
            return outcome
        stored = self._save(session, _Unsaved(base, outcome))
        self._counts.refreshed("unsaved" if stored is None else "ok")
        self._links.write_back(base, outcome)
        return stored or outcome

    def _save(self, session: RefreshSession, unsaved: _Unsaved) -> Credential | None:
        """Store a refresh; if that fails, None: this process keeps the only copy and retries."""
        credential_id = unsaved.base.id
        try:
            session.reserve()
            stored = session.commit(unsaved.new, unsaved.base)
        except (StoreLocked, StoreUnwritable) as error:
            log.critical(
                "the rotated token of credential #%d could not be stored and is lost if this "
                "process ends: %s",
                credential_id,
                error,
            )
            self._unsaved[credential_id] = unsaved
            self.changes += 1
            return None
        except NoCredential:  # a person deleted it
            self._unsaved.pop(credential_id, None)
            raise
        except BaseException:
            self._unsaved[credential_id] = unsaved
            self.changes += 1
            raise
        if self._unsaved.pop(credential_id, None) is not None:
            self.changes += 1
        return stored

    # ---- failures --------------------------------------------------------------------------

    def _failed(self, credential: Credential, failure: RefreshFailure) -> CredentialError:
        """Note a failed refresh: disable for good, or pause."""
        log.warning("credential #%d was not refreshed: %s", credential.id, failure.message)
        disable = failure.disable
        wait_s = UNCONFIRMED_PAUSE_S if failure.unconfirmed else 0.0
        pause = self._pause(credential.id, failure.message, failure.retry_after_s or wait_s)
        pause.refusals = pause.refusals + 1 if failure.counts else 0
        if pause.refusals >= MAX_REFUSALS:
            disable = "TooManyRefreshFailures"
        if not disable:
            return RefreshFailed(failure.message)
        self._pauses.pop(credential.id, None)
        self.disable(credential, disable)
        if failure.disable:
            return RefreshTokenInvalid(f"{failure.message}: log in again")
        return RefreshFailed(failure.message)

    def _pause(self, credential_id: int, reason: str, at_least_s: float = 0.0) -> _Pause:
        """Do not refresh for a while: 1 s·2ⁿ up to a minute, or longer if the server says so."""
        pause = self._pauses.setdefault(credential_id, _Pause())
        wait_s = max(min(2.0**pause.times, BACK_OFF_CAP_S), min(at_least_s, LONGEST_PAUSE_S))
        pause.times = min(pause.times + 1, 10)
        pause.until = time.monotonic() + wait_s
        pause.reason = reason
        return pause

    def disable(self, credential: Credential, reason: str, until: datetime | None = None) -> None:
        """Mark it in the store, unless a person has replaced its token meanwhile; never delete."""
        now = self._clock()

        def change(credentials: list[Credential]) -> None:
            for at, one in enumerate(credentials):
                same = one.id == credential.id and one.refresh_token == credential.refresh_token
                if same and not disabled_reason(one, now):
                    credentials[at] = replace(
                        one, disabled=True, disabled_reason=reason, disabled_until=until
                    )

        log.error("credential #%d is disabled: %s", credential.id, reason)
        self._counts.disabled(reason)
        try:
            self._store.edit(change)
        except (CredentialError, ConfigError) as error:
            log.error("that could not be stored: %s", error)
            self._dead[credential.id] = (credential.refresh_token, reason)
            self.changes += 1


def _kind(failure: RefreshFailure) -> str:
    """A failure in one word, for the counts."""
    if failure.unconfirmed:
        return "unconfirmed"
    return "refused" if failure.disable or failure.counts else "failed"
