"""`kiroproxy demo`: simulator, proxy, one streamed request; what `make demo` and `make run` do."""

import contextlib
import json
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from kiroproxy.cli.base import PlainErrors, json_option, path_options
from kiroproxy.cli.texts import marked
from kiroproxy.cli.texts import translated as _

START_LIMIT_S = 30
STOP_LIMIT_S = 5
PROMPT = "Hello, Claude!"
SLOWLY = " [[sim: slow]]"
"""Asks the simulator for a pause before each frame, so that one can watch the stream."""

PASTE = marked("""
The proxy is running at {url}. Try it:

  curl -N {url}/v1/messages -H 'content-type: application/json' \\
    -H 'x-api-key: {key}' \\
    -d '{{"model": "claude-sonnet-4-5", "max_tokens": 1024, "stream": true,
         "messages": [{{"role": "user", "content": "Hello, Claude!"}}]}}'

Claude Code, in another terminal:

  export ANTHROPIC_BASE_URL={url}
  export ANTHROPIC_AUTH_TOKEN={key}
  claude
""")


@click.command(cls=PlainErrors, examples=["kiroproxy demo", "kiroproxy demo --own --port 9000"])
@path_options
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the proxy.  [default: 8990]")
@click.option("--own", is_flag=True, help="Use your own configuration and credentials.")
@json_option
def demo(
    config_path: Path | None,
    credentials_path: Path | None,
    port: int | None,
    own: bool,
    as_json: bool,
) -> None:
    """Start everything on this machine and show one streamed answer.

    Without --own, Kiro is simulated: no account is needed. Ctrl-C ends all of it. With --json one
    line says address, key and answer, once all of it runs.
    """
    say = _quiet if as_json else click.echo
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with contextlib.ExitStack() as stack:
            if own:
                _serve_own(stack, config_path, credentials_path, port, as_json)
            else:
                _serve_simulated(stack, port, as_json)
    except KeyboardInterrupt:
        say("\n" + _("stopped"))


def _quiet(_text: str) -> None:
    pass


def _interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _serve_simulated(stack: contextlib.ExitStack, port: int | None, as_json: bool) -> None:
    say = _quiet if as_json else click.echo
    wanted = port or 8990
    chosen = wanted if is_free("127.0.0.1", wanted) else free_port()
    if chosen != wanted:
        say(_("port {port} is taken, using {other}").format(port=wanted, other=chosen))
    place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kiroproxy-demo-")))
    say(_("starting the simulator and the proxy (gunicorn, two gevent workers) …"))
    upstream = stack.enter_context(_simulator(place / "simulator.log"))
    key = write_demo_files(place, upstream, chosen)
    command = ["serve", "-c", str(place / "config.json")]
    command += ["--credentials", str(place / "credentials.json")]
    log = place / "proxy.log"
    server = stack.enter_context(_running(command, log, cwd=place))
    _present(server, "127.0.0.1", chosen, key, PROMPT + SLOWLY, log, as_json)


def _serve_own(
    stack: contextlib.ExitStack,
    config_path: Path | None,
    credentials_path: Path | None,
    port: int | None,
    as_json: bool,
) -> None:
    from kiroproxy.config import load_config, require_client_key

    options = {"config_path": config_path, "credentials_path": credentials_path, "port": port}
    config = load_config(options)
    require_client_key(config)
    host = "127.0.0.1" if config.host in ("0.0.0.0", "::") else config.host  # noqa: S104
    if not is_free(host, config.port):
        text = _("port {port} is taken; choose another with --port")
        raise click.ClickException(text.format(port=config.port))
    names = {"config_path": "-c", "credentials_path": "--credentials", "port": "--port"}
    command = ["serve"]
    for name, value in options.items():
        command += [names[name], str(value)] if value else []
    command += ["--json"] if as_json else []
    server = stack.enter_context(_running(command, None))
    _present(server, host, config.port, config.api_key, PROMPT, None, as_json)


def _present(
    server: "subprocess.Popen[str]",
    host: str,
    port: int,
    key: str,
    prompt: str,
    log: Path | None,
    as_json: bool,
) -> None:
    """Wait for the server, show a stream, say how to use it, and stay until it ends."""
    wait_for_health(server, host, port, log)
    if as_json:
        lines = list(stream_lines(host, port, key, prompt))
        click.echo(json.dumps({"url": f"http://{host}:{port}", "key": key, "answer": lines}))
        server.wait()
        raise click.ClickException(_failure(server, log))
    heading = _("POST /v1/messages, stream: {prompt}").format(prompt=prompt)
    click.secho(f"\n{heading}\n", bold=True)
    for line in stream_lines(host, port, key, prompt):
        click.echo(line)
    click.echo(_(PASTE).format(url=f"http://{host}:{port}", key=key))
    end = _("Ctrl-C ends it. Logs: {place}") if log else _("Ctrl-C ends it.")
    click.echo(end.format(place=log.parent if log else ""))
    server.wait()
    raise click.ClickException(_failure(server, log))


def write_demo_files(place: Path, upstream: str, port: int) -> str:
    """Write configuration and credentials that point at the simulator; return the client key."""
    key = f"sk-kiroproxy-demo-{secrets.token_urlsafe(12)}"
    config = {
        "host": "127.0.0.1",
        "port": port,
        "workers": 2,
        "apiKey": key,
        "apiUrl": upstream,
        "socialAuthUrl": upstream,
        "oidcUrl": upstream,
    }
    credential = {"authMethod": "social", "refreshToken": f"demo-{secrets.token_hex(60)}"}
    for name, document in (("config.json", config), ("credentials.json", [credential])):
        (place / name).touch(mode=0o600)
        (place / name).write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    return key


@contextlib.contextmanager
def _simulator(log: Path) -> Iterator[str]:
    """Run the simulator on a port of its own choice; yields its address."""
    with _running(["simulate", "--port", "0"], log) as process:
        deadline = time.monotonic() + START_LIMIT_S
        while process.poll() is None and time.monotonic() < deadline:
            for line in log.read_text("utf-8", "replace").splitlines():
                if "listening on http" in line:
                    yield line.rpartition(" ")[2]
                    return
            time.sleep(0.05)
        raise click.ClickException(_failure(process, log))


@contextlib.contextmanager
def _running(
    command: list[str], log: Path | None, cwd: Path | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Run one of our own commands; its output goes to `log`, or where ours goes."""
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("wb")) if log else None
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [sys.executable, "-m", "kiroproxy", *command],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            text=True,
        )
        try:
            yield process
        finally:
            stop(process)


def stop(process: "subprocess.Popen[str]") -> None:
    """End a process quickly (SIGINT: gunicorn does not wait for streams), then surely."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_LIMIT_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def wait_for_health(
    process: "subprocess.Popen[str]", host: str, port: int, log: Path | None
) -> None:
    """Return once `/health` answers 200.

    Raises:
        click.ClickException: the process ended, or took too long.
    """
    import http.client

    deadline = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection(host, port, timeout=5)
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(connection),
        ):
            connection.request("GET", "/health")
            if connection.getresponse().status == http.client.OK:
                return
        time.sleep(0.1)
    raise click.ClickException(_failure(process, log))


def stream_lines(host: str, port: int, key: str, prompt: str) -> Iterator[str]:
    """Ask for one streamed message and yield its raw lines as they arrive."""
    import http.client

    body: dict[str, Any] = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 1024,
        "stream": True,
        "messages": [{"role": "user", "content": prompt}],
    }
    headers = {"content-type": "application/json", "x-api-key": key}
    connection = http.client.HTTPConnection(host, port, timeout=150)
    with contextlib.closing(connection):
        try:
            connection.request("POST", "/v1/messages", json.dumps(body), headers)
            answer = connection.getresponse()
            yield f"HTTP {answer.status} {answer.headers.get('content-type')}"
            for line in answer:
                yield line.decode("utf-8", "replace").rstrip("\r\n")
        except (OSError, http.client.HTTPException) as error:
            yield _("the request failed: {why}").format(why=repr(error))


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _failure(process: "subprocess.Popen[str]", log: Path | None) -> str:
    """What to say about a process that did not do its duty."""
    command = list(process.args)[3] if isinstance(process.args, list) else "server"
    code = process.poll()
    ended = _("kiroproxy {command} ended with exit code {code}")
    late = _("kiroproxy {command} did not answer in time")
    what = (late if code is None else ended).format(command=command, code=code)
    tail = log.read_text("utf-8", "replace").splitlines()[-20:] if log else []
    return "\n".join([what, *tail])
