"""Which model: a client's name → Kiro's id, its window and what it can do.

Lists age within weeks, so the live catalogue leads and this table is what is known without it.
The order of the rules is design 5, "Which model".
"""

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec.structs import replace

from kiroproxy.errors import NotFound

DEFAULT_WINDOW = 200_000
MILLION = 1_000_000
DEFAULT_MAX_OUTPUT = 64_000


class Model(msgspec.Struct, frozen=True):
    """One model of Kiro's catalogue; sizes in tokens."""

    id: str
    name: str
    window: int = DEFAULT_WINDOW
    max_output: int = DEFAULT_MAX_OUTPUT


BUILT_IN: tuple[Model, ...] = (
    Model("auto", "Auto", MILLION),
    Model("claude-sonnet-4", "Claude Sonnet 4"),
    Model("claude-sonnet-4.5", "Claude Sonnet 4.5"),
    Model("claude-sonnet-4.6", "Claude Sonnet 4.6", MILLION),
    Model("claude-opus-4.5", "Claude Opus 4.5"),
    Model("claude-opus-4.6", "Claude Opus 4.6", MILLION),
    Model("claude-opus-4.7", "Claude Opus 4.7", MILLION),
    Model("claude-opus-4.8", "Claude Opus 4.8", MILLION),
    Model("claude-haiku-4.5", "Claude Haiku 4.5"),
    Model("deepseek-3.2", "DeepSeek 3.2", 164_000),
    Model("glm-5", "GLM 5"),
    Model("minimax-m2.1", "MiniMax M2.1", 196_000),
    Model("minimax-m2.5", "MiniMax M2.5", 196_000),
    Model("qwen3-coder-next", "Qwen3 Coder Next", 256_000),
    Model("gpt-5.6-sol", "GPT 5.6 Sol"),
    Model("gpt-5.6-terra", "GPT 5.6 Terra"),
    Model("gpt-5.6-luna", "GPT 5.6 Luna"),
)
"""Protocol notes 9.1 and 9.3."""

CODEWHISPERER: Mapping[str, str] = {
    "claude-opus-4-5-20251101": "claude-opus-4.5",
    "claude-sonnet-4-5-20250929": "CLAUDE_SONNET_4_5_20250929_V1_0",
    "claude-sonnet-4-20250514": "CLAUDE_SONNET_4_20250514_V1_0",
    "claude-3-7-sonnet-20250219": "CLAUDE_3_7_SONNET_20250219_V1_0",
    "claude-haiku-4-5": "auto",
}
"""S70: `modelTable: "codewhisperer"`."""

DATED: Mapping[str, str] = {
    "claude-sonnet-4-5-20250929": "claude-sonnet-4.5",
    "claude-opus-4-5-20251101": "claude-opus-4.5",
    "claude-haiku-4-5-20251001": "claude-haiku-4.5",
}
"""S2: names that clients look for in the model list."""

FAMILIES = ("sonnet", "opus", "haiku")
_VERSIONED = re.compile(r"claude-(sonnet|opus|haiku)-(\d{1,2})(?:[-.](\d{1,2}))?(?:-\d{8})?")
_PREFIX = re.compile(r"^(anthropic/|((?:[a-z]{2}|us-gov|apac|global)\.)?anthropic\.)")
_SUFFIXES = re.compile(r"(\[1m\]|-latest|-v\d+(:\d+)?|@\d{8}|@latest)$")


class ModelSettings(msgspec.Struct, frozen=True):
    """The operator's say in it."""

    mapping: Mapping[str, str] = msgspec.field(default_factory=dict)
    table: str = "kiro"
    unknown: str = "reject"


class Choice(msgspec.Struct, frozen=True):
    """What a client's model name comes to."""

    model: Model
    thinking: bool = False


def choose_model(
    name: str, settings: ModelSettings, catalogue: Sequence[Model] = BUILT_IN
) -> Choice:
    """Find Kiro's model for a client's name.

    Raises:
        NotFound: no rule knows the name and `unknownModel` is `reject`.
    """
    plain, thinking = strip_name(name)
    for glob, kiro_id in settings.mapping.items():
        if fnmatchcase(name.lower(), glob.lower()) or fnmatchcase(plain, glob.lower()):
            return Choice(describe(kiro_id, catalogue), thinking)
    if settings.table == "codewhisperer" and plain in CODEWHISPERER:
        return Choice(describe(CODEWHISPERER[plain], catalogue), thinking)
    listed = next((m for m in (*catalogue, *BUILT_IN) if m.id.lower() == plain), None)
    if listed is not None:
        return Choice(listed, thinking)
    claude = _newer_claude(plain) or _family(plain)
    if claude is not None:
        return Choice(describe(claude, catalogue), thinking)
    if settings.unknown == "reject":
        raise NotFound(f"model: {name}", code="model_not_found")
    unknown = plain if settings.unknown == "pass" else settings.unknown
    return Choice(describe(unknown, catalogue), thinking)


def strip_name(name: str) -> tuple[str, bool]:
    """Take off what other gateways add to a model's name; the flag says `-thinking` was there."""
    plain = _PREFIX.sub("", name.strip().lower())
    thinking = False
    while True:
        if plain.endswith("-thinking"):
            plain, thinking = plain.removesuffix("-thinking"), True
        elif (shorter := _SUFFIXES.sub("", plain)) != plain:
            plain = shorter
        else:
            return plain, thinking


def _newer_claude(plain: str) -> str | None:
    match = _VERSIONED.fullmatch(plain)
    if match is None:
        return None
    family, major, minor = match[1], int(match[2]), int(match[3] or 0)
    if (major, minor) <= (4, 5):
        return None
    return f"claude-{family}-{major}.{minor}" if match[3] else f"claude-{family}-{major}"


def _family(plain: str) -> str | None:
    """A name of two families is nobody's: a key for one of them must not open the other."""
    named = [family for family in FAMILIES if family in plain]
    return f"claude-{named[0]}-4.5" if len(named) == 1 else None


def listed_id(kiro_id: str, settings: ModelSettings, catalogue: Sequence[Model]) -> str:
    """The id if Kiro or the operator lists it, else `other`: clients may make up any number."""
    for models in (catalogue, BUILT_IN):
        for model in models:
            if model.id == kiro_id:
                return kiro_id
    named = kiro_id in settings.mapping.values() or kiro_id in CODEWHISPERER.values()
    return kiro_id if named or kiro_id == settings.unknown else "other"


def describe(kiro_id: str, catalogue: Sequence[Model] = BUILT_IN) -> Model:
    """Look a Kiro id up; one that nobody lists gets the window of its generation."""
    for model in (*catalogue, *BUILT_IN):
        if model.id == kiro_id:
            return model
    newer = _newer_claude(kiro_id) is not None
    return Model(kiro_id, kiro_id, MILLION if newer else DEFAULT_WINDOW)


def parse_models(page: Mapping[str, Any]) -> list[Model]:
    """The models of one page of ListAvailableModels; what cannot be read is left out."""
    found = page.get("models")
    models = []
    for one in found if isinstance(found, list) else ():
        if not isinstance(one, dict) or not isinstance(one.get("modelId"), str):
            continue
        limits = one.get("tokenLimits")
        limits = limits if isinstance(limits, dict) else {}
        known = describe(one["modelId"], ())
        models.append(
            Model(
                one["modelId"],
                str(one.get("modelName") or known.name),
                _size(limits.get("maxInputTokens")) or known.window,
                _size(limits.get("maxOutputTokens")) or known.max_output,
            )
        )
    return models


def _size(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def listed_models(settings: ModelSettings, catalogue: Sequence[Model] = BUILT_IN) -> list[Model]:
    """What `/v1/models` shows, under the names that clients ask for.

    Claude models have a twin that thinks, for tools that can only choose a name.
    """
    names = dict.fromkeys(CODEWHISPERER if settings.table == "codewhisperer" else ())
    names |= dict.fromkeys([*DATED, *(model.id for model in catalogue)])
    names |= dict.fromkeys(name for name in settings.mapping if not set(name) & set("*?["))
    models = []
    for name in names:
        served = choose_model(name, settings, catalogue).model
        models.append(replace(served, id=name))
        if served.id.startswith("claude-") and not name.endswith("-thinking"):
            models.append(replace(served, id=f"{name}-thinking", name=f"{served.name} (thinking)"))
    return models
