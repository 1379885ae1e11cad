"""Alerts and dashboard ask for what a running server really exports; so does the documentation."""

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import yaml

from tests.flows.client import Stream, body, post
from tests.flows.conftest import LONG_TOKEN, credential
from tests.scraping import Scrape, scrape
from tests.servers import REPOSITORY, Proxy, free_port, require_tool
from tests.simulation import Simulator

DEPLOY = REPOSITORY / "deploy"
RULES = DEPLOY / "prometheus/kiroproxy.rules.yml"
DASHBOARD = DEPLOY / "grafana/kiroproxy.json"
MANUAL = REPOSITORY / "docs/operations.md"

TEXT, TRAILERS = {"text": "hi"}, [{"context": 3.5}, {"metering": 0.01}]
TROUBLES: list[dict[str, Any]] = [
    {"status": 429, "body": {"message": "slow down"}},
    {"steps": [TEXT, {"close": True}]},
    {"steps": [TEXT, {"corrupt": "crc"}, TEXT, *TRAILERS]},
    {"steps": [TEXT, {"event": "somethingNewEvent", "payload": "{}"}, *TRAILERS]},
    {"steps": [TEXT]},
]
"""What fails over, what breaks off, what is damaged, what is new, what just ends."""

FROM_PROMETHEUS = {"instance", "job"}
"""Labels that a scrape adds."""
WORDS = {
    *("sum", "min", "max", "count", "avg", "by", "without", "on", "ignoring", "and", "or"),
    *("rate", "increase", "histogram_quantile", "le", "unless", "bool", "offset"),
}
SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)(\{[^}]*\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|without)\s*\(([^)]*)\)")


@pytest.fixture(scope="module")
def exported(
    running_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scrape]:
    """What a server exports that has seen good and bad days."""
    sim, own = running_simulator, f"127.0.0.1:{free_port()}"
    sim.reset()
    due = {"expiresAt": "2020-01-01T00:00:00Z", "accessToken": "of-long-ago", "priority": 1}
    credentials = [credential(), credential(refreshToken=f"second-{LONG_TOKEN}", **due)]
    config = {"metricsBind": own, "cooldownSec": 1}
    place = tmp_path_factory.mktemp("exported")
    with Proxy(place, config, credentials, upstream=sim.url, workers=1) as proxy:
        sim.script(TROUBLES[0])
        assert post(proxy, body()).status_code == 200, "the other one serves"
        for script in TROUBLES[1:]:
            sim.script(script)
            with contextlib.closing(Stream(proxy, body())) as stream:
                list(stream)
        chat = {"model": "claude-haiku-4.5", "messages": [{"role": "user", "content": "x"}]}
        assert post(proxy, chat, "/v1/chat/completions").status_code == 200
        assert requests.get(f"{proxy.url}/v1/models", timeout=10).status_code == 401
        deadline = time.monotonic() + 15
        while not (found := scrape(f"http://{own}")).of("credits_left"):
            assert time.monotonic() < deadline, found.text
            time.sleep(0.1)
        assert found.of("failovers_total") == found.of("refreshes_total", result="ok") == 1
        yield found


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text("utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [one for one in json.loads(DASHBOARD.read_text("utf-8"))["panels"] if "targets" in one]


def expressions() -> list[Any]:
    alerts = [pytest.param(one["expr"], id=one["alert"]) for one in rules()]
    shown = [
        pytest.param(target["expr"], id=f"{one['title']} {target['refId']}")
        for one in panels()
        for target in one["targets"]
    ]
    return alerts + shown


def selectors(expression: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Each metric of an expression, and what is asked of its labels."""
    bare = GROUPING.sub(" ", expression)
    bare = re.sub(r"\[[^\]]*\]|\boffset\s+\w+", " ", bare)
    for name, matchers in SELECTOR.findall(bare):
        if name not in WORDS:
            yield name, MATCHER.findall(matchers)


@pytest.mark.flow
@pytest.mark.parametrize("expression", expressions())
def test_every_expression_asks_for_what_exists(exported: Scrape, expression: str) -> None:
    known: set[str] = set(FROM_PROMETHEUS)
    asked = list(selectors(expression))
    assert asked
    for name, matchers in asked:
        if name == "up":  # Prometheus' own
            continue
        assert name in exported.names(), name
        labels = exported.labels(name) | FROM_PROMETHEUS
        known |= labels
        for label, how, value in matchers:
            assert label in labels, f"{name} has no label {label}"
            if how in ("=", "!=") and value:
                assert value in exported.values(name, label) | {"kiroproxy"}, (name, label, value)
    for grouping in GROUPING.findall(expression):
        assert {one.strip() for one in grouping.split(",")} <= known, grouping


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_alerts_name_labels_that_are_left(rule: dict[str, Any]) -> None:
    """An aggregation drops all labels but those that it groups by."""
    told = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    groupings = GROUPING.findall(rule["expr"])
    if groupings:
        left = {one.strip() for grouping in groupings for one in grouping.split(",")}
        assert told <= left
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert f"`{rule['alert']}`" in MANUAL.read_text("utf-8"), "what is to be done?"


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_legends_name_labels_that_are_left(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        groupings = GROUPING.findall(target["expr"])
        left = {one.strip() for grouping in groupings for one in grouping.split(",")}
        assert named <= left or ("sum" not in target["expr"] and not groupings)


def test_the_dashboard_can_be_imported() -> None:
    document = json.loads(DASHBOARD.read_text("utf-8"))
    ids = [one["id"] for one in document["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for one in document["panels"]:
        place = one["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, one["title"]
        taken |= cells
    sources = {one["datasource"]["uid"] for one in panels()}
    assert sources == {"${datasource}"}, "whoever imports it chooses"
    assert [one["name"] for one in document["templating"]["list"]] == ["datasource", "instance"]


def promtool(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [require_tool("promtool", "prometheus"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", str(RULES)),
        ("test", "rules", str(DEPLOY / "prometheus/kiroproxy.test.yml")),
        ("check", "config", str(DEPLOY / "prometheus/scrape.yml")),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.flow
def test_promtool_finds_nothing_wrong_with_the_metrics(exported: Scrape) -> None:
    done = promtool("check", "metrics", input=exported.text)
    told = (done.stdout + done.stderr).splitlines()
    # people count in days when they ask how long something lasts
    assert [one for one in told if "days" not in one] == []


@pytest.mark.flow
def test_the_manual_lists_every_metric_with_its_labels(exported: Scrape) -> None:
    """Paste the missing lines when this fails."""
    section = MANUAL.read_text("utf-8").partition("### What is counted")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^\| `kiroproxy_\w+` \|.*$", section, re.MULTILINE))
    assert set(manual_rows(exported)) == listed, "\n".join(manual_rows(exported))


def manual_rows(exported: Scrape) -> list[str]:
    """The table's rows as the server would have them."""
    rows = []
    for name, text in exported.help.items():
        series = f"{name}_bucket" if exported.kinds[name] == "histogram" else name
        labels = ", ".join(sorted(exported.labels(series) - {"le"})) or "–"
        rows.append(f"| `{name}` | {exported.kinds[name]} | {labels} | {text} |")
    return sorted(rows)
