"""Changing Claude Code's files and taking it back (S155)."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiroproxy.cli.claude_files import (
    ONBOARDED,
    Plan,
    backup_of,
    environment,
    patched,
    read_document,
    restored,
    undo,
    write_document,
)

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.text(max_size=6) | st.sampled_from(["hasCompletedOnboarding", "kiro2api", "env"])
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=6)
ENVIRONMENTS = st.fixed_dictionaries(
    {},
    optional={
        "env": st.dictionaries(
            st.sampled_from(["ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "OTHER"]), st.text()
        ),
        "model": st.text(),
    },
)
TOKENS = st.text(min_size=1)


@given(DOCUMENTS)
def test_other_keys_stay(document: dict[str, Any]) -> None:
    after = patched(document, ONBOARDED)
    assert after["hasCompletedOnboarding"] is True
    assert after["kiro2api"] is True
    ours = {"hasCompletedOnboarding", "kiro2api"}
    assert {k: v for k, v in after.items() if k not in ours} == {
        k: v for k, v in document.items() if k not in ours
    }
    assert [key for key in after if key in document] == list(document)


@given(DOCUMENTS, st.integers(0, 4))
def test_twice_is_once_and_undo_gives_the_old_bytes(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any], indent: int
) -> None:
    path = tmp_path_factory.mktemp("claude") / ".claude.json"
    old = json.dumps(document, indent=indent or None).encode() + b"\n" * (indent % 2)
    path.write_bytes(old)
    needed = Plan(path, ONBOARDED).carry_out()
    once = path.read_bytes()
    assert read_document(once.decode()) == patched(document, ONBOARDED)
    assert backup_of(path).exists() == needed
    assert not Plan(path, ONBOARDED).carry_out()
    assert path.read_bytes() == once
    assert undo(path, ONBOARDED) == needed
    assert path.read_bytes() == old
    assert not undo(path, ONBOARDED)
    assert [one.name for one in path.parent.iterdir()] == [".claude.json"]


@given(ENVIRONMENTS, TOKENS, TOKENS, st.dictionaries(st.text(min_size=1), st.integers()))
def test_undo_keeps_what_came_in_between(
    tmp_path_factory: pytest.TempPathFactory,
    document: dict[str, Any],
    first: str,
    second: str,
    later: dict[str, int],
) -> None:
    """Also after the key was written a second time, with another value."""
    later = {key: value for key, value in later.items() if key not in ("env", "model")}
    path = tmp_path_factory.mktemp("claude") / "settings.json"
    path.write_text(json.dumps(document), "utf-8")
    Plan(path, environment("http://localhost:8080", first)).carry_out()
    Plan(path, environment("http://localhost:9000", second)).carry_out()
    middle = json.loads(path.read_text("utf-8")) | later
    assert middle["env"]["ANTHROPIC_AUTH_TOKEN"] == second
    path.write_text(json.dumps(middle), "utf-8")
    assert undo(path, environment("", ""))
    assert json.loads(path.read_text("utf-8")) == document | later


def test_a_file_that_we_made_goes(tmp_path: Path) -> None:
    path = tmp_path / ".claude" / "settings.json"
    assert Plan(path, environment("http://localhost:8080", "k")).carry_out()
    assert path.stat().st_mode & 0o777 == 0o600
    assert undo(path, environment("", ""))
    assert not list(path.parent.iterdir())


def test_a_file_that_we_made_stays_if_somebody_added_to_it(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    Plan(path, environment("http://localhost:8080", "k")).carry_out()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model": "opus"}))
    assert undo(path, environment("", ""))
    assert json.loads(path.read_text()) == {"model": "opus"}


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """People keep these files elsewhere."""
    target, link = tmp_path / "dotfiles.json", tmp_path / ".claude.json"
    target.write_text("{}")
    link.symlink_to(target)
    assert Plan(link, ONBOARDED).carry_out()
    assert link.is_symlink()
    assert json.loads(target.read_text())["kiro2api"] is True
    assert undo(link, ONBOARDED)
    assert target.read_text() == "{}"


@pytest.mark.parametrize("content", ["[]", "{", "1e999", '{"a": 1e999}', '{"a": NaN}', "\0"])
def test_what_cannot_be_read_is_not_touched(tmp_path: Path, content: str) -> None:
    path = tmp_path / ".claude.json"
    path.write_text(content)
    with pytest.raises(click.ClickException, match="nothing was changed"):
        Plan(path, ONBOARDED)
    assert path.read_text() == content


def test_env_must_be_an_object(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"env": "x"}')
    with pytest.raises(click.ClickException, match="env is not an object"):
        Plan(path, environment("u", "k"))


def test_two_spaces_and_odd_letters() -> None:
    assert write_document({"a": {"名": "\ud800"}}) == '{\n  "a": {\n    "名": "\\ud800"\n  }\n}'
    assert restored({"env": {"A": 1}}, {}, [("env", "A")]) == {}
    assert restored({"env": {}}, {"env": {}}, [("env", "A")]) == {"env": {}}
