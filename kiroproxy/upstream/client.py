"""One attempt: POST, status → exception, a response whose body is read as it arrives."""

from kiroproxy.credentials.model import Credential
from kiroproxy.errors import ContextTooLong, EffortUnsupported, ServerFault
from kiroproxy.kiro.errors import error_from_response
from kiroproxy.kiro.request import KiroRequest
from kiroproxy.transport import Exchange
from kiroproxy.upstream.endpoint import Voice, chat_call

ERROR_BODY_LIMIT = 64 * 1024
ERROR_BODY_WAIT_S = 5.0
NOT_A_STREAM = ("text/html", "application/json")
"""A page of some gateway under a 200: its bytes are no frames (protocol notes 1.5)."""


class KiroClient:
    """Calls Kiro's chat endpoint; `header_wait_s` is how long Kiro may take to begin its answer."""

    def __init__(self, voice: Voice, *, header_wait_s: float) -> None:
        self.voice = voice
        self._header_wait_s = header_wait_s
        self._without_effort: set[str] = set()
        """Models that refused the native effort field (protocol notes 3.9)."""

    def generate(self, credential: Credential, request: KiroRequest) -> Exchange:
        """Send a request on behalf of a credential.

        A model that refuses the effort field is asked again without it, and remembered.

        Raises:
            KiroProxyError: by `kiro.errors`, for any answer but an open event stream.
        """
        model = request.model.id
        if request.effort and model not in self._without_effort:
            try:
                return self._post(credential, request, with_effort=True)
            except EffortUnsupported:
                self._without_effort.add(model)
        return self._post(credential, request, with_effort=False)

    def _post(self, credential: Credential, request: KiroRequest, *, with_effort: bool) -> Exchange:
        call = chat_call(self.voice, credential, request, with_effort=with_effort)
        exchange = self.voice.transport.open(
            call.method,
            call.url,
            headers=call.headers,
            body=call.body,
            route=self.voice.route_of(credential),
            timeout_s=self._header_wait_s,
        )
        if exchange.status == 200:
            kind = exchange.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind not in NOT_A_STREAM:
                return exchange
            exchange.close()
            raise ServerFault(f"Kiro answered with {kind} instead of an event stream.")
        try:
            body = exchange.read_all(ERROR_BODY_LIMIT, ERROR_BODY_WAIT_S)
        finally:
            exchange.close()
        error = error_from_response(exchange.status, exchange.headers, body)
        if isinstance(error, ContextTooLong):
            known = request.expectations
            raise ContextTooLong(known.input_tokens, known.context_window)
        raise error
