"""Models, profiles and usage limits."""

from datetime import UTC, datetime

import pytest

from kiroproxy.simulator.accounts import Account
from kiroproxy.simulator.catalogue import (
    INTERNAL_IDS,
    WINDOWS,
    accepted_models,
    describe_model,
    model_page,
    models_of,
    next_reset,
    profile_list,
    usage_limits,
)


def test_pages_join_to_the_whole_list() -> None:
    models = list(WINDOWS)
    seen, token = [], None
    while True:
        page = model_page(models, "7", token)
        seen += [model["modelId"] for model in page["models"]]
        token = page.get("nextToken")
        if token is None:
            break
    assert seen == models


@pytest.mark.parametrize(("size", "token"), [("0", None), ("x", None), ("5", "nope")])
def test_bad_pages_are_refused(size: str, token: str | None) -> None:
    with pytest.raises(ValueError):
        model_page(list(WINDOWS), size, token)


def test_a_free_account_has_no_opus() -> None:
    models = models_of(Account("a", subscription="KIRO FREE"))
    assert models
    assert not [model for model in models if "opus" in model]
    assert models_of(Account("a", models=("auto",))) == ["auto"]


def test_older_ids_are_taken_and_not_listed() -> None:
    account = Account("a")
    assert set(accepted_models(account)) - set(models_of(account)) == set(INTERNAL_IDS)
    assert accepted_models(Account("a", models=("auto",))) == ["auto"]


def test_a_model_has_its_window() -> None:
    limits = describe_model("claude-sonnet-4.5")["tokenLimits"]
    assert limits == {"maxInputTokens": 200_000, "maxOutputTokens": 64_000}


def test_usage_follows_the_account() -> None:
    account = Account("a", quota=50, used=12.34, subscription="KIRO PRO+")
    limits = usage_limits(account, 1_000_000.0)
    (breakdown,) = limits["usageBreakdownList"]
    assert breakdown["usageLimitWithPrecision"] == 50
    assert breakdown["currentUsageWithPrecision"] == 12.34
    assert limits["subscriptionInfo"]["type"] == "Q_DEVELOPER_STANDALONE_PRO_PLUS"
    assert limits["nextDateReset"] > 1_000_000


@pytest.mark.parametrize(
    ("day", "expected"), [((2026, 12, 31), (2027, 1)), ((2026, 1, 31), (2026, 2))]
)
def test_quotas_reset_on_the_first(day: tuple[int, int, int], expected: tuple[int, int]) -> None:
    reset = next_reset(datetime(*day, 23, tzinfo=UTC))
    assert (reset.year, reset.month, reset.day, reset.hour) == (*expected, 1, 0)


def test_profiles() -> None:
    assert profile_list([]) == {"profiles": []}
    assert profile_list(["arn:x"])["profiles"][0]["arn"] == "arn:x"
