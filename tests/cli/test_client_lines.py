"""Lines to paste: the address that clients use, and the key, in the shell's own quotes."""

import subprocess
import tomllib

import pytest

from kiroproxy.cli.client_lines import base_url, client_lines
from kiroproxy.cli.shells import SHELLS
from kiroproxy.config import Config, load_config


def config(**settings: object) -> Config:
    return load_config({"api_key": "x" * 10, "port": 8990} | settings, environ={})


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("127.0.0.1", "http://127.0.0.1:8990"),
        ("0.0.0.0", "http://127.0.0.1:8990"),
        ("::", "http://127.0.0.1:8990"),
        ("[::1]", "http://[::1]:8990"),
        ("unix:/run/kiroproxy.sock", "http://127.0.0.1:8990"),
        ("proxy.example.org", "http://proxy.example.org:8990"),
    ],
)
def test_where_clients_find_us(host: str, wanted: str) -> None:
    assert base_url(config(host=host)) == wanted


def test_groups_and_a_given_address() -> None:
    assert base_url(config(), "pro") == "http://127.0.0.1:8990/pro"
    assert base_url(config(), "日 本").endswith("/%E6%97%A5%20%E6%9C%AC")
    given = base_url(config(), "default", "https://ai.example.org/")
    assert given == "https://ai.example.org"


def test_the_lines_work_in_a_shell() -> None:
    key = "sk-$HOME`id`'\"x"
    lines = client_lines("http://127.0.0.1:8990", key, "posix")
    script = "\n".join([*lines["Claude Code"], *lines["OpenAI"], "env"])
    shown = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert f"ANTHROPIC_AUTH_TOKEN={key}\n" in shown
    assert "ANTHROPIC_BASE_URL=http://127.0.0.1:8990\n" in shown
    assert f"OPENAI_API_KEY={key}\n" in shown
    assert "OPENAI_BASE_URL=http://127.0.0.1:8990/v1\n" in shown


@pytest.mark.parametrize("shell", SHELLS)
def test_codex_in_toml(shell: str) -> None:
    lines = client_lines("http://127.0.0.1:8990/pro", "kp_1", shell)["Codex"]
    read = tomllib.loads("\n".join(lines[:-1]))
    provider = read["model_providers"][read["model_provider"]]
    assert provider["base_url"] == "http://127.0.0.1:8990/pro/v1"
    assert provider["wire_api"] == "responses"
    assert provider["env_key"] in lines[-1]
    assert "kp_1" in lines[-1]
