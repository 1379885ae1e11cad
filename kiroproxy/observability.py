"""Logs: what happened, for people and for machines, without secrets or prompts."""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import msgspec

from kiroproxy.masking import mask_secrets

_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]
try:
    # structlog would import rich for colourful tracebacks, which we do not use: 45 ms of a start
    import structlog
finally:
    del sys.modules["rich"]
    if _rich is not None:
        sys.modules["rich"] = _rich

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
log: structlog.stdlib.BoundLogger = structlog.get_logger("kiroproxy")


def configure_logging(level: str, log_format: str = "auto", stream: TextIO | None = None) -> None:
    """JSON lines, or readable ones on a terminal; call once per process.

    What our pure modules and the libraries say through `logging` comes out in the same form.
    """
    out = stream or sys.stderr
    threshold = LEVELS.get(level, logging.INFO)
    console = log_format == "console" or (log_format == "auto" and out.isatty())
    renderer: Any = render_json
    if console:
        plain = structlog.dev.plain_traceback  # the others print the values of variables
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask_secrets,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=True,
    )
    handler = _Handler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared[:3]],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *shared[3:],
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [one for one in root.handlers if not isinstance(one, _Handler)] + [handler]
    logging.getLogger("kiroproxy").setLevel(threshold)


_encode = msgspec.json.Encoder(enc_hook=repr).encode
_render_slowly = structlog.processors.JSONRenderer()


def render_json(logger: Any, method: str, event: MutableMapping[str, Any]) -> str | bytes:
    """One line of JSON; the standard library takes what msgspec refuses."""
    try:
        return _encode(event).decode()
    except (TypeError, ValueError, RecursionError):
        return _render_slowly(logger, method, event)


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, to be replaced when logging is configured again."""
