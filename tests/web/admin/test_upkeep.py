"""Backup; the doctor's visit is a flow, for it calls Kiro."""

import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from tests.web.admin.conftest import Desk


def test_the_backup_is_whole_and_leaves_nothing_behind(desk: Desk) -> None:
    answer = desk.call("POST", "/backup", {"secrets": True})
    assert (answer.status_code, answer.content_type) == (200, "application/gzip")
    assert ".tar.gz" in answer.headers["content-disposition"]
    data = answer.get_data()
    assert len(data) == int(answer.headers["content-length"])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = tar.getnames()
        manifest = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
    assert {"manifest.json", "config.json", "credentials.json"} <= set(names)
    assert manifest["format"] == "kiroproxy-backup"
    answer.close()
    assert not list(desk.files.glob("backup-*"))
    assert desk.actions() == ["backup"]


@pytest.mark.parametrize(
    "body", [None, {}, {"secrets": False}, {"secrets": 1}, {"secrets": "true"}]
)
def test_nobody_gets_all_secrets_by_mistake(desk: Desk, body: Any) -> None:
    """It is the one answer that holds tokens."""
    error = desk.refused("POST", "/backup", body)
    assert error["param"] == "secrets"
    assert desk.actions() == []


def test_nothing_to_back_up(open_desk: Callable[..., Desk]) -> None:
    desk = open_desk(0)
    (desk.files / "config.json").rename(desk.files / "elsewhere.json")
    (desk.files / "credentials.json").unlink()
    desk.refused("POST", "/backup", {"secrets": True})
    assert not list(desk.files.glob("backup-*"))
