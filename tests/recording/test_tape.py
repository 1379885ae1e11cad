"""What is held while an exchange runs, and which exchanges are kept."""

import gc
from typing import Any

import pytest

from kiroproxy import errors as e
from kiroproxy.recording import tape as module
from kiroproxy.recording.tape import Live, Pieces, Share, Watched
from tests.recording.helpers import Shelf, new_tape, played
from tests.web.conftest import ScriptedExchange


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (e.InvalidRequest("improper"), True),
        (e.BadPayload("no JSON"), True),
        (e.NoCredential("none"), True),
        (ZeroDivisionError(), True),
        (e.NotAuthenticated("who?"), False),
        (e.NotAllowed("not here"), False),
        (e.LimitExceeded("later"), False),
        (e.ServerStopping(), False),
    ],
)
def test_failures_are_kept_but_for_those_that_explain_themselves(
    error: Exception, kept: bool
) -> None:
    shelf = Shelf()
    tape = new_tape(shelf)
    tape.end(400, type(error).__name__, error)
    tape.settle("a trace")
    assert [(one[1].why, one[1].error, one[2]) for one in shelf.kept] == (
        [("error", error, "a trace")] if kept else []
    )


def test_a_success_is_not_kept() -> None:
    shelf = Shelf()
    tape = new_tape(shelf)
    tape.settle()  # before its end
    tape.end(200, "end_turn")
    tape.settle()
    assert shelf.kept == []


def test_a_cut_answer_is_kept_and_only_once() -> None:
    shelf = Shelf()
    tape = new_tape(shelf)
    tape.truncated = True
    tape.end(200, "max_tokens")
    tape.end(200, "a later word", e.EmptyReply("?"))
    tape.settle()
    tape.settle()
    assert [(one[1].why, one[1].ending) for one in shelf.kept] == [("truncated", "max_tokens")]


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (e.BadHeader("odd", offset=3), True),
        (e.EmptyReply("nothing"), True),
        (e.Throttled("slow down"), False),
        (e.Unreachable("no way"), False),
        (e.BearerRejected("stale"), False),
    ],
)
def test_what_fail_over_hid_is_kept_if_it_tells_something(error: Exception, kept: bool) -> None:
    shelf = Shelf()
    tape = new_tape(shelf)
    played(tape)
    tape.failed(error)
    played(tape)
    tape.end(200, "end_turn")
    tape.settle()
    assert [one[1].why for one in shelf.kept] == (["hidden"] if kept else [])


def test_the_middle_of_a_long_stream_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECORD_BYTES", 1000)
    monkeypatch.setattr(module, "TAIL_BYTES", 300)
    pieces = Pieces(Share(Live()), 0.0)
    sent = [bytes([n]) * 100 for n in range(40)]
    for data in sent:
        pieces.add(data)
    assert [data for _, data in pieces.head] == sent[:10]
    assert [data for _, data in pieces.tail] == sent[-3:]
    assert (pieces.lost, pieces.size) == (2700, 4000)
    assert all(one is other for one, (_, other) in zip(sent, pieces.head, strict=False)), "no copy"


def test_all_exchanges_together_are_bounded_and_their_share_returns() -> None:
    live = Live(limit_bytes=1000)
    one, two = new_tape(live=live), new_tape(live=live)
    one.request_body(b"x" * 700)
    two.request_body(b"y" * 700)
    assert (one.body is None, two.body, two.body_size) == (False, None, 700)
    assert live.held_bytes == 700
    del one
    gc.collect()
    assert live.held_bytes == 0
    two.request_body(b"y" * 700)
    assert two.body is not None
    two.share.give_back()
    two.share.give_back()
    assert live.held_bytes == 0


def test_a_large_body_is_not_held_and_equal_ones_once() -> None:
    tape = new_tape()
    tape.request_body(b"x" * (module.BODY_BYTES + 1))
    assert tape.body is None
    for _ in range(2):
        tape.call(1, "ide", "http://x", {}, bytes(bytearray(b"the same body")))
    assert tape.calls[0].body is tape.calls[1].body
    assert tape.share.held_bytes == len(b"the same body")


def watched(*steps: Any, complete: bool = False) -> tuple[Watched, Any]:
    tape = new_tape()
    call = tape.call(1, "ide", "http://x", {}, None)
    exchange: Any = ScriptedExchange(list(steps))
    exchange.status, exchange.headers = 200, {"content-type": "x"}
    exchange.complete = complete
    call.answered(exchange)
    return Watched(exchange, call), call


def test_reads_are_noted_with_the_cuts_between_them() -> None:
    exchange, call = watched(b"one", None, b"two")
    assert [exchange.read(1) for _ in range(4)] == [b"one", None, b"two", b""]
    exchange.close()
    assert [data for _, data in call.pieces] == [b"one", b"two"]
    assert (call.status, call.framing, call.end) == (200, "chunked", "complete")


def test_how_an_answer_ended() -> None:
    exchange, call = watched(b"one", e.Unreachable("reset"))
    exchange.read(1)
    with pytest.raises(e.Unreachable):
        exchange.read(1)
    exchange.close()
    assert (call.end, type(call.error)) == ("broken", e.Unreachable)

    exchange, call = watched(b"one")
    exchange.read(1)
    exchange.close()
    assert call.end == "left"

    exchange, call = watched()
    exchange._exchange.read = lambda timeout_s: b""  # type: ignore[method-assign]
    exchange.read(1)
    exchange.close()
    assert call.end == "eof"
