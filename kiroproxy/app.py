"""create_app: builds the parts, joins them, registers blueprints and error handlers."""

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

from flask import Flask
from werkzeug.routing import Rule

from kiroproxy import masking
from kiroproxy.config import Config, load_config, secrets_of
from kiroproxy.credentials.groups import GroupBook
from kiroproxy.credentials.links import FileLinks
from kiroproxy.credentials.model import Credential, effective_machine_id
from kiroproxy.credentials.policy import Mode
from kiroproxy.credentials.pool import Pool
from kiroproxy.credentials.refresh import Refresher, RefreshSettings, route_for
from kiroproxy.credentials.registry import Registry
from kiroproxy.credentials.stores.file import FileStore
from kiroproxy.kiro.models import ModelSettings
from kiroproxy.kiro.request import RequestSettings
from kiroproxy.ledger.parts import build_ledger
from kiroproxy.ledger.threads import in_thread
from kiroproxy.ledger.usage import Retention
from kiroproxy.metrics import PoolCounts, store_error
from kiroproxy.observability import configure_logging
from kiroproxy.relay import Timing
from kiroproxy.runtime import Runtime
from kiroproxy.transport import Route, Transport, ca_bundle, proxy_with_credentials
from kiroproxy.upstream.catalogue import Catalogue, CatalogueClient
from kiroproxy.upstream.client import KiroClient
from kiroproxy.upstream.count_api import CountApi
from kiroproxy.upstream.endpoint import Identity, Voice
from kiroproxy.upstream.images import ImageFetcher
from kiroproxy.upstream.login import SignIns
from kiroproxy.upstream.mcp import SearchClient
from kiroproxy.upstream.usage import AccountClient, Balances
from kiroproxy.web import (
    accounting,
    cc_v1,
    cors,
    errors,
    explain,
    groups,
    health,
    keys,
    me,
    openai,
    portal,
    settings,
    v1,
)
from kiroproxy.web.admin.door import AdminDoor
from kiroproxy.web.response_store import ResponseStore
from kiroproxy.web.scrape import MetricsDoor
from kiroproxy.web.services import EXTENSION, Services

if TYPE_CHECKING:
    from kiroproxy.recording.recorder import Recorder


class _Rule(Rule):
    """Compiles what `url_for` needs when that is first asked for: 40 ms of a start, for 240 rules.

    Should werkzeug rename the method, it will only be slower again.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compile_now = super()._compile_builder
        compiled = functools.cache(lambda: compile_now(append_unknown))
        return lambda _, **values: compiled()(self, **values)


def create_app(config: Config | None = None) -> Flask:
    """The WSGI application of one worker; also good for the command line, unconfigured."""
    config = config or load_config()
    masking.learn(secrets_of(config))
    configure_logging(config.log_level, config.log_format)
    app = Flask("kiroproxy", static_folder=None)
    app.url_rule_class = _Rule
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.extensions[EXTENSION] = build_services(config)
    groups.install(app)
    for module in (v1, cc_v1, openai, health, groups):
        app.register_blueprint(module.blueprint)
    for module in (me, portal, keys, accounting, settings):
        app.register_blueprint(module.blueprint)
    errors.install(app)
    explain.install(app)
    cors.install(app)
    parts: Services = app.extensions[EXTENSION]
    app.wsgi_app = AdminDoor(app.wsgi_app, parts)  # type: ignore[method-assign]
    if config.metrics_bind:
        app.wsgi_app = MetricsDoor(app.wsgi_app, parts)  # type: ignore[method-assign]
    return app


def build_services(config: Config) -> Services:
    """Join the parts; nothing is opened or read yet, so this may happen before a fork."""
    transport = Transport()
    route = _route(config)
    store = FileStore(config.credentials_path)
    refresh_settings = _refresh_settings(config, route)

    def route_of(credential: Credential) -> Route:
        return route_for(credential, route)

    def machine_id_of(credential: Credential) -> str:
        return effective_machine_id(credential, config.machine_id)

    voice = Voice(transport, _identity(config), route_of, machine_id_of)
    accounts = AccountClient(voice)
    book = GroupBook(config.database_path, lambda: store.snapshot().groups, in_thread)
    runtime = Runtime(config.state_dir / "runtime.db")
    runtime.on_fault = functools.partial(store_error, "runtime")
    store.on_error = functools.partial(store_error, "credentials")
    responses = ResponseStore(config.state_dir / "responses.db")
    responses.on_fault = functools.partial(store_error, "responses")
    ledger = build_ledger(
        config.database_url,
        config.state_dir,
        runtime,
        retention=Retention(raw_days=config.usage_days),
    )
    ledger.usage.on_error = store_error
    pool = Pool(
        store,
        build_refresher(config, transport),
        runtime,
        max_concurrent=config.max_concurrent,
        queue_wait_s=config.queue_wait_sec,
        queue_limit=config.queue_limit,
        cooldown_s=config.cooldown_sec,
        mode=cast(Mode, config.load_balancing_mode),
        groups=book,
        inquiries=accounts,
        links=FileLinks(),
        counts=PoolCounts(),
    )
    return Services(
        config=config,
        runtime=runtime,
        pool=pool,
        client=KiroClient(voice, header_wait_s=config.idle_timeout_sec),
        groups=book,
        ledger=ledger,
        balances=Balances(pool, accounts),
        sign_ins=SignIns(transport, refresh_settings, accounts, Registry(pool, book), keep=pool),
        search=SearchClient(voice),
        catalogue=Catalogue(pool, CatalogueClient(voice).fetch),
        count_api=_count_api(config, transport, route),
        images=ImageFetcher(config.fetch_image_urls, route.verify),
        models=ModelSettings(config.model_mapping, config.model_table, config.unknown_model),
        request_settings=RequestSettings(
            description_limit=config.max_tool_description_length,
            complete_without_trailer=config.untrailed_end == "complete",
            effort_models=config.effort_models,
        ),
        timing=Timing(
            first_frame_s=config.first_frame_wait_sec,
            ping_s=config.ping_interval_sec,
            idle_s=config.idle_timeout_sec,
        ),
        responses=responses,
        recorder=_recorder(config, store) if config.record_failures else None,
    )


def build_refresher(config: Config, transport: Transport) -> Refresher:
    """What redeems refresh tokens."""
    return Refresher(transport, _refresh_settings(config, _route(config)))


def _recorder(config: Config, store: FileStore) -> "Recorder":
    from kiroproxy.recording.recorder import Recorder, credential_secrets  # here: mostly off

    def secrets() -> Callable[[], Iterable[str]]:
        return functools.partial(credential_secrets, store.snapshot().credentials)

    return Recorder(config, secrets)


def _count_api(config: Config, transport: Transport, route: Route) -> CountApi | None:
    if not config.count_tokens_api_url:
        return None
    return CountApi(
        transport,
        route,
        url=config.count_tokens_api_url,
        key=config.count_tokens_api_key,
        auth_type=config.count_tokens_auth_type,
    )


def _route(config: Config) -> Route:
    return Route(
        proxy_url=proxy_with_credentials(
            config.proxy_url, config.proxy_username, config.proxy_password
        ),
        no_proxy=config.no_proxy,
        verify=ca_bundle(config.tls_backend, config.ca_bundle),
    )


def _refresh_settings(config: Config, route: Route) -> RefreshSettings:
    return RefreshSettings(
        social_auth_url=config.social_auth_url,
        oidc_url=config.oidc_url,
        region=config.region,
        auth_region=config.auth_region,
        kiro_version=config.kiro_version,
        machine_id=config.machine_id,
        system_version=config.system_version,
        node_version=config.node_version,
        route=route,
    )


def _identity(config: Config) -> Identity:
    return Identity(
        api_url=config.api_url,
        region=config.region,
        api_region=config.api_region,
        kiro_version=config.kiro_version,
        system_version=config.system_version,
        node_version=config.node_version,
        kiro_cli_version=config.kiro_cli_version,
    )
