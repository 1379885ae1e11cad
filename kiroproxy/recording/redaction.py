"""Secrets out of recordings: by name, by looks, and by value (pure).

The bytes of Kiro's stream keep their length, so that frames and the cuts between reads stay where
they were; a frame that was sound gets a checksum that is right again.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from kiroproxy.errors import EventStreamError
from kiroproxy.eventstream.checksum import recognise
from kiroproxy.eventstream.frame import PRELUDE_BYTES, parse_body, parse_prelude
from kiroproxy.masking import MASK, names_secret

SHORTEST: Final = 6
"""A secret shorter than this is not looked for by its value: it would be found in every word."""
SLICE: Final = 64 * 1024
"""So many characters are searched in one go: the search keeps all other threads waiting."""

KEPT_OF_REQUEST: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "anthropic-beta",
        "anthropic-dangerous-direct-browser-access",
        "anthropic-version",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "openai-beta",
        "originator",
        "transfer-encoding",
        "user-agent",
        "x-app",
    }
)
KEPT_PREFIXES: Final = ("x-stainless-",)
KEPT_OF_CALL: Final = frozenset(
    {
        "accept",
        "amz-sdk-request",
        "content-type",
        "tokentype",
        "user-agent",
        "x-amz-target",
        "x-amz-user-agent",
        "x-amzn-codewhisperer-optout",
        "x-amzn-kiro-agent-mode",
    }
)
KEPT_OF_ANSWER: Final = frozenset(
    {
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "retry-after",
        "server",
        "transfer-encoding",
        "x-amz-request-id",
        "x-amzn-errortype",
        "x-amzn-requestid",
    }
)
"""Headers whose values are kept; of all others, which may tell who somebody is, only the name."""
KEPT_IN_QUERY: Final = frozenset({"beta", "stream", "api-version"})
IDENTIFYING: Final = frozenset(
    {"user_id", "user", "safety_identifier", "prompt_cache_key", "profileArn"}
)
"""Texts under these names of a body tell who somebody is."""

_LOOKS: Final[tuple[tuple[str, str, str], ...]] = (
    # what stands in it for certain; before the secret; the secret
    # Kiro says "the bearer token included …": that is none
    ("earer", r"[Bb]earer\s+", r"(?=[^\s\"',;\\]*[\d._~+/=-])[^\s\"',;\\]{8,}"),
    ("://", r"://", r"[^\s/@\"'\\]+(?=@)"),
    ("ksk_", r"\bksk_", r"[\w-]+"),
    ("sk-", r"\bsk-", r"[\w-]{16,}"),
    ("eyJ", r"\beyJ", r"[\w-]{10,}\.[\w-]{10,}\.[\w-]+"),
    ("AKIA", r"\bAKIA", r"[0-9A-Z]{16}\b"),
    ("gh", r"\bgh[pousr]_", r"\w{20,}"),
)
_ARN: Final = ("arn:aws", r"(arn:aws[\w-]*:[\w-]*:[\w-]*:)(\d{12})(:profile/)?((?(3)[\w-]*))")
_ACCOUNT: Final = re.compile(rb"(?<![\d.])\d{12}(?!\d)")
_MACHINE: Final = re.compile(r"\b[0-9a-f]{64}\b")
_BREAKS: Final = (" ", "\n", '"', ",")


class _Look:
    """One kind of secret, in texts and in bytes."""

    def __init__(self, sign: str, before: str, secret: str) -> None:
        self.sign = sign
        self.byte_sign = sign.encode()
        pattern = f"({before})({secret})"
        self._text = re.compile(pattern)
        self._bytes = re.compile(pattern.encode())

    def mask_text(self, value: str) -> str:
        return self._text.sub(lambda found: found[1] + MASK, value)

    def mask_bytes(self, value: bytes) -> bytes:
        return self._bytes.sub(lambda found: found[1] + _blank(found[2]), value)


class _ArnLook(_Look):
    """The account, and the profile, of an ARN."""

    def __init__(self) -> None:
        super().__init__(_ARN[0], "", "")
        self._text = re.compile(_ARN[1])
        self._bytes = re.compile(_ARN[1].encode())

    def mask_text(self, value: str) -> str:
        return self._text.sub(
            lambda found: f"{found[1]}{'1' * 12}{found[3] or ''}{MASK if found[4] else ''}", value
        )

    def mask_bytes(self, value: bytes) -> bytes:
        return self._bytes.sub(
            lambda found: found[1] + b"1" * 12 + (found[3] or b"") + _blank(found[4]), value
        )


_KINDS: Final = (*(_Look(*row) for row in _LOOKS), _ArnLook())


def _blank(secret: bytes) -> bytes:
    """As long, and as good as JSON: digits may be a number."""
    return (b"1" if secret.isdigit() else b"*") * len(secret)


def slices(text: str) -> Iterator[str]:
    """A long text in pieces, cut where no secret is likely to go on."""
    at = 0
    while len(text) - at > SLICE:
        edge = max(text.rfind(one, at + SLICE // 2, at + SLICE) for one in _BREAKS) + 1
        edge = edge or at + SLICE
        yield text[at:edge]
        at = edge
    yield text[at:] if at else text


class Redactor:
    """Masks what is secret. `secrets` are values that are known to be."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {one for one in secrets if one and len(one) >= SHORTEST}
        forms = {form for one in known for form in _forms(one)}
        self._secrets = sorted(forms, key=len, reverse=True)  # one may be part of another
        self._secret_bytes = [one.encode("utf-8", "surrogatepass") for one in self._secrets]

    # ---- texts -----------------------------------------------------------------------------

    def text(self, value: str) -> str:
        """A text, shorter or longer than it was."""
        for secret in self._secrets:
            if secret in value:
                value = value.replace(secret, MASK)
        kinds = [kind for kind in _KINDS if kind.sign in value]
        if not kinds:
            return value
        return "".join(self._looks(part, kinds) for part in slices(value))

    def _looks(self, value: str, kinds: Iterable[_Look]) -> str:
        for kind in kinds:
            value = kind.mask_text(value)
        return value

    def json(self, value: Any, name: str = "") -> Any:
        """A parsed body: texts under names of secrets are masked whole."""
        if isinstance(value, str):
            if value and (name in IDENTIFYING or names_secret(name)):
                return MASK
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.json(one, key) for key, one in value.items()}
        if isinstance(value, list):
            return [self.json(one, name) for one in value]
        return value

    def body(self, data: bytes) -> tuple[dict[str, Any] | None, bytes | None]:
        """A body as a JSON object, or, if it is none, as bytes; the other is None."""
        try:
            value = self.json(msgspec.json.decode(data))
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
            value = None
        return (value, None) if isinstance(value, dict) else (None, self.wire(data))

    def headers(self, headers: Iterable[tuple[str, str]], kept: Collection[str]) -> dict[str, str]:
        """Headers by lower-case names; the values of those that are not `kept` are masked."""
        found = {}
        for name, value in headers:
            low = name.lower()
            keep = low in kept or low.startswith(KEPT_PREFIXES)
            found[self.text(low)] = _MACHINE.sub(MASK, self.text(value)) if keep else MASK
        return found

    def query(self, query: str) -> str:
        """A query string."""
        parts = []
        for part in filter(None, query.split("&")):
            name, equals, value = part.partition("=")
            value = value if name in KEPT_IN_QUERY else MASK if value else ""
            parts.append(self.text(f"{name}{equals}{value}"))
        return "&".join(parts)

    # ---- bytes -----------------------------------------------------------------------------

    def wire(self, data: bytes, *, accounts: bool = False) -> bytes:
        """Bytes, as many as before; with `accounts` all numbers that look like AWS accounts too."""
        for secret in self._secret_bytes:
            if secret in data:
                data = data.replace(secret, _blank(secret))
        for kind in _KINDS:
            if kind.byte_sign in data:
                data = _in_slices(data, kind.mask_bytes)
        return _ACCOUNT.sub(b"1" * 12, data) if accounts else data

    def stream(self, pieces: Iterable[bytes]) -> list[bytes]:
        """An event stream in pieces, cut in the same places."""
        whole = list(pieces)
        before = b"".join(whole)
        after = bytearray(self.wire(before))
        for at, total, is_event in frames(before):
            if not is_event:  # Kiro's own words about an account
                after[at : at + total] = self.wire(bytes(after[at : at + total]), accounts=True)
            if after[at : at + total] != before[at : at + total]:
                _mend(after, at, total)
        cut, start = [], 0
        for piece in whole:
            cut.append(bytes(after[start : start + len(piece)]))
            start += len(piece)
        return cut


def _forms(secret: str) -> Iterator[str]:
    """As it stands, and as it stands in JSON."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]


def _in_slices(data: bytes, work: Callable[[bytes], bytes]) -> bytes:
    if len(data) <= SLICE:
        return work(data)
    return b"".join(work(part.encode("latin-1")) for part in slices(data.decode("latin-1")))


def frames(data: bytes) -> Iterator[tuple[int, int, bool]]:
    """The sound frames among bytes: where, how long, and whether it is an event."""
    at = 0
    while 0 <= at <= len(data) - PRELUDE_BYTES:
        checksum = recognise(data[at : at + PRELUDE_BYTES])
        if checksum is None:
            at = data.find(b"\0", at + 1)  # lengths are below 16 MiB
            continue
        try:
            prelude = parse_prelude(data, at, checksum.function, at)
            if at + prelude[0] > len(data):
                return
            frame = parse_body(data, at, prelude, checksum.function, at)
        except EventStreamError:
            at = data.find(b"\0", at + 1)
            continue
        yield at, prelude[0], frame.headers.get(":message-type", "event") == "event"
        at += prelude[0]


def _mend(data: bytearray, at: int, total: int) -> None:
    """Write the checksums that fit a frame's changed bytes; its prelude has not changed."""
    checksum = recognise(bytes(data[at : at + PRELUDE_BYTES]))
    if checksum is not None:
        end = at + total - 4
        data[end : end + 4] = checksum.function(bytes(data[at:end]), 0).to_bytes(4, "big")


def secrets_in(document: Any) -> Iterator[str]:
    """The texts of a parsed document that stand under names of secrets."""
    if isinstance(document, Mapping):
        for name, value in document.items():
            if isinstance(value, str) and names_secret(str(name)):
                yield value
            else:
                yield from secrets_in(value)
    elif isinstance(document, list | tuple):
        for one in document:
            yield from secrets_in(one)
