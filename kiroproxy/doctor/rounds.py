"""All checks at once."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from kiroproxy.doctor import accounts, clients, local, network, server
from kiroproxy.doctor.finding import Finding, _, failure, warning
from kiroproxy.doctor.patient import Patient
from kiroproxy.errors import KiroProxyError

LIMIT_S: Final = 10.0
"""Of the whole examination; single calls take less."""

Check = Callable[[Patient], Iterable[Finding]]
CHECKS: Final[Mapping[str, Check]] = {
    "config": local.check_config,
    "files": local.check_files,
    "state": local.check_state,
    "runtime.db": local.check_runtime,
    "gunicorn": local.check_gunicorn,
    "network": network.check_network,
    "region": network.check_regions,
    "tokens": accounts.check_tokens,
    "refresh": accounts.check_refreshes,
    "models": accounts.check_entitlement,
    "claude code": clients.check_claude_code,
    "codex": clients.check_codex,
    "server": server.check_server,
}
"""In the order of the report."""


def examine(
    patient: Patient, *, checks: Mapping[str, Check] = CHECKS, limit_s: float = LIMIT_S
) -> list[Finding]:
    """Run all checks; the report has the order of the table."""
    found: dict[str, list[Finding]] = {}
    threads = {
        name: threading.Thread(
            target=_run, args=(name, check, patient, found), name=f"doctor {name}", daemon=True
        )
        for name, check in checks.items()
    }
    deadline = time.monotonic() + limit_s
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(deadline - time.monotonic(), 0.0))
    done = dict(found)
    return [
        one
        for name in checks
        for one in (done[name] if name in done else [_unfinished(name, limit_s)])
    ]


def _run(name: str, check: Check, patient: Patient, found: dict[str, list[Finding]]) -> None:
    try:
        result = list(check(patient))
    except (KiroProxyError, OSError, ValueError, sqlite3.Error) as error:
        message = _("could not be checked: {why}")
        remedy = _("mend that and look again")
        result = [failure(name, message, remedy, why=str(error) or type(error).__name__)]
    found[name] = result


def _unfinished(name: str, limit_s: float) -> Finding:
    message = _("was not finished after {seconds:g} s")
    return warning(name, message, _("look again; something here answers slowly"), seconds=limit_s)
