"""Which model (design 5; X4, S2, S3, S69, S70)."""

import pytest

from kiroproxy.errors import NotFound
from kiroproxy.kiro.models import (
    BUILT_IN,
    CODEWHISPERER,
    DEFAULT_WINDOW,
    MILLION,
    Model,
    ModelSettings,
    choose_model,
    describe,
    listed_models,
    strip_name,
)

PLAIN = ModelSettings()
CATALOGUE = [Model("claude-fable-5", "Fable", MILLION), Model("Nova-Pro", "Nova", 300_000)]

SAMPLES = [
    # the samples of design 5
    ("claude-sonnet-4-20250514", "claude-sonnet-4.5"),
    ("claude-sonnet-4", "claude-sonnet-4"),
    ("claude-3-5-sonnet-20241022", "claude-sonnet-4.5"),
    ("claude-opus-4-8", "claude-opus-4.8"),
    ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4.5"),
    ("claude-sonnet-5", "claude-sonnet-5"),
    ("auto", "auto"),
    ("deepseek-3.2", "deepseek-3.2"),
    ("claude-sonnet-4-5[1m]", "claude-sonnet-4.5"),
    # S69: families
    ("claude-sonnet-4-5-20250929", "claude-sonnet-4.5"),
    ("claude-opus-4-5-20251101", "claude-opus-4.5"),
    ("claude-haiku-4-5-20251001", "claude-haiku-4.5"),
    ("claude-3-7-sonnet-latest", "claude-sonnet-4.5"),
    ("claude-opus-4-1-20250805", "claude-opus-4.5"),
    ("claude-3-opus", "claude-opus-4.5"),
    ("CLAUDE-3-HAIKU", "claude-haiku-4.5"),
    ("my-sonnet", "claude-sonnet-4.5"),
    ("claude-sonnet-4-0", "claude-sonnet-4.5"),
    # newer than 4.5
    ("claude-opus-4-6", "claude-opus-4.6"),
    ("claude-opus-4-6-20260205", "claude-opus-4.6"),
    ("claude-opus-4.7", "claude-opus-4.7"),
    ("claude-sonnet-4-6", "claude-sonnet-4.6"),
    ("claude-opus-5", "claude-opus-5"),
    ("claude-opus-5-20270101", "claude-opus-5"),
    ("claude-haiku-4-10", "claude-haiku-4.10"),
    ("anthropic/claude-opus-4.8", "claude-opus-4.8"),
    ("anthropic.claude-opus-4-6-v1", "claude-opus-4.6"),
    ("us-gov.anthropic.claude-opus-4-8-20260801-v1:0", "claude-opus-4.8"),
    ("claude-opus-4-8@20260801", "claude-opus-4.8"),
    ("claude-opus-4-8-latest", "claude-opus-4.8"),
    ("claude-opus-4-8[1m]", "claude-opus-4.8"),
    # as they are
    ("qwen3-coder-next", "qwen3-coder-next"),
    ("GPT-5.6-sol", "gpt-5.6-sol"),
]


@pytest.mark.parametrize(("name", "kiro_id"), SAMPLES)
def test_samples(name: str, kiro_id: str) -> None:
    choice = choose_model(name, PLAIN)
    assert (choice.model.id, choice.thinking) == (kiro_id, False)


@pytest.mark.parametrize("suffix", ["-thinking", "-thinking[1m]", "[1m]-thinking"])
def test_thinking_suffix(suffix: str) -> None:
    choice = choose_model(f"claude-opus-4-6{suffix}", PLAIN)
    assert (choice.model.id, choice.thinking) == ("claude-opus-4.6", True)


@pytest.mark.parametrize("name", ["gpt-5-codex", "claude-fable-5", "x", ""])
def test_unknown_names(name: str) -> None:
    """S11: 404 `not_found_error`, OpenAI's `model_not_found`."""
    with pytest.raises(NotFound) as caught:
        choose_model(name, PLAIN)
    assert caught.value.code == "model_not_found"


def test_unknown_model_setting() -> None:
    passing = choose_model("gpt-5-codex", ModelSettings(unknown="pass")).model
    assert (passing.id, passing.window) == ("gpt-5-codex", DEFAULT_WINDOW)
    served = choose_model("gpt-5-codex", ModelSettings(unknown="claude-opus-4.8")).model
    assert (served.id, served.window) == ("claude-opus-4.8", MILLION)


def test_live_catalogue_passes() -> None:
    assert choose_model("claude-fable-5", PLAIN, CATALOGUE).model is CATALOGUE[0]
    assert choose_model("nova-pro", PLAIN, CATALOGUE).model.id == "Nova-Pro"
    assert choose_model("claude-sonnet-4.5", PLAIN, CATALOGUE).model.id == "claude-sonnet-4.5"


@pytest.mark.parametrize(("name", "kiro_id"), CODEWHISPERER.items())
def test_s70_codewhisperer_table(name: str, kiro_id: str) -> None:
    settings = ModelSettings(table="codewhisperer")
    assert choose_model(name, settings).model.id == kiro_id
    assert choose_model(f"anthropic/{name}", settings).model.id == kiro_id


def test_codewhisperer_falls_through() -> None:
    assert choose_model("claude-opus-4-8", ModelSettings(table="codewhisperer")).model.id == (
        "claude-opus-4.8"
    )


def test_the_operators_mapping_wins() -> None:
    mapping = {"claude-opus-*": "claude-opus-4.8", "gpt-*": "auto", "fast": "claude-haiku-4.5"}
    settings = ModelSettings(mapping, table="codewhisperer")
    assert choose_model("claude-opus-4-5-20251101", settings).model.id == "claude-opus-4.8"
    assert choose_model("GPT-4o", settings).model.id == "auto"
    assert choose_model("fast", settings).model.id == "claude-haiku-4.5"
    assert choose_model("claude-opus-4-1-thinking", settings).thinking
    assert choose_model("anthropic/gpt-x", settings).model.id == "auto"


@pytest.mark.parametrize(
    ("kiro_id", "window"),
    [
        ("claude-sonnet-4.5", DEFAULT_WINDOW),
        ("claude-opus-4.8", MILLION),
        ("claude-opus-5.2", MILLION),
        ("deepseek-3.2", 164_000),
        ("unheard-of", DEFAULT_WINDOW),
    ],
)
def test_windows(kiro_id: str, window: int) -> None:
    assert describe(kiro_id).window == window


def test_catalogue_leads_over_the_table() -> None:
    live = [Model("claude-sonnet-4.5", "Sonnet", 250_000)]
    assert choose_model("claude-sonnet-4-5", PLAIN, live).model.window == 250_000


def test_s2_list() -> None:
    ids = [model.id for model in listed_models(PLAIN)]
    assert len(set(ids)) == len(ids)
    for family in ("sonnet", "opus", "haiku"):
        assert any(family in id_ for id_ in ids)
    assert {
        "claude-sonnet-4-5-20250929",
        "claude-opus-4-5-20251101",
        "claude-haiku-4-5-20251001",
    } <= set(ids)


def test_s3_list() -> None:
    settings = ModelSettings({"mine": "auto", "x-*": "auto"}, table="codewhisperer")
    ids = {model.id for model in listed_models(settings)}
    assert set(CODEWHISPERER) | {"mine"} <= ids
    assert "x-*" not in ids


def test_every_listed_name_can_be_asked_for() -> None:
    for settings in (PLAIN, ModelSettings(table="codewhisperer")):
        for model in listed_models(settings, CATALOGUE):
            assert choose_model(model.id, settings, CATALOGUE).model.window == model.window


def test_built_in_ids_are_their_own_names() -> None:
    for model in BUILT_IN:
        assert choose_model(model.id, PLAIN).model is model
        assert strip_name(model.id) == (model.id, False)


@pytest.mark.parametrize("name", ["claude-haiku-opus", "haiku.anthropic.claude-opus-4-8"])
def test_a_name_of_two_families_is_nobodys(name: str) -> None:
    """A client key for `*haiku*` must not get at another family by it."""
    with pytest.raises(NotFound):
        choose_model(name, ModelSettings())
