"""Kiro's data paths: chat, models, usage, profiles, search. The entry of the simulator.

`Simulator` is the WSGI application. Sign-in paths are in `auth_routes.py`, the control API under
`/_sim` in `control.py`; each offers a table of (method, path) → view, and a view takes a `Request`
and returns an `Answer`. Only chat writes to the socket itself (`player.py`).
"""

import json
import secrets
import string
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from kiroproxy.simulator import catalogue, prompts
from kiroproxy.simulator.accounts import Account, Accounts, OAuthError, Unauthorized
from kiroproxy.simulator.auth_routes import AuthRoutes
from kiroproxy.simulator.control import Control, queue_entries
from kiroproxy.simulator.exchange import Answer, Request, error_answer, read_request
from kiroproxy.simulator.kiro_errors import KIRO_ERRORS
from kiroproxy.simulator.logins import Logins
from kiroproxy.simulator.player import play, suffer
from kiroproxy.simulator.refusals import Caller, find_refusal
from kiroproxy.simulator.script import Program, ScriptError, compile_script
from kiroproxy.simulator.search import search_answer
from kiroproxy.simulator.server import CONNECTION, Connection
from kiroproxy.simulator.state import Queued, State, take_queued

View = Callable[[Request], Answer]
PLACEHOLDER_ARN = "arn:aws:codewhisperer:us-east-1:638616132270:profile/AAAACCCCXXXX"
"""The Builder ID placeholder; it is good for chat only (`protocol.md` 2.5)."""
CONTROL_SERVICE = "AmazonCodeWhispererService"
ID_LETTERS = string.ascii_letters + string.digits
MAX_COMPILED = 500


def new_tool_id() -> str:
    """A fresh tool use id in Kiro's shape."""
    return "tooluse_" + "".join(secrets.choice(ID_LETTERS) for _ in range(22))


def unknown_operation() -> Answer:
    """What AWS-JSON services say to what they cannot make out."""
    return Answer({"__type": "com.amazon.coral.service#UnknownOperationException"}, 404)


def is_aws_json(request: Request) -> bool:
    """Whether the content type is that of the root path's protocol (`protocol.md` 2.4)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/x-amz-json-1.0"


class Simulator:
    """A Kiro: WSGI application and everything that it remembers."""

    def __init__(
        self,
        *,
        revoke_on_reuse: bool = False,
        strict: bool = False,
        script_text: str | None = None,
    ) -> None:
        """`script_text` is the JSON of a script file.

        Raises:
            ScriptError: it cannot be understood.
        """
        self.url = ""
        self.strict = strict
        self.revoke_on_reuse = revoke_on_reuse
        self._script_text = script_text
        self._compiled: dict[str, Program] = {}
        self.reset()
        auth = AuthRoutes(self)
        control = Control(self)
        self._views: dict[tuple[str, str], View] = {
            ("GET", "/"): lambda _: Answer({"simulated": True, "control": "/_sim"}),
            ("POST", "/"): self._aws_json,
            ("GET", "/ListAvailableModels"): self._models,
            ("GET", "/getUsageLimits"): self._usage,
            ("POST", "/setUserPreference"): self._preference,
            ("POST", "/mcp"): self._mcp,
            **auth.views(),
        }
        self._control = control
        self._targets: dict[str, View] = {
            "ListAvailableProfiles": self._profiles,
            "GetUsageLimits": self._usage,
            "ListAvailableModels": self._models,
        }

    def reset(self) -> None:
        """Forget everything, back to the command line's options."""
        self.state = State()
        self.accounts = Accounts(strict=self.strict, revoke_on_reuse=self.revoke_on_reuse)
        self.logins = Logins(strict=self.strict)
        self.file_queue: list[Queued] = []
        if self._script_text is not None:
            self.file_queue = queue_entries(json.loads(self._script_text), self.compile)

    # ---- WSGI ----------------------------------------------------------------------------

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        request = read_request(environ)
        connection: Connection = environ[CONNECTION]
        if request.path.startswith("/_sim"):
            answer: Answer | None = self._control.answer(request)
        else:
            self.state.recorder.add(request)
            answer = self._answer(request, connection)
        if answer is None:
            return ()
        content = answer.content()
        headers = {
            "content-type": "text/html" if isinstance(answer.body, str) else "application/json",
            "x-amzn-requestid": str(uuid.uuid4()),
            **answer.headers,
            "content-length": str(len(content)),
        }
        start_response(answer.status_line(), list(headers.items()))
        return (content,)

    def _answer(self, request: Request, connection: Connection) -> Answer | None:
        """Answer a call of Kiro's API; nothing when the socket was written to or closed."""
        if request.flavour is None:
            return self._faulty(request, connection)
        counters = self.state.counters
        counters.enter(request.bearer)
        try:
            return self._faulty(request, connection)
        finally:
            counters.leave(request.bearer)

    def _faulty(self, request: Request, connection: Connection) -> Answer | None:
        """Do the work, or what a fault of this path does instead or afterwards."""
        fault = self.state.take_fault(request.path, request.bearer)
        if fault is None:
            return self._work(request, connection)
        answer = self._work(request, connection) if fault.after else None
        if answer is None and fault.after:
            return None
        end = suffer(fault, connection, self.state)
        if end or fault.status is not None:
            request.refused = "fault"
        if end:
            connection.end(end)
            return None
        if fault.status is not None:
            body = {"message": "Simulated fault"} if fault.body is None else fault.body
            return Answer(body, fault.status, fault.headers)
        return answer or self._work(request, connection)

    def _work(self, request: Request, connection: Connection) -> Answer | None:
        try:
            if request.path == "/" and request.method == "POST" and not is_aws_json(request):
                request.refused = "content-type: the root path speaks AWS-JSON"
                return unknown_operation()
            if request.flavour is not None:
                return self._chat(request, connection)
            view = self._views.get((request.method, request.path))
            if view is None:
                return error_answer(KIRO_ERRORS["not-found"], request)
            return view(request)
        except Unauthorized as error:
            request.refused = error.reason
            return error_answer(error.error, request)
        except OAuthError as error:
            request.refused = error.error
            return Answer(error.body(), error.status)

    # ---- chat ----------------------------------------------------------------------------

    def _chat(self, request: Request, connection: Connection) -> Answer | None:
        account = self._account(request)
        self.accounts.check_quota(account)
        program = self._refuse_or_choose(request, account)
        if isinstance(program, Answer):
            return program
        account.used += program.credits
        play(
            program,
            connection,
            self.state,
            request_id=str(uuid.uuid4()),
            bearer=request.bearer,
        )
        return None

    def _refuse_or_choose(self, request: Request, account: Account) -> Answer | Program:
        caller = Caller(
            models=catalogue.accepted_models(account),
            strict=self.strict,
            api_key=account.kind == "api_key",
            profile_required=account.profile_required,
            cli=request.flavour == "cli",
        )
        program = self._always(request)
        if program is not None:
            return program
        refusal = find_refusal(request.body, caller)
        if refusal:
            request.refused = f"{refusal.rule}: {refusal.detail}"
            self.state.counters.refusals[refusal.rule] += 1
            answer = error_answer(refusal.error, request)
            detail = request.refused.encode("ascii", "backslashreplace").decode()
            answer.headers["x-sim-refused"] = detail.replace("\r", " ").replace("\n", " ")[:500]
            return answer
        try:
            return self._choose(request)
        except ScriptError as error:
            request.refused = f"script: {error}"
            return Answer({"message": f"simulator: {error}", "reason": None}, 400)

    def _always(self, request: Request) -> Program | None:
        text = request.body.decode("utf-8", "replace")
        for queue in (self.state.queue, self.file_queue):
            queued = take_queued(queue, text, request.bearer, always=True)
            if queued is not None:
                return queued
        return None

    def _choose(self, request: Request) -> Program:
        body = request.fields()
        message = prompts.user_message(body)
        directed = prompts.directed_script(message)
        if directed is not None:
            return self.compile(directed)
        text = prompts.searchable(message)
        for queue in (self.state.queue, self.file_queue):
            queued = take_queued(queue, text, request.bearer)
            if queued is not None:
                return queued
        window = catalogue.WINDOWS.get(message.get("modelId", ""), catalogue.DEFAULT_WINDOW)
        percent = prompts.context_percent(len(request.body), window)
        return compile_script(prompts.default_script(message, percent), new_tool_id)

    def compile(self, script: Any) -> Program:
        """Compile a script, or take it from those compiled before.

        Raises:
            ScriptError: it cannot be understood.
        """
        key = json.dumps(script, sort_keys=True)
        program = self._compiled.get(key)
        if program is None:
            program = compile_script(script, new_tool_id)
            if program.reusable:
                if len(self._compiled) >= MAX_COMPILED:
                    self._compiled.clear()
                self._compiled[key] = program
        return program

    # ---- the rest of Kiro's API ----------------------------------------------------------

    def _account(self, request: Request) -> Account:
        token_type = request.headers.get("tokentype", "")
        return self.accounts.authorize(request.bearer, token_type, request.time)

    def _aws_json(self, request: Request) -> Answer:
        service, _, operation = request.headers.get("x-amz-target", "").rpartition(".")
        view = self._targets.get(operation) if service == CONTROL_SERVICE else None
        return view(request) if view is not None else unknown_operation()

    def _arguments(self, request: Request) -> dict[str, Any]:
        """Arguments from the query, or from the body of an AWS-JSON call."""
        return dict(request.query) if request.method == "GET" else request.fields()

    def _real_profile(self, account: Account, arn: str | None) -> None:
        if arn == PLACEHOLDER_ARN:
            raise Unauthorized(KIRO_ERRORS["not-authorized"], "the placeholder is for chat only")
        if arn and account.kind == "api_key":
            raise Unauthorized(KIRO_ERRORS["not-authorized"], "an API key has no profile")

    def _models(self, request: Request) -> Answer:
        account = self._account(request)
        arguments = self._arguments(request)
        self._real_profile(account, arguments.get("profileArn"))
        models = catalogue.models_of(account)
        try:
            page = catalogue.model_page(
                models, arguments.get("maxResults"), arguments.get("nextToken")
            )
        except (ValueError, TypeError):
            return error_answer(KIRO_ERRORS["improperly-formed"], request)
        return Answer(page)

    def _usage(self, request: Request) -> Answer:
        account = self._account(request)
        self._real_profile(account, self._arguments(request).get("profileArn"))
        return Answer(catalogue.usage_limits(account, request.time))

    def _profiles(self, request: Request) -> Answer:
        account = self._account(request)
        arns = account.profiles if account.profiles is not None else (account.profile_arn,)
        return Answer(catalogue.profile_list(arns))

    def _preference(self, request: Request) -> Answer:
        account = self._account(request)
        wanted = request.fields().get("overageConfiguration", {}).get("overageStatus")
        if wanted not in ("ENABLED", "DISABLED"):
            return error_answer(KIRO_ERRORS["improperly-formed"], request)
        if "FREE" in account.subscription:
            raise Unauthorized(KIRO_ERRORS["feature"], "a free account has no overages")
        account.overage = wanted == "ENABLED"
        return Answer({})

    def _mcp(self, request: Request) -> Answer:
        account = self._account(request)
        self._real_profile(account, request.headers.get("x-amzn-kiro-profile-arn"))
        return Answer(search_answer(request.fields(), request.time))
