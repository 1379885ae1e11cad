"""`kiroproxy completion`."""

import click

from kiroproxy.cli.base import PlainErrors, json_option, print_json
from kiroproxy.cli.texts import translated as _

SHELLS = ("bash", "zsh", "fish")


@click.command(
    cls=PlainErrors,
    examples=(
        "echo 'eval \"$(kiroproxy completion bash)\"' >> ~/.bashrc",
        "echo 'eval \"$(kiroproxy completion zsh)\"' >> ~/.zshrc",
        "kiroproxy completion fish > ~/.config/fish/completions/kiroproxy.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
@json_option
def completion(shell: str, as_json: bool) -> None:
    """Print what a shell needs to complete kiroproxy's commands and options."""
    from click.shell_completion import get_completion_class

    from kiroproxy.cli import main

    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(_("{shell} cannot be completed").format(shell=shell))
    script = kind(main, {}, "kiroproxy", "_KIROPROXY_COMPLETE").source()
    if as_json:
        print_json({"shell": shell, "script": script})
    else:
        click.echo(script)
