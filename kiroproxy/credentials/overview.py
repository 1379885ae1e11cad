"""How each credential stands: on, resting or off and why, and what it has done."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from kiroproxy.credentials.model import Credential, build_time
from kiroproxy.credentials.policy import disabled_reason, group_of
from kiroproxy.credentials.pool import Pool
from kiroproxy.runtime import State, Tally

Standing = Literal["active", "cooling", "disabled"]
SECRET_TAIL = 10
SECRET_MIN = 40
"""Of shorter secrets not even the end is shown."""


@dataclass(frozen=True, slots=True)
class Overview:
    """A credential as the operator sees it; `reason` explains a standing other than `active`."""

    credential: Credential
    standing: Standing
    reason: str
    cooling_s: float
    failures: int
    in_flight: int
    places: int
    tally: Tally

    @property
    def words(self) -> str:
        """Standing and reason on one line: `cooling 12 s (throttled)`."""
        if self.standing == "cooling":
            return f"cooling {math.ceil(self.cooling_s)} s ({self.reason})"
        return self.reason if self.standing == "disabled" else self.standing


def overview(pool: Pool) -> list[Overview]:
    """All credentials of a pool, in the order of their priority (S128)."""
    tallies, in_flight, states = pool.activity()
    now, moment = datetime.now(UTC), pool.moment()
    found = []
    for one in pool.renewals.known(pool.store.snapshot().credentials):
        state = states.get(one.id, State())
        off = disabled_reason(one, now)
        cooling_s = max(state.cooling_until - moment, 0.0)
        standing: Standing = "disabled" if off else "cooling" if cooling_s else "active"
        found.append(
            Overview(
                credential=one,
                standing=standing,
                reason=off or (state.why if cooling_s else ""),
                cooling_s=cooling_s,
                failures=state.failures,
                in_flight=in_flight.get(one.id, 0),
                places=one.max_concurrent or pool.max_concurrent,
                tally=tallies.get(one.id, Tally()),
            )
        )
    return sorted(found, key=lambda one: one.credential.priority)


def as_json(seen: Overview) -> dict[str, Any]:
    """For `--json`: no secret, at most the last ten characters of one."""
    one, tally = seen.credential, seen.tally
    last = datetime.fromtimestamp(tally.last_used, UTC) if tally.last_used else None
    return {
        "id": one.id,
        "label": one.label or one.name,
        "email": one.email,
        "authMethod": one.auth_method,
        "provider": one.provider,
        "group": group_of(one),
        "priority": one.priority,
        "state": seen.standing,
        "reason": seen.reason or None,
        "coolingSec": round(seen.cooling_s, 1) or None,
        "disabled": one.disabled,
        "disabledReason": one.disabled_reason,
        "disabledUntil": _time(one.disabled_until),
        "failureCount": seen.failures,
        "inFlight": seen.in_flight,
        "maxConcurrent": seen.places,
        "requests": tally.requests,
        "successes": tally.successes,
        "lastUsedAt": _time(last),
        "expiresAt": _time(one.expires_at),
        "token": tail(one.bearer or one.refresh_token),
    }


def details(one: Credential) -> Mapping[str, Any]:
    """What `show` has besides; secrets by their ends."""
    return {
        "refreshedAt": _time(one.refreshed_at),
        "generation": one.generation,
        "refreshToken": tail(one.refresh_token),
        "accessToken": tail(one.access_token),
        "kiroApiKey": tail(one.kiro_api_key),
        "clientId": tail(one.client_id),
        "clientSecret": tail(one.client_secret),
        "profileArn": one.profile_arn,
        "region": one.region,
        "authRegion": one.auth_region,
        "apiRegion": one.api_region,
        "machineId": tail(one.machine_id),
        "endpoint": one.endpoint,
        "hasProxy": one.proxy_url is not None,
        "subscription": one.subscription,
        "linkedTo": one.linked_to,
        "otherKeys": sorted(one.extra),
    }


def tail(secret: str | None) -> str | None:
    """The last ten characters of a long secret."""
    if not secret:
        return None
    return "…" + (secret[-SECRET_TAIL:] if len(secret) >= SECRET_MIN else "")


def _time(time: datetime | None) -> str | None:
    return build_time(time) if time is not None else None
