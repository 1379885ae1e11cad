"""Accounts: rotating refresh tokens, access tokens, quotas, faults. No IO; `now` is an argument."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kiroproxy.simulator.kiro_errors import KIRO_ERRORS, KiroError, find_error

PROFILE_ARN = "arn:aws:codewhisperer:us-east-1:111122223333:profile/SIMULATED"
EXPIRES_IN_S = 3600
INVALID_GRANT = "Invalid refresh token provided"
MIN_TOKEN_CHARS = 120
"""Programs take refresh tokens below 100 characters for truncated copies (5.4)."""


class OAuthError(Exception):
    """An auth service's refusal."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status

    def body(self) -> dict[str, str]:
        """What the service answers; the social one is read by `message`, too."""
        text = self.description
        return {"error": self.error, "error_description": text, "message": text}


class Unauthorized(Exception):
    """A call that an account may not make."""

    def __init__(self, error: KiroError, reason: str) -> None:
        super().__init__(reason)
        self.error = error
        self.reason = reason


@dataclass(slots=True)
class Account:
    """One account; fields in the first block can be set through the control API."""

    id: str
    kind: str = "social"
    refresh_token: str = ""
    expires_in: float = EXPIRES_IN_S
    rotate: bool = True
    quota: float | None = None
    used: float = 0.0
    models: tuple[str, ...] | None = None
    fault: str | None = None
    fault_times: int | None = None
    profile_arn: str = PROFILE_ARN
    profiles: tuple[str, ...] | None = None
    profile_required: bool = False
    subscription: str = "KIRO PRO"
    overage: bool = False
    resets_at: float | None = None
    email: str | None = None

    generation: int = 0
    revoked: bool = False
    refreshes: int = 0
    reuses: int = 0
    calls: int = 0
    access: dict[str, float] = field(default_factory=dict)
    """Access token → when it expires (seconds since the epoch)."""

    def describe(self) -> dict[str, Any]:
        """For the control API; nothing here is a secret."""
        return {
            "id": self.id,
            "kind": self.kind,
            "refreshToken": self.refresh_token,
            "accessTokens": dict(self.access),
            "generation": self.generation,
            "revoked": self.revoked,
            "refreshes": self.refreshes,
            "reuses": self.reuses,
            "calls": self.calls,
            "used": self.used,
            "quota": self.quota,
            "fault": self.fault,
        }


SETTABLE = {
    "kind": "kind",
    "expiresIn": "expires_in",
    "rotate": "rotate",
    "quota": "quota",
    "used": "used",
    "models": "models",
    "fault": "fault",
    "faultTimes": "fault_times",
    "profileArn": "profile_arn",
    "profiles": "profiles",
    "requireProfileArn": "profile_required",
    "subscription": "subscription",
    "overage": "overage",
    "resetsAt": "resets_at",
    "revoked": "revoked",
    "email": "email",
}
TOKEN_KEYS = {"id", "refreshToken", "accessToken", "apiKey"}


class Accounts:
    """All accounts by their tokens."""

    def __init__(self, *, strict: bool = False, revoke_on_reuse: bool = False) -> None:
        self.strict = strict
        self.revoke_on_reuse = revoke_on_reuse
        self.all: dict[str, Account] = {}
        self._by_refresh: dict[str, Account] = {}
        """Every refresh token ever valid; only the account's newest still is."""
        self._by_access: dict[str, Account] = {}
        self._made = 0

    # ---- registration --------------------------------------------------------------------

    def register(self, fields: Mapping[str, Any], now: float) -> Account:
        """Make an account, or change the one with the given id.

        Raises:
            ValueError: an unknown field or fault.
        """
        unknown = set(fields) - set(SETTABLE) - TOKEN_KEYS
        if unknown:
            raise ValueError(f"unknown fields {sorted(unknown)}; known: {sorted(SETTABLE)}")
        if fields.get("fault"):
            find_error(fields["fault"])
        account = self.all.get(fields.get("id", "")) or self._new(fields.get("id"))
        for key, name in SETTABLE.items():
            if key in fields:
                value = fields[key]
                setattr(account, name, tuple(value) if isinstance(value, list) else value)
        if "refreshToken" in fields:
            self._set_refresh_token(account, fields["refreshToken"])
        for key in ("accessToken", "apiKey"):
            if key in fields:
                expires = float("inf") if key == "apiKey" else now + account.expires_in
                self._set_access_token(account, fields[key], expires)
        if "apiKey" in fields:
            account.kind = "api_key"
        return account

    def _new(self, account_id: str | None = None, **fields: Any) -> Account:
        self._made += 1
        account = Account(account_id or f"account-{self._made}", **fields)
        self.all[account.id] = account
        return account

    def _set_refresh_token(self, account: Account, token: str) -> None:
        account.refresh_token = token
        self._by_refresh[token] = account

    def _set_access_token(self, account: Account, token: str, expires_at: float) -> None:
        account.access[token] = expires_at
        self._by_access[token] = account

    # ---- refreshing ----------------------------------------------------------------------

    def sign_in(self, kind: str, now: float, email: str | None = None) -> dict[str, Any]:
        """Make an account for a person who has logged in; return its first tokens.

        Two sign-ins with one `email` are two sessions of one person.
        """
        return self._issue(self._new(kind=kind, email=email), now)

    def redeem(self, token: str, kind: str, now: float) -> dict[str, Any]:
        """Exchange a refresh token; it works once, unless its account does not rotate.

        Raises:
            OAuthError: the token is unknown, spent, revoked, or of another kind of account.
        """
        account = self._by_refresh.get(token)
        if account is None:
            if self.strict or not token:
                raise OAuthError("invalid_grant", INVALID_GRANT)
            account = self._new(kind=kind)
            self._set_refresh_token(account, token)
        if account.refresh_token != token:
            account.reuses += 1
            if self.revoke_on_reuse:
                account.revoked = True
            raise OAuthError("invalid_grant", INVALID_GRANT)
        if account.revoked or account.kind != kind:
            raise OAuthError("invalid_grant", INVALID_GRANT)
        account.refreshes += 1
        return self._issue(account, now)

    def _issue(self, account: Account, now: float) -> dict[str, Any]:
        account.generation += 1
        number = f"{account.id}-{account.generation}-"
        access = f"simulated-access-{number}{secrets.token_hex(16)}"
        self._set_access_token(account, access, now + account.expires_in)
        if account.rotate or not account.refresh_token:
            start = f"simulated-refresh-{number}"
            self._set_refresh_token(account, start + secrets.token_hex(MIN_TOKEN_CHARS // 2))
        tokens = {
            "accessToken": access,
            "refreshToken": account.refresh_token,
            "expiresIn": account.expires_in,
        }
        if account.kind == "social":
            return tokens | {"profileArn": account.profile_arn}
        return tokens | {"tokenType": "Bearer"}

    # ---- calls ---------------------------------------------------------------------------

    def authorize(self, bearer: str, token_type: str, now: float) -> Account:
        """Find the account behind a call and count it; faults and quotas speak here.

        Raises:
            Unauthorized: the call may not be made.
        """
        account = self._by_access.get(bearer)
        is_key = bearer.startswith("ksk_")
        if not bearer or (account is None and self.strict):
            raise Unauthorized(KIRO_ERRORS["bearer"], "unknown bearer")
        if is_key != (token_type.upper() == "API_KEY"):
            raise Unauthorized(KIRO_ERRORS["bearer"], "tokentype: API_KEY goes with ksk_ keys")
        if account is None:
            account = self._new(kind="api_key" if is_key else "unknown")
            self._set_access_token(account, bearer, float("inf"))
        if account.revoked or account.access[bearer] <= now:
            raise Unauthorized(KIRO_ERRORS["bearer"], "expired or revoked bearer")
        account.calls += 1
        self._check_fault(account)
        return account

    def _check_fault(self, account: Account) -> None:
        if not account.fault or account.fault_times == 0:
            return
        if account.fault_times is not None:
            account.fault_times -= 1
        raise Unauthorized(find_error(account.fault), f"fault of {account.id}: {account.fault}")

    @staticmethod
    def check_quota(account: Account) -> None:
        """Refuse a chat call of an account whose credits are spent.

        Raises:
            Unauthorized: nothing is left.
        """
        if account.quota is not None and account.used >= account.quota and not account.overage:
            raise Unauthorized(KIRO_ERRORS["quota"], f"quota of {account.id}")

    def reuses(self) -> int:
        """How often a spent refresh token came back, over all accounts."""
        return sum(account.reuses for account in self.all.values())

    def refreshes(self) -> int:
        """How many refreshes succeeded."""
        return sum(account.refreshes for account in self.all.values())
