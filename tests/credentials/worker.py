"""What a gunicorn worker does with a pool, as a process of its own under gevent.

Arguments as one JSON object: store, runtime, auth, greenlets, failpoint; with rounds, each
greenlet goes through all credentials in turn, and after `step_at` of them the clock is wrong by
`step_s`. Prints one JSON object: the access tokens that the greenlets got, and their errors.
"""

# ruff: noqa: E402 - gevent patches before anything else is imported

from gevent import monkey

monkey.patch_all()

import json
import os
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import gevent

from kiroproxy.credentials.pool import Pool
from kiroproxy.credentials.refresh import Refresher, RefreshSettings
from kiroproxy.credentials.stores.file import FileStore
from kiroproxy.errors import KiroProxyError
from kiroproxy.runtime import Runtime
from kiroproxy.transport import Transport


def main() -> None:
    task = json.loads(sys.argv[1])

    def failpoint(name: str) -> None:
        if name == task.get("failpoint"):
            os.kill(os.getpid(), signal.SIGKILL)

    settings = RefreshSettings(social_auth_url=task["auth"], oidc_url=task["auth"])
    store = FileStore(Path(task["store"]), failpoint=failpoint)
    runtime = Runtime(Path(task["runtime"]))
    refresher = Refresher(Transport(), settings)
    step = [timedelta(0)]
    pool = Pool(
        store,
        refresher,
        runtime,
        max_concurrent=1000,
        mode="balanced",
        clock=lambda: datetime.now(UTC) + step[0],
        failpoint=failpoint,
    )
    tokens: list[str | None] = []
    errors: list[str] = []

    def request() -> None:
        for number in range(task.get("rounds", 1)):
            if number == task.get("step_at"):
                step[0] = timedelta(seconds=task["step_s"])
            try:
                lease = pool.lease("claude-sonnet-4.5")
            except KiroProxyError as error:
                errors.append(f"{type(error).__name__}: {error}")
                continue
            tokens.append(lease.credential.bearer)
            gevent.sleep(task.get("pause", 0.001))
            lease.release(None)

    beats = []

    def heart() -> None:
        while True:
            before = time.perf_counter()
            gevent.sleep(0.01)
            beats.append(time.perf_counter() - before)

    if task.get("barrier"):
        print("ready", flush=True)
        sys.stdin.readline()
    beating = gevent.spawn(heart)
    greenlets = [gevent.spawn(request) for _ in range(task["greenlets"])]
    if task.get("impatient"):
        gevent.sleep(task["impatient"])
        gevent.killall(greenlets)
    gevent.joinall(greenlets)
    drained = pool.drain(30)
    beating.kill()
    print(
        json.dumps(
            {
                "tokens": tokens,
                "errors": errors,
                "drained": drained,
                "faults": runtime.faults,
                "stall": max(beats, default=0),
            }
        )
    )


if __name__ == "__main__":
    main()
