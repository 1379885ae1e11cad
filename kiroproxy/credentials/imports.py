"""Where credentials come from: `KIRO_AUTH_TOKEN`, the Kiro IDE, kiro-cli, other programs' exports.

They are recognised by shape, not by name. A token that was imported once rotates in our store;
`imported_from`, a hash of the token that it came from, keeps a restart with the same source from
bringing the dead one back (X13). The IDE's token is linked: the IDE refreshes it, too (`links`).

Source: shared credential formats; protocol notes 5.7; design 5, rule 8; S90, S91, S104, S121.
"""

import contextlib
import hashlib
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from kiroproxy.credentials import kiro2api_db
from kiroproxy.credentials.groups import Group, parse_groups
from kiroproxy.credentials.model import Credential, check_refresh_token, parse_credential
from kiroproxy.credentials.policy import DEFAULT_GROUP
from kiroproxy.credentials.stores import Store
from kiroproxy.credentials.stores.document import own_group, parse_json
from kiroproxy.errors import ConfigError

SETTING: Final = "KIRO_AUTH_TOKEN"
IDE_FILE: Final = "kiro-auth-token.json"
IDE_PLACE: Final = f"~/.aws/sso/cache/{IDE_FILE}"
CLI_PLACES: Final = (
    "~/.local/share/kiro-cli/data.sqlite3",
    "~/Library/Application Support/kiro-cli/data.sqlite3",
)
SQLITE: Final = b"SQLite format 3\0"
SIZE_LIMIT: Final = 64 * 1024 * 1024
LISTS: Final = ("accounts", "tokens", "credentials")
"""Keys under which exports keep their entries."""
_HASH: Final = re.compile(r"[0-9A-Za-z_-]{8,128}")
CLI_TOKENS: Final = (
    ("kirocli:social:token", "social", None),
    ("kirocli:odic:token", "idc", "kirocli:odic:device-registration"),
    ("codewhisperer:odic:token", "idc", "codewhisperer:odic:device-registration"),
)
"""kiro-cli's keys of tokens ("odic" is their spelling), kind, key of the client registration."""
CLI_FIELDS: Final[Mapping[str, str]] = {
    "access_token": "accessToken",
    "refresh_token": "refreshToken",
    "expires_at": "expiresAt",
    "region": "region",
    "profile_arn": "profileArn",
    "client_id": "clientId",
    "client_secret": "clientSecret",
}
CLI_WARNING: Final = (
    "kiro-cli renews this token, too, and one of the two will lose it: use it in one place, or log "
    "in separately"
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a source holds; `problems` name the entries that cannot be used (S91).

    `notes` are what the operator should know of those that can. `client_keys` are the entries of
    kiro2api's `api_keys` as they are (S121): the ledger reads them.
    """

    credentials: tuple[Credential, ...]
    problems: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()
    notes: tuple[str, ...] = ()
    client_keys: tuple[Any, ...] = field(default=(), repr=False)


def token_hash(credential: Credential) -> str:
    """What an imported credential is recognised by; not the token itself."""
    secret = credential.refresh_token or credential.kiro_api_key or credential.access_token or ""
    return hashlib.sha256(secret.encode()).hexdigest()


# ---- sources -------------------------------------------------------------------------------


def read_auth_token(value: str) -> Found:
    """Read `KIRO_AUTH_TOKEN`; entries with `disabled: true` are skipped.

    Raises:
        ConfigError: it is neither JSON nor the path of a readable file.
    """
    found = read_source(value, SETTING)
    return replace(found, credentials=tuple(one for one in found.credentials if not one.disabled))


def read_source(value: str, name: str) -> Found:
    """Read JSON text, or the file of that path; `name` is what problems call it.

    Raises:
        ConfigError: it is neither JSON nor the path of a readable file.
    """
    text = value.strip()
    if text.startswith(("[", "{")):
        return _read_json(text, name, None)
    try:
        path = Path(text).expanduser().absolute()
        if path.stat().st_size > SIZE_LIMIT:
            raise ConfigError(name, "the file is too large to hold credentials")
        data = path.read_bytes()
        if data.startswith(SQLITE):
            return _read_database(path, name)
        return _read_json(data.decode("utf-8-sig"), name, path)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigError(name, f"must be JSON or the path of a readable file ({reason})") from None


def _read_json(text: str, name: str, path: Path | None) -> Found:
    try:
        top = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(name, f"is not JSON: {error}") from None
    return _read_document(top, name, path)


def _read_document(top: Any, name: str, path: Path | None) -> Found:
    entries, groups = _entries(top)
    credentials = []
    problems = []
    for index, raw in enumerate(entries):
        where = (
            f"credentials[{index}]" if isinstance(top, list) or len(entries) > 1 else "credentials"
        )
        try:
            credentials.append(_read_entry(raw, where, path))
        except ConfigError as error:
            problems.append(f"{name}: {error}")
    keys = top.get("api_keys") if isinstance(top, dict) else None
    return Found(
        tuple(credentials),
        tuple(problems),
        tuple(groups),
        client_keys=tuple(keys) if isinstance(keys, list) else (),
    )


def _entries(top: Any) -> tuple[list[Any], list[Group]]:
    """The entries of a file, and the groups that it defines (S121)."""
    if isinstance(top, list):
        return top, []
    if not isinstance(top, dict):
        return [top], []
    groups = parse_groups(top.get("groups"))
    own = own_group(top)
    for key in LISTS:
        if isinstance(top.get(key), list):
            entries = top[key]
            if own != DEFAULT_GROUP:
                entries = [_grouped(one, own) for one in entries]
            return entries, groups
    if isinstance(top.get("api_keys"), list) and "refreshToken" not in top:
        return [], groups  # client keys alone
    return ([top] if top else []), groups


def _grouped(raw: Any, group: str) -> Any:
    return {"group": group, **raw} if isinstance(raw, dict) else raw


def _read_entry(raw: Any, where: str, path: Path | None) -> Credential:
    """One entry, whichever program wrote it.

    Raises:
        ConfigError: names what is wrong with it.
    """
    if isinstance(raw, dict):
        raw = _flat(raw)
        if path is not None and raw.get("clientIdHash"):
            raw = registration(str(raw["clientIdHash"]), path) | raw
    credential = parse_credential(raw, where)
    if credential.refresh_token and (why := check_refresh_token(credential.refresh_token)):
        raise ConfigError(f"{where}.refreshToken", why)
    ide = path is not None and (path.name == IDE_FILE or "clientIdHash" in credential.extra)
    return replace(credential, linked_to=str(path)) if ide else credential


def _flat(raw: dict[str, Any]) -> dict[str, Any]:
    """An account of Kiro Account Manager with its credentials beside its names.

    One whose status is `error` is kept, but not chosen by default.
    """
    inner = raw.get("credentials")
    flat = {key: value for key, value in raw.items() if key != "credentials"}
    if isinstance(inner, dict):
        flat |= inner
    if "nickname" in flat:
        flat.setdefault("label", flat.pop("nickname"))
    if "id" in flat and not isinstance(flat["id"], int):
        flat["externalId"] = flat.pop("id")
    if flat.get("status") == "error":
        flat |= {"disabled": True, "disabledReason": "Manual"}
    return flat


def registration(client_id_hash: str, path: Path) -> dict[str, Any]:
    """The client that the IDE has registered, from the file beside its token."""
    if not _HASH.fullmatch(client_id_hash):
        return {}
    with contextlib.suppress(OSError, ValueError):
        raw = json.loads(path.with_name(f"{client_id_hash}.json").read_text("utf-8"))
        if isinstance(raw, dict):
            return {key: raw[key] for key in ("clientId", "clientSecret") if key in raw}
    return {}


def _read_database(path: Path, name: str) -> Found:
    """kiro-cli's database or kiro2api's, which are only read.

    Raises:
        ConfigError: it is another database.
    """
    try:
        with contextlib.closing(kiro2api_db.open_read_only(path)) as db:
            document = kiro2api_db.read_document(db)
            if document is not None:
                return _read_document(document, name, None)
            values = dict(db.execute("SELECT key, value FROM auth_kv").fetchall())
            profile = _cli_profile(db)
    except sqlite3.Error as error:
        raise ConfigError(
            name, f"{path} is neither kiro-cli's database nor kiro2api's: {error}"
        ) from None
    return _read_cli(values, profile, name)


def _read_cli(values: Mapping[str, Any], profile: str | None, name: str) -> Found:
    credentials = []
    problems = []
    for entry in _cli_entries(values, profile):
        try:
            credentials.append(_read_entry(entry, "kiro-cli", None))
        except ConfigError as error:
            problems.append(f"{name}: {error}")
    notes = (f"{name}: {CLI_WARNING}",) if credentials else ()
    return Found(tuple(credentials), tuple(problems), notes=notes)


def _cli_entries(values: Mapping[str, Any], profile: str | None) -> Iterator[dict[str, Any]]:
    for key, kind, registration in CLI_TOKENS:
        token = _object(values.get(key))
        if not token:
            continue
        both = _object(values.get(registration or "")) | token
        entry = {ours: both[theirs] for theirs, ours in CLI_FIELDS.items() if both.get(theirs)}
        if profile and kind == "idc":
            entry.setdefault("profileArn", profile)
        yield entry | {"authMethod": kind, "label": "kiro-cli"}


def _cli_profile(db: sqlite3.Connection) -> str | None:
    with contextlib.suppress(sqlite3.Error):
        row = db.execute("SELECT value FROM state WHERE key = 'api.codewhisperer.profile'")
        found = row.fetchone()
        arn = _object(found[0] if found else None).get("arn")
        return arn if isinstance(arn, str) else None
    return None


def _object(text: Any) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, TypeError):
        return {}
    return value if isinstance(value, dict) else {}


# ---- into the store ------------------------------------------------------------------------


def import_credentials(store: Store, found: Iterable[Credential]) -> int:
    """Add those that the store does not have yet; returns how many.

    Raises:
        StoreLocked, StoreUnwritable: nothing was added.
    """
    added = 0

    def change(credentials: list[Credential]) -> None:
        nonlocal added
        known = {token_hash(one) for one in credentials}
        known |= {one.imported_from for one in credentials if one.imported_from}
        linked = {one.linked_to for one in credentials if one.linked_to}
        for one in found:
            origin = token_hash(one)
            if origin not in known and (one.linked_to is None or one.linked_to not in linked):
                known.add(origin)
                credentials.append(replace(one, id=0, imported_from=origin))
                added += 1

    store.edit(change)
    return added
