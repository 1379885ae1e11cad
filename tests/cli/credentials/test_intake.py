"""`kiroproxy credentials add`, `import` and `export`."""

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.home import Home, entry, token
from tests.simulation import Simulator


@pytest.fixture
def empty(kiro: Simulator, tmp_path: Path) -> Home:
    return Home(tmp_path, upstream=kiro.url)


# ---- add -----------------------------------------------------------------------------------


def test_a_token_alone_is_renewed_before_it_counts(empty: Home, kiro: Simulator) -> None:
    result = empty.run("credentials", "add", "--label", "work", given=token("a") + "\n")
    assert (result.exit_code, result.stdout) == (0, "#1 work is added and works.\n")
    [stored] = empty.stored()
    assert (stored["generation"], stored.get("disabled", False)) == (1, False)
    assert "disabledReason" not in stored
    assert stored["refreshToken"] not in result.output
    assert len(kiro.requests("/refreshToken")) == 1
    again = empty.refused("credentials", "add", given=token("a"), code=1)
    assert "already there, as #1" in again


def test_a_refused_token_is_not_stored(empty: Home, kiro: Simulator) -> None:
    kiro.account(id="dead", refreshToken=token("dead"), revoked=True)
    result = empty.run("credentials", "add", given=token("dead"))
    assert result.exit_code == 1
    assert "log in again" in result.stderr
    assert empty.stored() == []


def test_nobody_upstream(home: Home) -> None:
    before = home.stored()
    result = home.run("credentials", "add", given=token("c"))
    assert result.exit_code == 1
    assert [one["label"] for one in home.stored()] == [one["label"] for one in before]
    told = home.json("credentials", "add", "--no-verify", "--group", "pro", given=token("c"))
    assert told == {"id": 3, "verified": False}
    assert home.stored()[2]["group"] == "pro"


def test_idc_and_api_keys(empty: Home, kiro: Simulator) -> None:
    lines = f"{token('idc')}\nclient-secret\n"
    arguments = ("credentials", "add", "--method", "idc", "--client-id", "c", "--region")
    assert empty.run(*arguments, "eu-west-1", given=lines).exit_code == 0
    stored = empty.stored()[0]
    assert (stored["clientSecret"], stored["region"]) == ("client-secret", "eu-west-1")
    kiro.account(apiKey="ksk_" + "k" * 50)
    key = ("credentials", "add", "--method", "api_key")
    assert empty.run(*key, given="ksk_" + "k" * 50).exit_code == 0
    assert empty.stored()[1]["kiroApiKey"].startswith("ksk_")


def test_one_object(empty: Home) -> None:
    given = json.dumps(entry("object", odd=1, priority=9))
    assert empty.json("credentials", "add", "-", "--priority", 2, given=given)["id"] == 1
    [stored] = empty.stored()
    assert (stored["label"], stored["priority"], stored["odd"]) == ("object", 2, 1)


@pytest.mark.parametrize(
    ("arguments", "given", "why"),
    [
        ([], "", "Nothing was piped in"),
        ([], "short", "truncated"),
        ([], token("a") + "...", "truncated"),
        ([], f"{token('a')}\n{token('b')}", "2 lines"),
        ([], "{", "no JSON"),
        ([], "[]", "import"),
        ([], b"\xff", "UTF-8"),
        (["token-as-argument"], "", "no arguments"),
        (["--method", "magic"], token("a"), "--method"),
        (["--method", "idc"], f"{token('a')}\nsecret", "clientId"),
        (["--priority", "-1"], token("a"), "--priority"),
        (["--max-concurrent", "0"], token("a"), "--max-concurrent"),
        (["--region", "nowhere"], token("a"), "region"),
        (["--api-region", "x y"], token("a"), "apiRegion"),
        (["--auth-region", "1"], token("a"), "authRegion"),
        (["--group", "v1"], token("a"), "reserved"),
        ([], json.dumps({"authMethod": 5, "refreshToken": token("a")}), "authMethod"),
    ],
)
def test_what_cannot_be_added(
    home: Home, arguments: list[str], given: str | bytes, why: str
) -> None:
    assert why in home.refused("credentials", "add", "--no-verify", *arguments, given=given)


# ---- import --------------------------------------------------------------------------------


def ide(home: Home, **more: Any) -> Path:
    """The Kiro IDE's sign-in in its place, with its client registration."""
    cache = home.place / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    path = cache / "kiro-auth-token.json"
    document = entry("ide", authMethod="IdC", provider="BuilderId", clientIdHash="0123456789abcdef")
    path.write_text(json.dumps(document | more), "utf-8")
    registration = {"clientId": "c", "clientSecret": "s"}
    (cache / "0123456789abcdef.json").write_text(json.dumps(registration), "utf-8")
    return path


def kiro_cli(home: Home) -> Path:
    path = home.place / ".local" / "share" / "kiro-cli" / "data.sqlite3"
    path.parent.mkdir(parents=True)
    social = {"access_token": "a", "refresh_token": token("cli"), "expires_at": "2099-01-01"}
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE auth_kv (key TEXT PRIMARY KEY, value TEXT)")
        db.execute("INSERT INTO auth_kv VALUES ('kirocli:social:token', ?)", (json.dumps(social),))
    return path


def test_the_ide_is_the_default(empty: Home) -> None:
    """S174."""
    path = ide(empty)
    told = empty.json("credentials", "import")
    assert (told["added"], told["failed"]) == (1, 0)
    [stored] = empty.stored()
    assert (stored["linkedTo"], stored["clientSecret"]) == (str(path), "s")
    assert stored["generation"] == 1
    written = json.loads(path.read_text("utf-8"))
    assert written["refreshToken"] == stored["refreshToken"], "the IDE has the new token, too"
    assert empty.json("credentials", "import", "--ide")["duplicate"] == 1


def test_kiro_cli_and_the_environment(empty: Home) -> None:
    kiro_cli(empty)
    result = empty.run("credentials", "import", "--kiro-cli", "--dry-run")
    assert result.exit_code == 0
    assert "log in separately" in result.stderr
    assert "kiro-cli" in result.stdout
    variable = json.dumps([entry("env"), entry("off", disabled=True)])
    arguments = ("credentials", "import", "--kiro-cli", "--env", "--no-verify")
    result = empty.run(*arguments, KIRO_AUTH_TOKEN=variable)
    assert result.exit_code == 0, result.output
    assert sorted(one["label"] for one in empty.stored()) == ["env", "kiro-cli", "off"]
    assert "KIRO_AUTH_TOKEN is not set" in empty.refused("credentials", "import", "--env")


def test_other_programs_groups_and_stdin(empty: Home) -> None:
    """S121."""
    top = {
        "groups": {"pro": {"settings": {"cooldown_sec": 5}}},
        "tokens": [
            {"auth": "Social", "refreshToken": token("a"), "group": "pro"},
            {"auth": "IdC", "refreshToken": token("b"), "clientId": "c", "clientSecret": "s"},
        ],
    }
    (empty.place / "pool.json").write_text(json.dumps(top), "utf-8")
    told = empty.json("credentials", "import", "pool.json", "-", given=json.dumps([entry("c")]))
    assert [row["status"] for row in told["rows"]] == ["added"] * 3
    assert empty.json("groups", "show", "pro")["settings"]["cooldown_sec"] == 5
    literal = json.dumps({"accounts": [{"nickname": "Me", "credentials": entry("d")}]})
    told = empty.json("credentials", "import", literal, "--group", "team", "--priority", 4)
    assert told["rows"][0]["group"] == "team"
    assert empty.stored()[3]["priority"] == 4
    assert {one.get("group", "default") for one in empty.stored()} == {"pro", "default", "team"}


def test_each_row_has_its_end(empty: Home, kiro: Simulator) -> None:
    """What Kiro refuses is told, and not stored."""
    kiro.account(id="dead", refreshToken=token("dead"), revoked=True)
    rows = [
        entry("good"),
        entry("dead"),
        entry("good"),
        {"refreshToken": "short"},
        entry("off", disabled=True),
    ]
    preview = empty.json("credentials", "import", "-", "--dry-run", given=json.dumps(rows), code=1)
    assert [row["status"] for row in preview["rows"]] == [
        "new",
        "new",
        "duplicate",
        "new",
        "failed",
    ]
    assert preview["rows"][2]["why"] == "already there, as row 1"
    assert not empty.credentials_path.exists()
    assert kiro.requests("/refreshToken") == []
    result = empty.run("credentials", "import", "-", given=json.dumps(rows))
    assert result.exit_code == 1
    assert "2 added, 1 duplicates, 2 failed." in result.stdout
    assert "y" * 20 not in result.output
    stored = {one["label"]: one for one in empty.stored()}
    assert set(stored) == {"good", "off"}
    assert not stored["good"].get("disabled")
    assert stored["off"]["disabled"], "its own state is kept"
    assert stored["off"].get("disabledReason") != "Unverified"
    told = empty.json("credentials", "import", "-", given=json.dumps(rows[:1]))
    assert told["duplicate"] == 1, "though its token has rotated"


def test_a_server_that_answers_nothing_leaves_nothing(home: Home) -> None:
    told = home.json("credentials", "import", json.dumps([entry("x"), entry("z")]), code=1)
    assert told["failed"] == 2
    assert len(home.stored()) == 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["no-such-file"], "no-such-file"),
        (["config.json", "no-such-file"], "no-such-file"),
        (["[}"], "SOURCE"),
        ([token("pasted")], "SOURCE"),
        (["-", "-"], "once"),
        ([], "kiro-auth-token.json"),
        (["--kiro-cli"], "data.sqlite3"),
        (["{}", "--group", "v1"], "reserved"),
        (["{}", "--group", "a/b"], "name"),
        (["{}", "--priority", "x"], "--priority"),
        (["{}", "--verify", "maybe"], "maybe"),
    ],
)
def test_sources_that_are_none(home: Home, arguments: list[str], why: str) -> None:
    assert why in home.refused("credentials", "import", *arguments, given="[]")


def test_an_empty_source(home: Home) -> None:
    assert home.run("credentials", "import", "-", given="").stdout == (
        "The source holds no credential.\n"
    )


# ---- export --------------------------------------------------------------------------------


def test_s121_client_keys_come_along_once(home: Home) -> None:
    """`api_keys` of a file of kiro2api's are client keys here, and each is told."""
    source = home.place / "kiro2api.json"
    secret = "kp_of-the-old-program"
    keys = [{"key": secret, "name": "old", "allowed_groups": ["pro"]}, {"key": "short"}]
    source.write_text(json.dumps({"api_keys": keys[:1], "tokens": []}), "utf-8")
    preview = home.json("credentials", "import", source, "--dry-run")
    assert [one["status"] for one in preview["clientKeys"]] == ["new"]
    assert home.json("keys", "list")["total"] == 0
    done = home.run("credentials", "import", source)
    assert done.exit_code == 0
    assert "kp_…gram" in done.stdout
    assert secret not in done.output
    again = home.json("credentials", "import", source)
    assert [one["status"] for one in again["clientKeys"]] == ["duplicate"]
    (key,) = home.json("keys", "list")["keys"]
    assert (key["name"], key["allowed_groups"]) == ("old", ["pro"])
    source.write_text(json.dumps({"api_keys": keys, "tokens": []}), "utf-8")
    told = home.json("credentials", "import", source, code=1)
    assert [one["status"] for one in told["clientKeys"]] == ["duplicate", "failed"]


def test_export_and_import_again(home: Home, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert "--yes" in home.refused("credentials", "export", "out.json")
    assert not (home.place / "out.json").exists()
    told = home.json("credentials", "export", "out.json", 2, "--yes")
    assert told == {"file": "out.json", "ids": [2]}
    file = home.place / "out.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    [one] = json.loads(file.read_text("utf-8"))
    assert one["refreshToken"] == token("two")
    assert "exists already" in home.refused("credentials", "export", "out.json", "--yes")
    assert home.run("credentials", "export", "out.json", "--yes", "--force").exit_code == 0
    assert len(json.loads(file.read_text("utf-8"))) == 2
    other = Home(tmp_path_factory.mktemp("other"))
    assert other.json("credentials", "import", file, "--no-verify")["added"] == 2
    assert [one["refreshToken"] for one in other.stored()] == [token("one"), token("two")]


def test_export_to_stdout_and_of_a_group(home: Home) -> None:
    home.run("credentials", "group", 1, "--to", "pro")
    result = home.run("credentials", "export", "-", "--group", "pro", "--yes")
    assert [one["label"] for one in json.loads(result.stdout)] == ["one"]


def test_links_stay_here(empty: Home) -> None:
    ide(empty)
    empty.run("credentials", "import")
    result = empty.run("credentials", "export", "-", "--yes")
    assert "linkedTo" not in json.loads(result.stdout)[0]


def test_exports_that_cannot_be(home: Home) -> None:
    home.refused("credentials", "export", "x.json", "0", "--yes")
    home.refused("credentials", "export", "x.json", "1", "--group", "default", "--yes")
    home.refused("credentials", "export", ".", "--yes")
    home.refused("credentials", "export", "x.json", "9", "--yes", code=1)
    home.refused("credentials", "export", "x.json", "--group", "nobody", "--yes", code=1)
    home.refused("credentials", "export", "no/such/x.json", "--yes", code=1)
