"""gunicorn's own lines in the form of ours: one JSON object a line, secrets masked.

The master imports this, and no more of logging than it has anyway: structlog is for workers.
"""

import logging
from datetime import UTC, datetime
from typing import Any

import msgspec
from gunicorn import glogging

from kiroproxy.masking import mask_text


class JsonFormatter(logging.Formatter):
    """The keys of our own lines (`observability`), and the process."""

    def format(self, record: logging.LogRecord) -> str:
        """Build a line."""
        line: dict[str, Any] = {
            "event": mask_text(record.getMessage()),
            "logger": "gunicorn",
            "pid": record.process,
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC)
            .isoformat()
            .replace("+00:00", "Z"),
        }
        if record.exc_info:
            line["exception"] = mask_text(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = mask_text(record.stack_info)
        return msgspec.json.encode(line).decode()


class MaskingFormatter(logging.Formatter):
    """gunicorn's own form, for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Build a line."""
        return mask_text(super().format(record))


class PlainLogger(glogging.Logger):  # type: ignore[misc]
    """On a terminal."""

    def _set_handler(
        self, log: Any, output: Any, fmt: logging.Formatter, stream: Any = None
    ) -> None:
        super()._set_handler(log, output, MaskingFormatter(fmt._fmt, fmt.datefmt), stream)


class JsonLogger(glogging.Logger):  # type: ignore[misc]
    """Everywhere else."""

    def _set_handler(
        self, log: Any, output: Any, fmt: logging.Formatter, stream: Any = None
    ) -> None:
        super()._set_handler(log, output, JsonFormatter(), stream)
