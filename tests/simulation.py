"""A running simulator for tests: a subprocess, and calls of its control API."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

REPOSITORY = Path(__file__).parents[1]


class Simulator:
    """`with Simulator() as sim:` starts a simulator on a free port and kills it at the end."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self._http = requests.Session()
        self._http.trust_env = False
        self.url = ""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "kiroproxy.simulator", "--port", "0", "--quiet"]
        self._process = subprocess.Popen(
            [*command, *self._options],
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if "listening on" not in line:
            self.stop()
            raise RuntimeError(f"the simulator did not start: {line!r}")
        self.url = line.split()[-1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill it."""
        self._http.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call the control API; a refusal fails the test."""
        data = None if body is None else json.dumps(body)
        answer = self._http.request(method, f"{self.url}/_sim{path}", data=data, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def script(
        self,
        script: dict[str, Any] | str,
        *,
        match: str | None = None,
        times: int | None = 1,
        bearer: str | None = None,
    ) -> None:
        """Queue a script, or the name of one, for the next prompts that contain `match`."""
        key = "name" if isinstance(script, str) else "script"
        entry = {key: script, "match": match, "times": times, "bearer": bearer}
        self.control("POST", "/script", entry)

    def fault(self, path: str, **fault: Any) -> None:
        """Let a path fail; see `kiroproxy.simulator.state.Fault` for what can be said."""
        self.control("POST", "/fault", {"path": path, **fault})

    def requests(self, path: str | None = None) -> list[dict[str, Any]]:
        """What came in, in order."""
        query = f"?path={path}" if path else ""
        recorded: list[dict[str, Any]] = self.control("GET", f"/requests{query}")
        return recorded

    def state(self) -> dict[str, Any]:
        """Counters."""
        counters: dict[str, Any] = self.control("GET", "/state")
        return counters

    def wait_for(self, timeout_s: float = 5, **expected: Any) -> dict[str, Any]:
        """Wait until the counters have these values."""
        deadline = time.monotonic() + timeout_s
        while True:
            state = self.state()
            if all(state[key] == value for key, value in expected.items()):
                return state
            assert time.monotonic() < deadline, f"{expected} not reached: {state}"
            time.sleep(0.01)

    def gate(self, name: str, count: int | None = 1) -> None:
        """Let `count` frames through a gate; `None` opens it for good."""
        self.control("POST", f"/gate/{name}", {"count": count})

    def account(self, **fields: Any) -> dict[str, Any]:
        """Register an account, or change one; see `kiroproxy.simulator.accounts.SETTABLE`."""
        account: dict[str, Any] = self.control("POST", "/accounts", fields)
        return account

    def device(self, **fields: Any) -> dict[str, Any]:
        """How device sign-ins go: `mode`, `interval`, `expiresIn`, or a `userCode`'s outcome."""
        answer: dict[str, Any] = self.control("POST", "/device", fields)
        return answer

    def reset(self) -> None:
        """Forget everything."""
        self.control("DELETE", "")


def chat_body(
    content: str = "hello",
    *,
    history: list[dict[str, Any]] | None = None,
    context: dict[str, Any] | None = None,
    **user: Any,
) -> dict[str, Any]:
    """A chat request that Kiro accepts."""
    message: dict[str, Any] = {"content": content, "modelId": "claude-sonnet-4.5", **user}
    message.setdefault("origin", "AI_EDITOR")
    if context is not None:
        message["userInputMessageContext"] = context
    state: dict[str, Any] = {
        "chatTriggerType": "MANUAL",
        "conversationId": "6f3c0d5e-7c0e-4a50-9a0e-3f1b1d3f8c11",
        "currentMessage": {"userInputMessage": message},
    }
    if history:
        state["history"] = history
    return {"conversationState": state}
