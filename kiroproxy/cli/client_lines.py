"""The lines that make clients use this proxy with a key, to be pasted."""

import os
from typing import TYPE_CHECKING
from urllib.parse import quote

from kiroproxy.cli.shells import SHELLS, claude_lines
from kiroproxy.cli.texts import translated as _

if TYPE_CHECKING:
    from kiroproxy.config import Config

ANYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared only
DEFAULT_GROUP = "default"
CODEX = """model = "claude-sonnet-4.5"
model_provider = "kiro"

[model_providers.kiro]
name = "Kiro"
base_url = "{url}/v1"
env_key = "KIRO_KEY"
wire_api = "responses\""""


def default_shell() -> str:
    """The one whose lines fit this machine."""
    return "powershell" if os.name == "nt" else "posix"


def base_url(config: "Config", group: str = DEFAULT_GROUP, url: str = "") -> str:
    """Where clients of a group find us: `url`, else this machine as the configuration has it."""
    host = config.host.strip("[]")
    if host in ANYWHERE or host.startswith("unix:"):
        host = "127.0.0.1"
    found = url.rstrip("/") or f"http://{f'[{host}]' if ':' in host else host}:{config.port}"
    return found if group == DEFAULT_GROUP else f"{found}/{quote(group, safe='')}"


def client_lines(url: str, key: str, shell: str) -> dict[str, list[str]]:
    """Client → its lines."""
    plain, quoted = SHELLS[shell]
    return {
        "Claude Code": claude_lines(shell, url, key),
        "Codex": [
            _("# in ~/.codex/config.toml:"),
            *CODEX.format(url=url).splitlines(),
            _("# and in the shell:"),
            quoted("KIRO_KEY", key),
        ],
        "OpenAI": [plain("OPENAI_BASE_URL", f"{url}/v1"), quoted("OPENAI_API_KEY", key)],
    }
