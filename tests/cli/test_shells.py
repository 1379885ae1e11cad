"""Lines for shells: whatever a value is made of, the shell gets that value (S151, S152)."""

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kiroproxy.cli.shells import SHELLS, claude_lines, windows_blocks

ODD = "a$HOME`id`\"b'\\c!d &|<>^%PATH%(e)*?[x] ü“”;#~{y}"
VALUES = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1)


def test_plain_values_look_as_documented() -> None:
    url, token = "http://localhost:8080", "aoaAAA.b-c_d/e+f="
    assert claude_lines("posix", url, token) == [
        "export ANTHROPIC_BASE_URL=http://localhost:8080",
        'export ANTHROPIC_AUTH_TOKEN="aoaAAA.b-c_d/e+f="',
    ]
    assert claude_lines("fish", url, token)[1] == 'set -gx ANTHROPIC_AUTH_TOKEN "aoaAAA.b-c_d/e+f="'
    assert windows_blocks(url, token) == [
        "CMD",
        "set ANTHROPIC_BASE_URL=http://localhost:8080",
        "set ANTHROPIC_AUTH_TOKEN=aoaAAA.b-c_d/e+f=",
        "",
        "Powershell",
        '$env:ANTHROPIC_BASE_URL="http://localhost:8080"',
        '$env:ANTHROPIC_AUTH_TOKEN="aoaAAA.b-c_d/e+f="',
    ]


@settings(max_examples=40, deadline=None)
@given(VALUES)
def test_bash_gets_the_value(value: str) -> None:
    script = "\n".join(claude_lines("posix", "http://x y/$z", value))
    done = subprocess.run(
        ["bash", "-c", f'{script}\nprintf "%s\\n%s" "$ANTHROPIC_BASE_URL" "$ANTHROPIC_AUTH_TOKEN"'],
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == f"http://x y/$z\n{value}"


@pytest.mark.parametrize("history", ["-o histexpand", "+o histexpand"])
def test_an_interactive_bash_expands_no_history(history: str) -> None:
    """zsh does as bash does here: `!` is special between double quotes of a typed line."""
    line = claude_lines("posix", "u", "a!b!!c")[1]
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "-i"],
        input=f'set {history}\n{line}\necho "<$ANTHROPIC_AUTH_TOKEN>"\nexit\n',
        capture_output=True,
        text=True,
        check=True,
    )
    assert "<a!b!!c>" in done.stdout


@pytest.mark.parametrize(
    ("shell", "command"),
    [
        ("posix", ["zsh", "-fc", '{}\nprintf %s "$ANTHROPIC_AUTH_TOKEN"']),
        ("posix", ["sh", "-c", '{}\nprintf %s "$ANTHROPIC_AUTH_TOKEN"']),
        ("fish", ["fish", "-Nc", '{}\nprintf %s "$ANTHROPIC_AUTH_TOKEN"']),
        (
            "powershell",
            ["pwsh", "-NoProfile", "-c", "{}\n[Console]::Write($env:ANTHROPIC_AUTH_TOKEN)"],
        ),
    ],
)
def test_other_shells_where_they_are_installed(shell: str, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed here")
    script = "\n".join(claude_lines(shell, "http://x", ODD))
    whole = [*command[:-1], command[-1].replace("{}", script)]
    done = subprocess.run(whole, capture_output=True, check=True)
    assert done.stdout.decode() == ODD


def powershell_value(line: str) -> str:
    """What PowerShell makes of the assignment: a model of its double quoted strings."""
    text = line.partition('="')[2]
    found, at = "", 0
    while text[at] not in '"“”„':
        assert text[at] != "$", "a variable would be expanded"
        at += text[at] == "`"
        found += text[at]
        at += 1
    assert at == len(text) - 1, "the string ends early"
    return found


def cmd_value(line: str) -> str:
    """What cmd.exe makes of it: a caret takes the next letter as it is."""
    text = line.partition("=")[2]
    found, at = "", 0
    while at < len(text):
        assert text[at] not in '&|<>()"%!', "cmd.exe would act on it"
        at += text[at] == "^"
        found += text[at]
        at += 1
    return found


@given(VALUES)
def test_windows_gets_the_value(value: str) -> None:
    """By models of both parsers: there is no Windows here."""
    assert powershell_value(claude_lines("powershell", "u", value)[1]) == value
    assert cmd_value(claude_lines("cmd", "u", value)[1]) == value


def test_each_shell_says_the_same_variables() -> None:
    for shell in SHELLS:
        first, second = claude_lines(shell, "u", "t")
        assert "ANTHROPIC_BASE_URL" in first
        assert "ANTHROPIC_AUTH_TOKEN" in second
