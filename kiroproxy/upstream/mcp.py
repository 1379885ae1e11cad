"""The web search call: `POST /mcp`, plain JSON (protocol notes 7)."""

import random
from datetime import UTC, datetime

import msgspec

from kiroproxy.conversation import SearchHit
from kiroproxy.credentials.model import Credential
from kiroproxy.kiro.errors import error_from_response
from kiroproxy.kiro.websearch import parse_search, search_request
from kiroproxy.upstream.endpoint import Voice, search_call

TIMEOUT_S = 60.0


class SearchClient:
    """Calls Kiro's web search on behalf of a credential."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice

    def search(self, credential: Credential, query: str) -> list[SearchHit]:
        """Search once.

        Raises:
            KiroProxyError: as for chat; `ServerFault` if the answer is no search result.
        """
        request = search_request(query, datetime.now(UTC), random.SystemRandom())
        call = search_call(self._voice, credential, msgspec.json.encode(request))
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
        return parse_search(answer.body)
