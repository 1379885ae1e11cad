"""Lines that set variables in a shell, whatever the values are made of (pure)."""

import re
from collections.abc import Callable, Mapping
from typing import Final

_CMD: Final = re.compile(r'([&|<>^()"%!])')
_POWERSHELL: Final = re.compile('([`$"“”„])')
_POSIX: Final = re.compile(r'([\\"$`])')
_FISH: Final = re.compile(r'([\\"$])')
_BARE: Final = re.compile(r"[A-Za-z0-9_./:@%+=,-]+")


def posix(name: str, value: str) -> str:
    """For sh, bash and zsh.

    `!` stands in quotes of its own: between double ones a shell that is typed at takes it for a
    word of its history.
    """
    quoted = _POSIX.sub(r"\\\1", value).replace("!", "\"'!'\"")
    return f'export {name}="{quoted}"'


def posix_url(name: str, value: str) -> str:
    """The same; a value that needs no quotes has none (S151)."""
    return f"export {name}={value}" if _BARE.fullmatch(value) else posix(name, value)


def fish(name: str, value: str) -> str:
    """For fish."""
    quoted = _FISH.sub(r"\\\1", value)
    return f'set -gx {name} "{quoted}"'


def cmd(name: str, value: str) -> str:
    """For cmd.exe, typed or pasted: `set` takes all that follows, so there are no quotes."""
    escaped = _CMD.sub(r"^\1", value)
    return f"set {name}={escaped}"


def powershell(name: str, value: str) -> str:
    """For PowerShell, which takes typographic quotes for quotes, too."""
    escaped = _POWERSHELL.sub(r"`\1", value)
    return f'$env:{name}="{escaped}"'


Line = Callable[[str, str], str]
SHELLS: Final[Mapping[str, tuple[Line, Line]]] = {
    "posix": (posix_url, posix),
    "cmd": (cmd, cmd),
    "powershell": (powershell, powershell),
    "fish": (fish, fish),
}
"""Shell → how it takes the base URL, how it takes the token."""


def claude_lines(shell: str, base_url: str, token: str) -> list[str]:
    """What makes Claude Code use a proxy (S151, S152)."""
    plain, quoted = SHELLS[shell]
    return [plain("ANTHROPIC_BASE_URL", base_url), quoted("ANTHROPIC_AUTH_TOKEN", token)]


def windows_blocks(base_url: str, token: str) -> list[str]:
    """Both shells of Windows, each under its name (S152)."""
    return [
        "CMD",
        *claude_lines("cmd", base_url, token),
        "",
        "Powershell",
        *claude_lines("powershell", base_url, token),
    ]
