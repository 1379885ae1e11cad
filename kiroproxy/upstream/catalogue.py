"""The live model list of Kiro: fetched in the background, never waited for by a request.

Fresh for five minutes, usable for thirty (protocol notes 6.3); before the first answer the
built-in list serves.
"""

import threading
import time
from collections.abc import Callable, Sequence

from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.pool import Pool
from kiroproxy.errors import KiroProxyError
from kiroproxy.kiro.errors import error_from_response
from kiroproxy.kiro.events import lenient_json
from kiroproxy.kiro.models import BUILT_IN, Model, parse_models
from kiroproxy.upstream.endpoint import Voice, account_arguments, control_call

FRESH_S = 300.0
STALE_S = 1800.0
RETRY_S = 30.0
PAGES = 10
TIMEOUT_S = 10.0


class CatalogueClient:
    """Calls ListAvailableModels on behalf of a credential."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice

    def fetch(self, credential: Credential) -> list[Model]:
        """All pages.

        Raises:
            KiroProxyError: a page could not be had.
        """
        models: list[Model] = []
        token = ""
        seen: set[str] = set()
        for _ in range(PAGES):
            arguments = account_arguments(credential) | {"maxResults": 50}
            if token:
                arguments["nextToken"] = token
            call = control_call(self._voice, credential, "ListAvailableModels", arguments)
            answer = self._voice.transport.call(
                call.method,
                call.url,
                headers=call.headers,
                body=call.body,
                route=self._voice.route_of(credential),
                timeout_s=TIMEOUT_S,
            )
            if answer.status != 200:
                raise error_from_response(answer.status, answer.headers, answer.body)
            page = lenient_json(answer.body)
            models += parse_models(page)
            next_token = page.get("nextToken")
            if not isinstance(next_token, str) or not next_token.strip() or next_token in seen:
                break
            token = next_token
            seen.add(token)
        return models


class Catalogue:
    """What a worker knows of Kiro's models."""

    def __init__(
        self,
        pool: Pool,
        fetch: Callable[[Credential], list[Model]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._fetch = fetch
        self._clock = clock
        self._models: list[Model] = []
        self._fetched_at = -STALE_S
        self._tried_at = -RETRY_S
        self._done = threading.Event()
        self._running = False

    def models(self, wait_s: float = 0.0) -> Sequence[Model]:
        """The newest list there is; on the first call `wait_s` may be spent for a live one."""
        now = self._clock()
        if now - self._fetched_at >= FRESH_S and now - self._tried_at >= RETRY_S:
            self._start(now)
        if wait_s and self._running and not self._models:
            self._done.wait(wait_s)
        usable = self._models and self._clock() - self._fetched_at < STALE_S
        return self._models if usable else BUILT_IN

    def _start(self, now: float) -> None:
        if self._running:
            return
        self._tried_at = now
        self._running = True
        self._done.clear()
        threading.Thread(target=self._run, name="catalogue", daemon=True).start()

    def _run(self) -> None:
        try:
            lease = self._pool.lease("")
            try:
                models = self._fetch(lease.credential)
            finally:
                lease.release(GeneratorExit())  # says nothing about the credential
            if models:
                self._models = models
                self._fetched_at = self._clock()
        except KiroProxyError:
            return  # the built-in list serves on; the next request tries again
        finally:
            self._running = False
            self._done.set()
