"""The optional external counter of input tokens (S65 to S67)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from kiroproxy import tracing
from kiroproxy.errors import KiroProxyError
from kiroproxy.kiro.events import lenient_json
from kiroproxy.observability import log
from kiroproxy.transport import Route, Transport

TIMEOUT_S = 10.0
FIELDS = ("model", "messages", "system", "tools")


class CountApi:
    """Asks `countTokensApiUrl`. `auth_type` is `x-api-key` or `bearer`."""

    def __init__(
        self, transport: Transport, route: Route, *, url: str, key: str, auth_type: str
    ) -> None:
        self._transport = transport
        self._route = route
        self._url = url
        self._headers = {"content-type": "application/json"}
        if key and auth_type == "bearer":
            self._headers["authorization"] = f"Bearer {key}"
        elif key:
            self._headers["x-api-key"] = key

    def count(self, body: Mapping[str, Any]) -> int | None:
        """The service's count, or None when it fails: the estimate serves then (S67)."""
        wanted = {name: body[name] for name in FIELDS if body.get(name)}
        try:
            answer = self._transport.call(
                "POST",
                self._url,
                headers=self._headers | tracing.outgoing(),
                body=msgspec.json.encode(wanted),
                route=self._route,
                timeout_s=TIMEOUT_S,
            )
        except KiroProxyError as error:
            log.warning("count_tokens service failed", reason=str(error))
            return None
        count = lenient_json(answer.body).get("input_tokens")
        if answer.status // 100 != 2 or type(count) is not int or count < 0:
            log.warning("count_tokens service failed", status=answer.status)
            return None
        return count
