"""Secrets in logs: by name, by looks, by heart."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from kiroproxy import masking

REFRESH = "refresh-token-of-a-person-" + "r" * 60


@pytest.fixture(autouse=True)
def nothing_by_heart() -> Iterator[None]:
    masking.forget()
    yield
    masking.forget()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Authorization: Bearer abc", "Authorization: Bearer ***"),
        ("socks5://me:p%40@h:1/x", "socks5://***@h:1/x"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("key ksk_abc-123 used", "key *** used"),
        ("key kp_0123456789abcdefghij used", "key *** used"),
        ("key kp_ab12…wxyz", "key kp_ab12…wxyz"),
        ("with sk-ant-api03-abcdef", "with ***"),
        ("sent aoaAAAAAGk_x/y+z=:MEUC-1 up", "sent *** up"),
        ("sent aorAAAAAGk_x/y+z=:MEUC-1, up", "sent ***, up"),
        ("jwt eyJhbGciOiJIUzI1.eyJzdWIi.c2ln end", "jwt *** end"),
        ('{"refreshToken": "abc123xyz"}', '{"refreshToken": "***"}'),
        ("{'clientSecret': 'abc123xyz', 'a': 1}", "{'clientSecret': '***', 'a': 1}"),
        ("x-api-key: abc123xyz", "x-api-key: ***"),
        ("?access_token=abc123xyz&a=1", "?access_token=***&a=1"),
        ("password=hunter22 next", "password=*** next"),
        ("access token: expired", "access token: expired"),
        ("max_tokens: 123456", "max_tokens: 123456"),
        ("the token has expired", "the token has expired"),
        ("task-oriented risk-sharing", "task-oriented risk-sharing"),
        ("mail me@example.com", "mail me@example.com"),
    ],
)
def test_by_its_looks(text: str, wanted: str) -> None:
    assert masking.mask_text(text) == wanted
    assert masking.mask_text(masking.mask_text(text)) == wanted


def test_by_heart_whatever_it_is_called_and_wherever_it_stands() -> None:
    masking.learn([REFRESH, "short1", "", None, "tiny"])
    event: dict[str, Any] = {
        "event": f"got {REFRESH}!",
        "note": ["short1", {"x": f"({REFRESH})"}],
        "tiny": "tiny",
        "error": ValueError(REFRESH),
        "raw": REFRESH.encode(),
        REFRESH[:20]: 1,
    }
    shown = masking.mask_secrets(None, "info", event)
    assert REFRESH not in repr(shown)
    assert "short1" not in repr(shown)
    assert shown["event"] == "got ***!"
    assert shown["tiny"] == "tiny", "six characters at least"


def test_a_secret_of_several_words_is_known_by_them() -> None:
    token = "first-part-0123456789:second-part-0123456789"
    masking.learn([token])
    assert masking.mask_text(f"x {token} y") == "x ***:*** y"


def test_what_was_learnt_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "KNOWN_LIMIT", 3)
    tokens = [f"token-number-{n:010}" for n in range(6)]
    masking.learn(tokens)
    assert masking.mask_text(tokens[0]) == tokens[0]
    assert masking.mask_text(tokens[5]) == "***"


def test_values_of_other_kinds() -> None:
    now = datetime.now(UTC)
    kept = {"at": now, "path": Path("/x"), "n": 1, "none": None, "yes": True}
    assert masking.mask_secrets(None, "info", dict(kept)) == kept
    assert masking.masked("x", {1, 2}) in ("{1, 2}", "{2, 1}")
    assert masking.masked("token", object()) == "***"


def test_fields_that_only_we_fill_are_left_alone() -> None:
    event = {"request_id": "req_eyJ", "trace_id": "0" * 32}
    assert masking.mask_secrets(None, "info", dict(event)) == event


def test_nothing_breaks_json() -> None:
    """A line that quotes a document stays a document."""
    text = json.dumps({"apiKey": "abc123xyz", "token": "abcdef123", "list": ["kp_" + "a" * 30]})
    assert json.loads(masking.mask_text(text)) == {"apiKey": "***", "token": "***", "list": ["***"]}
