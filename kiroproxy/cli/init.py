"""`kiroproxy init`."""

import json
import os
import secrets
from pathlib import Path

import click

from kiroproxy.cli.base import PlainErrors, json_option, path_options, print_json
from kiroproxy.cli.texts import marked
from kiroproxy.cli.texts import translated as _

NEXT_STEPS = marked("""
1. Add your Kiro account. Sign in:

     kiroproxy login{options}

   or, on a machine where the Kiro IDE is signed in, take its tokens over:

     kiroproxy credentials import{options}

   or paste the content of ~/.aws/sso/cache/kiro-auth-token.json of such a machine into
   {credentials}.
2. Start the server:

     kiroproxy serve{options}

3. Tell Claude Code (or paste this key wherever an Anthropic API key is asked for):

     export ANTHROPIC_BASE_URL=http://{host}:{port}
     export ANTHROPIC_AUTH_TOKEN={key}
     claude
""")


@click.command(
    cls=PlainErrors, examples=["kiroproxy init", "kiroproxy init -c /etc/kiroproxy/config.json"]
)
@path_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8990, show_default=True, type=click.IntRange(1, 65535), help="Port."
)
@click.option("--force", is_flag=True, help="Replace the configuration; the old one becomes .bak.")
@json_option
def init(
    config_path: Path | None,
    credentials_path: Path | None,
    host: str,
    port: int,
    force: bool,
    as_json: bool,
) -> None:
    """Write a configuration with a random key.

    An empty credentials file goes beside it; credentials that exist are never touched.
    """
    config_file = config_path or Path("config.json")
    credentials_file = credentials_path or Path("credentials.json")
    key = f"sk-kiroproxy-{secrets.token_urlsafe(24)}"
    document = {"host": host, "port": port, "apiKey": key, "region": "us-east-1"}
    said = []
    if force and config_file.exists():
        backup = config_file.with_name(f"{config_file.name}.bak")
        config_file.replace(backup)
        said.append(_("kept the old configuration as {file}").format(file=backup))
    if not write_new(config_file, json.dumps(document, indent=2) + "\n"):
        text = _("{file} exists already; --force replaces it")
        raise click.ClickException(text.format(file=config_file))
    said.append(_("wrote {file} with a random client key").format(file=config_file))
    if write_new(credentials_file, "[]\n"):
        said.append(_("wrote {file}, still empty").format(file=credentials_file))
    else:
        said.append(_("kept {file}").format(file=credentials_file))
    if as_json:
        print_json({"config": str(config_file), "credentials": str(credentials_file)} | document)
        return
    click.echo("\n".join(said))
    options = f" -c {config_path}" if config_path else ""
    options += f" --credentials {credentials_path}" if credentials_path else ""
    reachable = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared only
    click.echo(
        _(NEXT_STEPS).format(
            credentials=credentials_file, options=options, host=reachable, port=port, key=key
        )
    )


def write_new(path: Path, content: str) -> bool:
    """Create a file that only its owner can read; False if there is one."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        text = _("{path} cannot be written: {why}")
        raise click.ClickException(text.format(path=path, why=error.strerror)) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    return True
