"""`kiroproxy settings …`."""

import json
import stat

import pytest

from tests.cli.home import KEY, Home


def test_get_and_list_mask_secrets(home: Home) -> None:
    assert home.run("settings", "get", "port").stdout == "8080\n"
    assert home.run("settings", "get", "KIROPROXY_PORT").stdout == "8080\n"
    assert home.json("settings", "get", "port")["origin"] == "default"
    for arguments in (("get", "apiKey"), ("list",), ("list", "--json"), ("list", "--set")):
        result = home.run("settings", *arguments)
        assert result.exit_code == 0
        assert KEY not in result.output
    assert home.run("settings", "get", "apikey").stdout == f"***{KEY[-4:]}\n"
    rows = home.json("settings", "list", "--set")
    assert {row["key"] for row in rows} == {"apiKey", "apiUrl", "socialAuthUrl", "oidcUrl"}


def test_set_and_unset(home: Home) -> None:
    document = json.loads(home.config_path.read_text("utf-8")) | {"odd": {"kept": True}}
    home.config_path.write_text(json.dumps(document), "utf-8")
    before = home.config_path.read_bytes()
    result = home.run("settings", "set", "port", "9000")
    assert result.exit_code == 0
    assert "reload (SIGHUP)" in result.stdout
    assert json.loads(home.config_path.read_text("utf-8")) == document | {"port": 9000}
    assert stat.S_IMODE(home.config_path.stat().st_mode) == 0o600
    assert home.config_path.with_name("config.json.bak").read_bytes() == before
    home.run("settings", "set", "noProxy", "localhost, 10.0.0.1")
    home.run("settings", "set", "modelMapping", '{"gpt-*": "auto"}')
    home.run("settings", "set", "fetchImageUrls", "yes")
    told = home.json("settings", "set", "cooldownSec", "1.5")
    assert (told["value"], told["changed"]) == ("1.5", True)
    assert not home.json("settings", "set", "cooldownSec", "1.5")["changed"]
    stored = json.loads(home.config_path.read_text("utf-8"))
    assert stored["noProxy"] == ["localhost", "10.0.0.1"]
    assert (stored["modelMapping"], stored["fetchImageUrls"]) == ({"gpt-*": "auto"}, True)
    home.run("settings", "unset", "port")
    assert "port" not in json.loads(home.config_path.read_text("utf-8"))
    assert home.run("settings", "get", "port").stdout == "8080\n"


def test_another_name_of_a_key_goes(home: Home) -> None:
    home.config_path.write_text(json.dumps({"apiKey": KEY, "cooldown_sec": 9}), "utf-8")
    home.run("settings", "set", "cooldownSec", "5")
    assert json.loads(home.config_path.read_text("utf-8")) == {"apiKey": KEY, "cooldownSec": 5}


def test_a_secret_is_piped_in(home: Home) -> None:
    result = home.run("settings", "set", "adminApiKey", "-", given="sk-admin-secret-1\n")
    assert result.exit_code == 0
    assert "sk-admin-secret" not in result.output
    assert json.loads(home.config_path.read_text("utf-8"))["adminApiKey"] == "sk-admin-secret-1"


def test_comments_are_lost_and_told(home: Home) -> None:
    home.config_path.write_text('{"apiKey": "k", // mine\n}', "utf-8")
    result = home.run("settings", "set", "port", "9000")
    assert "comments" in result.stderr
    assert "// mine" in home.config_path.with_name("config.json.bak").read_text("utf-8")


def test_the_environment_precedes(home: Home) -> None:
    result = home.run("settings", "set", "port", "9000", PORT="7000")
    assert "environment PORT precedes" in result.stderr
    assert "port is 7000 now" in result.stdout


def test_a_file_that_is_not_there_yet(home: Home) -> None:
    path = home.place / "new" / "config.json"
    result = home.run("settings", "set", "apiKey", "k" * 20, "-c", path)
    assert result.exit_code == 0, result.output
    assert json.loads(path.read_text("utf-8")) == {"apiKey": "k" * 20}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "port", "x"),
        ("set", "port", "-5"),
        ("set", "port", "70000"),
        ("set", "port", ""),
        ("set", "port"),
        ("set", "port", "1", "2"),
        ("set", "nothing", "1"),
        ("set", "apiUrl", "ftp://x"),
        ("set", "modelMapping", "[]"),
        ("set", "machineId", "zz"),
        ("set", "logLevel", "loud"),
        ("set", "caBundle", "/no/such/file"),
        ("set", "adminApiKey", KEY),
        ("set", "authToken", "/no/such/file"),
        ("unset", "apiKey"),
        ("unset", "nothing"),
        ("get", "nothing"),
        ("get",),
    ],
)
def test_what_the_server_would_not_start_with(home: Home, arguments: tuple[str, ...]) -> None:
    home.refused("settings", *arguments)


def test_a_broken_file_can_be_mended_one_by_one(home: Home) -> None:
    home.config_path.write_text('{"port": "x"}', "utf-8")
    assert "apiKey" not in home.refused("settings", "get", "port", code=1)
    assert home.run("settings", "set", "workers", "3").exit_code == 0, "no worse than before"
    assert home.run("settings", "set", "port", "8990").exit_code == 0
    assert home.run("settings", "set", "apiKey", "k" * 20).exit_code == 0
    assert home.run("config", "check").exit_code == 0
    home.config_path.write_text("not JSON", "utf-8")
    home.refused("settings", "set", "port", "1", code=1)
