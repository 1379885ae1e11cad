"""Makes recordings of tapes, away from the event loop; a request never waits for it."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import gevent
import msgspec
from gevent.threadpool import ThreadPool

from kiroproxy.config import BY_ATTRIBUTE, SETTINGS, Config
from kiroproxy.observability import log
from kiroproxy.recording.document import encode, recording_of
from kiroproxy.recording.folder import NAME, Folder
from kiroproxy.recording.redaction import Redactor, secrets_in
from kiroproxy.recording.tape import Live, Tape, Verdict

PENDING: Final = 32
"""So many failed exchanges wait to be written; in a storm the newer ones are dropped."""
PENDING_BYTES: Final = 64 * 1024 * 1024
SAY_EVERY_S: Final = 60.0
REPLAYED: Final = (
    "first_frame_wait_sec",
    "ping_interval_sec",
    "idle_timeout_sec",
    "model_table",
    "model_mapping",
    "unknown_model",
    "effort_models",
    "untrailed_end",
    "web_search",
    "fetch_image_urls",
    "max_tool_description_length",
)
"""Settings on which an answer depends: a replay has the same."""
KEY_HEADERS: Final = ("authorization", "x-api-key", "api-key", "proxy-authorization", "cookie")


@dataclass(slots=True)
class _Job:
    """A tape to be written, with what only the event loop may look at."""

    tape: Tape
    headers: list[tuple[str, str]]
    verdict: Verdict
    trace: bytes | None
    secrets: Callable[[], Iterable[str]]
    size: int


class Recorder:
    """The flight recorder of one worker. `secrets` gives a way to list all that are known."""

    def __init__(
        self,
        config: Config,
        secrets: Callable[[], Callable[[], Iterable[str]]],
        folder: Folder | None = None,
    ) -> None:
        self.folder = folder or Folder(config.state_dir / NAME, config.record_failures)
        self.written = 0
        self.dropped = 0
        self.failed = 0
        self._live = Live()
        self._secrets = secrets
        self._own = list(config_secrets(config))
        self._settings = {BY_ATTRIBUTE[name].key: getattr(config, name) for name in REPLAYED}
        self._queue: deque[_Job] = deque()
        self._busy = 0
        self._pool: Any = None
        """Its one thread; the hub's may all be at work, and whoever asks for one would wait."""
        self._said = -SAY_EVERY_S

    def tape(self, request_id: str, method: str, path: str, query: str, headers: Any) -> Tape:
        """A tape for an exchange that begins."""
        return Tape(self, self._live, request_id, method, path, query, headers)

    def keep(self, tape: Tape, verdict: Verdict, trace: Any) -> None:
        """Have a tape written soon."""
        size = tape.share.held_bytes
        waiting = sum(one.size for one in list(self._queue))
        if len(self._queue) >= PENDING or (waiting and waiting + size > PENDING_BYTES):
            self.dropped += 1
            self._say("failures come faster than they can be recorded: %d were not", self.dropped)
            return
        tape.share.give_back()  # from here on the queue's bound counts
        headers, tape.headers = list(tape.headers.items()), None  # which hold the connection
        encoded = trace.encode() if trace is not None else None
        self._queue.append(_Job(tape, headers, verdict, encoded, self._secrets(), size))
        if not self._busy:
            self._start()

    def _start(self) -> None:
        if self._pool is None:
            self._pool = ThreadPool(1)
        self._busy += 1
        self._pool.spawn(self._work).rawlink(self._worked)

    def close(self, timeout_s: float = 5.0) -> bool:
        """Wait for what is being written; whether all of it was."""
        deadline = time.monotonic() + timeout_s
        while self._busy and time.monotonic() < deadline:
            gevent.sleep(0.01)
        return not self._busy

    # ---- in a thread -----------------------------------------------------------------------

    def _work(self) -> str:
        """Write what waits; returns what went wrong last."""
        trouble = ""
        while self._queue:
            job = self._queue.popleft()
            try:
                self._write(job)
                self.written += 1
            except OSError as error:
                self.failed += 1
                trouble = error.strerror or str(error)
            except Exception as error:  # noqa: BLE001 - a bug of ours here must not meet a request
                self.failed += 1
                trouble = f"{type(error).__name__}: {error}"
        return trouble

    def _write(self, job: _Job) -> None:
        presented = [value for name, value in job.headers if name.lower() in KEY_HEADERS]
        bearers = [one.headers.get("authorization", "") for one in job.tape.calls]
        words = [word for value in presented + bearers for word in _credentials_of(value)]
        redactor = Redactor([*self._own, *words, *job.secrets()])
        trace = msgspec.json.decode(job.trace) if job.trace is not None else None
        recording = recording_of(
            job.tape, job.headers, job.verdict, trace, self._settings, redactor
        )
        self.folder.add(recording.id, recording.time, encode(recording))

    # ---- in the event loop -----------------------------------------------------------------

    def _worked(self, done: Any) -> None:
        self._busy -= 1
        if self._queue and not self._busy:  # it came while the thread was ending
            self._start()
        trouble = done.value if done.successful() else str(done.exception)
        if trouble:
            self._say(f"failed exchanges cannot be recorded in {self.folder.path}: %s", trouble)

    def _say(self, message: str, *values: object) -> None:
        if time.monotonic() - self._said >= SAY_EVERY_S:
            self._said = time.monotonic()
            log.warning(message % values)


def _credentials_of(header: str) -> Iterator[str]:
    """The keys in a header that carries some: `Bearer a`, `a,b`, `name=a; …`."""
    for part in header.replace(";", ",").split(","):
        word = part.strip()
        yield word
        yield word.rpartition(" ")[2]
        yield word.partition("=")[2]


def config_secrets(config: Config) -> Iterator[str]:
    """The values of all settings that are not shown."""
    for row in SETTINGS:
        value = getattr(config, row.attribute)
        if not row.secret or not isinstance(value, str) or not value:
            continue
        if "://" in value:
            yield from _secrets_of_address(value)
        elif value.lstrip().startswith(("[", "{")):
            yield from _secrets_of_json(value)
        else:
            yield value


def _secrets_of_address(address: str) -> Iterator[str]:
    user, _, _ = address.partition("://")[2].partition("/")[0].rpartition("@")
    yield user.partition(":")[2]
    yield unquote(user.partition(":")[2])


def _secrets_of_json(value: str) -> Iterator[str]:
    try:
        yield from secrets_in(msgspec.json.decode(value))
    except msgspec.DecodeError:
        yield value


def credential_secrets(credentials: Iterable[Any]) -> Iterator[str]:
    """What no recording may hold of the credentials of a store."""
    for one in credentials:
        for name in SECRET_FIELDS:
            if value := getattr(one, name):
                yield value
        if one.profile_arn:
            yield one.profile_arn.rpartition("/")[2]
            yield from (part for part in one.profile_arn.split(":") if part.isdigit())
        yield from _secrets_of_address(one.proxy_url or "")
        if isinstance(one.extra, Mapping):
            yield from secrets_in(one.extra)


SECRET_FIELDS: Final = (
    "access_token",
    "refresh_token",
    "client_id",
    "client_secret",
    "kiro_api_key",
    "profile_arn",
    "machine_id",
    "email",
    "proxy_password",
)
