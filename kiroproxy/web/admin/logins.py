"""`/api/admin/logins`: signing in with Kiro, as a resource that is started, polled, cancelled."""

from typing import Any

import marshmallow as ma
import segno

from kiroproxy.errors import InvalidRequest, LoginFailed
from kiroproxy.upstream.oauth import PROVIDERS, REDIRECT_PORTS
from kiroproxy.upstream.sign_in import SignIn, Wish
from kiroproxy.web.admin.api import count, line, rest, room, text, whole, word
from kiroproxy.web.admin.changes import note, note_credential
from kiroproxy.web.services import services

blueprint = room("logins", "Signing in with Kiro.")
ONE = "/logins/<login_id>"
OVER = ("failed", "cancelled")


class NewLogin(ma.Schema):
    """How to sign in, and where the credential goes."""

    method = word(*PROVIDERS, allow_none=True)
    startUrl = text(2000)
    region = text(64)
    relogin = whole(validate=ma.validate.Range(1, 2**53))
    group = text(100)
    priority = count(allow_none=True)
    label = line(200)
    port = ma.fields.Integer(strict=True, validate=ma.validate.OneOf(REDIRECT_PORTS))


class Redirect(ma.Schema):
    """Where the browser has ended."""

    url = text(20_000, required=True)


class Login(ma.Schema):
    """A sign-in at a moment."""

    id = ma.fields.String()
    phase = ma.fields.String()
    method = ma.fields.String()
    region = ma.fields.String()
    url = ma.fields.String()
    expiresAt = ma.fields.String()
    page = ma.fields.String()
    userCode = ma.fields.String()
    interval = ma.fields.Float()
    qr = ma.fields.String()
    redirectUri = ma.fields.String()
    trouble = ma.fields.String()
    error = ma.fields.String()
    message = ma.fields.String()
    credentialId = ma.fields.Integer()
    sameAccountAs = ma.fields.List(ma.fields.Integer())
    relogin = ma.fields.Boolean()
    otherAccount = ma.fields.Boolean()


@rest(blueprint, "POST", "/logins", body=NewLogin, answer=Login, status=201, asks_kiro=True)
def start_login(body: dict[str, Any]) -> dict[str, Any]:
    """Begin a sign-in: the answer says what to open."""
    names = {"startUrl": "start_url"}
    given = {names.get(key, key): value for key, value in body.items() if value is not None}
    try:
        sign_in = services().sign_ins.start(Wish(**given))
    except InvalidRequest as error:
        theirs = {one: name for name, one in names.items()}
        error.param = theirs.get(error.param or "", error.param)
        raise
    note("login.start", f"login {sign_in.id}", after={"method": sign_in.method})
    return _shown(sign_in)


@rest(blueprint, "GET", ONE, answer=Login, asks_kiro=True)
def poll_login(login_id: str) -> dict[str, Any]:
    """Say how far it is; asks Kiro when that is due."""
    sign_ins = services().sign_ins
    try:
        return _noted(sign_ins.poll(login_id))
    except LoginFailed as error:
        return _failed(login_id, error)


@rest(blueprint, "POST", f"{ONE}/redirect", body=Redirect, answer=Login, asks_kiro=True)
def receive_redirect(body: dict[str, Any], login_id: str) -> dict[str, Any]:
    """Take the address on which the browser has ended."""
    try:
        return _noted(services().sign_ins.receive(login_id, body["url"]))
    except LoginFailed as error:
        if error.code in ("state_mismatch", "invalid_redirect"):
            raise
        return _failed(login_id, error)


@rest(blueprint, "DELETE", ONE, answer=Login)
def cancel_login(login_id: str) -> dict[str, Any]:
    """Give it up; one that is done stays done."""
    sign_in = services().sign_ins.cancel(login_id)
    if sign_in.phase == "cancelled":
        note("login.cancel", f"login {login_id}")
    return _shown(sign_in)


def _shown(sign_in: SignIn) -> dict[str, Any]:
    shown = sign_in.describe()
    if sign_in.device and "url" in shown:
        shown["qr"] = segno.make(sign_in.url, error="m").svg_data_uri(scale=4, border=2)
    return shown


def _noted(sign_in: SignIn) -> dict[str, Any]:
    """Note a sign-in that has come to its end, once for all workers."""
    parts = services()
    if sign_in.phase == "done" and parts.runtime.claim(f"noted login {sign_in.id}", 86400.0):
        note_credential("login.done", None, parts.pool.store.snapshot().get(sign_in.credential_id))
    return _shown(sign_in)


def _failed(login_id: str, error: LoginFailed) -> dict[str, Any]:
    phase = "cancelled" if error.code == "cancelled" else "failed"
    return {"id": login_id, "phase": phase, "error": error.code, "message": str(error)}
