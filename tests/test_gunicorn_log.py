"""gunicorn's lines have our form, and no secrets."""

import json
import logging
import sys
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger

from kiroproxy.gunicorn_log import JsonFormatter, JsonLogger, MaskingFormatter, PlainLogger


def record(message: str, *args: Any, **more: Any) -> logging.LogRecord:
    return logging.LogRecord("gunicorn.error", logging.WARNING, "x.py", 1, message, args, **more)


def test_one_object_a_line() -> None:
    line = JsonFormatter().format(record("worker %s has\n%s", 7, "Bearer abc", exc_info=None))
    assert "\n" not in line
    told = json.loads(line)
    assert told["event"] == "worker 7 has\nBearer ***"
    assert (told["level"], told["logger"]) == ("warning", "gunicorn")
    assert told["timestamp"].endswith("Z")


def test_tracebacks_are_part_of_the_line() -> None:
    try:
        raise ValueError("Bearer abc")
    except ValueError:
        line = JsonFormatter().format(record("broken", exc_info=sys.exc_info()))
    assert json.loads(line)["exception"].endswith("ValueError: Bearer ***")


def test_on_a_terminal() -> None:
    assert (
        MaskingFormatter("%(message)s").format(record("Bearer abc", exc_info=None)) == "Bearer ***"
    )


@pytest.mark.parametrize(
    ("kind", "formatter"), [(JsonLogger, JsonFormatter), (PlainLogger, MaskingFormatter)]
)
def test_gunicorn_takes_them(kind: type[Logger], formatter: type[logging.Formatter]) -> None:
    log = logging.getLogger("gunicorn.error")
    handlers = log.handlers[:]
    try:
        log.handlers[:] = []
        config = Config()
        kind(config).setup(config)
        assert [type(one.formatter) for one in log.handlers] == [formatter]
    finally:
        log.handlers[:] = handlers
