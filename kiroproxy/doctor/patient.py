"""What the doctor looks at."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from kiroproxy.config import Config, client_variable
from kiroproxy.credentials.model import Credential
from kiroproxy.credentials.policy import disabled_reason
from kiroproxy.credentials.pool import Pool
from kiroproxy.kiro.models import ModelSettings
from kiroproxy.upstream.endpoint import Voice


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Patient:
    """A configuration and the parts that a worker has made of it.

    `refresh` is the operator's consent to renew tokens. `variables` looks up the environment of
    the clients on this machine, whose files lie in `home`.
    """

    config: Config
    pool: Pool
    voice: Voice
    refresh: bool = False
    home: Path = field(default_factory=Path.home)
    variables: Callable[[str], str] = client_variable
    now: Callable[[], datetime] = _now

    @property
    def models(self) -> ModelSettings:
        """The operator's say in the choice of models."""
        config = self.config
        return ModelSettings(config.model_mapping, config.model_table, config.unknown_model)

    def credentials(self) -> list[Credential]:
        """Those of the pool that may serve."""
        now = self.now()
        return [one for one in self.pool.roster().credentials if not disabled_reason(one, now)]
