"""An iterator of reply batches → a streaming response that closes upstream on every path."""

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from flask import Response

from kiroproxy import observability as obs
from kiroproxy.conversation import Failed, ReplyEvent, Stop
from kiroproxy.errors import ServerStopping
from kiroproxy.web.disconnect import ClientGone, DisconnectWatcher
from kiroproxy.web.draining import TimeIsUp, Work
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


class Account:
    """Measures one request, and says how it ended, once."""

    def __init__(self, route: str, *, stream: bool, model: str, client: str = "") -> None:
        self._route = route
        self._client = client
        self._stream = stream
        self._model = model
        self._began = time.monotonic()
        self._first: float | None = None
        self._ended = False
        obs.IN_FLIGHT.inc()

    def first_event(self) -> None:
        """The answer starts."""
        if self._first is None:
            self._first = time.monotonic() - self._began
            obs.FIRST_EVENT.labels(self._route).observe(self._first)

    def end(self, status: int, ending: str, last: ReplyEvent | None = None) -> None:
        """The answer is over; `ending` is a stop reason, an error's type or `client_gone`."""
        if self._ended:
            return
        self._ended = True
        duration = time.monotonic() - self._began
        obs.IN_FLIGHT.dec()
        obs.REQUESTS.labels(self._route, str(status), str(self._stream).lower()).inc()
        obs.DURATION.labels(self._route).observe(duration)
        obs.ENDINGS.labels(ending).inc()
        usage = last.usage if type(last) is Stop else None
        obs.log.info(
            "request",
            route=self._route,
            model=self._model,
            client=self._client,
            status=status,
            ending=ending,
            first_event_s=None if self._first is None else round(self._first, 4),
            duration_s=round(duration, 4),
            input_count=usage.input_tokens if usage else None,
            output_count=usage.output_tokens if usage else None,
            usage_source=usage.source if usage else None,
            credits=usage.credits if usage else None,
        )


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
            self._last = batch[-1]
            return self._writer.feed(batch)
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
        return self._writer.feed([self._last])

    def close(self) -> None:
        """Close upstream, give the credential back, say how it ended."""
        self._watcher.stop()
        self._work.done()
        last = self._last
        if type(last) is Failed:
            self._stream.error = last.error
        try:
            self._stream.close()
        finally:
            if type(last) is Stop:
                self._account.end(200, last.reason, last)
            elif type(last) is Failed:
                self._account.end(200, type(last.error).__name__)
            else:
                self._account.end(200, "client_gone")


def collect_events(stream: ReplySource) -> list[ReplyEvent]:
    """All events of a primed reply; upstream is closed."""
    try:
        return [event for batch in stream if batch for event in batch]
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
            stream = begin()
            events = [] if stream_with is not None else collect_events(stream)
        if stream_with is not None:
            body = SseBody(stream, stream_with(stream), watcher, account, work)
            handed_over = True
            return Response(body, headers=SSE_HEADERS, direct_passthrough=True)
        account.first_event()
        response = fold(events)
        last = events[-1]
        account.end(200, last.reason if type(last) is Stop else "error", last)
        return response
    except Exception:
        raise  # the error handler answers, and ends the account with its status
    except TimeIsUp:
        raise ServerStopping from None
    except BaseException as error:
        account.end(499, "client_gone" if isinstance(error, ClientGone) else "stopped")
        raise
    finally:
        if not handed_over:
            watcher.stop()
            work.done()
