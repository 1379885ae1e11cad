"""Secrets in what is logged: known by the name of their field, by their looks, or by heart.

The configuration's own secrets, and the tokens of all credentials, are learnt when they are read:
wherever one of them stands in a line, it is masked, whatever its looks and whatever it is called.
"""

import functools
import re
from collections.abc import Iterable, Mapping, MutableMapping
from datetime import date
from pathlib import PurePath
from typing import Any, Final

SECRETS: Final = (
    "token",
    "secret",
    "authorization",
    "api_key",
    "apikey",
    "password",
    "cookie",
)
"""A text in a field whose name contains one of these is masked; numbers are counts."""
MASK: Final = "***"
HARMLESS: Final = frozenset(
    {"level", "timestamp", "request_id", "trace_id", "route", "ending", "usage_source", "dialect"}
)
"""Fields that only this program fills, on the line that each request writes."""
_PLAIN: Final = frozenset({int, float, bool, type(None)})
_SUSPICIOUS: Final = re.compile(
    r"earer|://|ksk_|kp_|ao[ar]A|eyJ|sk-|oken|ecret|assword|[kK]ey|uthorization|ookie|"
    r"TOKEN|SECRET|PASSWORD|KEY|AUTHORIZATION|COOKIE|EARER"
)
SECRET_TEXTS: Final = (
    (re.compile(r"(?i)\b(bearer\s+)[^\s\"',;]+"), rf"\1{MASK}"),
    (re.compile(r"(://)[^\s/@\"']+@"), rf"\1{MASK}@"),  # user and password of a proxy's URL
    (re.compile(r"\b(?:ksk_[\w-]+|kp_[\w-]{16,})"), MASK),  # Kiro's API keys, our client keys
    (re.compile(r"\bsk-[A-Za-z0-9][\w-]{7,}"), MASK),  # keys in the style of the genuine APIs
    (re.compile(r"\bao[ar]A{3,}[\w+/=:.-]+"), MASK),  # Kiro's access and refresh tokens
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"), MASK),  # JWT: client secrets, for one
    (
        # name and value inside a text: JSON, headers, query strings, `repr` of a dict
        re.compile(
            r"(?i)([\w-]*(?:token|secret|password|api[_-]?key|authorization|cookie)[\"']?\s*"
            r"(?:[=:]|%3d)\s*(?:bearer\s+)?[\"']?)(?!\*\*\*)"
            r"(?:(?=[^\s\"',;&}\[\])]*\d)(?=[^\s\"',;&}\[\])]*[A-Za-z])[^\s\"',;&}\[\])]{6,}"
            r"|[^\s\"',;&}\[\])]{20,})"
        ),
        rf"\1{MASK}",
    ),
)
"""What is masked wherever it stands, in a traceback for instance."""

SHORTEST: Final = 6
"""A shorter secret, such as a test's, is not learnt: it may be part of anything."""
WORD: Final = 16
KNOWN_LIMIT: Final = 20_000
"""Tokens rotate: the oldest are forgotten first."""
_WORDS: Final = re.compile(rf"[\w.~+/-]{{{WORD},}}")
_by_heart: dict[int, None] = {}
"""Long secrets, as hashes of the words that they consist of: no copies of them are kept."""
_clean: set[str] = set()
"""Short texts without a secret: names of models and routes come with every request."""
CLEAN_CHARACTERS: Final = 64
CLEAN_LIMIT: Final = 2000
_short: set[str] = set()
_short_pattern: re.Pattern[str] | None = None


def learn(secrets: Iterable[str | None]) -> None:
    """Mask these from now on; one that is learnt twice costs nothing."""
    global _short_pattern
    for secret in secrets:
        if not secret or len(secret) < SHORTEST:
            continue
        words = _WORDS.findall(secret)
        if words:
            hashes = dict.fromkeys(map(hash, words))
            if hashes.keys() <= _by_heart.keys():
                continue
            _clean.clear()
            _by_heart.update(hashes)
            while len(_by_heart) > KNOWN_LIMIT:
                del _by_heart[next(iter(_by_heart))]
        elif secret not in _short and len(_short) < 100:
            _short.add(secret)
            _clean.clear()
            longest_first = sorted(_short, key=len, reverse=True)
            _short_pattern = re.compile("|".join(map(re.escape, longest_first)))


def forget() -> None:
    """Forget what was learnt."""
    global _short_pattern
    _by_heart.clear()
    _short.clear()
    _clean.clear()
    _short_pattern = None


def mask_secrets(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace what is secret, by the names of fields, by its looks, and by heart."""
    for key, value in event.items():
        kind = type(value)
        if kind is str:
            if key not in HARMLESS:
                event[key] = MASK if names_secret(key) else mask_text(value)
        elif kind not in _PLAIN:
            event[key] = masked(key, value)
    return event


@functools.lru_cache(maxsize=1024)
def names_secret(key: str) -> bool:
    """Whether what goes by this name must not be shown."""
    name = key.lower().replace("-", "_")
    return any(secret in name for secret in SECRETS)


def masked(key: str, value: Any) -> Any:
    """A field's value as it may be shown."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Mapping):
        return {inner: masked(str(inner), one) for inner, one in value.items()}
    if isinstance(value, list | tuple):
        return [masked(key, one) for one in value]
    if isinstance(value, bytes | bytearray):
        return MASK if names_secret(key) else mask_text(bytes(value).decode("latin-1"))
    if isinstance(value, date | PurePath):
        return value
    if not isinstance(value, str):
        value = repr(value)
    return MASK if names_secret(key) else mask_text(value)


def mask_text(text: str) -> str:
    """A text without what is secret in it."""
    if text in _clean:
        return text
    shown = _mask_text(text)
    if shown == text and len(text) <= CLEAN_CHARACTERS:
        if len(_clean) >= CLEAN_LIMIT:
            _clean.clear()
        _clean.add(text)
    return shown


def _mask_text(text: str) -> str:
    if _SUSPICIOUS.search(text):
        for pattern, replacement in SECRET_TEXTS:
            text = pattern.sub(replacement, text)
    if _by_heart and len(text) >= WORD:
        text = _WORDS.sub(_mask_word, text)
    if _short_pattern is not None:
        text = _short_pattern.sub(MASK, text)
    return text


def _mask_word(match: re.Match[str]) -> str:
    return MASK if hash(match[0]) in _by_heart else match[0]
