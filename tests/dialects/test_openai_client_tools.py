"""OpenAI's own tools that the client runs."""

from typing import Any

import pytest

from kiroproxy.dialects.openai_client_tools import (
    CLIENT_TOOLS,
    call_input,
    runs_at_the_client,
    written_input,
)
from kiroproxy.kiro.tools import clean_schema


@pytest.mark.parametrize(
    ("specification", "here"),
    [
        ({"type": "local_shell"}, True),
        ({"type": "shell"}, True),
        ({"type": "shell", "environment": None}, True),
        ({"type": "shell", "environment": {"type": "local"}}, True),
        ({"type": "shell", "environment": {"type": "container_auto"}}, False),
        ({"type": "apply_patch"}, True),
        ({"type": "file_search"}, False),
        ({"type": ["shell"]}, False),
        ({}, False),
    ],
)
def test_which_run_at_the_client(specification: dict[str, Any], here: bool) -> None:
    assert runs_at_the_client(specification) is here


@pytest.mark.parametrize(
    ("kind", "written", "known"),
    [
        (
            "local_shell",
            {"command": ["ls", "-l"], "timeout_ms": 9},
            {"type": "exec", "env": {}, "command": ["ls", "-l"], "timeout_ms": 9},
        ),
        (
            "local_shell",
            {"command": "ls | wc"},
            {"type": "exec", "env": {}, "command": ["bash", "-lc", "ls | wc"]},
        ),
        ("local_shell", {}, {"type": "exec", "env": {}, "command": []}),
        ("shell", {"commands": "ls"}, {"commands": ["ls"]}),
        ("shell", {"commands": ["ls", "id"]}, {"commands": ["ls", "id"]}),
        (
            "apply_patch",
            {"type": "update_file", "path": "a", "diff": "@@\n-x\n+y"},
            {"type": "update_file", "path": "a", "diff": "@@\n-x\n+y"},
        ),
    ],
)
def test_input_of_a_call(kind: str, written: dict[str, Any], known: dict[str, Any]) -> None:
    assert call_input(kind, written) == known


def test_what_the_model_wrote_comes_back() -> None:
    for kind, written in (
        ("local_shell", {"command": ["ls"], "working_directory": "/"}),
        ("shell", {"commands": ["ls"]}),
        ("apply_patch", {"type": "delete_file", "path": "a"}),
    ):
        item = {CLIENT_TOOLS[kind].key: call_input(kind, written)}
        assert written_input(kind, item) == written
    assert written_input("shell", {"action": 7}) == {}


def test_schemas_need_no_repair() -> None:
    for tool in CLIENT_TOOLS.values():
        assert clean_schema(tool.schema)[1], "a call without input was cut"
