"""Claude Code and Codex on this machine: do they come here, with the right key and model?

Their files: `~/.claude/settings.json` (its `env` outranks the shell's), `~/.codex/config.toml`.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from kiroproxy.doctor.finding import Finding, _, failure, ok, warning
from kiroproxy.doctor.patient import Patient
from kiroproxy.errors import NotFound
from kiroproxy.kiro.models import choose_model

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 - compared
_DOUBLED: Final = re.compile(r".+https?://")


def address_fault(base_url: str, *, ends_in_v1: bool) -> tuple[bool, str, str] | None:
    """What is wrong with a client's base URL: whether it still works, the fault, the remedy.

    Clients of the Messages API append `/v1/messages`, those of OpenAI's `/responses`.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.netloc or _DOUBLED.match(base_url):
        return False, _("{url} is no base URL"), _("write it as http://host:port, once")
    path = parts.path.rstrip("/")
    if re.search(r"/(messages|responses|chat/completions)$", path):
        return False, _("{url} ends in an endpoint"), _("end the base URL before that")
    if ends_in_v1:
        if path.endswith("/v1/v1"):
            return True, _("{url} has /v1 twice"), _("write /v1 once")
        if not path.endswith("/v1"):
            return False, _("{url} does not end in /v1"), _("append /v1 to it")
    elif path.endswith("/v1"):
        return True, _("{url} ends in /v1, which the client appends again"), _("leave /v1 out")
    return None


def check_claude_code(patient: Patient) -> Iterator[Finding]:
    """Base URL, key and model, from its settings and the environment."""
    name, path = "claude code", patient.home / ".claude" / "settings.json"
    settings: Mapping[str, Any] = {}
    if path.exists():
        try:
            settings = _object(json.loads(path.read_text("utf-8-sig")))
        except (OSError, ValueError) as error:
            yield _unreadable(name, path, error)
            return
    own = _object(settings.get("env"))

    def variable(key: str) -> str:
        value = own.get(key)
        return value if isinstance(value, str) and value else patient.variables(key)

    base_url = variable("ANTHROPIC_BASE_URL").strip()
    if not base_url:
        hint = _("not set up for a proxy; `kiroproxy claude --settings` does that")
        yield ok(name, hint)
        return
    keys = [variable(key) for key in ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY")]
    model = variable("ANTHROPIC_MODEL") or settings.get("model") or ""
    yield from _client(patient, name, base_url, [key for key in keys if key], str(model), v1=False)


def check_codex(patient: Patient) -> Iterator[Finding]:
    """Provider, base URL, key, wire_api and model."""
    name = "codex"
    home = patient.variables("CODEX_HOME")
    path = (Path(home) if home else patient.home / ".codex") / "config.toml"
    if not path.exists():
        yield ok(name, _("not set up on this machine"))
        return
    try:
        settings = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        yield _unreadable(name, path, error)
        return
    chosen = _object(_object(settings.get("profiles")).get(str(settings.get("profile"))))
    settings = {**settings, **chosen}
    provider_name = str(settings.get("model_provider") or "openai")
    provider = _object(_object(settings.get("model_providers")).get(provider_name))
    base_url = str(provider.get("base_url") or "").strip()
    if not base_url:
        yield ok(name, _("uses the provider {provider}, not this proxy"), provider=provider_name)
        return
    keys, missing = _codex_keys(patient, provider)
    findings = [*_codex_provider(name, provider_name, provider, path, missing)]
    model = str(settings.get("model") or "")
    findings += _client(
        patient,
        name,
        base_url,
        keys,
        model,
        v1=True,
        key_expected=not missing,
        quiet=bool(findings),
    )
    yield from findings


def _codex_provider(
    name: str, provider_name: str, provider: Mapping[str, Any], path: Path, missing: str
) -> Iterator[Finding]:
    """What only Codex can get wrong."""
    if (wire := provider.get("wire_api", "")) != "responses":
        message = _("wire_api of {provider} is {wire}")
        remedy = _('write wire_api = "responses" in {path}')
        make = failure if wire else warning
        yield make(name, message, remedy, provider=provider_name, wire=wire or "–", path=path)
    if missing:
        message = _("the variable {variable}, which holds its key, is not set here")
        yield warning(name, message, _("export {variable}=<client key>"), variable=missing)


def _codex_keys(patient: Patient, provider: Mapping[str, Any]) -> tuple[list[str], str]:
    """The keys that it would send, and the variable that should hold one and does not."""
    inline = provider.get("experimental_bearer_token")
    if isinstance(inline, str) and inline:
        return [inline], ""
    variable = provider.get("env_key")
    if not isinstance(variable, str) or not variable:
        return [], ""
    value = patient.variables(variable)
    return ([value], "") if value else ([], variable)


def _client(
    patient: Patient,
    name: str,
    base_url: str,
    keys: list[str],
    model: str,
    *,
    v1: bool,
    key_expected: bool = True,
    quiet: bool = False,
) -> Iterator[Finding]:
    """What both have in common; `quiet`: something is wrong, so say nothing of what is right."""
    shown = _without_password(base_url)
    if fault := address_fault(base_url, ends_in_v1=v1):
        works, message, remedy = fault
        yield (warning if works else failure)(name, message, remedy, url=shown)
        if not works:
            return
    if not _comes_here(patient, base_url):
        if quiet:
            return
        host, port = patient.config.host, patient.config.port
        yield ok(
            name,
            _("goes to {url}; the server of this configuration is at {here}"),
            url=shown,
            here=f"{host}:{port}",
        )
        return
    findings = [*_keys(patient, name, keys, key_expected), *_model(patient, name, model)]
    yield from findings
    if not findings and not fault and not quiet:
        yield ok(name, _("goes to {url} with the right key"), url=shown)


def _keys(patient: Patient, name: str, keys: list[str], expected: bool) -> Iterator[Finding]:
    if not keys:
        if expected:
            remedy = _("give it the client key, apiKey of {path}")
            message = _("it has no key for this proxy")
            yield failure(name, message, remedy, path=patient.config.config_path)
    elif patient.config.api_key.strip() not in [key.strip() for key in keys]:
        message = _("its key is not the client key")
        remedy = _("give it the apiKey of {path}")
        yield failure(name, message, remedy, path=patient.config.config_path)
    elif len(set(keys)) > 1:
        message = _("ANTHROPIC_AUTH_TOKEN and ANTHROPIC_API_KEY differ; one of them is right")
        yield warning(name, message, _("remove the other one"))


def _model(patient: Patient, name: str, model: str) -> Iterator[Finding]:
    if not model or (name == "claude code" and "-" not in model):
        return  # its own default, or an alias such as opus or default
    try:
        choose_model(model, patient.models)
    except NotFound:
        message = _("it asks for the model {model}, which is not known")
        remedy = _('map it: "modelMapping": {{"{model}": "claude-sonnet-4.5"}}')
        yield failure(name, message, remedy, model=model)


def _comes_here(patient: Patient, base_url: str) -> bool:
    parts = urlsplit(base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return (parts.hostname or "") in LOOPBACK and port == patient.config.port


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _unreadable(name: str, path: Path, error: Exception) -> Finding:
    message = _("{path} cannot be read: {why}")
    why = getattr(error, "strerror", None) or _("it is not what its name says")
    return failure(name, message, _("correct {path}"), path=path, why=why)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
