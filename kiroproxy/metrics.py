"""What is counted, for Prometheus: each worker writes its own files, a scrape adds them up.

Names and labels are a contract: `deploy/` has a dashboard and alert rules made of them. Every label
has few values: routes are those of the application, models those that Kiro or the operator lists,
reasons are names of exceptions or words of this program. What a client may write itself is `other`.

`Children` keeps what `labels()` would look up anew: with it a count costs 2 µs, without it 5.
"""

from typing import Final, TypeVar

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

M = TypeVar("M", bound=MetricWrapperBase)

OTHER: Final = "other"
"""The label of what is not on any list."""


class Children(dict[tuple[str, ...], M]):
    """The metrics of one name by the values of their labels, each looked up once."""

    def __init__(self, metric: M) -> None:
        super().__init__()
        self.metric = metric

    def __missing__(self, values: tuple[str, ...]) -> M:
        child = self[values] = self.metric.labels(*values)
        return child


# ---- requests ------------------------------------------------------------------------------

REQUESTS: Final = Children(
    Counter(
        "kiroproxy_requests_total",
        "Requests answered. `outcome`: ok, refused (the caller's mistake), error, client_gone.",
        ["route", "status", "outcome", "dialect", "model", "stream"],
    )
)
IN_FLIGHT: Final = Gauge(
    "kiroproxy_requests_in_flight",
    "Requests to a model being answered.",
    multiprocess_mode="livesum",
)
FIRST_TOKEN: Final = Children(
    Histogram(
        "kiroproxy_first_token_seconds",
        "From the request to the first event of a streamed answer.",
        ["dialect", "model"],
        buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120),
    )
)
DURATION: Final = Children(
    Histogram(
        "kiroproxy_request_duration_seconds",
        "From the request to the end of the answer.",
        ["dialect", "model"],
        buckets=(0.01, 0.05, 0.25, 1, 5, 15, 60, 300, 1800),
    )
)
ENDINGS: Final = Children(
    Counter(
        "kiroproxy_reply_endings_total",
        "How answers of models ended: a stop reason, an error, client_gone.",
        ["reason"],
    )
)
TOKENS: Final = Children(
    Counter(
        "kiroproxy_tokens_total",
        "Token counts, Kiro's or estimated. `kind`: input, output, cache_read, cache_write.",
        ["model", "kind"],
    )
)
CREDITS: Final = Children(
    Counter("kiroproxy_credits_total", "Credits that Kiro has charged.", ["model"])
)

# ---- Kiro's event stream -------------------------------------------------------------------

FRAMES: Final = Counter("kiroproxy_frames_total", "Sound frames of Kiro's event streams.")
CORRUPT: Final = Children(
    Counter(
        "kiroproxy_corrupt_frames_total",
        "Frames of Kiro's that were damaged, each the end of its stream.",
        ["kind"],
    )
)
TRUNCATIONS: Final = Children(
    Counter(
        "kiroproxy_truncations_total",
        "Replies of Kiro's that broke off. `kind`: body (cut inside a frame or the HTTP body), "
        "reset, silence, tool_call, no_trailer, no_answer (thoughts alone).",
        ["kind"],
    )
)
PASSED_OVER: Final = Children(
    Counter(
        "kiroproxy_upstream_events_passed_over_total",
        "Events of Kiro with nothing for the client; `unknown` are new to this version.",
        ["type"],
    )
)

# ---- credentials ---------------------------------------------------------------------------

ATTEMPTS: Final = Children(
    Counter(
        "kiroproxy_attempts_total",
        "Calls to Kiro on behalf of a request. `outcome`: ok, an error, undecided (broken off, or "
        "repeated with a new token).",
        ["outcome"],
    )
)
FAILOVERS: Final = Children(
    Counter(
        "kiroproxy_failovers_total",
        "Attempts that went on to another credential, by the error of the one before.",
        ["reason"],
    )
)
COOLDOWNS: Final = Children(
    Counter("kiroproxy_cooldowns_total", "How often a credential had to rest.", ["reason"])
)
DISABLED: Final = Children(
    Counter(
        "kiroproxy_credentials_disabled_total", "How often a credential was disabled.", ["reason"]
    )
)
REFRESHES: Final = Children(
    Counter(
        "kiroproxy_refreshes_total",
        "Access tokens renewed. `result`: ok, refused (log in again), failed, unconfirmed (no "
        "answer), unsaved.",
        ["result"],
    )
)

# ---- the server itself ---------------------------------------------------------------------

STORE_ERRORS: Final = Children(
    Counter(
        "kiroproxy_store_errors_total",
        "Writes that failed. `store`: credentials, ledger, spool, runtime, responses.",
        ["store"],
    )
)
LEDGER_ROWS: Final = Children(
    Counter(
        "kiroproxy_ledger_rows_total",
        "Rows of the usage ledger. `state`: recorded, written to the database, spooled to disk, "
        "dropped.",
        ["state"],
    )
)
LEDGER_TROUBLES: Final = Gauge(
    "kiroproxy_ledger_troubles",
    "What is wrong with the ledger's database, as /readyz tells.",
    multiprocess_mode="livemax",
)
STALLS: Final = Counter(
    "kiroproxy_hub_stalls_total",
    "How often a worker's event loop stood still for more than 50 ms.",
)
STALLED: Final = Counter(
    "kiroproxy_hub_stall_seconds_total", "For how long the loops stood still, altogether."
)
WORKERS: Final = Gauge(
    "kiroproxy_workers", "Worker processes that serve.", multiprocess_mode="livesum"
)


def count_request(
    route: str, status: int, outcome: str, *, dialect: str, model: str, stream: bool
) -> None:
    """A request was answered."""
    labels = (route, str(status), outcome, dialect, model, "true" if stream else "false")
    REQUESTS[labels].inc()


def store_error(store: str) -> None:
    """Something could not be written."""
    STORE_ERRORS[store,].inc()


class PoolCounts:
    """What `credentials.pool` tells (`credentials.counts`)."""

    def attempt(self, outcome: str) -> None:
        """A call for a client's request has ended."""
        ATTEMPTS[outcome,].inc()

    def cooldown(self, reason: str) -> None:
        """A credential has to rest."""
        COOLDOWNS[reason,].inc()

    def disabled(self, reason: str) -> None:
        """A credential is switched off."""
        DISABLED[reason,].inc()

    def refreshed(self, result: str) -> None:
        """A refresh has ended."""
        REFRESHES[result,].inc()


KNOWN: Final[tuple[tuple[Children[Counter], tuple[str, ...]], ...]] = (
    (CORRUPT, ("BadChecksum", "BadHeader", "BadLength", "BadPayload", "FrameTooLarge")),
    (TRUNCATIONS, ("body", "reset", "silence", "tool_call", "no_trailer", "no_answer")),
    (PASSED_OVER, ("unknown",)),
    (COOLDOWNS, ("throttled", "server fault")),
    (
        DISABLED,
        (
            "InvalidConfig",
            "InvalidRefreshToken",
            "QuotaExceeded",
            "Suspended",
            "TooManyFailures",
            "TooManyRefreshFailures",
        ),
    ),
    (REFRESHES, ("ok", "refused", "failed", "unconfirmed", "unsaved")),
    (STORE_ERRORS, ("credentials", "ledger", "spool", "runtime", "responses")),
    (LEDGER_ROWS, ("recorded", "written", "spooled", "dropped")),
)
"""Values that are there from the start: of one that begins with 1, `increase` sees nothing."""


def begin() -> None:
    """A worker serves from now on."""
    for children, values in KNOWN:
        for value in values:
            children[value,].inc(0)
    WORKERS.set(1)
