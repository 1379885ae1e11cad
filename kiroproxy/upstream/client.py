"""One attempt: POST, status → exception, a response whose body is read as it arrives."""

from typing import TYPE_CHECKING

from kiroproxy.credentials.model import DEFAULT_ENDPOINT, Credential
from kiroproxy.errors import ContextTooLong, EffortUnsupported, KiroProxyError, ServerFault
from kiroproxy.kiro.errors import error_from_response
from kiroproxy.kiro.request import KiroRequest
from kiroproxy.transport import Exchange
from kiroproxy.upstream.endpoint import Voice, chat_call

if TYPE_CHECKING:
    from kiroproxy.recording.tape import Call as TapedCall
    from kiroproxy.recording.tape import Readable, Tape

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

    def generate(
        self, credential: Credential, request: KiroRequest, tape: "Tape | None" = None
    ) -> "Readable":
        """Send a request on behalf of a credential.

        A model that refuses the effort field is asked again without it, and remembered. What
        passes goes onto the tape, if there is one.

        Raises:
            KiroProxyError: by `kiro.errors`, for any answer but an open event stream.
        """
        model = request.model.id
        if request.effort and model not in self._without_effort:
            try:
                return self._post(credential, request, tape, with_effort=True)
            except EffortUnsupported:
                self._without_effort.add(model)
        return self._post(credential, request, tape, with_effort=False)

    def _post(
        self, credential: Credential, request: KiroRequest, tape: "Tape | None", *,
        with_effort: bool,
    ) -> "Readable":  # fmt: skip
        call = chat_call(self.voice, credential, request, with_effort=with_effort)
        taped = None
        if tape is not None:
            endpoint = credential.endpoint or DEFAULT_ENDPOINT
            taped = tape.call(credential.id, endpoint, call.url, call.headers, call.body)
        try:
            exchange = self.voice.transport.open(
                call.method,
                call.url,
                headers=call.headers,
                body=call.body,
                route=self.voice.route_of(credential),
                timeout_s=self._header_wait_s,
            )
            opened = self._checked(exchange, request, taped)
        except KiroProxyError as error:
            if taped is not None:
                taped.error = error
            raise
        return opened

    def _checked(
        self, exchange: Exchange, request: KiroRequest, taped: "TapedCall | None"
    ) -> "Readable":
        """The open event stream.

        Raises:
            KiroProxyError: it is none.
        """
        if taped is not None:
            taped.answered(exchange)
        if exchange.status == 200:
            kind = exchange.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind not in NOT_A_STREAM:
                return exchange if taped is None else taped.watch(exchange)
            exchange.close()
            raise ServerFault(f"Kiro answered with {kind} instead of an event stream.")
        try:
            body = exchange.read_all(ERROR_BODY_LIMIT, ERROR_BODY_WAIT_S)
            if taped is not None:
                taped.answered_whole(body, complete=exchange.complete)
        finally:
            exchange.close()
        error = error_from_response(exchange.status, exchange.headers, body)
        if isinstance(error, ContextTooLong):
            known = request.expectations
            raise ContextTooLong(known.input_tokens, known.context_window)
        raise error
