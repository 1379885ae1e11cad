"""A Conversation → the source of its reply: the model, a search, or both."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Protocol

from flask import g

from kiroproxy.conversation import Conversation, ReplyEvent, SearchHit, Text, Usage
from kiroproxy.credentials.borrowing import Borrower
from kiroproxy.credentials.policy import DEFAULT_GROUP
from kiroproxy.credentials.pool import Lease
from kiroproxy.credentials.trace import Trace
from kiroproxy.errors import NotFound, Throttled
from kiroproxy.kiro.models import Choice, choose_model, listed_id
from kiroproxy.kiro.request import BILLING_HEADER
from kiroproxy.kiro.websearch import without_search
from kiroproxy.ledger.keys import check_model
from kiroproxy.relay import ReplyStream, relay
from kiroproxy.search import SearchLoopStream, SearchOnlyStream
from kiroproxy.upstream import failover
from kiroproxy.web.account import Account
from kiroproxy.web.services import Services

CATALOGUE_WAIT_S = 3.0
"""How long an unknown model's name may wait for the first live catalogue."""


class ReplySource(Protocol):
    """Where batches of ReplyEvents come from; None is a silence. `close` on every path."""

    error: Exception | None
    held: bool
    input_tokens: int

    def __iter__(self) -> Iterator[list[ReplyEvent] | None]: ...

    def __next__(self) -> list[ReplyEvent] | None: ...

    def usage(self) -> Usage:
        """What the reply has come to so far, for one that breaks off."""

    def close(self) -> None:
        """Close upstream, give the credential back."""


def choose(parts: Services, name: str) -> Choice:
    """Find the model; a name that nobody knows yet waits once for the live catalogue.

    Raises:
        NotFound: no rule knows it.
    """
    try:
        return choose_model(name, parts.models, parts.catalogue.models())
    except NotFound:
        return choose_model(name, parts.models, parts.catalogue.models(CATALOGUE_WAIT_S))


def conversation_key(conversation: Conversation) -> tuple[str, bool]:
    """What a conversation is recognised by, and whether this request goes on with one (design 5).

    The client's session, else a hash of the system text and the first user message. With the
    latter, a first turn begins a conversation: there is nothing yet that another credential's
    account would have to read again.
    """
    if conversation.session:
        return hashlib.sha256(conversation.session.encode()).hexdigest()[:32], True
    digest = hashlib.sha256()
    for text in conversation.system:
        digest.update(BILLING_HEADER.sub("", text).encode(errors="replace") + b"\0")
    first = next((one for one in conversation.messages if one.role == "user"), None)
    for block in first.content if first is not None else ():
        if isinstance(block, Text):
            digest.update(block.text.encode(errors="replace") + b"\0")
    goes_on = any(one.role == "assistant" for one in conversation.messages)
    return digest.hexdigest()[:32], goes_on


def borrower_of(parts: Services, conversation: Conversation) -> Borrower:
    """This request's dealings with the pool; `g.borrower` is for the answer's headers."""
    session, goes_on = conversation_key(conversation)
    g.borrower = borrower = parts.pool.borrower(
        g.get("group", DEFAULT_GROUP), session, resumes=goes_on, trace=Trace(g.request_id)
    )
    account = g.get("account")
    if account is not None:
        account.trace = borrower.trace
        borrower.turnstile = account.entrance
        borrower.client = account.key.id if account.key is not None else ""
    return borrower


def open_reply(parts: Services, conversation: Conversation) -> ReplySource:
    """Begin the reply: the answer has started when this returns.

    Raises:
        KiroProxyError: nothing was sent to the client yet.
    """
    choice = choose(parts, conversation.model)
    if (caller := g.get("caller")) is not None:
        check_model(caller, conversation.model, choice.model.id)
    account: Account | None = g.get("account")
    if account is not None:
        account.listed_model = listed_id(choice.model.id, parts.models, parts.catalogue.models())
    parts.images.fill(conversation)
    borrower = borrower_of(parts, conversation)

    def ask(conversation: Conversation) -> ReplyStream:
        stream = relay(
            conversation,
            choice,
            borrower,
            parts.client,
            parts.request_settings,
            parts.timing,
            parts.calibration,
            account.lost if account is not None else lambda usage: None,
            account.tape if account is not None else None,
        )
        borrower.answered()
        return stream

    def search(query: str) -> list[SearchHit]:
        def attempt(lease: Lease) -> list[SearchHit]:
            hits = parts.search.search(lease.credential, query)
            lease.release(None)
            return hits

        return failover.run(attempt, borrower, "")

    try:
        return _source(parts, conversation, ask, search)
    except Throttled as error:
        error.retry_after_s = _soonest_s(borrower, error.retry_after_s)
        raise


def _soonest_s(borrower: Borrower, given_s: float | None) -> float | None:
    """When the first credential returns: what the last one was told may be longer."""
    limits = borrower.limits(afresh=True)
    rest_s = limits.reset_s if limits is not None and limits.reset_s > 0 else None
    return min((one for one in (given_s, rest_s) if one is not None), default=None)


def _source(
    parts: Services,
    conversation: Conversation,
    ask: Callable[[Conversation], ReplyStream],
    search: Callable[[str], list[SearchHit]],
) -> ReplySource:
    filtering = parts.config.web_search == "filter"
    conversation = without_search(conversation, everything=filtering)
    if filtering or not conversation.web_search:
        return ask(conversation)
    if not conversation.tools and not conversation.left_out:
        if (account := g.get("account")) is not None and account.entrance is not None:
            account.entrance.enter()  # its lease comes when the answer has begun: too late for 429
        return SearchOnlyStream(conversation, search, parts.timing.ping_s)
    return SearchLoopStream(conversation, ask, search, parts.timing.ping_s)
