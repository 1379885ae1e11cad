"""The web search call: `POST /mcp`, plain JSON (protocol notes 7)."""

import random
from datetime import UTC, datetime

import msgspec

from kiroproxy.conversation import SearchHit
from kiroproxy.credentials.model import Credential, control_profile_arn
from kiroproxy.kiro.errors import error_from_response
from kiroproxy.kiro.websearch import parse_search, search_request
from kiroproxy.upstream.endpoint import Voice, api_base, chat_headers

TIMEOUT_S = 60.0
CHAT_ONLY = ("x-amzn-codewhisperer-optout", "x-amzn-kiro-agent-mode")


class SearchClient:
    """Calls Kiro's web search on behalf of a credential."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice

    def search(self, credential: Credential, query: str) -> list[SearchHit]:
        """Search once.

        Raises:
            KiroProxyError: as for chat; `ServerFault` if the answer is no search result.
        """
        headers = chat_headers(
            self._voice.identity, credential, self._voice.machine_id_of(credential)
        )
        for name in CHAT_ONLY:
            headers.pop(name)
        arn = control_profile_arn(credential)
        if arn:
            headers["x-amzn-kiro-profile-arn"] = arn
        request = search_request(query, datetime.now(UTC), random.SystemRandom())
        answer = self._voice.transport.call(
            "POST",
            api_base(self._voice.identity, credential) + "/mcp",
            headers=headers,
            body=msgspec.json.encode(request),
            route=self._voice.route_of(credential),
            timeout_s=TIMEOUT_S,
        )
        if answer.status != 200:
            raise error_from_response(answer.status, answer.headers, answer.body)
        return parse_search(answer.body)
