"""Logs without secrets, in one form."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from kiroproxy import masking
from kiroproxy import observability as obs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Whatever these tests configure ends with them."""
    root, ours = logging.getLogger(), logging.getLogger("kiroproxy")
    handlers, level = root.handlers[:], ours.level
    yield
    root.handlers[:] = handlers
    ours.setLevel(level)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def configured(level: str = "info", log_format: str = "auto") -> tuple[Any, io.StringIO]:
    stream = io.StringIO()
    obs.configure_logging(level, log_format, stream)
    return structlog.get_logger("kiroproxy"), stream


def test_json_lines() -> None:
    log, stream = configured()
    log.info("request", status=200, model="claude-sonnet-4-5", text="你好")
    (line,) = lines(stream)
    assert line["event"] == "request"
    assert line["level"] == "info"
    assert line["status"] == 200
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("level", "wanted"),
    [
        ("debug", ["d", "i", "w", "e"]),
        ("info", ["i", "w", "e"]),
        ("warn", ["w", "e"]),
        ("warning", ["w", "e"]),
        ("error", ["e"]),
    ],
)
def test_s89_levels(level: str, wanted: list[str]) -> None:
    log, stream = configured(level)
    plain = logging.getLogger("kiroproxy.some.module")
    for one in (log, plain):
        one.debug("d")
        one.info("i")
        one.warning("w")
        one.error("e")
    assert [line["event"] for line in lines(stream)] == wanted * 2


def test_plain_logging_comes_out_in_the_same_form() -> None:
    """The pool and the refresher know only `logging`."""
    _, stream = configured()
    logging.getLogger("kiroproxy.credentials.pool").warning("credential #%d rests", 3)
    logging.getLogger("urllib3.connectionpool").warning("from a library")
    one, two = lines(stream)
    assert one["event"] == "credential #3 rests"
    assert one["logger"] == "kiroproxy.credentials.pool"
    assert one["level"] == "warning"
    assert two["event"] == "from a library"


def test_configuring_again_replaces_the_handler() -> None:
    _, first = configured()
    _, second = configured()
    logging.getLogger("kiroproxy.x").warning("once")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


@pytest.mark.parametrize("log_format", ["auto", "console"])
def test_readable_on_a_terminal(log_format: str) -> None:
    stream = Terminal()
    obs.configure_logging("info", log_format, stream)
    structlog.get_logger("kiroproxy").info("request", status=200)
    assert "request" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
    stream = Terminal()
    obs.configure_logging("info", "json", stream)
    structlog.get_logger("kiroproxy").info("request", status=200)
    assert lines(stream)[0]["status"] == 200


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_tracebacks_have_no_secrets(log_format: str) -> None:
    log, stream = configured(log_format=log_format)
    for logger in (log, logging.getLogger("kiroproxy.x")):
        try:
            hidden = "in-a-variable"
            raise ValueError(f"Bearer abc.DEF-123 and http://me:pw@proxy:1 {len(hidden)}")
        except ValueError:
            logger.exception("broken")
    text = stream.getvalue()
    assert text.count("ValueError: Bearer ***") == 2
    for secret in ("abc.DEF-123", "me:pw"):
        assert secret not in text
    assert "= 'in-a-variable'" not in text, "values of variables are not shown"


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "access_token",
        "refreshToken",
        "client_secret",
        "Authorization",
        "proxy-authorization",
        "api_key",
        "apiKey",
        "x-api-key",
        "password",
        "Set-Cookie",
    ],
)
def test_fields_with_secret_names_are_masked(name: str) -> None:
    log, stream = configured()
    log.info(
        "x", **{name: "hush"}, headers={name: "hush", "other": "shown"}, deep=[{name: b"hush"}]
    )
    assert "hush" not in stream.getvalue()
    assert lines(stream)[0]["headers"]["other"] == "shown"


def test_counts_are_no_secrets() -> None:
    log, stream = configured()
    log.info("x", input_tokens=12, token_source=None)
    assert lines(stream)[0]["input_tokens"] == 12


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Authorization: Bearer abc", "Authorization: Bearer ***"),
        ('{"a": "bearer  x.y-z"}', '{"a": "bearer  ***"}'),
        ("socks5://me:p%40@h:1/x", "socks5://***@h:1/x"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("mail me@example.com", "mail me@example.com"),
        ("key ksk_abc-123 used", "key *** used"),
    ],
)
def test_secrets_by_their_looks(text: str, wanted: str) -> None:
    assert masking.mask_secrets(None, "info", {"event": text}) == {"event": wanted}


def test_context_is_bound_to_lines() -> None:
    log, stream = configured()
    with structlog.contextvars.bound_contextvars(request_id="req_1"):
        log.info("x")
        logging.getLogger("kiroproxy.x").warning("y")
    assert [line["request_id"] for line in lines(stream)] == ["req_1", "req_1"]
