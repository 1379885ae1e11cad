"""Attempts: the same credential, the next one, or give up. Ends at the first byte of the answer.

At most 3 attempts per credential and 9 per request (S107); what an error means for its credential
is `credentials.policy`'s business, what it means for the request is decided here.
"""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Protocol, TypeVar

import msgspec

from kiroproxy import errors as e
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.pool import Lease
from kiroproxy.metrics import FAILOVERS

PER_CREDENTIAL = 3
PER_REQUEST = 9
BACKOFF_S = 0.2
BACKOFF_CAP_S = 2.0
JITTER = 0.25
"""S111: min(200 · 2ⁿ, 2000) ms and up to a quarter more."""

FINAL = (e.RequestError,)
"""The caller's mistake: another attempt would meet it again."""
ONE_CREDENTIAL = (e.QuotaExhausted, e.Suspended, e.ModelUnavailable, e.ProfileArnRequired)
"""Hopeless with this credential, but not with another."""
RETRIED = (e.UpstreamError, e.EventStreamError)

UNDECIDED = GeneratorExit()
"""An outcome that says nothing about the credential, good or bad."""

T = TypeVar("T")


class Lender(Protocol):
    """What is needed of the pool, or of one request's view of it (`Borrower`)."""

    def lease(self, model: str, exclude: Collection[int] = (), only: int | None = None) -> Lease:
        """A credential; `exclude` and `only` mean that it is another attempt."""

    def force_refresh(self, credential: Credential, rejected_access_token: str) -> Credential:
        """Another access token."""

    def resolve_profile(self, credential: Credential) -> bool:
        """Find the account's profile ARN; whether there is another one now."""


def run(
    attempt: Callable[[Lease], T],
    pool: Lender,
    model: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Make attempts until one succeeds. `attempt` takes over the lease when it does.

    Raises:
        KiroProxyError: the last attempt's error, or that no credential is usable.
    """
    tally = _Tally()
    while tally.tries.total() < PER_REQUEST:
        lease = _next_lease(pool, model, tally, sleep)
        if tally.last is not None and lease.credential.id != tally.before:
            FAILOVERS[type(tally.last).__name__,].inc()
        tally.before = lease.credential.id
        tally.tries[lease.credential.id] += 1
        try:
            return attempt(lease)
        except FINAL as error:
            lease.release(error)
            raise
        except RETRIED as error:
            tally.last = error
            if isinstance(error, e.UpstreamError):
                error.credential_id = str(lease.credential.id)
            _settle(error, lease, pool, tally)
        except BaseException:
            lease.release(UNDECIDED)
            raise
    assert tally.last is not None  # noqa: S101 - the loop ran
    raise tally.last


class _Tally(msgspec.Struct):
    """What one request has met so far."""

    tries: Counter[int] = msgspec.field(default_factory=Counter)
    hopeless: set[int] = msgspec.field(default_factory=set)
    refreshed: set[int] = msgspec.field(default_factory=set)
    resolved: set[int] = msgspec.field(default_factory=set)
    same: int | None = None
    """The credential whose token or profile is another one now: it goes first."""
    before: int = 0
    """The credential of the attempt before."""
    empty: int = 0
    last: e.KiroProxyError | None = None

    def least_tried(self) -> int | None:
        """Whose turn it is among those that may be tried again; the first one among equals."""
        left = [
            id_
            for id_, count in self.tries.items()
            if id_ not in self.hopeless and count < PER_CREDENTIAL
        ]
        return min(left, key=self.tries.__getitem__, default=None)


def _settle(error: e.KiroProxyError, lease: Lease, pool: Lender, tally: _Tally) -> None:
    """Draw the conclusions of a failed attempt and give its credential back.

    Raises:
        Refused: an answer that nobody expects, such as 404; asking again would not change it.
        EmptyReply: the second one.
    """
    id_ = lease.credential.id
    if isinstance(error, e.BearerRejected) and id_ not in tally.refreshed:
        # the first refusal may mean no more than a stale token: it does not count (S102)
        tally.refreshed.add(id_)
        outcome: BaseException = UNDECIDED
        try:
            if _refresh(pool, lease):
                tally.same = id_
            else:
                tally.hopeless.add(id_)
                outcome = error
        finally:
            lease.release(outcome)
        return
    if _profile_suspect(error) and id_ not in tally.resolved:
        tally.resolved.add(id_)
        if _resolve(pool, lease, error):
            tally.same = id_
            return
    lease.release(error)
    if isinstance(error, e.Refused):
        raise error
    if isinstance(error, ONE_CREDENTIAL):
        tally.hopeless.add(id_)
    elif isinstance(error, e.EmptyReply):
        tally.empty += 1
        if tally.empty > 1:
            raise error


def _next_lease(pool: Lender, model: str, tally: _Tally, sleep: Callable[[float], None]) -> Lease:
    """A credential not tried yet, else the least tried one with attempts left, after a pause."""
    if tally.last is None:
        return pool.lease(model)
    same, tally.same = tally.same, None
    if same is not None and tally.tries[same] < PER_CREDENTIAL:
        with contextlib.suppress(e.NoCredential):
            return pool.lease(model, only=same)
    with contextlib.suppress(e.NoCredential):
        return pool.lease(model, exclude=tally.hopeless | set(tally.tries))
    while (id_ := tally.least_tried()) is not None:
        sleep(_backoff(tally.tries[id_] - 1))
        try:
            return pool.lease(model, only=id_)
        except e.NoCredential:  # disabled meanwhile, or busy for too long
            tally.hopeless.add(id_)
    raise tally.last


def _backoff(n: int) -> float:
    base = min(BACKOFF_S * 2.0**n, BACKOFF_CAP_S)
    return base * (1 + random.uniform(0, JITTER))  # noqa: S311 - jitter is no secret


def _refresh(pool: Lender, lease: Lease) -> bool:
    """Renew a refused access token; False when that is impossible."""
    try:
        pool.force_refresh(lease.credential, lease.credential.bearer or "")
    except e.CredentialError:
        return False
    return True


def _profile_suspect(error: e.KiroProxyError) -> bool:
    return isinstance(error, e.ProfileArnRequired) or (
        isinstance(error, e.AccessDenied) and error.profile_suspect
    )


def _resolve(pool: Lender, lease: Lease, error: e.KiroProxyError) -> bool:
    """Look for the account's profile; gives the lease back if there is another one now."""
    try:
        found = pool.resolve_profile(lease.credential)
    except BaseException:
        lease.release(error)
        raise
    if found:
        lease.release(UNDECIDED)
    return found
