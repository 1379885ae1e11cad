"""A pool with a scripted auth server and a clock to turn."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.pool import Pool
from kiroproxy.credentials.refresh import RefreshFailure
from kiroproxy.credentials.stores.file import FileStore
from kiroproxy.runtime import Runtime

HOUR = timedelta(hours=1)
Outcome = Credential | RefreshFailure


class Auth:
    """A redeemer whose answers are scripted; by default its tokens rotate."""

    def __init__(self) -> None:
        self.redeemed: list[str | None] = []
        self.script: list[RefreshFailure | Callable[[Credential], Outcome]] = []
        self.life = HOUR
        self.gate = threading.Event()
        self.gate.set()

    def redeem(self, credential: Credential, now: datetime) -> Outcome:
        self.redeemed.append(credential.refresh_token)
        assert self.gate.wait(10)
        if self.script:
            step = self.script.pop(0)
            return step if isinstance(step, RefreshFailure) else step(credential)
        n = len(self.redeemed)
        return replace(
            credential,
            access_token=f"at-{n}",
            refresh_token=f"rt-{n}",
            expires_at=now + self.life,
            refreshed_at=now,
        )


class Bench:
    """A pool with everything round it, and a clock to turn."""

    def __init__(self, place: Path, **settings: Any) -> None:
        self.settings = {"queue_wait_s": 0.2} | settings
        self.path = place / "credentials.json"
        self.auth = Auth()
        self.now = datetime(2026, 11, 20, 12, tzinfo=UTC)
        self.runtime = Runtime(place / "runtime.db", clock=lambda: self.now.timestamp())
        self.store = FileStore(self.path)
        self.pool = self.another_process()

    def another_process(self) -> Pool:
        store = self.store if not hasattr(self, "pool") else FileStore(self.path)
        return Pool(store, self.auth, self.runtime, clock=lambda: self.now, **self.settings)

    def add(self, left: timedelta | None = None, **more: Any) -> Credential:
        """A credential whose access token has `left` to live."""

        def change(credentials: list[Credential]) -> None:
            given = {"refresh_token": f"rt-old-{len(credentials) + 1}", **more}
            if left is not None:
                given |= {"access_token": "at-old", "expires_at": self.now + left}
            credentials.append(Credential(**given))

        return self.store.edit(change).credentials[-1]

    def bearer(self, pool: Pool | None = None) -> str | None:
        lease = (pool or self.pool).lease("m")
        lease.release()
        return lease.credential.bearer

    def stored(self, credential_id: int = 1) -> Credential:
        credential = FileStore(self.path).snapshot().get(credential_id)
        assert credential is not None
        return credential

    def settle(self) -> None:
        assert self.pool.drain(10)
