"""Signing in with Kiro: sign-ins that are started, polled and cancelled.

A sign-in is a value that is kept under its id, in memory or, through `Pool`, where all workers of
a host find it; the command line and the admin API run the same ones. Nothing is stored until Kiro
has given tokens.

Source: protocol notes 5.8, 6.4; RFC 8628.
"""

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from kiroproxy.credentials.identity import (
    START_URL,
    USER_ID,
    others_of,
    same_account,
    signed_in_again,
)
from kiroproxy.credentials.model import (
    Credential,
    effective_machine_id,
    freeze_machine_id,
    parse_time,
)
from kiroproxy.credentials.refresh import (
    CONNECT_S,
    READ_S,
    RefreshFailure,
    RefreshSettings,
    parse_answer,
    route_for,
)
from kiroproxy.credentials.registry import Registry
from kiroproxy.errors import (
    InvalidRequest,
    KiroProxyError,
    LoginFailed,
    NotFound,
    Unreachable,
    UpstreamTimeout,
)
from kiroproxy.transport import Answer, Route, Transport
from kiroproxy.upstream import oauth
from kiroproxy.upstream.oauth import Method, Post
from kiroproxy.upstream.sign_in import Keep, Memory, SignIn, Wish, blank, ended, expiry
from kiroproxy.upstream.usage import Person

PREFIX: Final = "login "
"""Of the names under which sign-ins are kept."""
BROWSER_LIFE_S: Final = 600.0
"""So long a person may take for a sign-in with Google or GitHub."""
STORING_S: Final = 120.0
"""Longer than it takes to ask whose the account is."""


class Accounts(Protocol):
    """What is asked of Kiro about a new account."""

    def profile(self, credential: Credential) -> str | None:
        """The ARN of its profile."""

    def person(self, credential: Credential) -> Person:
        """Whose it is."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SignIns:
    """Runs sign-ins. `clock` gives the time of day, in UTC."""

    def __init__(
        self,
        transport: Transport,
        settings: RefreshSettings,
        accounts: Accounts,
        registry: Registry,
        *,
        keep: Keep | None = None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._transport = transport
        self._settings = settings
        self._accounts = accounts
        self._registry = registry
        self._keep = keep or Memory()
        self._clock = clock

    def kept_in(self, keep: Keep) -> "SignIns":
        """The same, with sign-ins kept elsewhere."""
        return SignIns(
            self._transport,
            self._settings,
            self._accounts,
            self._registry,
            keep=keep,
            clock=self._clock,
        )

    # ---- the resource ----------------------------------------------------------------------

    def complete(self, wish: Wish) -> Wish:
        """The wish with what the credential to be signed in again says about it.

        Raises:
            NotFound: there is no such credential.
            InvalidRequest: nobody signs in for one of its kind.
        """
        if not wish.relogin:
            return wish
        row = self._registry.credential(wish.relogin)
        if row.auth_method not in ("social", "idc"):
            raise InvalidRequest(
                f"Credential #{row.id} is of kind {row.auth_method}: there is no sign-in for it.",
                param="relogin",
            )
        known = row.extra.get(START_URL)
        start_url = wish.start_url or (known if isinstance(known, str) else "")
        method = wish.method or _method_of(row, start_url)
        region = wish.region or row.auth_region or row.region or ""
        if method != _method_of(row, start_url) and not wish.region:
            region = ""  # of another service
        return replace(wish, method=method, start_url=start_url, region=region)

    def start(self, wish: Wish) -> SignIn:
        """Begin a sign-in: what a person has to open is in the answer.

        Raises:
            InvalidRequest: something is missing or wrong in the wish.
            NotFound: there is no such credential or sign-in method.
            CredentialError: the credential could not be stored afterwards.
            LoginFailed, UpstreamError: the sign-in service refuses, or cannot be reached.
        """
        wish = self.complete(wish)
        wish = replace(wish, group=wish.group.strip(), label=wish.label.strip())
        if wish.method is None:
            raise InvalidRequest("Say how to sign in: the method is missing.", param="method")
        if wish.group:
            self._registry.check_group(wish.group)
        self._registry.check_writable()
        sign_in = SignIn(
            id=secrets.token_urlsafe(16),
            wish=wish,
            method=wish.method,
            region=oauth.check_region(wish.region or self._region(wish.method), wish.method),
            expires_at=self._now() + BROWSER_LIFE_S,
        )
        begin = self._start_device if sign_in.device else self._start_browser
        return self._save(begin(sign_in))

    def poll(self, sign_in_id: str) -> SignIn:
        """How far it is; asks the sign-in service when that is due, and stores the credential.

        A service that cannot be reached for a while does not end a sign-in.

        Raises:
            NotFound: there is no such sign-in.
            LoginFailed: it came to nothing: denied, expired, refused, cancelled.
            CredentialError: Kiro gave tokens that could not be stored.
        """
        sign_in = self._find(sign_in_id)
        now = self._now()
        if sign_in.phase == "storing" and now >= sign_in.expires_at:
            raise self._fail(sign_in, LoginFailed("The sign-in broke off. Start it again."))
        if sign_in.phase == "pending" and now >= sign_in.expires_at:
            raise self._fail(sign_in, LoginFailed(expiry(sign_in), code="expired_token"))
        if sign_in.phase != "pending" or not sign_in.device or now < sign_in.next_poll_at:
            return self._unless_failed(sign_in)
        # Other workers see that this poll is under way, and leave it alone.
        sign_in = self._save(replace(sign_in, next_poll_at=now + CONNECT_S + 2 * READ_S))
        request = oauth.device_poll(self._oidc_url(sign_in), sign_in.client, sign_in.device_code)
        try:
            answer = self._call(request, sign_in)
            wait_s = oauth.still_pending(answer, sign_in.interval_s)
        except (Unreachable, UpstreamTimeout) as error:
            slower = oauth.backed_off(sign_in.interval_s)
            return self._wait(sign_in, slower, str(error))
        except KiroProxyError as error:
            raise self._fail(sign_in, error) from None
        if wait_s is None:
            return self._finish(sign_in, answer)
        trouble = f"the sign-in service answered {answer.status}" if answer.status >= 500 else ""
        return self._wait(sign_in, wait_s, trouble)

    def receive(self, sign_in_id: str, redirect: str) -> SignIn:
        """Take the address that the browser was sent back to, and store the credential.

        An address of another sign-in, or none at all, leaves this one waiting.

        Raises:
            NotFound: there is no such sign-in.
            InvalidRequest: it is one by device code.
            LoginFailed: the address is wrong, or the sign-in came to nothing.
            UpstreamError: the sign-in service cannot be reached; the code is used up.
            CredentialError: Kiro gave tokens that could not be stored.
        """
        sign_in = self.poll(sign_in_id)
        if sign_in.device:
            raise InvalidRequest("This sign-in needs no address: approve its code.", param="id")
        if sign_in.phase != "pending":
            return sign_in
        try:
            code = oauth.parse_redirect(redirect, sign_in.state)
        except LoginFailed as error:
            if error.code in ("state_mismatch", "invalid_redirect"):
                raise
            raise self._fail(sign_in, error) from None
        url = self._social_url(sign_in)
        request = oauth.social_exchange(url, code, sign_in.verifier, sign_in.redirect_uri)
        sign_in = self._save(replace(sign_in, phase="storing", expires_at=self._now() + STORING_S))
        try:
            answer = self._call(request, sign_in)
        except (Unreachable, UpstreamTimeout) as error:
            raise self._fail(sign_in, error) from None
        return self._finish(sign_in, answer)

    def cancel(self, sign_in_id: str) -> SignIn:
        """End it; one that is done stays done.

        Raises:
            NotFound: there is no such sign-in.
        """
        sign_in = self._find(sign_in_id)
        if sign_in.phase not in ("pending", "storing"):
            return sign_in
        return self._save(ended(sign_in, "cancelled"))

    # ---- beginning -------------------------------------------------------------------------

    def _region(self, method: Method) -> str:
        if method == "builder-id":
            return oauth.BUILDER_ID_REGION
        return self._settings.auth_region or self._settings.region

    def _start_device(self, sign_in: SignIn) -> SignIn:
        start_url = oauth.BUILDER_ID_URL
        if sign_in.method == "idc":
            start_url = oauth.check_start_url(sign_in.wish.start_url)
        url = self._oidc_url(sign_in)
        client = oauth.parse_client(self._call(oauth.registration(url, start_url), sign_in))
        answer = self._call(oauth.device_authorization(url, client, start_url), sign_in)
        code = oauth.parse_device_code(answer)
        now = self._now()
        return replace(
            sign_in,
            client=client,
            device_code=code.device_code,
            user_code=code.user_code,
            url=code.complete_url,
            page=code.verification_url,
            interval_s=code.interval_s,
            expires_at=now + code.life_s,
            next_poll_at=now + code.interval_s,
        )

    def _start_browser(self, sign_in: SignIn) -> SignIn:
        verifier, state = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        url = oauth.social_page(
            self._social_url(sign_in), sign_in.method, sign_in.redirect_uri, verifier, state
        )
        return replace(sign_in, url=url, verifier=verifier, state=state)

    # ---- ending ----------------------------------------------------------------------------

    def _finish(self, sign_in: SignIn, answer: Answer) -> SignIn:
        """Read the tokens, ask whose they are, store them."""
        now = self._clock()
        new = self._read(sign_in, answer, now)
        sign_in = self._save(
            replace(sign_in, phase="storing", expires_at=now.timestamp() + STORING_S)
        )
        wish = sign_in.wish
        try:
            new = self._introduced(new, wish)
            if self._find(sign_in.id).phase == "cancelled":
                raise LoginFailed("The sign-in was cancelled.", code="cancelled")
            before = self._registry.credential(wish.relogin) if wish.relogin else None
            if before is not None:
                machine_id = self._settings.machine_id
                stored = self._registry.sign_in_again(before.id, new, machine_id)
            else:
                stored = self._registry.insert(new)
        except KiroProxyError as error:
            raise self._fail(sign_in, error) from None
        done = replace(
            sign_in,
            credential_id=stored.id,
            same_as=others_of(stored, self._registry.credentials()),
            other_account=before is not None and same_account(before, stored) is False,
        )
        return self._save(ended(done, "done"))

    def _read(self, sign_in: SignIn, answer: Answer, now: datetime) -> Credential:
        """The credential in an answer.

        Raises:
            LoginFailed, UpstreamError: there is none.
        """
        if answer.status != 200:
            raise self._fail(sign_in, oauth.refusal(answer))
        read = parse_answer(blank(sign_in), answer, now)
        if isinstance(read, RefreshFailure) or not read.refresh_token:
            lack = "an access token" if isinstance(read, RefreshFailure) else "a refresh token"
            message = f"The sign-in service said yes, but its answer lacks {lack}."
            raise self._fail(sign_in, LoginFailed(message))
        said = oauth.json_object(answer.body)
        if "expiresIn" not in said and (ends := parse_time(said.get("expiresAt"))) is not None:
            read = replace(read, expires_at=ends)  # 5.8: one of the two
        return read

    def _introduced(self, new: Credential, wish: Wish) -> Credential:
        """With what Kiro says about its account; what it does not say is found out later."""
        new = freeze_machine_id(new, self._settings.machine_id)
        arn = new.profile_arn or self._accounts.profile(self._as_caller(new, wish))
        new = replace(new, profile_arn=arn)
        person = self._accounts.person(self._as_caller(new, wish))
        extra = dict(new.extra) | ({USER_ID: person.user_id} if person.user_id else {})
        return replace(
            new,
            email=person.email or None,
            subscription=person.subscription or None,
            extra=extra,
        )

    def _as_caller(self, new: Credential, wish: Wish) -> Credential:
        """Signed in again, a credential goes out by its own proxy."""
        if not wish.relogin:
            return new
        old = self._registry.credential(wish.relogin)
        return signed_in_again(old, new, self._settings.machine_id)

    # ---- keeping ---------------------------------------------------------------------------

    def _save(self, sign_in: SignIn) -> SignIn:
        self._keep.remember(PREFIX + sign_in.id, msgspec.json.encode(sign_in).decode())
        return sign_in

    def _find(self, sign_in_id: str) -> SignIn:
        name = PREFIX + sign_in_id
        kept = self._keep.recall(name).get(name)
        if kept is None:
            raise NotFound("There is no such sign-in; it may have ended long ago.")
        return msgspec.json.decode(kept[0], type=SignIn)

    def _wait(self, sign_in: SignIn, wait_s: float, trouble: str = "") -> SignIn:
        now = self._find(sign_in.id)
        if now.phase != "pending":  # cancelled while this poll was under way
            return now
        return self._save(
            replace(sign_in, interval_s=wait_s, next_poll_at=self._now() + wait_s, trouble=trouble)
        )

    def _fail(self, sign_in: SignIn, error: KiroProxyError) -> KiroProxyError:
        """Note that it came to nothing; returns what to raise."""
        code = error.code if isinstance(error, LoginFailed) else "refused"
        self._save(replace(ended(sign_in, "failed"), error=code, message=str(error)))
        return error

    def _unless_failed(self, sign_in: SignIn) -> SignIn:
        if sign_in.phase == "failed":
            raise LoginFailed(sign_in.message, code=sign_in.error)
        if sign_in.phase == "cancelled":
            raise LoginFailed("The sign-in was cancelled.", code="cancelled")
        return sign_in

    # ---- talking ---------------------------------------------------------------------------

    def _now(self) -> float:
        return self._clock().timestamp()

    def _oidc_url(self, sign_in: SignIn) -> str:
        return self._settings.oidc_url.replace("{region}", sign_in.region).rstrip("/")

    def _social_url(self, sign_in: SignIn) -> str:
        return self._settings.social_auth_url.replace("{region}", sign_in.region).rstrip("/")

    def _route(self, wish: Wish) -> Route:
        if not wish.relogin:
            return self._settings.route
        return route_for(self._registry.credential(wish.relogin), self._settings.route)

    def _call(self, request: Post, sign_in: SignIn) -> Answer:
        return self._transport.call_once(
            "POST",
            request.url,
            headers={
                "content-type": "application/json",
                "accept": "application/json",
                "accept-encoding": "gzip, deflate",
                "user-agent": self._user_agent(sign_in),
            },
            body=request.body,
            route=self._route(sign_in.wish),
            timeout_s=READ_S,
            connect_timeout_s=CONNECT_S,
        )

    def _user_agent(self, sign_in: SignIn) -> str:
        """As on the refreshes that follow (protocol 5.2, 5.3)."""
        own = self._settings
        if sign_in.device:
            return (
                f"aws-sdk-js/3.980.0 ua/2.1 os/{own.system_version} lang/js "
                f"md/nodejs#{own.node_version} api/sso-oidc#3.980.0 m/E KiroIDE"
            )
        kiro = f"KiroIDE-{own.kiro_version}"
        if not sign_in.wish.relogin:
            return kiro
        row = self._registry.credential(sign_in.wish.relogin)
        return f"{kiro}-{effective_machine_id(row, own.machine_id)}"


def _method_of(row: Credential, start_url: str) -> Method | None:
    """How the person of a credential has signed in, where it says so."""
    provider = (row.provider or "").lower()
    for method, name in oauth.PROVIDERS.items():
        device = method in oauth.DEVICE_METHODS
        if name.lower() == provider and device == (row.auth_method == "idc"):
            return method
    if row.auth_method == "idc":
        return "idc" if start_url or provider else "builder-id"
    return None
