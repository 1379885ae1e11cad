"""What the command line says: `python -m tests.texts` prints what the catalogue lacks.

Docstrings, examples and `help=` of the tree of commands and of the settings, literals in `_(…)`,
`translated(…)` and `counted(…)`, whatever stands in `marked(…)`, and the headings of tables.
"""

import ast
import inspect
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import click
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

import kiroproxy
from kiroproxy.cli import kiro2api, main
from kiroproxy.cli.base import COMMENT
from kiroproxy.cli.texts import TRANSLATIONS
from kiroproxy.config import SETTINGS

PACKAGE = Path(kiroproxy.__file__).parent
ROOMS = ("cli", "doctor")
MARKS = {"_": 1, "translated": 1, "counted": 2, "print_table": 0}
CLICK = (
    "Usage:",
    "Options",
    "Commands",
    "Show this message and exit.",
    "Show the version and exit.",
    "Error: {message}",
    "Try '{command} {option}' for help.",
    "No such command {name!r}.",
    "No such option {name!r}.",
    "Invalid value for {param_hint}: {message}",
    "Missing argument",
    "Missing option",
    "Missing command.",
    "Choose from:\n\t{choices}",
    "Invalid value: {message}",
    "{value!r} is not one of {choices}.",
    "{value!r} is not a valid {number_type}.",
    "{value} is not in the range {range}.",
    "{name} {filename!r} does not exist.",
    "{name} {filename!r} is a directory.",
    "{name} {filename!r} is not readable.",
    "file",
    "Got unexpected extra arguments ({args})",
    "Option {name!r} requires {nargs} arguments.",
    "Option {name!r} does not take a value.",
    "(Did you mean one of: {possibilities}?)",
    "default: {default}",
    "required",
    "Error: invalid input",
    "Aborted!",
    "Shell completion is not supported for Bash versions older than 4.4.",
    "Couldn't detect Bash version, shell completion is not supported.",
)
"""Of click's own sentences those that our commands can say; where one has two forms, the second."""


def commands(command: click.Command = main) -> Iterator[click.Command]:
    """The whole tree."""
    yield command
    if isinstance(command, click.Group):
        for one in command.commands.values():
            yield from commands(one)


def helps() -> Iterator[str]:
    """What `--help` shows."""
    for command in (*commands(), *commands(kiro2api.main)):
        yield inspect.cleandoc(command.help or "")
        for line in getattr(command, "examples", ()):
            yield line.partition(COMMENT)[2]
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.help:
                yield parameter.help
    yield from (row.help for row in SETTINGS)


def literals() -> Iterator[str]:
    """What commands print."""
    for room in ROOMS:
        for path in sorted((PACKAGE / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call):
                    yield from _marked(node)


def _marked(call: ast.Call) -> Iterator[str]:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name == "marked":
        yield from _strings(call)
    if name not in MARKS or not call.args:
        return
    wanted = call.args[: MARKS[name]] if MARKS[name] else _cells(call.args[0])
    for one in wanted:
        for inner in (one.body, one.orelse) if isinstance(one, ast.IfExp) else (one,):
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                yield inner.value


def _strings(structure: ast.AST) -> Iterator[str]:
    for node in ast.walk(structure):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _cells(columns: ast.expr) -> list[ast.expr]:
    return columns.elts if isinstance(columns, ast.Tuple | ast.List) else []


def sentences() -> set[str]:
    """All of them."""
    return {one for one in (*CLICK, *helps(), *literals()) if any(map(str.isalpha, one))}


def catalogue(language: str) -> Catalog:
    """What is translated."""
    path = TRANSLATIONS / language / "LC_MESSAGES" / "messages.po"
    return read_po(BytesIO(path.read_bytes()))


def missing(language: str) -> list[str]:
    """Sentences without a translation."""
    known: set[str] = set()
    for message in catalogue(language):
        if message.string:
            known.update((message.id,) if isinstance(message.id, str) else message.id)
    return sorted(sentences() - known)


if __name__ == "__main__":
    for sentence in missing("zh"):
        print(f'msgid {json.dumps(sentence, ensure_ascii=False)}\nmsgstr ""\n')
