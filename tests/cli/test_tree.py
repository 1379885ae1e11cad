"""The tree of commands as a whole: what every command has, and that README names them all."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kiroproxy.cli import main
from kiroproxy.cli.base import PlainErrors

READMES = [Path(__file__).parents[2] / name for name in ("README.md", "README.zh-CN.md")]
HEADING = re.compile(r"\| (?:Command|命令) \| \|")


def leaves(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command by its path below `kiroproxy`."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from leaves(command, *path, name)
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(leaves(main))


def find(words: list[str]) -> str:
    """The path of the command that a line of words calls; empty if it calls none."""
    command: click.Command | None = main
    path: list[str] = []
    for word in words:
        if not isinstance(command, click.Group):
            break
        command = command.commands.get(word)
        path.append(word)
    return " ".join(path) if command is not None and not isinstance(command, click.Group) else ""


def named_in(readme: Path) -> list[str]:
    """The commands in the first cells of README's table, one path for each."""
    lines = HEADING.split(readme.read_text("utf-8"))[1].splitlines()[2:]
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        for span in re.findall(r"`([^`]+)`", line.split(" | ")[0]):
            words = span.removeprefix("kiroproxy ").split()
            assert find(words), f"{span} is no command"
            found.append(find(words))
    return found


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_readmes_table_and_the_tree_agree(readme: Path) -> None:
    named = named_in(readme)
    assert len(named) == len(set(named))
    assert set(named) == set(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_what_every_command_has(path: str) -> None:
    """Issue item 7."""
    command = COMMANDS[path]
    assert isinstance(command, PlainErrors), "errors are one sentence"
    assert command.help, "a docstring"
    assert command.examples, "examples"
    assert any("--json" in one.opts for one in command.params), "--json"
    for one in command.params:
        if isinstance(one, click.Option) and one.help is None:
            assert one.name == "port", f"{path} {one.opts} has no help"


@pytest.mark.parametrize("path", COMMANDS)
def test_examples_can_be_typed(path: str) -> None:
    """Each calls its command with options that it has."""
    command = COMMANDS[path]
    assert isinstance(command, PlainErrors)
    for example in command.examples:
        assert f"kiroproxy {path}" in example
        if "$(" in example:
            continue
        line = example[example.index(f"kiroproxy {path}") :]
        line = re.split(r"\s(?:#|<|\||&&)\s", line)[0]
        words = shlex.split(line)[1 + len(path.split()) :]
        with command.make_context(path, words, resilient_parsing=True) as context:
            assert context.command is command
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert used <= known, example


def test_help_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    """A page for each command and group, with its examples at the end."""
    for path, command in COMMANDS.items():
        main.main([*path.split(), "--help"], standalone_mode=False, prog_name="kiroproxy")
        shown = capsys.readouterr().out
        assert f"kiroproxy {path}" in shown
        assert isinstance(command, PlainErrors)
        assert command.examples[0] in shown
    for group in ("credentials", "groups", "settings", "config"):
        main.main([group, "--help"], standalone_mode=False, prog_name="kiroproxy")
        assert "list" in capsys.readouterr().out or group == "config"


def test_wrong_usage_is_two(capsys: pytest.CaptureFixture[str]) -> None:
    for path in COMMANDS:
        with pytest.raises(click.UsageError) as error:
            main.main([*path.split(), "--no-such-option=1"], standalone_mode=False)
        assert error.value.exit_code == 2


BAD_VALUES: tuple[tuple[type[click.ParamType], str], ...] = (
    (click.IntRange, "1.5"),
    (click.FloatRange, "many"),
    (click.types.IntParamType, "x"),
    (click.Choice, "none-of-these"),
)


def typed_parameters() -> Iterator[tuple[str, click.Parameter, str]]:
    """Each parameter that cannot be just any text, with a value that it cannot have."""
    for path, command in COMMANDS.items():
        for parameter in command.params:
            for kind, value in BAD_VALUES:
                if isinstance(parameter.type, kind):
                    yield path, parameter, value
                    break


@pytest.mark.parametrize(
    ("path", "parameter", "value"),
    [pytest.param(*row, id=f"{row[0]} {row[1].name}") for row in typed_parameters()],
)
def test_a_value_that_cannot_be(path: str, parameter: click.Parameter, value: str) -> None:
    command = COMMANDS[path]
    places = [one for one in command.params if isinstance(one, click.Argument)]
    words = [
        value if one is parameter else "1" for one in places if one.required or one is parameter
    ]
    if parameter not in places:
        words.append(f"{parameter.opts[0]}={value}")
    with pytest.raises(click.BadParameter) as error:
        command.make_context(path, words)
    assert error.value.param is parameter
