"""An iterator of reply batches → a streaming response that closes upstream on every path."""

from collections.abc import Callable, Iterable
from typing import Protocol

from flask import Response

from kiroproxy.conversation import Failed, ReplyEvent, Stop
from kiroproxy.errors import ServerStopping
from kiroproxy.web.account import CLIENT_GONE, GONE_STATUS, Account
from kiroproxy.web.disconnect import ClientGone, DisconnectWatcher
from kiroproxy.web.draining import LastPiece, TimeIsUp, Work
from kiroproxy.web.replies import ReplySource

SSE_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


class Writer(Protocol):
    """A dialect's stream."""

    def feed(self, events: Iterable[ReplyEvent]) -> bytes:
        """Render a batch."""

    def ping(self) -> bytes:
        """Something to send in a silence; empty where the dialect has nothing."""


class SseBody:
    """The body of a streamed answer. gunicorn calls `close` on every path."""

    def __init__(
        self,
        stream: ReplySource,
        writer: Writer,
        watcher: DisconnectWatcher,
        account: Account,
        work: Work,
    ) -> None:
        self._stream = stream
        self._writer = writer
        self._watcher = watcher
        self._account = account
        self._work = work
        self._last: ReplyEvent | None = None
        self._greeting = stream.held
        """A held answer begins with a ping at once (design 4)."""

    def __iter__(self) -> "SseBody":
        return self

    def __next__(self) -> bytes:
        if self._greeting:
            self._greeting = False
            return self._writer.ping()
        try:
            with self._work:
                batch = next(self._stream)
            if batch is None:
                return self._writer.ping()
            self._account.first_event()
            self._last = last = batch[-1]
            data = self._writer.feed(batch)
            return LastPiece(data) if type(last) is Stop or type(last) is Failed else data
        except StopIteration:
            raise
        except TimeIsUp:
            return self._break_off()
        except Exception as error:  # a bug of ours: the connection breaks, and the log says why
            self._last = Failed(error)
            raise

    def _break_off(self) -> bytes:
        """The dialect's error as the last event; upstream is closed by `close`."""
        if type(self._last) in (Stop, Failed):  # it had come to its end by itself
            raise StopIteration
        self._last = Failed(ServerStopping())
        return LastPiece(self._writer.feed([self._last]))

    def close(self) -> None:
        """Close upstream, give the credential back, say how it ended."""
        self._watcher.stop()
        self._work.done()
        last = self._last
        if type(last) is Failed:
            self._stream.error = last.error
        try:
            self._end(last)
        finally:
            self._stream.close()
            self._account.settle()

    def _end(self, last: ReplyEvent | None) -> None:
        if type(last) is Stop:
            self._account.end(200, last.reason, last)
        elif type(last) is Failed:
            self._account.end(200, type(last.error).__name__, error=last.error)
        else:
            self._account.end(200, CLIENT_GONE)


def folded(
    stream: ReplySource, fold: Callable[[list[ReplyEvent]], Response], account: Account, work: Work
) -> Response:
    """The answer of a reply that is read to its end; upstream is closed."""
    try:
        with work:
            events = [event for batch in stream if batch for event in batch]
        account.first_event()
        response = fold(events)
        last = events[-1]
        account.end(200, last.reason if type(last) is Stop else "error", last)
        return response
    finally:
        stream.close()


def answer(
    begin: Callable[[], ReplySource],
    stream_with: Callable[[ReplySource], Writer] | None,
    fold: Callable[[list[ReplyEvent]], Response],
    watcher: DisconnectWatcher,
    account: Account,
    work: Work,
) -> Response:
    """Open the reply and answer, streamed if there is a writer, else folded into one body.

    Raises:
        KiroProxyError: nothing was sent yet.
    """
    handed_over = False
    watcher.start()
    try:
        with work:
            stream = account.source = begin()
        if stream_with is None:
            return folded(stream, fold, account, work)
        body = SseBody(stream, stream_with(stream), watcher, account, work)
        handed_over = True
        return Response(body, headers=SSE_HEADERS, direct_passthrough=True)
    except Exception:
        raise  # the error handler answers, and ends the account with its status
    except TimeIsUp:
        raise ServerStopping from None
    except BaseException as error:
        account.end(GONE_STATUS, CLIENT_GONE if isinstance(error, ClientGone) else "stopped")
        raise
    finally:
        if not handed_over:
            watcher.stop()
            work.done()
            account.settle()
