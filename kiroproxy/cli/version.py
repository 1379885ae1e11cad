"""`kiroproxy version`."""

import platform

import click

from kiroproxy import __version__
from kiroproxy.cli.base import PlainErrors, json_option, print_json

PARTS = ("gunicorn", "gevent", "flask")


@click.command(cls=PlainErrors, examples=["kiroproxy version", "kiroproxy version --json"])
@json_option
def version(as_json: bool) -> None:
    """Print the versions that a bug report needs."""
    from importlib.metadata import version as installed

    if as_json:
        own = {"kiroproxy": __version__, "python": platform.python_version()}
        others = {name: installed(name) for name in PARTS}
        print_json(own | others | {"platform": platform.platform()})
        return
    click.echo(f"kiroproxy {__version__}")
    parts = [f"{name} {installed(name)}" for name in PARTS]
    click.echo(", ".join([f"Python {platform.python_version()}", *parts, platform.platform()]))
