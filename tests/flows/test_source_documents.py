"""The lines of the documents that the product follows, as they stand there (S5, S6, S80, S173).

`tests/data/documents` holds their code blocks: kiro.rs (A), Kiro-Gateway (C), kiro2api with groups
(D), kiro2api's command line (E).
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiroproxy.config import load_config, require_client_key
from kiroproxy.credentials.imports import read_auth_token
from kiroproxy.credentials.stores.file import FileStore
from tests.flows import curl
from tests.flows.client import post
from tests.flows.conftest import LONG_TOKEN, credential
from tests.markdown import code_blocks
from tests.servers import REPOSITORY, Proxy
from tests.simulation import Simulator

ROOT_KEY = "123456"
"""Document D's; those of the others become client keys."""
OTHER_KEYS = ("sk-your-custom-api-key", "sk-kiro-rs-qazWSXedcRFV123456", "your-auth-token")
GAP = "[...]"
MESSAGES = '[{"role":"user","content":"你好"}]'


def blocks(letter: str, language: str) -> list[str]:
    path = REPOSITORY / "tests/data/documents" / f"{letter}.md"
    return code_blocks(path.read_text("utf-8"), language)


CURL = [
    pytest.param(code, id=f"{letter}{number}")
    for letter in "ACDE"
    for number, code in enumerate(blocks(letter, "bash"), 1)
    if "curl" in code
]
BODIES = [
    pytest.param(code, id=f"{letter}{number}")
    for letter in "AC"
    for number, code in enumerate(blocks(letter, "json"), 1)
    if '"model"' in code
]


@pytest.fixture(scope="module")
def documented(
    running_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """A server with the documents' keys, a default group, and a group `pro`."""
    credentials = [
        credential(),
        credential(refreshToken=LONG_TOKEN + "pro", accessToken="access-of-pro", group="pro"),
    ]
    place = tmp_path_factory.mktemp("documents")
    keys = {"api_keys": [{"key": key, "name": key[:12]} for key in OTHER_KEYS]}
    with Proxy(
        place,
        {"apiKey": ROOT_KEY},
        credentials,
        upstream=running_simulator.url,
        environ={"KIRO_AUTH_TOKEN": json.dumps(keys)},
    ) as running:
        yield running


@pytest.mark.flow
@pytest.mark.parametrize("script", CURL)
def test_curl_lines(script: str, documented: Proxy, sim: Simulator, tmp_path: Path) -> None:
    """Lines with `[...]` for messages are no JSON, and are told so; see the test below."""
    answers = curl.run(script, documented, tmp_path)
    assert len(answers) == len(re.findall(r"^curl ", script, re.MULTILINE)) > 0
    for answer in answers:
        if GAP in script:
            assert answer.status == 400
            error = answer.json()["error"]
            assert error["type"] == "invalid_request_error"
            assert "not valid JSON" in error["message"]
        elif '"stream": true' in script:
            assert (answer.status, answer.content_type.partition(";")[0]) == (
                200,
                "text/event-stream",
            )
            end = "event: message_stop" if "/messages" in script else "data: [DONE]"
            assert end in answer.body
        else:
            assert answer.status == 200, answer.body
            document = answer.json()
            assert document.get("content") or document.get("choices") or document["data"]


@pytest.mark.flow
def test_lines_whose_messages_are_left_out(
    documented: Proxy, sim: Simulator, tmp_path: Path
) -> None:
    """D's first two, filled in: no content type is sent (S6), and `pro` is served by its own.

    The API requires `max_tokens`, which D's lines leave out, too.
    """
    [script] = [code for code in blocks("D", "bash") if GAP in code]
    filled = script.replace(GAP, f'{MESSAGES},"max_tokens":100')
    answers = curl.run(filled, documented, tmp_path)
    assert [answer.status for answer in answers] == [200, 200]
    chats = sim.requests("/generateAssistantResponse")
    bearers = [one["headers"]["authorization"].removeprefix("Bearer ") for one in chats]
    assert bearers == ["access-token-of-a-test", "access-of-pro"]


@pytest.mark.flow
@pytest.mark.parametrize("body", BODIES)
def test_request_bodies(body: str, documented: Proxy, sim: Simulator) -> None:
    """Thinking, tools and streams (S10, S45, S53)."""
    headers = {"x-api-key": ROOT_KEY}
    answer = post(documented, body.replace(GAP, MESSAGES).encode(), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.content


@pytest.mark.parametrize("letter", ["A", "C"])
def test_configurations_load(letter: str, tmp_path: Path) -> None:
    """S80, X11: with comments, and a machine id that is none."""
    (tmp_path / "config.json").write_text(blocks(letter, "json")[0], "utf-8")
    config = load_config(environ={}, cwd=tmp_path)
    require_client_key(config)
    assert (config.host, config.port, config.region) == ("127.0.0.1", 8990, "us-east-1")
    assert config.api_key == "sk-kiro-rs-qazWSXedcRFV123456"
    assert [one for one in config.warnings if "machineId" not in one] == []


@pytest.mark.parametrize(("letter", "number"), [("A", 1), ("C", 1), ("C", 2), ("E", 0)])
def test_credentials_load(letter: str, number: int, tmp_path: Path) -> None:
    """S93 to S96: one object or a list, with comments, and E's token file."""
    path = tmp_path / "credentials.json"
    path.write_text(blocks(letter, "json")[number], "utf-8")
    snapshot = FileStore(path).snapshot()
    assert len(snapshot.credentials) == (2 if (letter, number) == ("C", 1) else 1)
    assert [one.priority for one in snapshot.credentials] == [0, 1][: len(snapshot.credentials)]
    assert all(one.refresh_token for one in snapshot.credentials)


def test_several_accounts_in_the_environment(tmp_path: Path) -> None:
    """D's lines in a real shell, entry by entry; its tokens are too short to be real (S104)."""
    [script] = [code for code in blocks("D", "bash") if "KIRO_AUTH_TOKEN" in code]
    done = subprocess.run(
        ["bash", "-euc", script + 'printf "%s" "$KIRO_AUTH_TOKEN"'],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    found = read_auth_token(done.stdout)
    assert len(found.problems) == 3
    assert all("refreshToken" in problem for problem in found.problems)
    entries = json.loads(done.stdout)
    for entry in entries:
        entry["refreshToken"] += "x" * 100
    found = read_auth_token(json.dumps(entries))
    assert [one.auth_method for one in found.credentials] == ["social", "social", "idc"]
    assert not found.problems
