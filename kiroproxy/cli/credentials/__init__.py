"""`kiroproxy credentials …`: the accounts that serve, one file per kind of command."""

import click

from kiroproxy.cli.base import Group
from kiroproxy.cli.credentials.changes import COMMANDS as CHANGES
from kiroproxy.cli.credentials.intake import COMMANDS as INTAKE
from kiroproxy.cli.credentials.listing import COMMANDS as LISTING
from kiroproxy.cli.credentials.probing import COMMANDS as PROBING


@click.group(cls=Group)
def credentials() -> None:
    """Look at the Kiro accounts of the pool, and change them.

    A running server sees each change within a second.
    """


for _command in (*LISTING, *INTAKE, *CHANGES, *PROBING):
    credentials.add_command(_command)
