"""A Kiro on this machine: real HTTP, real event-stream bytes, rotating tokens, faults on request.

Read `app.py` first. What it refuses follows `protocol.md` 3.4 to 3.7; what it plays is chosen by a
directive in the prompt (`prompts.py`), by the control API (`control.py`) or by a script file.
"""

import json
import os
import signal
import sys
from pathlib import Path

from kiroproxy.errors import ConfigError


def run(
    host: str,
    port: int,
    *,
    revoke_on_reuse: bool = False,
    strict: bool = False,
    script_file: str | Path | None = None,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Serve until interrupted; say `simulator listening on URL` on stdout when ready.

    The caller has monkey-patched gevent before. Port 0 takes a free one and names it.

    Args:
        host: address to bind.
        port: port to bind.
        revoke_on_reuse: a refresh token used twice kills its account.
        strict: unknown tokens are refused, and so is whatever one source calls harmful.
        script_file: JSON with one script, or a list of queue entries (see `control.py`).
        quiet: no line per request on stderr.
        as_json: say `{"url": URL}` instead.

    Raises:
        ConfigError: the script cannot be used, or the port is taken.
    """
    # Late: importing this package must not load ssl before gevent has patched it.
    from gevent import signal_handler

    from kiroproxy.simulator.app import Simulator
    from kiroproxy.simulator.server import make_server

    try:
        script_text = Path(script_file).read_text("utf-8") if script_file else None
        simulator = Simulator(
            revoke_on_reuse=revoke_on_reuse, strict=strict, script_text=script_text
        )
    except (OSError, ValueError) as error:
        raise ConfigError("script", str(error)) from error
    server = make_server(host, port, simulator, quiet=quiet)
    try:
        server.start()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        message = f"cannot listen on {host}:{port} ({why}); name another --port"
        raise ConfigError("port", message) from error
    # As an exception, Ctrl-C would go through gevent's hub, which prints it.
    signal_handler(signal.SIGINT, server.stop, 0)
    simulator.url = f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}"
    said = (
        json.dumps({"url": simulator.url}) if as_json else f"simulator listening on {simulator.url}"
    )
    sys.stdout.write(f"{said}\n")
    sys.stdout.flush()
    server.serve_forever()
