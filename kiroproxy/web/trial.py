"""One question to Kiro through one credential: does it answer, and how soon?"""

import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass

from kiroproxy.conversation import Conversation, Failed, Message, Stop, Text, TextDelta, Usage
from kiroproxy.credentials.borrowing import Borrower
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.pool import Lease
from kiroproxy.credentials.trace import Trace
from kiroproxy.errors import KiroProxyError, NoCredential, NotFound
from kiroproxy.kiro.models import Choice, choose_model
from kiroproxy.relay import ReplyStream, relay
from kiroproxy.web.replies import choose
from kiroproxy.web.services import Services

MODEL = "claude-haiku-4-5"
QUESTION = "Reply with one short sentence: are you there?"
SHOWN = 200
"""Characters of the answer that are kept."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A good end; times in seconds since the question was sent."""

    credential_id: int
    model: str
    answer: str
    first_event_s: float
    total_s: float
    input_tokens: int
    output_tokens: int
    credits: float
    attempts: int
    trace: str


class _Only:
    """A borrower's view on one credential: there is no other to turn to."""

    def __init__(self, borrower: Borrower, credential_id: int) -> None:
        self._borrower = borrower
        self._id = credential_id

    def lease(self, model: str, exclude: Collection[int] = (), only: int | None = None) -> Lease:
        """A place of that credential, also while it rests.

        Raises:
            NoCredential: it is disabled, or busy; or another one was asked for.
        """
        if self._id in exclude:
            raise NoCredential("there is no other")
        return self._borrower.lease(model, only=self._id)

    def force_refresh(self, credential: Credential, rejected_access_token: str) -> Credential:
        """Another access token than the one that upstream refused."""
        return self._borrower.force_refresh(credential, rejected_access_token)

    def resolve_profile(self, credential: Credential) -> bool:
        """Ask Kiro for the account's profile; whether there is another one now."""
        return self._borrower.resolve_profile(credential)


def try_credential(parts: Services, credential_id: int, model: str = MODEL) -> Trial:
    """Ask one question, through that credential alone.

    Raises:
        NotFound: there is no such credential or model.
        KiroProxyError: what a client would have been told.
    """
    if parts.pool.store.snapshot().get(credential_id) is None:
        raise NotFound(f"There is no credential {credential_id}.")
    choice = _choose(parts, model)
    trace = Trace(uuid.uuid4().hex)
    only = _Only(parts.pool.borrower(trace=trace), credential_id)
    question = Conversation(
        model=model, messages=[Message("user", [Text(QUESTION)])], max_tokens=100, stream=True
    )
    began = time.monotonic()
    stream = relay(question, choice, only, parts.client, parts.request_settings, parts.timing)
    try:
        read = _read(stream, began)
    except BaseException as error:
        stream.error = error if isinstance(error, KiroProxyError) else None
        raise
    finally:
        stream.close()
    return Trial(
        credential_id=credential_id,
        model=choice.model.id,
        answer=" ".join(read.answer.split())[:SHOWN],
        first_event_s=round(read.first_s, 3),
        total_s=round(time.monotonic() - began, 3),
        input_tokens=read.usage.input_tokens,
        output_tokens=read.usage.output_tokens,
        credits=read.usage.credits,
        attempts=len(trace.attempts),
        trace=trace.id,
    )


def _choose(parts: Services, model: str) -> Choice:
    """The built-in table first: a live list would be fetched through any credential."""
    try:
        return choose_model(model, parts.models)
    except NotFound:
        return choose(parts, model)


@dataclass(slots=True)
class _Reading:
    answer: str
    first_s: float
    usage: Usage


def _read(stream: ReplyStream, began: float) -> _Reading:
    """The whole answer.

    Raises:
        KiroProxyError: it broke off.
    """
    answer = ""
    usage = Usage(0, 0)
    first_s: float | None = None
    for batch in stream:
        if batch and first_s is None:
            first_s = time.monotonic() - began
        for event in batch or ():
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, TextDelta):
                answer += event.text
            elif isinstance(event, Stop):
                usage = event.usage
    return _Reading(answer, time.monotonic() - began if first_s is None else first_s, usage)
