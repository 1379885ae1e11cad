"""Claude Code and Codex on this machine."""

import json
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.doctor import Patient, clients
from tests.doctor.helpers import make, only, states

HERE = "http://127.0.0.1:8990"


def claude(
    place: Path, settings: Any = None, variables: dict[str, str] | None = None, **config: Any
) -> Patient:
    patient = make(place, {"port": 8990} | config, variables=variables)
    if settings is not None:
        path = patient.home / ".claude" / "settings.json"
        path.parent.mkdir(parents=True)
        path.write_text(settings if isinstance(settings, str) else json.dumps(settings))
    return patient


def env(url: str = HERE, key: str = "sk-client", **more: str) -> dict[str, Any]:
    return {"env": {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": key} | more}


# ---- base URLs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "v1", "works"),
    [
        ("http://h:1", False, None),
        ("http://h:1/", False, None),
        ("http://h:1/pro", False, None),
        ("http://h:1/v1", False, True),
        ("http://h:1/pro/v1/", False, True),
        ("http://h:1/v1/messages", False, False),
        ("http://h:1http://h:1", False, False),
        ("http://h:1/http://h:1", False, False),
        ("h:1", False, False),
        ("localhost", False, False),
        ("http://h:1/v1", True, None),
        ("http://h:1/v1/", True, None),
        ("http://h:1", True, False),
        ("http://h:1/v1/v1", True, True),
        ("http://h:1/v1/responses", True, False),
        ("http://h:1/v1/chat/completions", True, False),
    ],
)
def test_base_urls(url: str, v1: bool, works: bool | None) -> None:
    """X5: what works and should be written otherwise, and what does not."""
    fault = clients.address_fault(url, ends_in_v1=v1)
    assert (fault and fault[0]) == works


# ---- Claude Code ---------------------------------------------------------------------------


def test_claude_code_that_is_set_up(tmp_path: Path) -> None:
    assert "right key" in only(clients.check_claude_code(claude(tmp_path, env())), "ok")["message"]


def test_the_environment_serves_and_the_settings_outrank_it(tmp_path: Path) -> None:
    variables = {"ANTHROPIC_BASE_URL": HERE, "ANTHROPIC_API_KEY": "sk-client"}
    assert only(clients.check_claude_code(claude(tmp_path, None, variables)), "ok")
    wrong = claude(tmp_path, {"env": {"ANTHROPIC_API_KEY": "sk-other"}}, variables)
    assert "kiroproxy" not in only(clients.check_claude_code(wrong), "failure")["message"]


@pytest.mark.parametrize("settings", [None, {}, {"env": {}}, {"env": 5}, []])
def test_claude_code_without_a_proxy(tmp_path: Path, settings: Any) -> None:
    assert (
        "not set up" in only(clients.check_claude_code(claude(tmp_path, settings)), "ok")["message"]
    )


def test_another_proxy(tmp_path: Path) -> None:
    patient = claude(tmp_path, env("https://me:secret@other.example"))
    found = only(clients.check_claude_code(patient), "ok")
    assert "other.example" in found["message"]
    assert "secret" not in found["message"]


@pytest.mark.parametrize(
    ("settings", "state", "words"),
    [
        (env(key="sk-wrong-key"), "failure", "not the client key"),
        (env(key=""), "failure", "no key"),
        (env(url=HERE + "/v1"), "warning", "ends in /v1"),
        (env(url=HERE + HERE), "failure", "no base URL"),
        (env(ANTHROPIC_API_KEY="sk-another"), "warning", "differ"),
        (env(ANTHROPIC_MODEL="gpt-99-turbo"), "failure", "gpt-99-turbo"),
        (env() | {"model": "llama-9"}, "failure", "llama-9"),
        ("{broken", "failure", "cannot be read"),
    ],
)
def test_claude_codes_faults(tmp_path: Path, settings: Any, state: str, words: str) -> None:
    found = only(clients.check_claude_code(claude(tmp_path, settings)), state)
    assert words in found["message"]
    for secret in ("sk-client", "sk-wrong-key", "sk-another"):
        assert secret not in str(found)


@pytest.mark.parametrize("model", ["opus", "default", "claude-opus-4-8", "sonnet[1m]"])
def test_models_that_claude_code_knows(tmp_path: Path, model: str) -> None:
    assert states(clients.check_claude_code(claude(tmp_path, env() | {"model": model}))) == ["ok"]


def test_the_remedy_for_a_model_can_be_pasted(tmp_path: Path) -> None:
    found = only(
        clients.check_claude_code(claude(tmp_path, env(ANTHROPIC_MODEL="gpt-99"))), "failure"
    )
    assert found["remedy"] == 'map it: "modelMapping": {"gpt-99": "claude-sonnet-4.5"}'


# ---- Codex ---------------------------------------------------------------------------------

CODEX = """
model = "claude-sonnet-4.5"
model_provider = "kiro"
[model_providers.kiro]
base_url = "http://127.0.0.1:8990/v1"
env_key = "KIRO_KEY"
wire_api = "responses"
"""
KEY = {"KIRO_KEY": "sk-client"}


def codex(place: Path, content: str | None, variables: dict[str, str] | None = None) -> Patient:
    patient = make(place, {"port": 8990}, variables=KEY if variables is None else variables)
    if content is not None:
        path = patient.home / ".codex" / "config.toml"
        path.parent.mkdir(parents=True)
        path.write_text(content)
    return patient


def test_codex_that_is_set_up_as_in_readme(tmp_path: Path) -> None:
    assert "right key" in only(clients.check_codex(codex(tmp_path, CODEX)), "ok")["message"]


def test_codex_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CODEX)
    variables = KEY | {"CODEX_HOME": str(tmp_path)}
    assert (
        "right key" in only(clients.check_codex(codex(tmp_path, None, variables)), "ok")["message"]
    )


@pytest.mark.parametrize("content", [None, "", 'model = "gpt-5"', 'model_provider = "openai"'])
def test_codex_without_a_proxy(tmp_path: Path, content: str | None) -> None:
    assert only(clients.check_codex(codex(tmp_path, content)), "ok")


@pytest.mark.parametrize(
    ("old", "new", "state", "words"),
    [
        ('"responses"', '"chat"', "failure", "wire_api of kiro is chat"),
        ('wire_api = "responses"', "", "warning", "wire_api"),
        (":8990/v1", ":8990", "failure", "does not end in /v1"),
        (":8990/v1", ":8990/v1/v1", "warning", "twice"),
        ("claude-sonnet-4.5", "gpt-5-codex", "failure", "gpt-5-codex"),
        ('env_key = "KIRO_KEY"', "", "failure", "no key"),
        ('env_key = "KIRO_KEY"', 'env_key = "OTHER"', "warning", "OTHER"),
        ('env_key = "KIRO_KEY"', 'experimental_bearer_token = "x"', "failure", "not the client"),
        ("[model", "[[model", "failure", "cannot be read"),
    ],
)
def test_codexs_faults(tmp_path: Path, old: str, new: str, state: str, words: str) -> None:
    found = only(clients.check_codex(codex(tmp_path, CODEX.replace(old, new))), state)
    assert words in found["message"]
    assert "sk-client" not in str(found)


def test_a_wrong_key(tmp_path: Path) -> None:
    patient = codex(tmp_path, CODEX, {"KIRO_KEY": "sk-wrong-key"})
    found = only(clients.check_codex(patient), "failure")
    assert "sk-wrong-key" not in str(found)


def test_the_chosen_profile_counts(tmp_path: Path) -> None:
    content = 'profile = "p"\n' + CODEX + '[profiles.p]\nmodel = "gpt-77"\n'
    assert "gpt-77" in only(clients.check_codex(codex(tmp_path, content)), "failure")["message"]
