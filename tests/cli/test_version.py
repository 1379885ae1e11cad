"""`kiroproxy version`, and the script as a whole."""

import json
import subprocess
import sys

import click
import flask
from click.testing import CliRunner

from kiroproxy import __version__, cli


def test_versions_for_a_bug_report() -> None:
    result = CliRunner().invoke(cli.main, ["version"])
    assert result.exit_code == 0
    for part in (f"kiroproxy {__version__}", "Python 3.", "gunicorn ", "gevent "):
        assert part in result.stdout


def test_versions_for_scripts() -> None:
    result = CliRunner().invoke(cli.main, ["version", "--json"])
    assert json.loads(result.stdout)["kiroproxy"] == __version__


def test_help_and_wrong_usage() -> None:
    """S87: `--help` exits 0; wrong usage exits 2."""
    for flag in ("--help", "-h"):
        result = CliRunner().invoke(cli.main, [flag])
        assert result.exit_code == 0
        for command in cli.COMMANDS:
            assert str(command.name) in result.stdout
    assert CliRunner().invoke(cli.main, ["no-such"]).exit_code == 2
    assert CliRunner().invoke(cli.main, ["serve", "--port", "x"]).exit_code == 2


def test_help_is_quick() -> None:
    """The costly packages are imported inside the commands."""
    script = (
        "import sys, kiroproxy.cli;"
        "print([n for n in ('flask', 'gevent', 'requests', 'ssl', 'rich') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_flask_offers_the_same_commands() -> None:
    app = flask.Flask("demo")
    cli.register(app)
    with app.app_context():
        for command in cli.COMMANDS:
            assert app.cli.get_command(click.Context(app.cli), str(command.name)) is command
    result = app.test_cli_runner().invoke(args=["version"])
    assert result.stdout.startswith("kiroproxy ")
