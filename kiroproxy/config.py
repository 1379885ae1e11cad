"""Settings: what they are, where each came from, and whether it can be used.

The fields of `Config` are the one table of settings: `SETTINGS`, README's table (a test compares
them), `config show` and the environment names are all derived from it. A value is taken from the
first place that has one: command line, environment, `.env`, `config.json`, default. Nothing else
in the package reads the environment.
"""

import dataclasses
import hashlib
import ipaddress
import json
import math
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kiroproxy.errors import ConfigError

SYSTEM_VERSIONS = ("darwin#24.6.0", "win32#10.0.22631")  # S79
EFFORT_MODELS = (
    "claude-opus-4.6",
    "claude-opus-4.7",
    "claude-opus-4.8",
    "claude-sonnet-4.6",
    "claude-*-5",
    "claude-*-5.*",
)  # protocol.md 3.9: these take a native effort; an upstream 400 still turns it off

RECORDINGS = 50
"""What `recordFailures: true` means."""
IDE_TOKENS = "~/.aws/sso/cache/kiro-auth-token.json"

Parser = Callable[[Any], Any]
"""Turns a text (environment, command line) or a JSON value into the setting, or ValueError."""

# ---- parsers -------------------------------------------------------------------------------


def _described(parse: Parser, **facts: Any) -> Parser:
    """The parser, with what a form has to know: `choices`, `minimum`, `maximum`."""
    vars(parse).update(facts)
    return parse


def text(value: Any) -> str:
    """A string as it is, without the blanks around it."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value.strip()


def whole(low: int, high: int = 2**53) -> Parser:
    """Whole numbers from `low` to `high`."""
    limits = f"of at least {low}" if high == 2**53 else f"from {low} to {high}"

    def parse(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", value):
            value = int(value)
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be a whole number {limits}")
        return value

    return _described(parse, minimum=low, maximum=None if high == 2**53 else high)


def count_or_switch(when_on: int, high: int) -> Parser:
    """A count up to `high`, where 0 means off; `true` is a count that suits most."""
    count = whole(0, high)

    def parse(value: Any) -> int:
        if isinstance(value, bool) or str(value).strip().lower() in SWITCH_WORDS - {"0", "1"}:
            return when_on if switch(value) else 0
        return int(count(value))

    return _described(parse, minimum=0, maximum=high)


def seconds(low: float) -> Parser:
    """A duration of at least `low` seconds."""

    def parse(value: Any) -> float:
        try:
            number = float("nan" if isinstance(value, bool) else value)
        except (TypeError, ValueError):
            number = math.nan
        if not low <= number < math.inf:
            raise ValueError(f"must be a number of seconds, at least {low:g}")
        return number

    return _described(parse, minimum=low)


SWITCHED_ON = frozenset({"true", "1", "yes", "on"})
SWITCH_WORDS = SWITCHED_ON | {"false", "0", "no", "off"}


def switch(value: Any) -> bool:
    """True or false, as JSON or in the words that shells use."""
    word = str(value).strip().lower()
    if word not in SWITCH_WORDS:
        raise ValueError("must be true or false")
    return word in SWITCHED_ON


def choice(*names: str) -> Parser:
    """One of a few words, in any case."""

    def parse(value: Any) -> str:
        word = text(value).lower()
        if word not in names:
            raise ValueError("must be " + " or ".join(names))
        return word

    return _described(parse, choices=names)


_AUTHORITY = re.compile(
    r"(?:[^\\/?#\s]*@)?(?:[A-Za-z0-9_-][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)
"""Hosts as every library reads them: of one with a backslash, a percent sign or other letters, one
sees the host in one place and another elsewhere, and a check would look at the wrong one."""


def url(*schemes: str, template: bool = False) -> Parser:
    """An address; a template may contain `{region}`. Trailing slashes are dropped."""

    def parse(value: Any) -> str:
        address = text(value).rstrip("/")
        bare = address.replace("{region}", "region") if template else address
        parts = urlsplit(bare)
        plain = _AUTHORITY.fullmatch(parts.netloc) and not set(bare) & set("{} \t\r\n")
        if parts.scheme not in schemes or not plain:
            hint = ", in which {region} is the only placeholder" if template else ""
            raise ValueError(f"must be a URL that starts with {' or '.join(schemes)}://{hint}")
        _ = parts.port  # raises ValueError when it is none
        return address

    return parse


def proxy_address(value: Any) -> str:
    """A proxy's URL, or `direct`."""
    if text(value).lower() == "direct":
        return "direct"
    parsed: str = url("http", "https", "socks5", "socks5h")(value)
    return parsed


def names(value: Any) -> tuple[str, ...]:
    """A list of strings, or one string with commas."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError("must be a list of strings, or one string with commas")
    return tuple(item.strip() for item in items if item.strip())


def peers(value: Any) -> tuple[str, ...]:
    """Networks in CIDR notation, single addresses, or the word `unix`."""
    found = []
    for item in names(value):
        try:
            one = item if item == "unix" else str(ipaddress.ip_network(item, strict=False))
        except ValueError:
            raise ValueError("must list addresses, networks (10.0.0.0/8) or unix") from None
        found.append(one)
    return tuple(found)


def origins(value: Any) -> tuple[str, ...]:
    """Origins as browsers write them: scheme, host and perhaps a port, nothing behind."""
    found = []
    for item in names(value):
        address = url("https", "http")(item).lower()
        parts = urlsplit(address)
        if parts.path or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("must list origins such as https://ops.example, without a path")
        found.append(address)
    return tuple(found)


def mapping(value: Any) -> dict[str, str]:
    """An object of strings; in the environment as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ValueError('must be an object of strings such as {"gpt-*": "auto"}')
    return dict(value)


def raw(value: Any) -> str:
    """A text as it is; JSON that was already parsed becomes text again."""
    return value if isinstance(value, str) else json.dumps(value)


def region_name(value: Any) -> str:
    """An AWS region: it becomes part of host names."""
    if not re.fullmatch(r"[a-z]{2}(-[a-z]{1,16}){1,3}-[0-9]{1,2}", text(value)):
        raise ValueError("must be an AWS region such as us-east-1")
    return text(value)


def printable(value: Any) -> str:
    """Text that may stand in an HTTP header."""
    if not re.fullmatch(r"[\x21-\x7e]*", text(value)):
        raise ValueError("must be ASCII text without blanks")
    return text(value)


def listen_address(value: Any) -> str:
    """Where to listen: `host:port`, `[IPv6]:port`, or `unix:` and a path."""
    address = text(value)
    if address.startswith("unix:/"):
        return address
    host, colon, port = address.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    known = bool(bare) and (":" not in host or bare != host)
    if not (colon and known and port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError("must be host:port, [IPv6]:port or unix:/path/to/socket")
    return address


LEVELS = ("debug", "info", "warn", "error")


def level(value: Any) -> str:
    """A log level, also by the names that other programs use."""
    word = text(value).lower()
    word = {"trace": "debug", "warning": "warn", "critical": "error"}.get(word, word)
    return str(choice(*LEVELS)(word))


_described(level, choices=LEVELS)


def machine_digits(value: Any) -> str:
    """64 hexadecimal digits; a UUID is doubled (protocol.md 5.6). Anything else is no id (S82)."""
    digits = text(value).lower().replace("-", "")
    if re.fullmatch(r"[0-9a-f]{32}", digits):
        digits += digits
    return digits if re.fullmatch(r"[0-9a-f]{64}", digits) else ""


# ---- what may be shown ---------------------------------------------------------------------


def mask(value: str) -> str:
    """Hide all but the last four characters; of a short secret, hide those too."""
    return f"***{value[-4:] if len(value) >= 8 else ''}" if value else ""


def mask_password(address: str) -> str:
    """Hide the user and password of a URL."""
    parts = urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"***@{host}").geturl() if at and user else address


# ---- the table -----------------------------------------------------------------------------


def setting(default: Any, help_text: str, parse: Parser = text, **facts: Any) -> Any:
    """A field of `Config`.

    Facts: `env` maps further environment names to a function that reads them (None: not set),
    `aliases` are further JSON keys, `show` masks a secret, `shown_default` is what documentation
    says where the default is computed.
    """
    metadata = {"help": help_text, "parse": parse, **facts}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def as_is(value: str) -> str:
    """Read an environment variable like the setting itself."""
    return value


def rust_log(value: str) -> str | None:
    """The bare level of directives such as `hyper=trace,debug` (S88); modules are not ours."""
    levels = ("trace", "debug", "info", "warn", "error")
    return next(
        (part for part in value.lower().replace(" ", "").split(",") if part in levels), None
    )


def gin_mode(value: str) -> str | None:
    """`GIN_MODE=debug` means debug logging; other modes say nothing about it (S89)."""
    return "debug" if value.strip().lower() == "debug" else None


@dataclass(frozen=True, kw_only=True, repr=False)
class Config:
    """Every setting, checked. Unset texts are empty; durations are seconds.

    `auth_region` and `api_region` stay empty when unset: a credential's own region, or the one
    in its profile ARN, goes before `region`.
    """

    host: str = setting("127.0.0.1", "address to listen on, or unix:/path/to/socket")
    port: int = setting(8080, "port to listen on", whole(1, 65535), env={"PORT": as_is})
    api_key: str = setting(
        "", "the client key; required", show=mask, env={"KIRO_CLIENT_TOKEN": as_is}
    )
    admin_api_key: str = setting("", "key of /api/admin; without it that is off", show=mask)
    workers: int = setting(2, "gunicorn worker processes", whole(1, 256))
    worker_connections: int = setting(
        10000, "simultaneous connections of one worker", whole(1, 10**6)
    )

    region: str = setting("us-east-1", "AWS region of Kiro", region_name)
    auth_region: str = setting("", "region of the sign-in service, if another", region_name)
    api_region: str = setting("", "region of the API, if another", region_name)
    api_url: str = setting(
        "https://q.{region}.amazonaws.com", "Kiro's API", url("https", "http", template=True)
    )
    social_auth_url: str = setting(
        "https://prod.{region}.auth.desktop.kiro.dev",
        "renews social tokens",
        url("https", "http", template=True),
    )
    oidc_url: str = setting(
        "https://oidc.{region}.amazonaws.com",
        "renews IdC tokens",
        url("https", "http", template=True),
    )
    kiro_version: str = setting("0.8.0", "Kiro version in the user agent", printable)
    kiro_cli_version: str = setting(
        "2.0.0", "kiro-cli's version in the user agent, for credentials of that endpoint", printable
    )
    machine_id: str = setting(
        "",
        "machine id in the user agent, 64 hex digits; invalid ones are ignored",
        machine_digits,
        shown_default="derived per credential",
    )
    system_version: str = setting(
        "",
        "system in the user agent",
        printable,
        shown_default="`darwin#24.6.0` or `win32#10.0.22631`, always the same on one machine",
    )
    node_version: str = setting("22.21.1", "Node.js version in the user agent", printable)

    tls_backend: str = setting(
        "rustls",
        "rustls: certifi's CA bundle; native-tls: the system's",
        choice("rustls", "native-tls"),
    )
    ca_bundle: str = setting("", "file or directory of CA certificates to trust instead")
    proxy_url: str = setting(
        "",
        "http, https, socks5 or socks5h proxy for all calls out",
        proxy_address,
        show=mask_password,
    )
    proxy_username: str = setting("", "user of that proxy")
    proxy_password: str = setting("", "password of that proxy", show=mask)
    no_proxy: tuple[str, ...] = setting((), "hosts to reach without it", names)

    count_tokens_api_url: str = setting(
        "", "external service that counts tokens", url("https", "http"), show=mask_password
    )
    count_tokens_api_key: str = setting("", "its key", show=mask)
    count_tokens_auth_type: str = setting(
        "x-api-key", "header of that key: x-api-key or bearer", choice("x-api-key", "bearer")
    )

    state_dir: Path = setting(
        None, "runtime state and metrics", text, shown_default="directory of the credentials file"
    )
    database_path: Path = setting(
        Path("data/kiroproxy.db"),
        "SQLite file",
        text,
        env={"KIRO_DB_PATH": as_is},
        shown_default="./data/kiroproxy.db",
    )
    database_url: str = setting(
        "",
        "database instead of that file",
        text,
        show=mask_password,
        shown_default="SQLite at `databasePath`",
    )
    auth_token: str = setting(
        "",
        "credentials to import at start: JSON, or a file's path",
        raw,
        show=mask,
        env={"KIRO_AUTH_TOKEN": as_is},
    )
    token_file: Path = setting(
        None,
        "the Kiro IDE's token file, for the commands of kiro2api",
        text,
        shown_default="~/.aws/sso/cache/kiro-auth-token.json",
    )
    allow_network_filesystem: bool = setting(
        False, "keep state on NFS and the like, where locks may not work", switch
    )

    max_body_bytes: int = setting(32 * 1024 * 1024, "largest request body", whole(1))
    body_timeout_sec: float = setting(60, "to receive a request body", seconds(0.1))
    first_frame_wait_sec: float = setting(
        5, "for the first event, before the answer starts without it", seconds(0)
    )
    ping_interval_sec: float = setting(25, "between pings in a silent stream", seconds(0.01))
    idle_timeout_sec: float = setting(120, "without a byte from Kiro", seconds(0.1))
    graceful_timeout_sec: int = setting(
        600, "for running streams when the server stops or reloads", whole(1)
    )
    queue_wait_sec: float = setting(30, "in the queue, when all credentials are busy", seconds(0))
    queue_limit: int = setting(256, "requests that may wait; more are refused at once", whole(0))
    usage_days: int = setting(31, "for which each request's use is kept; 0: for ever", whole(0))
    max_concurrent: int = setting(8, "simultaneous requests of one credential", whole(1))
    cooldown_sec: float = setting(
        30, "rest of a throttled credential", seconds(0), aliases=("cooldown_sec",)
    )
    load_balancing_mode: str = setting(
        "priority",
        "how a credential is chosen: priority, balanced or sequential",
        choice("priority", "balanced", "sequential"),
    )

    model_table: str = setting(
        "kiro",
        "kiro, or codewhisperer for the older internal ids",
        choice("kiro", "codewhisperer"),
    )
    model_mapping: dict[str, str] = setting({}, "{name or glob: Kiro's model id}", mapping)
    unknown_model: str = setting(
        "reject", "what to do with unknown models: reject, pass, or a Kiro id to use instead"
    )
    effort_models: tuple[str, ...] = setting(
        EFFORT_MODELS, "Kiro ids (globs) that take a native effort", names
    )
    untrailed_end: str = setting(
        "truncated",
        "whether a reply that ends without its trailer counts as truncated or complete",
        choice("truncated", "complete"),
    )
    web_search: str = setting(
        "search", "answer web_search, or filter it out", choice("search", "filter")
    )
    fetch_image_urls: bool = setting(False, "download images given as URLs", switch)
    max_tool_description_length: int = setting(
        10000,
        "characters; the rest moves to the system text",
        whole(1),
        env={"MAX_TOOL_DESCRIPTION_LENGTH": as_is},
    )

    trusted_proxies: tuple[str, ...] = setting(
        (), "whose X-Forwarded-For is believed: networks, or unix", peers
    )
    cors_origins: tuple[str, ...] = setting(
        (), "other sites whose pages may call /api: origins such as https://ops.example", origins
    )
    log_level: str = setting(
        "info",
        "debug, info, warn or error",
        level,
        env={"LOG_LEVEL": as_is, "RUST_LOG": rust_log, "GIN_MODE": gin_mode},
    )
    log_format: str = setting(
        "auto",
        "console, json, or auto: console on a terminal",
        choice("auto", "json", "console"),
    )
    pass_traceparent: bool = setting(
        True, "pass a client's W3C traceparent on to Kiro and countTokensApiUrl", switch
    )
    otel_endpoint: str = setting(
        "",
        "OpenTelemetry collector (OTLP over HTTP) to send traces to; needs kiroproxy[otel]",
        url("http", "https"),
        show=mask_password,
        env={
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": as_is,
            "OTEL_EXPORTER_OTLP_ENDPOINT": as_is,
        },
    )
    metrics_bind: str = setting(
        "",
        "address of its own for /metrics, without a key: host:port or unix:/path",
        listen_address,
    )
    record_failures: int = setting(
        0,
        "how many failed exchanges to keep for a look, prompts included; true: 50",
        count_or_switch(RECORDINGS, 10_000),
    )

    config_path: Path = Path("config.json")
    credentials_path: Path = Path("credentials.json")
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)
    warnings: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    def __post_init__(self) -> None:
        """Fill in the defaults that depend on other values."""
        fill = object.__setattr__
        fill(self, "state_dir", Path(self.state_dir or self.credentials_path.parent))
        fill(self, "database_path", Path(self.database_path).absolute())
        fill(self, "token_file", Path(self.token_file or Path(IDE_TOKENS).expanduser()))
        fill(self, "database_url", self.database_url or f"sqlite:///{self.database_path}")
        fill(self, "system_version", self.system_version or own_system_version())

    def __repr__(self) -> str:
        """Secrets end up in tracebacks: show none."""
        return f"<Config {self.config_path}>"


def own_system_version() -> str:
    """One of two, the same on every start of one machine: an identity that varies looks false."""
    digest = hashlib.sha256(uuid.getnode().to_bytes(8, "big")).digest()
    return SYSTEM_VERSIONS[digest[0] % len(SYSTEM_VERSIONS)]


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of the table of settings: one field of `Config` as the operator sees it."""

    attribute: str
    key: str
    environment: Mapping[str, Callable[[str], str | None]]
    aliases: tuple[str, ...]
    parse: Parser
    help: str
    default: str
    show: Callable[[str], str] | None

    @property
    def facts(self) -> Mapping[str, Any]:
        """Its `choices`, `minimum` and `maximum`, where it has them."""
        return vars(self.parse)

    @property
    def secret(self) -> bool:
        """Whether the value must not be shown as it is."""
        return self.show is not None


def _camel(attribute: str) -> str:
    first, *rest = attribute.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _rows() -> Iterator[Setting]:
    for field in dataclasses.fields(Config):
        facts = field.metadata
        if "parse" not in facts:
            continue
        default = facts.get("shown_default", None if field.default is None else field.default)
        environment = {f"KIROPROXY_{field.name.upper()}": as_is} | facts.get("env", {})
        yield Setting(
            attribute=field.name,
            key=_camel(field.name),
            environment=environment,
            aliases=facts.get("aliases", ()),
            parse=facts["parse"],
            help=facts["help"],
            default="" if default is dataclasses.MISSING else shown(default),
            show=facts.get("show"),
        )


def shown(value: Any) -> str:
    """A value as `config show` and README write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return f"{value:g}" if isinstance(value, float) else str(value)


SETTINGS: tuple[Setting, ...] = tuple(_rows())
BY_ATTRIBUTE: Mapping[str, Setting] = {row.attribute: row for row in SETTINGS}


PATHS = {
    "config_path": ("KIROPROXY_CONFIG", "config.json"),
    "credentials_path": ("KIROPROXY_CREDENTIALS", "credentials.json"),
}
"""Where the two files lie: attribute, then variable and default (both for `-c`, S87)."""

# ---- loading -------------------------------------------------------------------------------


def load_config(
    overrides: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    document: Mapping[str, Any] | None = None,
) -> Config:
    """Put the settings together and check them.

    Args:
        overrides: what the command line gave, by attribute (`port`, `config_path`, …); None
            means not given.
        environ: the process's environment, unless a test gives another.
        cwd: where `.env` lies and what relative paths start from.
        document: what the configuration file would hold; None reads it.

    Raises:
        ConfigError: a file that cannot be read or a value that cannot be used, with its origin.
    """
    cwd = cwd or Path.cwd()
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    layers = (
        ("environment", os.environ if environ is None else environ),
        (".env", _read_dotenv(cwd / ".env")),
    )
    origins: dict[str, str] = {}
    paths: dict[str, Any] = {}
    for name, (variable, default) in PATHS.items():
        candidates = _path_candidates(given.get(name), variable, default, layers)
        origins[name], path = next(candidates)
        paths[name] = cwd / Path(path).expanduser()
    config_path = paths["config_path"]
    if document is None:
        document = read_document(config_path)
    values: dict[str, Any] = {}
    for row in SETTINGS:
        found = next(_candidates(row, given, layers, document, config_path.name), None)
        origins[row.attribute] = found[0] if found else "default"
        if found:
            values[row.attribute] = _checked(row, *found)
    config = Config(
        **_absolute(values, cwd),
        **paths,
        origins=origins,
        warnings=tuple(_warnings(document, config_path, values)),
    )
    _check_together(config)
    return config


def read_document(path: Path) -> dict[str, Any]:
    """Read a configuration file; a missing one is empty.

    Raises:
        ConfigError: it is there and cannot be read.
    """
    document = read_json(path, missing={})
    if not isinstance(document, dict):
        raise ConfigError(str(path), "must hold one JSON object")
    return document


def _path_candidates(
    given: Any, variable: str, default: str, layers: Iterable[tuple[str, Mapping[str, str]]]
) -> Iterator[tuple[str, Any]]:
    if given:
        yield "command line", given
    for layer_name, layer in layers:
        if layer.get(variable):
            yield f"{layer_name} {variable}", layer[variable]
    yield "default", default


def _candidates(
    row: Setting,
    given: Mapping[str, Any],
    layers: Iterable[tuple[str, Mapping[str, str]]],
    document: Mapping[str, Any],
    file_name: str,
) -> Iterator[tuple[str, Any]]:
    """Every place that sets this, the strongest first, as (origin, value).

    A blank environment variable is not set: `${PORT:-}` of a compose file means nothing.
    """
    if row.attribute in given:
        yield "command line", given[row.attribute]
    for layer_name, layer in layers:
        for variable, read in row.environment.items():
            value = read(layer.get(variable, ""))
            if value and value.strip():
                yield f"{layer_name} {variable}", value
    for key in (row.key, *row.aliases):
        if document.get(key) is not None:
            yield f"{file_name} {key}", document[key]


def _checked(row: Setting, origin: str, value: Any) -> Any:
    try:
        return row.parse(value)
    except ValueError as error:
        what = "" if row.secret else f", not {value!r:.80}"
        raise ConfigError(row.key, f"{error}{what} (from {origin})") from None


def _absolute(values: dict[str, Any], cwd: Path) -> dict[str, Any]:
    """Relative paths count from the working directory, also after somebody changes it."""
    for name in ("state_dir", "database_path", "ca_bundle", "token_file"):
        if values.get(name):
            values[name] = cwd / Path(values[name]).expanduser()
    values.setdefault("database_path", cwd / "data" / "kiroproxy.db")
    if bundle := values.get("ca_bundle"):
        if not bundle.exists():
            raise ConfigError("caBundle", f"{bundle} does not exist")
        values["ca_bundle"] = str(bundle)
    return values


def _warnings(document: Mapping[str, Any], path: Path, values: Mapping[str, Any]) -> Iterator[str]:
    known = {key for row in SETTINGS for key in (row.key, *row.aliases)}
    for key in document:
        if key not in known:
            yield f"{path.name}: {key} is not a setting and was ignored"
    if values.get("machine_id") == "":
        yield "machineId is neither 64 hex digits nor a UUID and was ignored"


def _check_together(config: Config) -> None:
    if config.admin_api_key and config.admin_api_key == config.api_key:
        raise ConfigError("adminApiKey", "must not be the same as apiKey")  # S127
    taken = config.host if config.host.startswith("unix:") else str(config.port)
    own = config.metrics_bind
    if own and (own if own.startswith("unix:") else own.rpartition(":")[2]) == taken:
        raise ConfigError("metricsBind", "must be another port, or socket, than that of clients")


def _read_dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    from dotenv import dotenv_values  # here: most starts have no .env

    try:
        found = dotenv_values(path, interpolate=False)  # a "$" in a password is a "$"
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"cannot be read: {error}") from None
    return {name: value for name, value in found.items() if value is not None}


def read_json(path: Path, *, missing: Any = None) -> Any:
    """Read a JSON file that people edit: comments and trailing commas are accepted (X11).

    Raises:
        ConfigError: it is there and cannot be read.
    """
    try:
        content = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return missing
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"cannot be read: {error}") from None
    if not content.strip():
        return missing
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return _read_json5(path, content)


def _read_json5(path: Path, content: str) -> Any:
    import json5  # here: slow to import, and most files are plain

    try:
        return json5.loads(content)
    except (ValueError, RecursionError) as error:
        reason = str(error).removeprefix("<string>:")
        raise ConfigError(str(path), f"is not JSON: line {reason}") from None


def require_client_key(config: Config) -> None:
    """Refuse to serve without a client key (S77): everybody could use the subscription."""
    if not config.api_key:
        raise ConfigError(
            "apiKey",
            "no client key is configured; run `kiroproxy init`, or set apiKey in "
            f"{config.config_path.name} or KIRO_CLIENT_TOKEN in the environment",
        )


def secrets_of(config: Config) -> list[str]:
    """What of it must not be shown: keys, passwords, those inside of URLs too."""
    found = []
    for row in SETTINGS:
        value = getattr(config, row.attribute)
        if row.show is mask:
            found.append(value)
        elif row.show is mask_password:
            found.append(urlsplit(value).password or "")
    return [one for one in found if one]


def traces_url(config: Config, environ: Mapping[str, str] | None = None) -> str:
    """Where spans go: `otelEndpoint` and OTLP's path, unless the variable of traces says all of it.

    Empty without an endpoint, and where OpenTelemetry's own variables switch tracing off.
    """
    environ = os.environ if environ is None else environ
    off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    off = off or environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"
    if off or not config.otel_endpoint:
        return ""
    whole_url = config.origins.get("otel_endpoint", "").endswith("_TRACES_ENDPOINT")
    return config.otel_endpoint + ("" if whole_url else "/v1/traces")


def otel_protocol(environ: Mapping[str, str] | None = None) -> str:
    """The protocol that the environment asks for, such as `grpc`; mostly none."""
    environ = os.environ if environ is None else environ
    names = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    return next((environ[name].strip().lower() for name in names if environ.get(name)), "")


def desktop_variables() -> dict[str, str]:
    """What the environment says about whether the user sits at this machine's screen."""
    names = ("SSH_CONNECTION", "SSH_TTY", "DISPLAY", "WAYLAND_DISPLAY")
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def child_environment(overrides: Mapping[str, Any]) -> dict[str, str]:
    """This process's environment plus what its command line said, for the server it starts."""
    given = {name: value for name, value in overrides.items() if value is not None}
    variables = {
        name: PATHS[name][0] if name in PATHS else f"KIROPROXY_{name.upper()}" for name in given
    }
    return dict(os.environ) | {variables[name]: str(value) for name, value in given.items()}


def client_variable(name: str) -> str:
    """A variable that steers a client on this machine, such as ANTHROPIC_BASE_URL; or empty."""
    return os.environ.get(name, "")
