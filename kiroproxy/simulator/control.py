"""The control API under `/_sim`: queue scripts, inject faults, open gates, look at what came in."""

import json
from collections.abc import Callable
from dataclasses import fields as fields_of
from typing import Any, Protocol

from kiroproxy.simulator.accounts import Accounts
from kiroproxy.simulator.exchange import Answer, Request
from kiroproxy.simulator.logins import Logins
from kiroproxy.simulator.scenes import MAKERS, SCENES, find_scene
from kiroproxy.simulator.script import Program, ScriptError
from kiroproxy.simulator.state import Fault, Queued, State

ENTRY_KEYS = {"match", "bearer", "times", "script", "name", "always"}
FAULT_KEYS = {field.name for field in fields_of(Fault)}
DEVICE_MODES = ("auto", "manual", "deny", "expire", "approve")


class Host(Protocol):
    """What the control API needs of the simulator."""

    state: State
    accounts: Accounts
    logins: Logins

    def compile(self, script: Any) -> Program:
        """Compile a script."""

    def reset(self) -> None:
        """Forget everything."""


def queue_entries(given: Any, compile_one: Callable[[Any], Program]) -> list[Queued]:
    """Queue entries of a script file: one script, played always, or a list of entries.

    An entry is `{"script": … or "name": …, "match"?, "bearer"?, "times"?, "always"?}`; without
    `times` it is played once, `null` is for ever. What is `always` played comes before directives
    and refusals; its `match` is looked for in the whole body.

    Raises:
        ScriptError: it is neither.
    """
    if isinstance(given, list):
        return [queue_entry(entry, compile_one) for entry in given]
    return [queue_entry({"script": given, "times": None}, compile_one)]


def queue_entry(entry: Any, compile_one: Callable[[Any], Program]) -> Queued:
    """One queue entry; its script is compiled now, and again when it needs fresh ids.

    Raises:
        ScriptError: it cannot be understood.
    """
    if not isinstance(entry, dict) or set(entry) - ENTRY_KEYS:
        raise ScriptError(f"an entry has {', '.join(sorted(ENTRY_KEYS))}")
    if ("script" in entry) == ("name" in entry):
        raise ScriptError("an entry has a script or the name of one")
    try:
        script = entry["script"] if "script" in entry else find_scene(entry["name"])
    except ValueError as error:
        raise ScriptError(str(error)) from error
    compile_one(script)
    return Queued(
        make=lambda: compile_one(script),
        match=entry.get("match"),
        bearer=entry.get("bearer"),
        times=entry.get("times", 1),
        always=entry.get("always") is True,
    )


class Control:
    """Views of the control API."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._views: dict[tuple[str, str], Callable[[Request], Any]] = {
            ("GET", "/_sim"): lambda _: {"paths": [" ".join(key) for key in self._views]},
            ("DELETE", "/_sim"): self._reset,
            ("GET", "/_sim/scripts"): self._scripts,
            ("POST", "/_sim/script"): self._queue,
            ("POST", "/_sim/fault"): self._fault,
            ("GET", "/_sim/requests"): self._requests,
            ("GET", "/_sim/state"): self._state,
            ("POST", "/_sim/accounts"): self._account,
            ("POST", "/_sim/device"): self._device,
            ("POST", "/_sim/gate/NAME"): self._gate,
        }

    def answer(self, request: Request) -> Answer:
        """Answer a control call; what cannot be understood is 400 with the reason."""
        path = request.path.rstrip("/")
        if path.startswith("/_sim/gate/"):
            path = "/_sim/gate/NAME"
        view = self._views.get((request.method, path))
        if view is None:
            return Answer({"error": f"no such path: {request.method} {request.path}"}, 404)
        try:
            return Answer(view(request))
        except (ValueError, TypeError, KeyError) as error:
            return Answer({"error": str(error)}, 400)

    def _body(self, request: Request) -> Any:
        """The body; the standard library's parser lets lone surrogates pass."""
        return json.loads(request.body or b"{}")

    def _reset(self, _: Request) -> Any:
        self._host.reset()
        return {"reset": True}

    def _scripts(self, _: Request) -> Any:
        scenes = {
            # A lone surrogate has no UTF-8 form: shown as its escape.
            name: {"about": scene.about, "damaged": scene.damaged, "json": json.dumps(scene.script)}
            for name, scene in SCENES.items()
        }
        return {"scripts": scenes, "withArguments": sorted(MAKERS)}

    def _queue(self, request: Request) -> Any:
        given = self._body(request)
        entries = given if isinstance(given, list) else [given]
        self._host.state.queue += [queue_entry(e, self._host.compile) for e in entries]
        return {"queued": len(self._host.state.queue)}

    def _fault(self, request: Request) -> Any:
        given = self._body(request)
        unknown = set(given) - FAULT_KEYS
        if unknown:
            raise ValueError(f"unknown {sorted(unknown)}; known: {sorted(FAULT_KEYS)}")
        if given.get("end") not in (None, "reset", "close", "hang"):
            raise ValueError("end is reset, close or hang")
        self._host.state.faults.append(Fault(**given))
        return {"faults": len(self._host.state.faults)}

    def _requests(self, request: Request) -> Any:
        path = request.query.get("path")
        recorded = self._host.state.recorder.requests
        return [one.recorded() for one in recorded if path in (None, one.path)]

    def _state(self, _: Request) -> Any:
        accounts = self._host.accounts
        return {
            **self._host.state.counters.describe(),
            "refreshes": accounts.refreshes(),
            "reuses": accounts.reuses(),
            "requests": len(self._host.state.recorder.requests),
            "requestsDropped": self._host.state.recorder.dropped,
            "queued": len(self._host.state.queue),
            "faults": len(self._host.state.faults),
            "accounts": {a.id: a.describe() for a in accounts.all.values()},
        }

    def _account(self, request: Request) -> Any:
        return self._host.accounts.register(self._body(request), request.time).describe()

    def _device(self, request: Request) -> Any:
        given = self._body(request)
        logins = self._host.logins
        mode = given.get("mode")
        if mode is not None and mode not in DEVICE_MODES:
            raise ValueError(f"mode is one of {', '.join(DEVICE_MODES)}")
        if mode == "approve" or "userCode" in given:
            return {"changed": logins.decide_device(given.get("userCode"), mode or "approve")}
        logins.mode = mode or logins.mode
        logins.interval = float(given.get("interval", logins.interval))
        logins.expires_in = float(given.get("expiresIn", logins.expires_in))
        logins.slow_downs = int(given.get("slowDowns", logins.slow_downs))
        logins.email = given.get("email", logins.email)
        return {
            "mode": logins.mode,
            "interval": logins.interval,
            "expiresIn": logins.expires_in,
            "slowDowns": logins.slow_downs,
            "email": logins.email,
        }

    def _gate(self, request: Request) -> Any:
        name = request.path.removeprefix("/_sim/gate/")
        count = self._body(request).get("count", 1)
        self._host.state.release(name, count)
        return {"gate": name, "released": count}
