"""Settings: sources, checks, origins, README's table (S77 to S92, X1, X11, design 8)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kiroproxy.config import (
    SETTINGS,
    SYSTEM_VERSIONS,
    Config,
    Setting,
    child_environment,
    desktop_variables,
    load_config,
    mask,
    mask_password,
    otel_protocol,
    own_system_version,
    read_json,
    require_client_key,
    secrets_of,
    shown,
    traces_url,
)
from kiroproxy.errors import ConfigError

REPOSITORY = Path(__file__).parents[1]


def load(
    tmp_path: Path,
    document: Any = None,
    environ: dict[str, str] | None = None,
    dotenv: str = "",
    **overrides: Any,
) -> Config:
    if document is not None:
        content = document if isinstance(document, str) else json.dumps(document)
        (tmp_path / "config.json").write_text(content, "utf-8")
    if dotenv:
        (tmp_path / ".env").write_text(dotenv, "utf-8")
    return load_config(overrides, environ=environ or {}, cwd=tmp_path)


def test_without_anything_the_documented_defaults_count(tmp_path: Path) -> None:
    """X1, X15, S79, S81, S89, design 8."""
    config = load(tmp_path)
    assert (config.host, config.port, config.region) == ("127.0.0.1", 8080, "us-east-1")
    assert config.kiro_version == "0.8.0"
    assert config.node_version == "22.21.1"
    assert config.system_version in SYSTEM_VERSIONS
    assert config.tls_backend == "rustls"
    assert config.count_tokens_auth_type == "x-api-key"
    assert config.max_tool_description_length == 10000
    assert config.max_body_bytes == 32 * 1024 * 1024
    assert config.api_url == "https://q.{region}.amazonaws.com"
    assert config.social_auth_url == "https://prod.{region}.auth.desktop.kiro.dev"
    assert config.oidc_url == "https://oidc.{region}.amazonaws.com"
    assert (config.workers, config.cooldown_sec, config.max_concurrent) == (2, 30, 8)
    assert (config.first_frame_wait_sec, config.ping_interval_sec) == (5, 25)
    assert (config.idle_timeout_sec, config.graceful_timeout_sec) == (120, 600)
    assert config.log_level == "info"
    assert config.config_path == tmp_path / "config.json"
    assert config.credentials_path == tmp_path / "credentials.json"
    assert config.state_dir == tmp_path
    assert config.database_url == f"sqlite:///{tmp_path}/data/kiroproxy.db"
    assert set(config.origins.values()) == {"default"}
    assert config.warnings == ()


def test_the_stronger_source_wins(tmp_path: Path) -> None:
    """Command line > environment > .env > config.json > default (design 8, S92)."""
    sources: dict[str, Any] = {
        "document": {"port": 1001},
        "dotenv": "PORT=1002\nKIROPROXY_HOST=dotenv.example\n",
        "environ": {"PORT": "1003", "KIROPROXY_PORT": "1004"},
    }
    seen = [(load(tmp_path).port, "default")]
    for count in range(1, 4):
        config = load(tmp_path, **dict(list(sources.items())[:count]))
        seen.append((config.port, config.origins["port"]))
    config = load(tmp_path, **sources, port=1005)
    seen.append((config.port, config.origins["port"]))
    assert seen == [
        (8080, "default"),
        (1001, "config.json port"),
        (1002, ".env PORT"),
        (1004, "environment KIROPROXY_PORT"),
        (1005, "command line"),
    ]
    assert config.host == "dotenv.example"


@pytest.mark.parametrize(
    ("variable", "value", "attribute", "expected"),
    [
        ("KIRO_CLIENT_TOKEN", "123456", "api_key", "123456"),
        ("PORT", "9000", "port", 9000),
        ("LOG_LEVEL", "debug", "log_level", "debug"),
        ("LOG_LEVEL", "WARNING", "log_level", "warn"),
        ("RUST_LOG", "debug", "log_level", "debug"),
        ("RUST_LOG", "hyper=trace, warn", "log_level", "warn"),
        ("RUST_LOG", "hyper=trace", "log_level", "info"),
        ("GIN_MODE", "debug", "log_level", "debug"),
        ("GIN_MODE", "release", "log_level", "info"),
        ("MAX_TOOL_DESCRIPTION_LENGTH", "500", "max_tool_description_length", 500),
        ("KIRO_AUTH_TOKEN", '[{"auth":"Social"}]', "auth_token", '[{"auth":"Social"}]'),
        ("KIROPROXY_NO_PROXY", "a.example, .b", "no_proxy", ("a.example", ".b")),
        ("KIROPROXY_FETCH_IMAGE_URLS", "yes", "fetch_image_urls", True),
        ("KIROPROXY_MODEL_MAPPING", '{"gpt-*": "auto"}', "model_mapping", {"gpt-*": "auto"}),
        ("KIROPROXY_COOLDOWN_SEC", "1.5", "cooldown_sec", 1.5),
    ],
)
def test_environment_names_of_the_documents(
    tmp_path: Path, variable: str, value: str, attribute: str, expected: Any
) -> None:
    """S78, S88, S89, S90."""
    assert getattr(load(tmp_path, environ={variable: value}), attribute) == expected


def test_every_key_has_an_environment_name() -> None:
    for row in SETTINGS:
        snake = re.sub(r"([A-Z])", r"_\1", row.key).upper()
        assert next(iter(row.environment)) == f"KIROPROXY_{snake}"


def test_database_path_from_the_environment_is_absolute(tmp_path: Path) -> None:
    """X15."""
    config = load(tmp_path, environ={"KIRO_DB_PATH": "./data/kiro2api.db"})
    assert config.database_path == tmp_path / "data/kiro2api.db"
    assert config.database_url == f"sqlite:///{tmp_path}/data/kiro2api.db"
    config = load(tmp_path, environ={"KIROPROXY_DATABASE_URL": "postgresql://u:p@db/kiro"})
    assert config.database_url == "postgresql://u:p@db/kiro"


def test_a_blank_variable_is_not_set(tmp_path: Path) -> None:
    """`${PORT:-}` of a compose file."""
    assert load(tmp_path, {"port": 1001}, {"PORT": " ", "KIROPROXY_PORT": ""}).port == 1001


def test_dotenv_keeps_dollars_and_quotes_json(tmp_path: Path) -> None:
    dotenv = "KIRO_CLIENT_TOKEN='a$b{HOME}$HOME'\nKIRO_AUTH_TOKEN='[{\"auth\":\"Social\"}]'\n"
    config = load(tmp_path, dotenv=dotenv)
    assert config.api_key == "a$b{HOME}$HOME"
    assert json.loads(config.auth_token) == [{"auth": "Social"}]


def test_comments_and_trailing_commas_load(tmp_path: Path) -> None:
    """X11, S80: document A's sample, `//` comments and all."""
    document = """{
       "host": "127.0.0.1",
       "port": 8990,
       "apiKey": "sk-kiro-rs-qazWSXedcRFV123456",
       "region": "us-east-1",
       "kiroVersion": "0.8.0",
       "machineId": "如果你需要自定义机器码请将64位机器码填到这里",  // 不是标准格式会自动忽略
       "systemVersion": "darwin#24.6.0",
       "nodeVersion": "22.21.1",
       "countTokensApiUrl": "https://api.example.com/v1/messages/count_tokens",  // 可选
       "countTokensApiKey": "sk-your-count-tokens-api-key",
       "countTokensAuthType": "x-api-key", /* or bearer */
    }"""
    config = load(tmp_path, document)
    assert (config.port, config.machine_id) == (8990, "")
    assert config.system_version == "darwin#24.6.0"
    assert config.count_tokens_api_url == "https://api.example.com/v1/messages/count_tokens"
    assert "machineId" in config.warnings[0]


@pytest.mark.parametrize(
    ("given", "count"),
    [(True, 50), (False, 0), ("on", 50), ("no", 0), (0, 0), (1, 1), ("1", 1), ("200", 200)],
)
def test_a_count_may_be_a_switch(tmp_path: Path, given: Any, count: int) -> None:
    assert load(tmp_path, {"recordFailures": given}).record_failures == count
    environ = {"KIROPROXY_RECORD_FAILURES": str(given)}
    assert load(tmp_path, {}, environ).record_failures == count


@pytest.mark.parametrize("given", [-1, 10_001, 1.5, "many", []])
def test_a_count_that_cannot_be(tmp_path: Path, given: Any) -> None:
    with pytest.raises(ConfigError, match="recordFailures: must be a whole number from 0 to 10000"):
        load(tmp_path, {"recordFailures": given})


def test_unknown_keys_are_ignored_with_a_warning(tmp_path: Path) -> None:
    """S80."""
    config = load(tmp_path, {"port": 1, "apikey": "x", "$schema": "y"})
    assert [w.split()[1] for w in config.warnings] == ["apikey", "$schema"]


def test_null_is_not_set(tmp_path: Path) -> None:
    assert load(tmp_path, {"port": None, "proxyUrl": None}).port == 8080


def test_cooldown_has_the_documents_spelling_too(tmp_path: Path) -> None:
    """S112."""
    assert load(tmp_path, {"cooldown_sec": 7}).cooldown_sec == 7


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a" * 64, "a" * 64),
        ("A1" * 32, "a1" * 32),
        ("2582956e-cc88-4669-b546-07adbffcb894", "2582956ecc884669b54607adbffcb894" * 2),
        ("xyz", ""),
        ("a" * 63, ""),
        (12, None),
    ],
)
def test_machine_id(tmp_path: Path, given: Any, expected: str | None) -> None:
    """S82: an invalid one is ignored; another type is a mistake."""
    if expected is None:
        with pytest.raises(ConfigError, match="machineId: must be a string"):
            load(tmp_path, {"machineId": given})
    else:
        assert load(tmp_path, {"machineId": given}).machine_id == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", 0),
        ("port", 65536),
        ("port", True),
        ("port", 80.5),
        ("port", "http"),
        ("workers", 0),
        ("cooldownSec", -1),
        ("cooldownSec", float("inf")),
        ("cooldownSec", [30]),
        ("pingIntervalSec", True),
        ("tlsBackend", "openssl"),
        ("countTokensAuthType", "basic"),
        ("region", "us-east-1/../evil"),
        ("region", 5),
        ("apiUrl", "ftp://x"),
        ("apiUrl", "https://{host}.example"),
        ("apiUrl", "https://{region.__class__}"),
        ("oidcUrl", "https://x:port"),
        ("proxyUrl", "127.0.0.1:8080"),
        ("proxyUrl", "ftp://x"),
        ("noProxy", [1]),
        ("trustedProxies", ["not-a-network"]),
        ("modelMapping", {"a": 1}),
        ("modelMapping", ["a"]),
        ("fetchImageUrls", "perhaps"),
        ("logLevel", "loud"),
        ("webSearch", "both"),
        ("unknownModel", False),
        ("kiroVersion", "0.8\r\nx: y"),
        ("maxBodyBytes", 10**30),
        ("caBundle", "no/such/file.pem"),
    ],
)
def test_bad_values_name_the_setting(tmp_path: Path, key: str, value: Any) -> None:
    """S84 and the rest."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {key: value})
    assert caught.value.setting == key


def test_bad_values_name_their_origin_but_no_secret(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^port: .*not 'http' \(from environment PORT\)$"):
        load(tmp_path, environ={"PORT": "http"})
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {"proxyUrl": "user:hunter2@proxy"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["{", "[]", '"x"', "{'a': }", "\x00", "[" * 100_000, "nonsense"]
)
def test_an_unreadable_file_is_a_configuration_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        load(tmp_path, content)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(environ={}, cwd=tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(environ={}, cwd=tmp_path)


def test_an_empty_file_and_a_byte_order_mark(tmp_path: Path) -> None:
    assert load(tmp_path, "\n").port == 8080
    assert load(tmp_path, '\ufeff{"port": 1}').port == 1
    assert read_json(tmp_path / "none.json", missing=[]) == []


def test_paths_of_the_two_files(tmp_path: Path) -> None:
    """S87 and design 8: command line, then environment, then the working directory."""
    (tmp_path / "other.json").write_text('{"port": 7}', "utf-8")
    environ = {"KIROPROXY_CONFIG": "other.json", "KIROPROXY_CREDENTIALS": "/k/c.json"}
    config = load(tmp_path, environ=environ)
    assert (config.port, config.origins["port"]) == (7, "other.json port")
    assert config.origins["config_path"] == "environment KIROPROXY_CONFIG"
    assert (config.credentials_path, config.state_dir) == (Path("/k/c.json"), Path("/k"))
    config = load(tmp_path, environ=environ, credentials_path=Path("mine.json"), config_path="x")
    assert (config.credentials_path, config.port) == (tmp_path / "mine.json", 8080)


def test_proxies_and_networks(tmp_path: Path) -> None:
    """S85, Q15."""
    for address in ("http://p:1", "https://p", "socks5://u:p@p:1080", "socks5h://p", "direct"):
        assert load(tmp_path, {"proxyUrl": address}).proxy_url == address
    config = load(tmp_path, {"trustedProxies": "10.1.2.3/8, unix, ::1"})
    assert config.trusted_proxies == ("10.0.0.0/8", "unix", "::1/128")


def test_a_server_needs_a_client_key(tmp_path: Path) -> None:
    """S77; `KIRO_CLIENT_TOKEN` satisfies it."""
    for document in ({}, {"apiKey": ""}, {"apiKey": "  "}):
        with pytest.raises(ConfigError, match="kiroproxy init"):
            require_client_key(load(tmp_path, document))
    require_client_key(load(tmp_path, environ={"KIRO_CLIENT_TOKEN": "123456"}))


def test_the_client_key_cannot_be_the_admin_key(tmp_path: Path) -> None:
    """S127."""
    with pytest.raises(ConfigError, match="adminApiKey"):
        load(tmp_path, {"apiKey": "same", "adminApiKey": "same"})


def test_the_system_version_never_varies() -> None:
    """Design 10."""
    assert {own_system_version() for _ in range(5)} == {own_system_version()}


def test_secrets_are_masked() -> None:
    assert mask("sk-kiroproxy-abcdef") == "***cdef"
    assert mask("123456") == "***"
    assert mask("") == ""
    assert mask_password("http://user:secret@proxy:1") == "http://***@proxy:1"
    assert mask_password("http://proxy:1") == "http://proxy:1"
    secrets = {row.key for row in SETTINGS if row.secret}
    assert secrets >= {"apiKey", "adminApiKey", "proxyPassword", "countTokensApiKey", "authToken"}
    assert "hunter2" not in repr(Config(api_key="hunter2"))


def test_the_server_inherits_what_the_command_line_said(tmp_path: Path) -> None:
    """Values go through the environment to gunicorn and come out the same."""
    options = {"config_path": tmp_path / "c.json", "port": 1234, "host": "::1", "workers": None}
    environment = child_environment(options)
    config = load_config(environ=environment, cwd=tmp_path)
    assert (config.config_path, config.port, config.host) == (tmp_path / "c.json", 1234, "::1")
    assert "KIROPROXY_WORKERS" not in environment


def test_what_the_environment_says_about_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSH_CONNECTION", "SSH_TTY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("SSH_TTY", "")
    assert desktop_variables() == {"DISPLAY": ":0"}


def test_shipped_examples_load(tmp_path: Path) -> None:
    """S165."""
    path = REPOSITORY / "config.example.json"
    config = load_config({"config_path": path}, environ={}, cwd=tmp_path)
    require_client_key(config)
    assert (config.port, config.warnings) == (8990, ())
    for kind in ("social", "idc", "multiple"):
        document = json.loads((REPOSITORY / f"credentials.example.{kind}.json").read_text("utf-8"))
        for credential in document if isinstance(document, list) else [document]:
            assert {"refreshToken", "authMethod", "expiresAt"} <= set(credential)


def readme_row(row: Setting) -> str:
    names = "<br>".join(f"`{name}`" for name in row.environment)
    default = f"`{row.default}`" if row.default and " " not in row.default else row.default
    return f"| `{row.key}` | {names} | {default or '–'} | {row.help} |"


def test_readme_lists_every_setting() -> None:
    """S173: the table is what the code says. Paste the missing lines when this fails."""
    lines = (REPOSITORY / "README.md").read_text("utf-8").splitlines()
    missing = [readme_row(row) for row in SETTINGS if readme_row(row) not in lines]
    assert not missing, "\n".join(missing)


def test_defaults_survive_their_own_parsers(tmp_path: Path) -> None:
    """What `config show` prints can be pasted into the environment."""
    for row in SETTINGS:
        value = getattr(load(tmp_path), row.attribute)
        if value not in ("", (), {}, None):
            environ = {next(iter(row.environment)): shown(value)}
            again = load_config(environ=environ, cwd=tmp_path)
            assert getattr(again, row.attribute) == value, row.key


def test_what_a_file_would_hold(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("broken", "utf-8")
    config = load_config(environ={}, cwd=tmp_path, document={"port": 9000})
    assert (config.port, config.origins["port"]) == (9000, "config.json port")


def test_s88_s89_which_variable_sets_the_level(tmp_path: Path) -> None:
    """Ours, then LOG_LEVEL, RUST_LOG, GIN_MODE; then .env; then the file."""
    environ = {
        "KIROPROXY_LOG_LEVEL": "error",
        "LOG_LEVEL": "warn",
        "RUST_LOG": "info,hyper=trace",
        "GIN_MODE": "debug",
    }
    found = []
    for name in (*environ, None):
        config = load(
            tmp_path, environ=environ, dotenv="LOG_LEVEL=debug\n", document={"logLevel": "error"}
        )
        found.append((config.log_level, config.origins["log_level"]))
        if name:
            environ = {key: value for key, value in environ.items() if key != name}
    assert found == [
        ("error", "environment KIROPROXY_LOG_LEVEL"),
        ("warn", "environment LOG_LEVEL"),
        ("info", "environment RUST_LOG"),
        ("debug", "environment GIN_MODE"),
        ("debug", ".env LOG_LEVEL"),
    ]


@pytest.mark.parametrize("address", ["127.0.0.1:9464", "[::1]:9464", "metrics:1", "unix:/run/m"])
def test_addresses_to_listen_on(tmp_path: Path, address: str) -> None:
    assert load(tmp_path, document={"metricsBind": address}).metrics_bind == address


@pytest.mark.parametrize(
    "address", ["9464", ":9464", "h:", "h:0", "h:65536", "h:x", "::1:9464", "unix:m", "[]:1", 9464]
)
def test_what_is_no_address(tmp_path: Path, address: Any) -> None:
    with pytest.raises(ConfigError, match="metricsBind"):
        load(tmp_path, document={"metricsBind": address})


@pytest.mark.parametrize(
    "document",
    [
        {"port": 9464, "metricsBind": "127.0.0.1:9464"},
        {"host": "unix:/run/x", "metricsBind": "unix:/run/x"},
    ],
)
def test_metrics_do_not_listen_where_clients_come(tmp_path: Path, document: Any) -> None:
    with pytest.raises(ConfigError, match="metricsBind"):
        load(tmp_path, document=document)


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, ""),
        ({"KIROPROXY_OTEL_ENDPOINT": "http://c:4318/"}, "http://c:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http://c:4318/v1/traces"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1/own/path",
            },
            "http://t:1/own/path",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, ""),
    ],
)
def test_where_traces_go(tmp_path: Path, environ: dict[str, str], url: str) -> None:
    assert traces_url(load(tmp_path, environ=environ), environ) == url


def test_the_protocol_that_is_asked_for() -> None:
    assert otel_protocol({}) == ""
    assert otel_protocol({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) == "grpc"


def test_secrets_of_a_configuration(tmp_path: Path) -> None:
    document = {
        "apiKey": "sk-client",
        "adminApiKey": "sk-admin",
        "proxyUrl": "http://me:hunter2@proxy:1",
        "proxyPassword": "hunter3",
    }
    found = secrets_of(load(tmp_path, document=document))
    assert {"sk-client", "sk-admin", "hunter2", "hunter3"} <= set(found)
    assert "" not in found
