"""What Kiro says about an account: its usage limits and its profile (protocol notes 6.1, 6.4)."""

import math
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from kiroproxy.credentials.model import Credential, parse_time
from kiroproxy.credentials.policy import Freshness, freshness
from kiroproxy.credentials.pool import USAGE, Pool
from kiroproxy.errors import KiroProxyError
from kiroproxy.kiro.errors import error_from_response
from kiroproxy.kiro.events import lenient_json
from kiroproxy.transport import Answer
from kiroproxy.upstream.endpoint import Voice, account_arguments, api_base, control_call

TIMEOUT_S = 10.0
FRESH_S = 300.0
"""A balance is asked for at most this often (S135)."""
AT_ONCE = 8
DATA_REGIONS = ("us-east-1", "eu-central-1")
"""The only ones in which Kiro's API exists (protocol notes 2.2)."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Credits of an account, trial and bonus included; `resets_at` where Kiro says one."""

    subscription: str
    limit: float
    used: float
    resets_at: datetime | None

    @property
    def remaining(self) -> float:
        """Credits that are left (S125c)."""
        return max(self.limit - self.used, 0.0)


@dataclass(frozen=True, slots=True)
class Person:
    """Whose account it is, as far as Kiro says; empty texts where it does not."""

    email: str = ""
    user_id: str = ""
    subscription: str = ""


def parse_person(said: Mapping[str, Any]) -> Person:
    """Read the names in getUsageLimits."""
    info = said.get("userInfo")
    names = info if isinstance(info, dict) else {}
    email, user_id = (
        value.strip() if isinstance(value := names.get(key), str) else ""
        for key in ("email", "userId")
    )
    return Person(email, user_id, parse_usage(said).subscription)


def parse_usage(said: Mapping[str, Any]) -> Usage:
    """Read getUsageLimits; whatever is missing counts as nothing."""
    info = said.get("subscriptionInfo")
    title = info.get("subscriptionTitle") if isinstance(info, dict) else None
    limit = used = 0.0
    breakdowns = said.get("usageBreakdownList")
    for one in breakdowns if isinstance(breakdowns, list) else ():
        if not isinstance(one, dict):
            continue
        for bucket in _buckets(one):
            limit += _number(bucket, "usageLimit")
            used += _number(bucket, "currentUsage")
    return Usage(str(title or ""), limit, used, parse_time(said.get("nextDateReset")))


def _buckets(breakdown: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A breakdown, and the trial and the bonuses that count besides it."""
    found = [breakdown]
    trial = breakdown.get("freeTrialInfo")
    if isinstance(trial, dict) and trial.get("freeTrialStatus") == "ACTIVE":
        found.append(trial)
    bonuses = breakdown.get("bonuses")
    for bonus in bonuses if isinstance(bonuses, list) else ():
        if isinstance(bonus, dict) and bonus.get("status") == "ACTIVE":
            found.append(bonus)
    return found


def _number(bucket: Mapping[str, Any], key: str) -> float:
    value = bucket.get(f"{key}WithPrecision", bucket.get(key))
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good and value is not None else 0.0


class AccountClient:
    """Asks Kiro about the account of a credential."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice

    def usage(self, credential: Credential) -> Usage:
        """Its limits.

        Raises:
            KiroProxyError: Kiro did not say.
        """
        return parse_usage(self._limits(credential))

    def person(self, credential: Credential) -> Person:
        """Who signed in; empty if Kiro does not say."""
        try:
            return parse_person(self._limits(credential, isEmailRequired="true"))
        except KiroProxyError:
            return Person()

    def _limits(self, credential: Credential, **more: str) -> Mapping[str, Any]:
        arguments = account_arguments(credential) | {"resourceType": "AGENTIC_REQUEST"} | more
        return lenient_json(self._call(credential, "GetUsageLimits", arguments).body)

    def reset_date(self, credential: Credential) -> datetime | None:
        """When its quota returns; None if Kiro does not say."""
        try:
            return self.usage(credential).resets_at
        except KiroProxyError:
            return None

    def profile(self, credential: Credential) -> str | None:
        """The ARN of its first profile; both regions are asked."""
        regions = [one for one in (credential.api_region, *DATA_REGIONS) if one]
        there = [replace(credential, api_region=region) for region in regions]
        for one in {api_base(self._voice.identity, one): one for one in there}.values():
            try:
                answer = self._call(one, "ListAvailableProfiles", {"maxResults": 10})
            except KiroProxyError:
                continue
            if arn := _first_arn(lenient_json(answer.body)):
                return arn
        return None

    def _call(self, credential: Credential, operation: str, arguments: Mapping[str, Any]) -> Answer:
        voice = self._voice
        call = control_call(voice, credential, operation, arguments)
        answer = voice.transport.call(
            call.method,
            call.url,
            headers=call.headers,
            body=call.body,
            route=voice.route_of(credential),
            timeout_s=TIMEOUT_S,
        )
        if answer.status != 200:
            raise error_from_response(answer.status, answer.headers, answer.body)
        return answer


def _first_arn(said: Mapping[str, Any]) -> str | None:
    profiles = said.get("profiles")
    for one in profiles if isinstance(profiles, list) else ():
        arn = one.get("arn") if isinstance(one, dict) else None
        if isinstance(arn, str) and arn.strip():
            return arn.strip()
    return None


class UsageSource(Protocol):
    """Who can be asked for a credential's limits."""

    def usage(self, credential: Credential) -> Usage:
        """Its limits."""


class Balances:
    """The usage limits of the credentials, asked for when they are looked at, for all workers."""

    def __init__(self, pool: Pool, source: UsageSource) -> None:
        self._pool = pool
        self._source = source

    def known(self) -> dict[int, tuple[Usage, float]]:
        """What Kiro has said of each, and at which time of day."""
        return {
            int(name.removeprefix(USAGE)): (msgspec.json.decode(text, type=Usage), at)
            for name, (text, at) in self._pool.recall(USAGE).items()
        }

    def look(self, credentials: Iterable[Credential], wait_s: float) -> dict[int, Usage]:
        """Their limits; those that are old are asked for, as long as `wait_s` lasts.

        No token is renewed for that: looking at a pool must not make it busy.
        """
        known = self.known()
        wanted = list(credentials)
        oldest, now = time.time() - FRESH_S, datetime.now(UTC)
        stale = [
            one
            for one in wanted
            if known.get(one.id, (None, 0.0))[1] < oldest
            and freshness(one, now) is not Freshness.EXPIRED
        ]
        if stale and wait_s > 0:
            self._ask_all(stale, wait_s)
            known = self.known()
        return {one.id: known[one.id][0] for one in wanted if one.id in known}

    def _ask_all(self, credentials: list[Credential], wait_s: float) -> None:
        waiting = list(reversed(credentials))

        def work() -> None:
            while waiting and time.monotonic() < deadline:
                self.ask(waiting.pop())

        deadline = time.monotonic() + wait_s
        threads = [threading.Thread(target=work, daemon=True) for _ in credentials[:AT_ONCE]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0.0))

    def ask(self, credential: Credential) -> Usage | None:
        """Ask Kiro now; None if it does not say."""
        try:
            return self.fetch(credential)
        except KiroProxyError:
            return None

    def fetch(self, credential: Credential) -> Usage:
        """Ask Kiro now.

        Raises:
            KiroProxyError: it did not say.
        """
        usage = self._source.usage(credential)
        self._pool.remember(f"{USAGE}{credential.id}", msgspec.json.encode(usage).decode())
        return usage

    def current(self, credential: Credential, *, fresh: bool = False) -> tuple[Usage, float]:
        """The limits and when Kiro told them; asked for if they are old, or must be `fresh` (S135).

        Unlike `look` this renews an access token that has ended: a person wants to know.

        Raises:
            KiroProxyError: Kiro did not say.
        """
        known = self.known().get(credential.id)
        if known is not None and not fresh and time.time() - known[1] < FRESH_S:
            return known
        return self.fetch(self._pool.renewals.ready(credential)), time.time()
