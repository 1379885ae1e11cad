"""`make fuzz`: 100,000 generated bodies, and a recorded stream damaged at every offset.

python -m tests.fuzz [--count 100000] [--seed 1] [--values 40]
"""

import argparse
import time

from tests.fuzz import runs


def main() -> None:
    """Run, with progress; a failure prints its input and ends with a traceback."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--count", type=int, default=100_000, help="generated bodies")
    parser.add_argument("--seed", type=int, default=1, help="of the first thousand")
    parser.add_argument(
        "--values", type=int, default=40, help="damages at each offset of the stream"
    )
    options = parser.parse_args()
    began = time.monotonic()
    total = 0
    while total < options.count:
        statuses = runs.fuzz_bodies(options.seed + total, count=min(1000, options.count - total))
        total += statuses.total()
        if total % 10_000 == 0 or total == options.count:
            print(
                f"{total} bodies, {time.monotonic() - began:.0f} s, last thousand: {dict(statuses)}"
            )
    data = runs.recorded_stream()
    played = runs.fuzz_stream(data, values=options.values)
    print(f"{played} damaged or cut streams: each ended in an error or an honest stop reason")


if __name__ == "__main__":
    main()
