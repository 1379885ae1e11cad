"""Secrets by name, by looks and by value; frames stay sound."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.eventstream import Checksum, Decoder, build_event, build_exception, build_frame
from kiroproxy.recording.redaction import (
    KEPT_OF_REQUEST,
    SLICE,
    Redactor,
    frames,
    secrets_in,
    slices,
)

ARN = "arn:aws:codewhisperer:us-east-1:123456789012:profile/ABCDEFGHIJKL"
LOOKS = [
    ("authorization: Bearer abc.def-123456", "abc.def-123456"),
    ("http://user:pass@proxy:3128/x", "user:pass"),
    ("my key is ksk_abcdef123", "abcdef123"),
    ("use sk-ant-api03-abcdefghijklmnop", "ant-api03"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkw.c2lnbmF0dXJl", "JhbGciOi"),
    ("AKIAABCDEFGHIJKLMNOP here", "ABCDEFGHIJKLMNOP"),
    ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghij"),
    (f"for {ARN}.", "123456789012"),
    (f"for {ARN}.", "ABCDEFGHIJKL"),
]


@pytest.mark.parametrize(("given_", "secret"), LOOKS)
def test_what_looks_like_a_secret(given_: str, secret: str) -> None:
    redactor = Redactor(())
    assert secret not in redactor.text(given_)
    wire = redactor.wire(given_.encode())
    assert secret.encode() not in wire
    assert len(wire) == len(given_.encode())


@pytest.mark.parametrize(
    "harmless",
    [
        "The bearer token included in the request is invalid",
        "risk-management-and-control-of-everything",
        "https://example.com/a@b",
        "a 200 OK, max_tokens 4096, 2026-11-28T10:00:00Z",
        "arn:aws:s3:::my-bucket",
    ],
)
def test_what_does_not(harmless: str) -> None:
    assert Redactor(()).text(harmless) == harmless
    assert Redactor(()).wire(harmless.encode()) == harmless.encode()


def test_by_name() -> None:
    body = {
        "model": "m",
        "max_tokens": 100,
        "metadata": {"user_id": "user_abc_session_def"},
        "user": "anna",
        "profileArn": ARN,
        "tools": [{"name": "get_token", "input_schema": {"properties": {"token": {"type": "x"}}}}],
        "messages": [
            {"role": "user", "content": [{"type": "tool_use", "input": {"password": "hunter2"}}]}
        ],
    }
    masked, raw = Redactor(()).body(json.dumps(body).encode())
    assert raw is None
    assert masked is not None
    assert masked["messages"][0]["content"][0]["input"] == {"password": "***"}
    assert masked["metadata"] == {"user_id": "***"}
    assert (masked["user"], masked["profileArn"], masked["max_tokens"]) == ("***", "***", 100)
    assert masked["tools"] == body["tools"]
    assert masked["messages"][0]["role"] == "user"


def test_by_value_wherever_it_stands() -> None:
    secret = 'odd"secret\\of\u00e4mine'
    redactor = Redactor([secret, "abc", "123456"])
    masked, _ = redactor.body(json.dumps({"a": f"x{secret}y", f"k{secret}": ["123456"]}).encode())
    assert masked == {"a": "x***y", "k***": ["***"]}
    for ascii_only in (True, False):
        wire = json.dumps({"a": secret, "n": 123456}, ensure_ascii=ascii_only).encode()
        after = redactor.wire(wire)
        assert len(after) == len(wire)
        assert json.loads(after)["n"] == 111111, "a number stays one"
        assert "odd" not in after.decode()
    assert redactor.text("abc abcd") == "abc abcd", "too short to be looked for"


@pytest.mark.parametrize("body", [b"{not json", b"\xff\xfe", b'"text"', b"[1]", b"null", b""])
def test_a_body_that_is_no_object_stays_bytes(body: bytes) -> None:
    assert Redactor(()).body(body) == (None, body)


def test_headers_and_query() -> None:
    redactor = Redactor(["sk-my-key-1"])
    headers = [
        ("X-Api-Key", "sk-my-key-1"),
        ("User-Agent", f"tool/1 {'a1' * 32}"),
        ("X-Forwarded-For", "10.1.2.3"),
        ("X-Stainless-Lang", "python"),
        ("X-Anything-Else", "who knows"),
        ("Content-Type", "application/json"),
    ]
    assert redactor.headers(headers, KEPT_OF_REQUEST) == {
        "x-api-key": "***",
        "user-agent": "tool/1 ***",
        "x-forwarded-for": "***",
        "x-stainless-lang": "python",
        "x-anything-else": "***",
        "content-type": "application/json",
    }
    assert redactor.query("beta=true&key=abc&flag&sk-my-key-1=") == "beta=true&key=***&flag&***="


@pytest.mark.parametrize("checksum", Checksum)
def test_frames_stay_sound_and_cuts_stay_where_they_are(checksum: Checksum) -> None:
    headers = {":event-type": "assistantResponseEvent", ":message-type": "event"}
    parts = [
        build_frame(headers, b'{"content":"my-access-token"}', checksum),
        build_frame(headers, b'{"content":"account 123456789012"}', checksum),
        build_frame(
            {":exception-type": "AccessDeniedException", ":message-type": "exception"},
            b'{"message":"User 123456789012 is not authorized"}',
            checksum,
        ),
    ]
    stream = b"".join(parts)
    pieces = [stream[at : at + 7] for at in range(0, len(stream), 7)]
    after = Redactor(["my-access-token"]).stream(pieces)
    assert [len(one) for one in after] == [len(one) for one in pieces]
    assert decode(after) == [
        b'{"content":"***************"}',
        b'{"content":"account 123456789012"}',
        b'{"message":"User 111111111111 is not authorized"}',
    ]


def decode(pieces: list[bytes]) -> list[bytes]:
    decoder = Decoder()
    payloads = [frame.payload for piece in pieces for frame in decoder.feed(piece)]
    decoder.close()
    return payloads


def test_behind_a_damaged_frame_others_are_masked_and_sound() -> None:
    damaged = bytearray(build_event("a", b'{"content":"before"}'))
    damaged[-6] ^= 1
    sound = build_event("a", b'{"content":"my-access-token"}')
    after = b"".join(Redactor(["my-access-token"]).stream([bytes(damaged) + sound]))
    assert after.startswith(bytes(damaged))
    assert b"my-access-token" not in after
    assert [total for _, total, _ in frames(after)] == [len(sound)]


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=12))
def test_any_bytes_keep_their_length(noise: bytes, cuts: list[int]) -> None:
    data = build_exception("E", b'{"m":"999999999999"}') + noise
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(data[at : at + cut])
        at += cut
    pieces.append(data[at:])
    after = Redactor(["secret", "999999"]).stream(pieces)
    assert [len(one) for one in after] == [len(one) for one in pieces]


def test_long_texts_are_cut_at_blanks() -> None:
    word = "x" * 1000
    text = " ".join([word] * 300)
    parts = list(slices(text))
    assert "".join(parts) == text
    assert all(len(part) <= SLICE and set(part.split()) == {word} for part in parts)
    assert list(slices("y" * (SLICE + 5))) == ["y" * SLICE, "y" * 5]
    long = ("a word or two " * 20_000) + "Bearer abcdef-123456 " + "more " * 20_000
    assert "abcdef-123456" not in Redactor(()).text(long)


def test_secrets_of_a_document() -> None:
    document = [{"refreshToken": "a", "n": {"clientSecret": "b", "label": "c"}}, {"apiKey": "d"}]
    assert list(secrets_in(document)) == ["a", "b", "d"]
