"""What a worker has: made once by `create_app`, found by every view."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from flask import current_app

from kiroproxy.config import Config
from kiroproxy.credentials.groups import GroupBook
from kiroproxy.credentials.pool import Pool
from kiroproxy.kiro.models import ModelSettings
from kiroproxy.kiro.request import RequestSettings
from kiroproxy.ledger.parts import Ledger
from kiroproxy.relay import Timing
from kiroproxy.runtime import Runtime
from kiroproxy.token_count import Calibration
from kiroproxy.upstream.catalogue import Catalogue
from kiroproxy.upstream.client import KiroClient
from kiroproxy.upstream.count_api import CountApi
from kiroproxy.upstream.images import ImageFetcher
from kiroproxy.upstream.login import SignIns
from kiroproxy.upstream.mcp import SearchClient
from kiroproxy.upstream.usage import Balances
from kiroproxy.web.draining import Answers
from kiroproxy.web.response_store import ResponseStore

if TYPE_CHECKING:
    from kiroproxy.recording.recorder import Recorder
    from kiroproxy.spans import Spans

EXTENSION = "kiroproxy"


@dataclass(slots=True)
class Services:
    """The parts that the views join."""

    config: Config
    runtime: Runtime
    pool: Pool
    ledger: Ledger
    client: KiroClient
    groups: GroupBook
    balances: Balances
    sign_ins: SignIns
    search: SearchClient
    catalogue: Catalogue
    count_api: CountApi | None
    images: ImageFetcher
    models: ModelSettings
    request_settings: RequestSettings
    timing: Timing
    responses: ResponseStore
    recorder: "Recorder | None" = None
    """Only where `recordFailures` is set."""
    calibration: Calibration = field(default_factory=Calibration)
    answers: Answers = field(default_factory=Answers)
    spans: "Spans | None" = None
    """Where traces go, with `otelEndpoint`."""
    readiness: list[Callable[[], str | None]] = field(default_factory=list)
    """Each gives a reason for not being ready, or None."""


def services() -> Services:
    """The current application's parts."""
    return cast(Services, current_app.extensions[EXTENSION])
