"""Logs and metrics: what happened, for people and for machines, without secrets or prompts."""

import functools
import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import msgspec
from prometheus_client import Counter, Gauge, Histogram

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
SECRETS = (
    "token",
    "secret",
    "authorization",
    "api_key",
    "apikey",
    "password",
    "cookie",
)
"""A text in a field whose name contains one of these is masked; numbers are counts."""
MASK = "***"
_SUSPICIOUS = re.compile(r"(?i)earer|://|ksk_")
SECRET_TEXTS = (
    (re.compile(r"(?i)\b(bearer\s+)[^\s\"',;]+"), rf"\1{MASK}"),
    (re.compile(r"(://)[^\s/@\"']+@"), rf"\1{MASK}@"),  # user and password of a proxy's URL
    (re.compile(r"\bksk_[\w-]+"), MASK),  # Kiro's API keys
)
"""What is masked wherever it stands, in a traceback for instance."""

REQUESTS = Counter("kiroproxy_requests_total", "Requests answered.", ["route", "status", "stream"])
IN_FLIGHT = Gauge(
    "kiroproxy_requests_in_flight",
    "Requests being answered.",
    multiprocess_mode="livesum",
)
FIRST_EVENT = Histogram(
    "kiroproxy_first_event_seconds",
    "From the request to the first event of the answer.",
    ["route"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120),
)
DURATION = Histogram(
    "kiroproxy_request_duration_seconds",
    "From the request to the end of the answer.",
    ["route"],
    buckets=(0.01, 0.05, 0.25, 1, 5, 15, 60, 300, 1800),
)
LEDGER_ROWS = Counter(
    "kiroproxy_ledger_rows_total",
    "Rows of the usage ledger: recorded, written to the database, spooled to disk, dropped.",
    ["state"],
)
LEDGER_TROUBLES = Gauge(
    "kiroproxy_ledger_troubles",
    "What is wrong with the ledger's database, as /readyz tells.",
    multiprocess_mode="livemax",
)
PASSED_OVER = Counter(
    "kiroproxy_upstream_events_passed_over_total",
    "Events of Kiro with nothing for the client; `unknown` are new to this version.",
    ["type"],
)
ENDINGS = Counter("kiroproxy_reply_endings_total", "How replies ended.", ["reason"])

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
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=plain)
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


def mask_secrets(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace what is secret, by the names of fields and by its looks."""
    for key, value in event.items():
        event[key] = _masked(key, value)
    return event


@functools.lru_cache(maxsize=1024)
def names_secret(key: str) -> bool:
    """Whether what goes by this name must not be shown."""
    name = key.lower().replace("-", "_")
    return any(secret in name for secret in SECRETS)


def _masked(key: str, value: Any) -> Any:
    if value is None or type(value) in (int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {inner: _masked(str(inner), one) for inner, one in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(key, one) for one in value]
    if not isinstance(value, str | bytes):
        return value
    if names_secret(key):
        return MASK
    if isinstance(value, str) and _SUSPICIOUS.search(value):
        for pattern, replacement in SECRET_TEXTS:
            value = pattern.sub(replacement, value)
    return value
