"""The rows of the table: each measures both servers in turns and says whether its goal is reached.

The machine is noisy, so only what was measured side by side is compared: within a row the servers
alternate (A B, B A, …) over several rounds, and the medians of the rounds are set in relation.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from kiroproxy.runtime import Runtime
from tests.bench.canned import BURST
from tests.bench.processes import (
    Server,
    naive_server,
    our_server,
    read_result,
    run_load,
    run_module,
    start_module,
)
from tests.servers import clean_environment


@dataclass(frozen=True)
class Bench:
    """What rows measure: the running servers, and how thoroughly."""

    ours: Server
    naive: Server
    upstream: str
    place: Path
    quick: bool

    def some(self, many: int, few: int) -> int:
        """`many`, or `few` with `--quick`."""
        return few if self.quick else many


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    what: str
    ours: str
    naive: str = "–"
    compared: str = "–"
    goal: str = "–"
    met: bool | None = None
    """None where there is no goal."""


def alternate(bench: Bench, measure: Callable[[Server], float], rounds: int) -> tuple[float, float]:
    """Medians of our and of naive's figures."""
    figures: dict[str, list[float]] = {bench.ours.name: [], bench.naive.name: []}
    for turn in range(rounds):
        for server in (bench.ours, bench.naive) if turn % 2 else (bench.naive, bench.ours):
            figures[server.name].append(measure(server))
    ours, naive = map(statistics.median, figures.values())
    return ours, naive


def cpu_row(
    bench: Bench, what: str, body: str, count: int, goal: float | None, unit: float, name: str
) -> Result:
    """CPU of the worker for `count` requests, one after the other; shown in `unit` seconds."""

    def measure(server: Server) -> float:
        before = server.cpu_s()
        run_load("sequence", port=server.port, body=body, count=count)
        return (server.cpu_s() - before) / count / unit

    for server in (bench.ours, bench.naive):  # warm up: connections, caches
        run_load("sequence", port=server.port, body=body, count=2)
    ours, naive = alternate(bench, measure, bench.some(11, 3))
    return Result(
        what,
        f"{ours:.2f} {name}",
        f"{naive:.2f} {name}",
        f"{ours / naive:.2f} ×",
        "–" if goal is None else f"≤ {goal:.2f} ×",
        None if goal is None else ours / naive <= goal,
    )


def burst(bench: Bench) -> list[Result]:
    """CPU per frame, the request's own share included: what a client gets is what is charged."""
    what = f"CPU per frame, burst of {BURST} frames"
    count, per_frame = bench.some(40, 20), BURST * 1e-6
    return [
        cpu_row(bench, what, "burst", count, 0.40, per_frame, "µs"),
        cpu_row(bench, f"{what}, in one HTTP chunk", "joined", count, None, per_frame, "µs"),
    ]


def beside_text(bench: Bench, rows: Mapping[str, str], goal: float) -> list[Result]:
    """CPU per frame of other bursts beside that of plain text on the same server.

    `rows`: a body of the load generator → what it is.
    """
    figures: dict[str, list[float]] = {body: [] for body in ("burst", *rows)}
    count = bench.some(40, 20)
    for body in figures:  # warm up: connections, caches
        run_load("sequence", port=bench.ours.port, body=body, count=2)
    for turn in range(bench.some(11, 3)):
        for body in figures if turn % 2 else reversed(figures):
            before = bench.ours.cpu_s()
            run_load("sequence", port=bench.ours.port, body=body, count=count)
            figures[body].append((bench.ours.cpu_s() - before) / count / BURST * 1e6)
    medians = {body: statistics.median(one) for body, one in figures.items()}
    text = medians["burst"]
    return [
        Result(
            f"CPU per frame, burst of {BURST} frames, {what}",
            f"{medians[body]:.2f} µs",
            compared=f"{medians[body] / text:.2f} × plain text",
            goal=f"≤ {goal:.2f} ×",
            met=medians[body] <= goal * text,
        )
        for body, what in rows.items()
    ]


def dialects(bench: Bench) -> list[Result]:
    """The OpenAI dialects beside the Anthropic one."""
    return beside_text(bench, {"chat": "chat completions", "responses": "Responses"}, 1.2)


def blocks(bench: Bench) -> list[Result]:
    """Thinking in tags, and a tool call in many fragments, beside plain text."""
    rows = {"thinking": "half of it thinking in tags", "tools": "with a call in 120 fragments"}
    return beside_text(bench, rows, 1.5)


def first_delta(bench: Bench) -> list[Result]:
    """From a request to the first delta of its answer."""
    ports = [bench.ours.port, bench.naive.port]
    pairs = [
        run_load("first_delta", ports=ports, count=bench.some(100, 40))["medians"]
        for _ in range(bench.some(7, 3))
    ]
    ours, naive = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
    later = ours - naive
    return [
        Result(
            "first delta of one stream",
            f"{ours:.2f} ms",
            f"{naive:.2f} ms",
            f"{later:+.2f} ms",
            "≤ +0.50 ms",
            later <= 0.5,
        )
    ]


STREAMS = 500
CHOOSE_US = 100
ADMIT_US = 200


def streams(bench: Bench) -> list[Result]:
    """500 streams at 20 frames a second: what the server adds to a frame's way."""
    errors: dict[str, int] = {bench.ours.name: 0, bench.naive.name: 0}
    medians: dict[str, list[float]] = {name: [] for name in errors}
    cpus: dict[str, list[float]] = {name: [] for name in errors}
    frames = bench.some(120, 80)

    def measure(server: Server) -> float:
        before = server.cpu_s()
        result = run_load("streams", port=server.port, count=STREAMS, frames=frames, ramp_s=2)
        cpus[server.name].append((server.cpu_s() - before) / result["frames"] * 1e6)
        errors[server.name] += len(result["errors"])
        medians[server.name].append(result["median"] * 1e3)
        return float(result["p99"]) * 1e3

    ours, naive = alternate(bench, measure, bench.some(5, 1))
    typical = [statistics.median(medians[server.name]) for server in (bench.ours, bench.naive)]
    cpu = [statistics.median(cpus[server.name]) for server in (bench.ours, bench.naive)]
    failed = [errors[server.name] for server in (bench.ours, bench.naive)]
    what = f"{STREAMS} streams at 20 frames/s"
    return [
        Result(f"{what}: errors", str(failed[0]), str(failed[1]), "–", "none", not failed[0]),
        Result(
            f"{what}: p99 added latency",
            f"{ours:.2f} ms",
            f"{naive:.2f} ms",
            f"{ours / naive:.2f} ×",
            "≤ 1.00 ×",
            ours <= naive,
        ),
        Result(
            f"{what}: median added latency",
            f"{typical[0]:.2f} ms",
            f"{typical[1]:.2f} ms",
            f"{typical[0] / typical[1]:.2f} ×",
        ),
        Result(
            f"{what}: CPU per frame",
            f"{cpu[0]:.1f} µs",
            f"{cpu[1]:.1f} µs",
            f"{cpu[0] / cpu[1]:.2f} ×",
        ),
    ]


def large(bench: Bench) -> list[Result]:
    """A long session of a coding client."""
    what = "CPU of a 1.35 MB request with 150 tools"
    return [cpu_row(bench, what, "large", bench.some(10, 6), 1.5, 1e-3, "ms")]


def small(bench: Bench) -> list[Result]:
    """What a request costs that asks and gets little."""
    what = "CPU of a small non-streamed request"
    return [cpu_row(bench, what, "small", bench.some(150, 80), 1.7, 1e-3, "ms")]


def start(bench: Bench) -> list[Result]:
    """From the command to a healthy answer, with a fresh process each time."""
    pairs = []
    for _ in range(bench.some(7, 2)):
        with our_server(bench.place, bench.upstream) as ours:
            pass
        with naive_server(bench.place, bench.upstream) as naive:
            pass
        pairs.append((ours.start_s, naive.start_s))
    ours_s, naive_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    return [
        Result(
            "start to a healthy /health",
            f"{ours_s:.2f} s",
            f"{naive_s:.2f} s",
            f"{ours_s / naive_s:.2f} ×",
            "≤ 2.00 ×",
            ours_s <= 2 * naive_s,
        )
    ]


def microseconds(nanoseconds: list[int]) -> str:
    """Median and p99."""
    ordered = sorted(nanoseconds)
    median, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    return f"{median / 1000:.0f} µs, p99 {p99 / 1000:.0f} µs"


def timed(what: str, nanoseconds: list[int], limit_us: int, told: str = "") -> Result:
    """A row whose median has a limit (issue 4)."""
    met = statistics.median(nanoseconds) <= limit_us * 1000
    figure = microseconds(nanoseconds) + told
    return Result(what, figure, goal=f"≤ {limit_us} µs", met=met)


def runtime(bench: Bench) -> list[Result]:
    """Admit and return in `runtime.db`, by one process and by four that do nothing else."""
    return [
        _admit_and_return(bench, "alone", 1, 0),
        _admit_and_return(bench, f"alone, {STREAMS} others served", 1, STREAMS),
        _admit_and_return(bench, "four processes at saturation", 4, 0),
    ]


def _admit_and_return(bench: Bench, what: str, processes: int, taken: int) -> Result:
    with TemporaryDirectory() as place:
        path = Path(place) / "runtime.db"
        Runtime.wipe(path)
        begin = str(time.monotonic() + 1)
        arguments = ("runtime", str(path), str(bench.some(3, 1)), begin, str(taken))
        running = [start_module("tests.bench.state", *arguments) for _ in range(processes)]
        each = [read_result(one) for one in running]
    turns = [one for result in each for one in result["ns"]]
    faults = sum(result["faults"] for result in each)
    told = f"; {faults} of {len(turns)} too busy" if faults else ""
    return timed(f"runtime.db, admit + return, {what}", turns, ADMIT_US, told)


def choosing(bench: Bench) -> list[Result]:
    """Choosing among 1,000 credentials: the policy alone, and the way through the whole pool."""
    seconds = str(bench.some(2, 1))
    policy = run_module("tests.bench.state", "choose", seconds)["ns"]
    with TemporaryDirectory() as place:
        pool = run_module("tests.bench.state", "lease", place, seconds)["ns"]
    return [
        timed("choosing among 1,000 credentials, policy alone", policy, CHOOSE_US),
        Result("leasing one of 1,000 credentials and returning it", microseconds(pool)),
    ]


def command_line(bench: Bench) -> list[Result]:
    """`kiroproxy --help`, a fresh process each time: the price of every command's imports."""
    command = [sys.executable, "-m", "kiroproxy", "--help"]
    taken: list[float] = []
    for _ in range(bench.some(15, 5)):
        began = time.perf_counter()
        subprocess.run(command, env=clean_environment(), capture_output=True, check=True)
        taken.append((time.perf_counter() - began) * 1e3)
    median = statistics.median(taken)
    return [Result("`kiroproxy --help`", f"{median:.0f} ms", goal="≤ 150 ms", met=median <= 150)]


def keys(bench: Bench) -> list[Result]:
    """The check of a client key among few and many, and what its limits add to `runtime`."""
    seconds = str(bench.some(2, 1))
    results = []
    for many in (1, 10_000):
        taken = run_module("tests.bench.state", "keys", str(many), seconds)["ns"]
        results.append(Result(f"checking one of {many:,} client keys", microseconds(taken)))
    with TemporaryDirectory() as place:
        taken = run_module("tests.bench.state", "limited", place, seconds)["ns"]
    what = "runtime.db, admit + return, with all limits of a client key"
    return [*results, Result(what, microseconds(taken))]


ROWS: Mapping[str, Callable[[Bench], list[Result]]] = {
    "burst": burst,
    "blocks": blocks,
    "dialects": dialects,
    "first-delta": first_delta,
    "streams": streams,
    "large": large,
    "small": small,
    "start": start,
    "runtime": runtime,
    "choosing": choosing,
    "help": command_line,
    "keys": keys,
}
