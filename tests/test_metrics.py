"""Metrics: labels with few values, and what is there from the start."""

import pytest
from prometheus_client import REGISTRY

from kiroproxy import metrics


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"kiroproxy_{name}", labels)


def test_metrics_are_registered() -> None:
    metrics.count_request("/v1/x", 200, "ok", dialect="anthropic", model="m", stream=True)
    labels = {
        "route": "/v1/x",
        "status": "200",
        "outcome": "ok",
        "dialect": "anthropic",
        "model": "m",
        "stream": "true",
    }
    assert value("requests_total", **labels) == 1
    assert value("requests_in_flight") is not None


def test_children_are_looked_up_once() -> None:
    children = metrics.Children(metrics.ENDINGS.metric)
    assert children["a test",] is children["a test",]
    children["a test",].inc()
    assert value("reply_endings_total", reason="a test") == 1


def test_a_worker_begins_with_every_value_that_alerts_need() -> None:
    """`increase()` of a series that begins with 1 is 0."""
    metrics.begin()
    for children, values in metrics.KNOWN:
        for one in values:
            assert (one,) in children
    assert value("refreshes_total", result="unsaved") is not None
    assert value("workers") == 1


@pytest.mark.parametrize(
    ("tell", "name", "label"),
    [
        ("attempt", "attempts_total", "outcome"),
        ("cooldown", "cooldowns_total", "reason"),
        ("disabled", "credentials_disabled_total", "reason"),
        ("refreshed", "refreshes_total", "result"),
    ],
)
def test_what_the_pool_tells(tell: str, name: str, label: str) -> None:
    getattr(metrics.PoolCounts(), tell)("told by a test")
    assert value(name, **{label: "told by a test"}) == 1


def test_store_errors() -> None:
    metrics.store_error("a test's")
    assert value("store_errors_total", store="a test's") == 1
