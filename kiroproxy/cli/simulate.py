"""`kiroproxy simulate`."""

import os
import sys
from pathlib import Path

import click

from kiroproxy.cli.base import PlainErrors, json_option


@click.command(
    cls=PlainErrors,
    examples=["kiroproxy simulate", "kiroproxy simulate --port 0 --quiet --json"],
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=9100, show_default=True, type=click.IntRange(0, 65535))
@click.option("--revoke-on-reuse", is_flag=True, help="An old refresh token kills the account.")
@click.option("--strict", is_flag=True, help="Refuse also what Kiro merely should refuse.")
@click.option(
    "--script",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File that says what to play.",
)
@click.option("--quiet", is_flag=True, help="Log no requests.")
@json_option
def simulate(
    host: str,
    port: int,
    revoke_on_reuse: bool,
    strict: bool,
    script: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Play Kiro on this machine: no account needed.

    Its answers are made up, and say so. Signing in works too (`kiroproxy login`): a code is
    approved by itself at the second poll, and Google and GitHub send the browser back at once. How
    sign-ins go is set through its control API: POST /_sim/device with `mode` (auto, manual, deny,
    expire), `interval`, `expiresIn`, `slowDowns` or `email`; under `manual` a page asks.
    """
    if "urllib3" in sys.modules:  # under flask's script: too late to patch (Q10), start afresh
        arguments = sys.argv[sys.argv.index("simulate") :]
        here = [sys.executable, "-m", "kiroproxy", *arguments]
        os.execv(here[0], here)  # noqa: S606 - our own interpreter
    from gevent import monkey

    monkey.patch_all()
    from kiroproxy import simulator

    simulator.run(
        host,
        port,
        revoke_on_reuse=revoke_on_reuse,
        strict=strict,
        script_file=script,
        quiet=quiet,
        as_json=as_json,
    )
