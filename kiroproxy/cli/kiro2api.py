"""The commands of kiro2api: read, refresh, export, authToken, claude, server.

They work on the Kiro IDE's token file, not on the pool. They are reachable as `kiroproxy read` and
as `kiro2api read`; the second script also ends like the old program: without a command, or with an
unknown one, it exits with 1 (S148). What S149 to S154 spell out is printed literally, in one
language.
"""

import hashlib
import os
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kiroproxy import __version__
from kiroproxy.cli.base import Function, Group, PlainErrors, json_option, print_json
from kiroproxy.cli.shells import SHELLS, claude_lines, windows_blocks
from kiroproxy.cli.texts import translated as _

if TYPE_CHECKING:
    from kiroproxy.config import Config
    from kiroproxy.credentials.token_file import Tokens

DEFAULT_PORT = 8080
PORT = click.IntRange(1, 65535)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def file_option(function: Function) -> Function:
    """Add `--token-file` as `token_file`."""
    return click.option(
        "--token-file",
        metavar="FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Token file.  [default: ~/.aws/sso/cache/kiro-auth-token.json, or "
        "KIROPROXY_TOKEN_FILE]",
    )(function)


def _config(token_file: Path | None, **overrides: Any) -> "Config":
    from kiroproxy.config import load_config

    return load_config({"token_file": str(token_file) if token_file else None, **overrides})


def _tokens(token_file: Path | None) -> "Tokens":
    from kiroproxy.credentials.token_file import read_tokens

    return read_tokens(_config(token_file).token_file)


def _access_token(token_file: Path | None) -> str:
    """The access token, fit to stand in a header and in a shell's line (S153)."""
    token = _tokens(token_file).access_token
    if not token:
        raise click.ClickException(
            _("the token file holds no access token: run `kiroproxy refresh`")
        )
    if _CONTROL.search(token):
        raise click.ClickException(
            _("the access token holds characters that no token has: sign in again")
        )
    return token


# ---- the token file ------------------------------------------------------------------------


@click.command(cls=PlainErrors, examples=("kiroproxy read", "kiroproxy read --json"))
@file_option
@json_option
def read(token_file: Path | None, as_json: bool) -> None:
    """Show the tokens of the Kiro IDE's token file (kiro2api).

    They are shown whole: they are secrets.
    """
    found = _tokens(token_file)
    if as_json:
        print_json(_as_json(found))
        return
    click.echo("Token信息:")
    click.echo(f"Access Token: {found.access_token}")
    click.echo(f"Refresh Token: {found.refresh_token}")
    if found.expires_at:
        click.echo(f"过期时间: {found.expires_at}")


def _as_json(found: "Tokens") -> dict[str, str | None]:
    return {
        "accessToken": found.access_token,
        "refreshToken": found.refresh_token,
        "expiresAt": found.expires_at or None,
    }


@click.command(cls=PlainErrors, examples=("kiroproxy refresh",))
@file_option
@json_option
def refresh(token_file: Path | None, as_json: bool) -> None:
    """Renew the tokens of the Kiro IDE's token file (kiro2api).

    If that fails, the file stays as it is. For a credential of the pool there is
    `kiroproxy credentials refresh`.
    """
    from datetime import UTC, datetime

    from kiroproxy.app import build_refresher
    from kiroproxy.credentials.token_file import refresh as renew
    from kiroproxy.transport import Transport

    config = _config(token_file)
    found = renew(config.token_file, build_refresher(config, Transport()), datetime.now(UTC))
    if as_json:
        print_json({"expiresAt": found.expires_at or None})
    else:
        click.echo("Token刷新成功")


@click.command(
    cls=PlainErrors,
    examples=(
        'eval "$(kiroproxy export)"',
        "kiroproxy export --shell fish | source",
        "kiroproxy export --shell powershell | Out-String | Invoke-Expression",
    ),
)
@click.option("--shell", type=click.Choice(list(SHELLS)), help="Whose language to speak.")
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="Of the server.")
@file_option
@json_option
def export(shell: str | None, port: int, token_file: Path | None, as_json: bool) -> None:
    """Print what a shell runs to use Claude Code with the token file (kiro2api).

    The key is the file's access token, so the server must have been started with it; see
    `kiroproxy authToken`. To take credentials out of the pool there is `kiroproxy credentials
    export`.
    """
    token = _access_token(token_file)
    base_url = f"http://localhost:{port}"
    if as_json:
        print_json({"ANTHROPIC_BASE_URL": base_url, "ANTHROPIC_AUTH_TOKEN": token})
    elif shell is None and sys.platform == "win32":
        click.echo("\n".join(windows_blocks(base_url, token)))
    else:
        click.echo("\n".join(claude_lines(shell or "posix", base_url, token)))


@click.command("authToken", cls=PlainErrors, examples=("kiroproxy authToken",))
@file_option
@json_option
def auth_token(token_file: Path | None, as_json: bool) -> None:
    """Show the access token of the token file, and how to serve with it (kiro2api)."""
    token = _access_token(token_file)
    if as_json:
        print_json({"authToken": token})
        return
    base_url = f"http://localhost:{DEFAULT_PORT}"
    click.echo(f"AuthToken: {token}")
    click.echo("\n使用方法:")
    click.echo(f"kiro2api server {DEFAULT_PORT} {shlex.quote(token)}\n")
    windows = sys.platform == "win32"
    lines = windows_blocks(base_url, token) if windows else claude_lines("posix", base_url, token)
    click.echo("\n".join(lines))


# ---- Claude Code ---------------------------------------------------------------------------


@click.command(
    cls=PlainErrors,
    examples=("kiroproxy claude", "kiroproxy claude --settings", "kiroproxy claude --undo"),
)
@click.option("--undo", "taking_back", is_flag=True, help="Take back what this command changed.")
@click.option(
    "--settings/--no-settings",
    default=None,
    help="Also write base URL and key into ~/.claude/settings.json.  [default: ask on a terminal]",
)
@click.option("--base-url", help="Where the proxy is.  [default: http://localhost:<port>]")
@click.option("--key", help="Client key.  [default: the configuration's, else the access token]")
@file_option
@json_option
def claude(
    taking_back: bool,
    settings: bool | None,
    base_url: str | None,
    key: str | None,
    token_file: Path | None,
    as_json: bool,
) -> None:
    """Let Claude Code start without its own sign-in (kiro2api).

    Sets hasCompletedOnboarding and kiro2api in ~/.claude.json; the file as it was is kept beside
    it as .bak. Doing it twice changes nothing.
    """
    from kiroproxy.cli.claude_files import ONBOARDED, Plan, environment, undo

    own, shared = _claude_paths()
    if taking_back:
        if settings is not None or base_url or key:
            raise click.UsageError(_("--undo goes with none of the other options"))
        places = {own: ONBOARDED, shared: environment("", "")}
        undone = [str(path) for path, patch in places.items() if undo(path, patch)]
        _tell(undone, as_json, _("restored {path}"), _("nothing to take back"))
        return
    if not own.exists():
        raise click.ClickException(
            _("{path} does not exist: npm install -g @anthropic-ai/claude-code").format(path=own)
        )
    _check_address(base_url)
    _check_key(key)
    plans = [Plan(own, ONBOARDED)]
    if settings is None:
        settings = _wants_settings(shared, explicit=bool(base_url or key), as_json=as_json)
    if settings:
        plans.append(Plan(shared, environment(*_address_and_key(base_url, key, token_file))))
    changed = [str(plan.path) for plan in plans if plan.carry_out()]
    _tell(changed, as_json, _("changed {path}"), _("nothing to change: all is set already"))


def _claude_paths() -> tuple[Path, Path]:
    home = Path.home()
    return home / ".claude.json", home / ".claude" / "settings.json"


def _tell(paths: list[str], as_json: bool, each: str, none: str) -> None:
    if as_json:
        print_json({"changed": paths})
        return
    for path in paths:
        click.echo(each.format(path=path))
    if not paths:
        click.echo(none)


def _wants_settings(path: Path, *, explicit: bool, as_json: bool) -> bool:
    """Whoever names an address or a key wants them written; else a person is asked."""
    if explicit or as_json or not sys.stdin.isatty():
        return explicit
    question = _("Write base URL and key into {path} too?").format(path=path)
    return click.confirm(question, default=False, err=True)


def _address_and_key(
    base_url: str | None, key: str | None, token_file: Path | None
) -> tuple[str, str]:
    config = _config(token_file)
    url = base_url or f"http://localhost:{config.port}"
    return url.rstrip("/"), key or config.api_key or _access_token(token_file)


def _check_address(base_url: str | None) -> None:
    from kiroproxy.config import url

    try:
        if base_url is not None:
            url("http", "https")(base_url)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--base-url") from None


def _check_key(key: str | None, hint: str = "--key") -> None:
    if key is not None and (not key.strip() or _CONTROL.search(key)):
        raise click.BadParameter(_("must be a key of printable characters"), param_hint=hint)


# ---- the server ----------------------------------------------------------------------------


@click.command(
    cls=PlainErrors,
    examples=("kiroproxy server", "kiroproxy server 9000", "kiroproxy server 8080 my-client-key"),
)
@click.argument("port", type=PORT, required=False, default=DEFAULT_PORT)
@click.argument("token", required=False)
@click.option("--upstream-proxy", metavar="URL", help="Proxy for all calls out.")
@click.option("--host", help="Address to listen on.")
@click.option("--json", "as_json", is_flag=True, help="Log in JSON, on a terminal too.")
@file_option
def server(
    port: int,
    token: str | None,
    upstream_proxy: str | None,
    host: str | None,
    token_file: Path | None,
    as_json: bool,
) -> None:
    """Serve from the Kiro IDE's token file alone, on PORT with client key TOKEN (kiro2api).

    Without TOKEN the key is the configured one, else the file's present access token, which is
    what `kiroproxy export` hands out. The token is renewed when it expires, and the file with it.
    To serve a pool of credentials there is `kiroproxy serve`.
    """
    _check_key(token, "token")
    _check_proxy(upstream_proxy)
    if sys.platform == "win32":
        raise click.ClickException(
            _("the server runs on Linux and macOS; use WSL or a container on Windows")
        )
    config = _config(token_file, port=port, proxy_url=upstream_proxy, host=host)
    key = token or config.api_key
    if not key:
        key = _access_token(token_file)
        click.echo(
            _("The client key is the token file's access token; `kiroproxy export` prints it."),
            err=True,
        )
    overrides = {"port": port, "proxy_url": upstream_proxy, "host": host, "api_key": key.strip()}
    if as_json:
        overrides["log_format"] = "json"
    _become_server(config, overrides)


def _check_proxy(address: str | None) -> None:
    from kiroproxy.config import proxy_address

    try:
        if address is not None:
            proxy_address(address)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--upstream-proxy") from None


def _become_server(config: "Config", overrides: dict[str, Any]) -> None:
    """Put the file's credential into a store of its own, and let gunicorn take this process."""
    from kiroproxy.config import child_environment
    from kiroproxy.credentials.stores.file import FileStore
    from kiroproxy.credentials.token_file import read_credential, serve_only
    from kiroproxy.serving import command_line

    place = _state_place(config)
    overrides |= {
        "config_path": config.config_path,
        "credentials_path": place / "credentials.json",
        "state_dir": str(place),
        "auth_token": "[]",  # this file is the only source, whatever the environment offers
    }
    if config.origins["database_path"] == "default":
        overrides["database_path"] = str(place / "kiroproxy.db")
    token_file = config.token_file.absolute()
    read_credential(token_file)
    _config(None, **overrides)  # what is wrong is said here, before anything is written
    store = FileStore(place / "credentials.json")
    for warning in store.prepare():
        click.echo(_("Warning: {text}").format(text=warning), err=True)
    serve_only(store, token_file)
    command = command_line()
    os.execve(command[0], command, child_environment(overrides))  # noqa: S606 - our own interpreter


def _state_place(config: "Config") -> Path:
    """One directory per token file, kept: two servers on one file share locks and tokens."""
    configured = config.origins["state_dir"] != "default"
    base = config.state_dir if configured else Path.home() / ".kiroproxy"
    name = hashlib.sha256(str(config.token_file.absolute()).encode()).hexdigest()[:12]
    return base / f"kiro2api-{name}"


# ---- the second script ---------------------------------------------------------------------

OLDER_SET: tuple[click.Command, ...] = (read, refresh, export, auth_token, claude, server)


class _NoSuchCommand(click.UsageError):
    exit_code = 1


class _OldHabits(Group):
    """Ends like the old program where click would say 2 (S148)."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise _NoSuchCommand(error.message, ctx) from error


@click.group(
    cls=_OldHabits,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "-V", "--version", message="kiroproxy %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Serve the Anthropic and OpenAI APIs from the Kiro IDE's token file.

    These are the commands of kiro2api; kiroproxy has them, and more.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(1)


for command in OLDER_SET:
    main.add_command(command)
