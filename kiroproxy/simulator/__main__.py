"""`python -m kiroproxy.simulator --port 9100`."""

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402 - gevent patches first

from kiroproxy.simulator import run  # noqa: E402


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="kiroproxy.simulator", description="A Kiro on this host")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100, help="0 takes a free one")
    parser.add_argument("--script", help="JSON file with a script or a list of queue entries")
    parser.add_argument("--revoke-on-reuse", action="store_true")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    run(
        options.host,
        options.port,
        revoke_on_reuse=options.revoke_on_reuse,
        strict=options.strict,
        script_file=options.script,
        quiet=options.quiet,
    )


if __name__ == "__main__":
    main()
