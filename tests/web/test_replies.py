"""Which source a conversation's reply comes from."""

from typing import Any

import pytest

from kiroproxy.errors import NotFound
from kiroproxy.kiro.models import BUILT_IN, Model, ModelSettings
from kiroproxy.web.replies import choose


class Catalogue:
    """A list that becomes live only for those who wait."""

    def models(self, wait_s: float = 0.0) -> Any:
        return [Model("claude-fable-5", "Claude Fable 5")] if wait_s else BUILT_IN


class Parts:
    models = ModelSettings()
    catalogue = Catalogue()


def test_known_names_do_not_wait_for_the_catalogue() -> None:
    parts: Any = Parts()
    assert choose(parts, "claude-opus-4-8").model.id == "claude-opus-4.8"


def test_unknown_name_waits_once_for_the_live_list() -> None:
    """Design 5: `claude-fable-5` is itself if listed."""
    parts: Any = Parts()
    assert choose(parts, "claude-fable-5").model.id == "claude-fable-5"
    with pytest.raises(NotFound):
        choose(parts, "gpt-5-codex")
