"""The Kiro IDE's token file, which the IDE refreshes as well as we (design 5, rule 8).

Before a refresh we look whether the IDE has a newer token; after one we write ours into its file,
keeping all that we do not know. Otherwise each would burn the other's token.
"""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from kiroproxy.credentials.model import Credential, build_time, check_refresh_token, parse_time
from kiroproxy.credentials.stores import durable
from kiroproxy.errors import StoreUnwritable

log = logging.getLogger(__name__)


class FileLinks:
    """Links of credentials whose `linked_to` names a file."""

    def newer(self, credential: Credential) -> Credential | None:
        """The credential with the IDE's token, if that has another one, or a later access token."""
        entry = _read(credential.linked_to)
        access, refresh = entry.get("accessToken"), entry.get("refreshToken")
        if not isinstance(refresh, str) or check_refresh_token(refresh):
            return None
        expires_at = parse_time(entry.get("expiresAt"))
        rotated = refresh != credential.refresh_token
        later = (
            expires_at is not None
            and credential.expires_at is not None
            and expires_at > credential.expires_at
            and access != credential.access_token
        )
        if not rotated and not later:
            return None
        arn = entry.get("profileArn")
        return replace(
            credential,
            access_token=access if isinstance(access, str) and access else None,
            refresh_token=refresh,
            expires_at=expires_at,
            refreshed_at=None,
            profile_arn=arn if isinstance(arn, str) and arn else credential.profile_arn,
        )

    def write_back(self, old: Credential, new: Credential) -> None:
        """Put our new token into the IDE's file, unless that has another one than we had."""
        entry = _read(old.linked_to)
        if not entry or old.linked_to is None or entry.get("refreshToken") != old.refresh_token:
            return
        entry |= {"accessToken": new.access_token, "refreshToken": new.refresh_token}
        if new.expires_at is not None:
            entry["expiresAt"] = build_time(new.expires_at)
        try:
            data = json.dumps(entry, indent=2, ensure_ascii=False).encode()
            durable.write_private(Path(old.linked_to), data)
        except (OSError, StoreUnwritable) as error:
            log.error("the new token could not be written to %s: %s", old.linked_to, error)


def _read(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        entry = json.loads(durable.read_private(Path(path))[0])
    except (OSError, ValueError) as error:
        log.warning("%s, to which a credential is linked, cannot be read: %s", path, error)
        return {}
    return entry if isinstance(entry, dict) else {}
