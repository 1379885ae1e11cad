"""What `/metrics` answers: the counters of all workers, and how pool and credits stand right now.

The latter are no worker's: they are read when somebody asks, from what all workers share. Counters
are added up away from the event loop.
"""

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import gevent
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from kiroproxy import __version__
from kiroproxy.credentials.overview import Overview, overview
from kiroproxy.errors import DatabaseError
from kiroproxy.ledger.budgets import DAY_S, Account, Forecast, outlook
from kiroproxy.web.services import Services

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

EXHAUSTED: Final = "QuotaExceeded"
ASK_EVERY_S: Final = 60.0
"""Balances that are older than five minutes are asked for at most so often, by one worker."""
ASK_S: Final = 10.0


def exposition(parts: Services) -> tuple[bytes, str]:
    """Everything in Prometheus' text format, and its media type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PoolCollector(parts))
    state = generate_latest(registry)
    ask_for_balances(parts)
    return _counters() + state, CONTENT_TYPE_LATEST


def _counters() -> bytes:
    registry = CollectorRegistry()
    try:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    except ValueError:  # a single process, such as `flask run`
        return generate_latest(REGISTRY)
    text: bytes = gevent.get_hub().threadpool.apply(generate_latest, (registry,))
    return text


class PoolCollector(Collector):
    """The pool and its credits as they stand."""

    def __init__(self, parts: Services) -> None:
        self._parts = parts

    def collect(self) -> Iterable[Metric]:
        """All of it."""
        seen = overview(self._parts.pool)
        yield from self._pool(seen)
        yield from self._credits(seen)

    def _pool(self, seen: list[Overview]) -> Iterator[Metric]:
        status = self._parts.pool.status()
        yield _gauge("build_info", "Which version runs.", ["version"], [((__version__,), 1.0)])
        yield _gauge(
            "credentials",
            "Credentials. `state`: active, cooling, exhausted (until the quota returns), disabled.",
            ["state"],
            _standings(seen),
        )
        yield _gauge(
            "credentials_usable", "Credentials that could serve a request.", [], status.usable
        )
        yield _gauge(
            "credential_in_flight",
            "Calls to Kiro on behalf of a credential.",
            ["credential"],
            [((str(one.credential.id),), one.in_flight) for one in seen],
        )
        places = sum(one.places for one in seen if one.standing != "disabled")
        yield _gauge("places", "Requests that the pool takes at once.", [], places)
        yield _gauge(
            "queue_waiting",
            "Requests that wait for a credential.",
            [],
            self._parts.runtime.waiting(),
        )
        yield _gauge(
            "store_writable",
            "Whether a renewed token could be stored.",
            [],
            status.store_writable,
        )

    def _credits(self, seen: list[Overview]) -> Iterator[Metric]:
        try:
            accounts = self._accounts(seen)
        except DatabaseError:
            return  # kiroproxy_ledger_troubles tells
        now = datetime.now(UTC)
        out = outlook(accounts, now)
        each = [(one, out.credentials[one.id]) for one in accounts]
        for name, text, values in (
            ("credits_left", "Credits left, as Kiro said last.", [one.left for one, _ in each]),
            ("credits_limit", "Credits of a period.", [one.quota for one, _ in each]),
            (
                "credits_per_day",
                "Credits that go in a day, as they went in the last seven.",
                [one.per_day for one, _ in each],
            ),
            (
                "credential_days_to_dry",
                "Days until a credential's credits are used up; +Inf: not before they return.",
                [_days(forecast, now) for _, forecast in each],
            ),
        ):
            ids = [(str(one.id),) for one, _ in each]
            yield _gauge(name, text, ["credential"], list(zip(ids, values, strict=True)))
        dry = _days(out.pool, now) if accounts else math.nan
        yield _gauge(
            "days_to_dry",
            "Days until the whole pool's credits are used up; +Inf: not before they return.",
            [],
            dry,
        )

    def _accounts(self, seen: list[Overview]) -> list[Account]:
        """Of the credentials that no person has switched off, those whose balance is known.

        Raises:
            DatabaseError: the ledger cannot be read.
        """
        known = self._parts.balances.known()
        burn = self._parts.ledger.reader.burn_rates(datetime.now(UTC)) if known else {}
        accounts = []
        for one in seen:
            id_ = one.credential.id
            if id_ in known and _counts(one):
                usage = known[id_][0]
                per_day = burn.get(id_, 0.0)
                accounts.append(
                    Account(id_, usage.remaining, usage.limit, usage.resets_at, per_day)
                )
        return accounts


def ask_for_balances(parts: Services) -> None:
    """Have Kiro asked for balances that are old, in the background: the next scrape has them."""
    if not parts.runtime.claim("balances for metrics", ASK_EVERY_S):
        return
    wanted = [one.credential for one in overview(parts.pool) if _counts(one)]
    threading.Thread(
        target=parts.balances.look, args=(wanted, ASK_S), name="balances", daemon=True
    ).start()


def _counts(one: Overview) -> bool:
    return one.standing != "disabled" or one.credential.disabled_reason == EXHAUSTED


def _standings(seen: list[Overview]) -> list[tuple[tuple[str], float]]:
    counts = dict.fromkeys(("active", "cooling", "exhausted", "disabled"), 0.0)
    for one in seen:
        exhausted = one.credential.disabled_reason == EXHAUSTED and one.standing == "disabled"
        counts["exhausted" if exhausted else one.standing] += 1
    return [((state,), count) for state, count in counts.items()]


def _days(forecast: Forecast, now: datetime) -> float:
    if forecast.dry_at is None:
        return math.inf
    return max((forecast.dry_at - now).total_seconds(), 0.0) / DAY_S


def _gauge(
    name: str, text: str, labels: list[str], values: float | Sequence[tuple[tuple[str, ...], float]]
) -> Metric:
    family = GaugeMetricFamily(f"kiroproxy_{name}", text, labels=labels)
    for labelled, value in [((), values)] if isinstance(values, int | float) else values:
        family.add_metric(labelled, float(value))
    return family


class MetricsDoor:
    """Tells connections to `metricsBind` from those of clients, by the address they came to.

    Where it is, nothing else is: whoever reaches it cannot use the proxy. Clients' own address
    keeps `/metrics` behind the admin key.
    """

    def __init__(self, others: "WSGIApplication", parts: Services) -> None:
        self._others = others
        self._parts = parts
        self._own = parts.config.metrics_bind

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a scrape, or hand a client's request on."""
        if not came_to(environ.get("gunicorn.socket"), self._own):
            return self._others(environ, start_response)
        path = environ.get("PATH_INFO", "")
        status, kind, body = "404 Not Found", "text/plain; charset=utf-8", b"There is /metrics.\n"
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", b"GET /metrics.\n"
        elif path == "/metrics":
            body, kind = exposition(self._parts)
            status = "200 OK"
        elif path == "/healthz":
            status, body = "200 OK", b"OK\n"
        start_response(status, [("content-type", kind), ("content-length", str(len(body)))])
        return [body if environ["REQUEST_METHOD"] != "HEAD" else b""]


def came_to(connection: Any, bound: str) -> bool:
    """Whether a connection was accepted at an address of the configuration's form."""
    if connection is None:
        return False
    try:
        name = connection.getsockname()
    except OSError:
        return False
    if isinstance(name, tuple):
        return not bound.startswith("unix:") and str(name[1]) == bound.rpartition(":")[2]
    return isinstance(name, str) and bound == f"unix:{name}"
