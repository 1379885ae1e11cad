"""The command line, shared by the `kiroproxy` script and `flask --app wsgi …`.

One file per command or group: it parses, calls a function, echoes. Imports that cost time happen
inside the commands, so that `--help` is quick. Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

from typing import TYPE_CHECKING

import click

from kiroproxy import __version__
from kiroproxy.cli.archive import backup, restore
from kiroproxy.cli.base import Group
from kiroproxy.cli.completion import completion
from kiroproxy.cli.config import config
from kiroproxy.cli.credentials import credentials
from kiroproxy.cli.demo import demo
from kiroproxy.cli.doctor import doctor
from kiroproxy.cli.explain import explain
from kiroproxy.cli.groups import groups
from kiroproxy.cli.health import health
from kiroproxy.cli.init import init
from kiroproxy.cli.keys import keys
from kiroproxy.cli.kiro2api import OLDER_SET
from kiroproxy.cli.login import login
from kiroproxy.cli.recordings import recordings
from kiroproxy.cli.replay import replay
from kiroproxy.cli.serve import serve
from kiroproxy.cli.settings import settings
from kiroproxy.cli.simulate import simulate
from kiroproxy.cli.tail import tail
from kiroproxy.cli.usage import usage
from kiroproxy.cli.version import version

if TYPE_CHECKING:
    from flask import Flask

COMMANDS: tuple[click.Command, ...] = (
    serve,
    init,
    login,
    config,
    settings,
    credentials,
    groups,
    keys,
    usage,
    tail,
    explain,
    recordings,
    replay,
    backup,
    restore,
    simulate,
    demo,
    doctor,
    health,
    completion,
    version,
    *OLDER_SET,
)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="kiroproxy %(version)s")
def main() -> None:
    """Speak the Anthropic and OpenAI APIs on a Kiro subscription."""


for command in COMMANDS:
    main.add_command(command)


def register(app: "Flask") -> None:
    """Offer the same commands as `flask --app wsgi …`."""
    for one in COMMANDS:
        app.cli.add_command(one)
