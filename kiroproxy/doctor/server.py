"""Whether the server runs, and is ready."""

import json
from collections.abc import Iterator
from typing import Any, Final

from kiroproxy.doctor.finding import Finding, _, failure, ok, warning
from kiroproxy.doctor.patient import Patient
from kiroproxy.errors import Unreachable, UpstreamTimeout
from kiroproxy.transport import Route

STEP_S: Final = 3.0
ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - where to knock
NAME: Final = "server"


def check_server(patient: Patient) -> Iterator[Finding]:
    """Ask `/readyz` of the address in the configuration."""
    host, port = patient.config.host, patient.config.port
    if host.startswith("unix:"):
        yield ok(NAME, _("listens on {host}, which is not looked at"), host=host)
        return
    host = ANYWHERE.get(host, f"[{host.strip('[]')}]" if ":" in host else host)
    address = f"{host}:{port}"
    try:
        answer = patient.voice.transport.call_once(
            "GET",
            f"http://{address}/readyz",
            headers={},
            route=Route(),
            timeout_s=STEP_S,
            connect_timeout_s=STEP_S,
        )
    except UpstreamTimeout:
        message = _("{address} does not answer in time")
        yield failure(NAME, message, _("restart the server; see its log"), address=address)
    except Unreachable:
        message = _("no server runs at {address}")
        yield warning(NAME, message, _("run `kiroproxy serve`"), address=address)
    else:
        yield _readiness(answer.status, answer.body, address)


def _readiness(status: int, body: bytes, address: str) -> Finding:
    try:
        said: Any = json.loads(body)
    except ValueError:
        said = None
    if status not in (200, 503) or not isinstance(said, dict) or "ready" not in said:
        message = _("another program answers at {address}")
        remedy = _("stop it, or choose another port")
        return failure(NAME, message, remedy, address=address)
    reasons = said.get("reasons")
    why = "; ".join(map(str, reasons)) if isinstance(reasons, list) else ""
    if not said["ready"]:
        message = _("runs at {address}, and cannot serve: {why}")
        return failure(NAME, message, _("see to that"), address=address, why=why)
    if why:
        message = _("serves at {address}, though: {why}")
        return warning(NAME, message, _("see to that"), address=address, why=why)
    return ok(NAME, _("serves at {address}"), address=address)
