"""The endpoints of the simulated server."""

import hmac
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

from hpcsweep.simulator.answers import AnswerEncoder, error_body, usage
from hpcsweep.simulator.engine import BatchingEngine
from hpcsweep.simulator.faults import (
    Cut,
    EarlyEnd,
    Exit,
    Fault,
    Hang,
    HttpError,
    RequestFault,
    StreamError,
    WrongModel,
)
from hpcsweep.simulator.generation import Generation
from hpcsweep.simulator.http import HttpConnection, HttpRequest
from hpcsweep.simulator.log import VERSION, ServerLog
from hpcsweep.simulator.metrics import Metrics
from hpcsweep.simulator.pace import Pace
from hpcsweep.simulator.profile import Speed
from hpcsweep.simulator.prompts import GenerationRequest, PromptError, read_request


@dataclass(frozen=True)
class ServedModel:
    """The model of a server. `api_key` None: requests need no key."""

    model: str
    max_model_len: int
    api_key: str | None


class Api:
    """Answers requests, with the faults that apply to them."""

    def __init__(
        self,
        served: ServedModel,
        speed: Speed,
        faults: list[Fault],
        engine: BatchingEngine,
        metrics: Metrics,
        pace: Pace,
        log: ServerLog,
    ) -> None:
        self._served, self._speed = served, speed
        self._faults = [fault for fault in faults if isinstance(fault, RequestFault)]
        wrong = [fault.name for fault in faults if isinstance(fault, WrongModel)]
        self._listed_model = wrong[-1] if wrong else served.model
        self._engine, self._metrics, self._pace, self._log = engine, metrics, pace, log
        self._numbered = 0
        self._answered = 0

    def handle(self, request: HttpRequest, connection: HttpConnection) -> None:
        """Answer one request, at once or token by token."""
        path = request.path.partition("?")[0]
        if path.startswith("/v1") and not self._allowed(request):
            connection.respond(401, {"error": "Unauthorized"})
            return
        routes = {
            ("GET", "/health"): lambda: connection.respond(200, "", "text/plain; charset=utf-8"),
            ("GET", "/version"): lambda: connection.respond(200, {"version": VERSION}),
            ("GET", "/v1/models"): lambda: connection.respond(200, self._models()),
            ("GET", "/metrics"): lambda: connection.respond(200, self._page(), "text/plain; version=0.0.4"),
            ("POST", "/v1/completions"): lambda: self._generate(request, connection, chat=False),
            ("POST", "/v1/chat/completions"): lambda: self._generate(request, connection, chat=True),
        }
        route = routes.get((request.method, path))
        if route is not None:
            route()
        elif any(known == path for _, known in routes):
            connection.respond(405, {"detail": "Method Not Allowed"})
        else:
            connection.respond(404, {"detail": "Not Found"})

    def _allowed(self, request: HttpRequest) -> bool:
        if self._served.api_key is None:
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(token.strip().encode(), self._served.api_key.encode())
        return scheme.lower() == "bearer" and right

    def _models(self) -> dict[str, Any]:
        model = {"id": self._listed_model, "object": "model", "owned_by": "vllm", "root": self._listed_model}
        return {"object": "list", "data": [{**model, "max_model_len": self._served.max_model_len}]}

    def _page(self) -> str:
        engine = self._engine
        return self._metrics.page(len(engine.running), len(engine.waiting), engine.kv_cache_usage, engine.prefix_cache)

    def _generate(self, request: HttpRequest, connection: HttpConnection, chat: bool) -> None:
        try:
            generation_request = read_request(
                request.body, chat, self._served.model, self._served.max_model_len, self._speed
            )
        except PromptError as exc:
            connection.respond(exc.status, error_body(exc.status, exc.kind, exc.message, exc.param))
            return
        # A request for one token is a probe. It has no number: faults and the cold start apply to real requests.
        number = None
        if generation_request.max_tokens > 1:
            self._numbered += 1
            number = self._numbered
        fault = next((fault for fault in self._faults if fault.applies_to(number)), None)
        if isinstance(fault, HttpError):
            connection.respond(fault.status, error_body(fault.status, "InternalServerError", fault.message))
            return
        self._answered += 1
        answer = AnswerEncoder(chat, self._served.model, self._answered)
        reply = _Reply(connection, answer, generation_request, fault, self._speed.stream_interval, self._log)
        reply.begin(self._engine, number, self._pace.now_s(request.received_s))


class _Reply:
    """Writes the engine's tokens to the connection until the answer ends or its fault occurs."""

    def __init__(
        self,
        connection: HttpConnection,
        answer: AnswerEncoder,
        request: GenerationRequest,
        fault: RequestFault | None,
        interval: int,
        log: ServerLog,
    ) -> None:
        self._connection, self._answer, self._request, self._fault, self._log = connection, answer, request, fault, log
        after = getattr(fault, "after_tokens", request.tokens)
        self._cut_short = after < request.tokens
        self._target = min(after, request.tokens)
        self._interval, self._sent = interval, 0

    def begin(self, engine: BatchingEngine, number: int | None, arrival_s: float) -> None:
        """Submit the request to the engine."""
        request = self._request
        self._generation = Generation(
            request.prompt,
            request.max_tokens,
            self._target,
            number,
            self._token,
            self._end,
            arrival_s=arrival_s,
            image_tokens=request.image_tokens,
            cache_salt=request.cache_salt,
        )
        self._connection.on_lost = lambda: engine.abort(self._generation)
        engine.submit(self._generation)

    def _token(self, number: int) -> None:
        if not self._request.stream:
            return
        if number == 1:
            self._open_stream()
        ends = number == self._target and (not self._cut_short or isinstance(self._fault, EarlyEnd))
        first = self._sent + 1
        if ends:
            self._connection.send(self._answer.last_tokens(first, number, self._reason()))
        elif first == 1 or number - self._sent >= self._interval or number == self._target:
            self._connection.send(self._answer.tokens(first, number))
        else:
            return
        self._sent = number

    def _open_stream(self) -> None:
        self._connection.start_stream()
        if self._answer.chat:
            self._connection.send(self._answer.role())

    def _reason(self) -> str:
        return "stop" if self._target < self._request.max_tokens else "length"

    def _end(self) -> None:
        if not self._cut_short:
            self._finish(done=True)
        elif isinstance(self._fault, EarlyEnd):
            self._finish(done=self._fault.done)
        elif isinstance(self._fault, StreamError):
            self._send_error(self._fault)
        elif isinstance(self._fault, Cut):
            self._connection.reset()
        elif isinstance(self._fault, Exit):
            self._exit(self._fault)
        elif isinstance(self._fault, Hang) and self._request.stream and self._target == 0:
            self._open_stream()

    def _finish(self, done: bool) -> None:
        generation, request = self._generation, self._request
        figures = usage(generation.prompt_tokens, generation.given, generation.cached_tokens)
        if not request.stream:
            self._connection.respond(200, self._answer.whole(generation.given, self._reason(), figures))
            return
        if generation.given == 0:
            self._open_stream()
        if done and request.include_usage:
            self._connection.send(self._answer.usage(figures))
        if done:
            self._connection.send(b"data: [DONE]\n\n")
        self._connection.end_stream()

    def _send_error(self, fault: StreamError) -> None:
        if not self._request.stream:
            self._connection.respond(500, error_body(500, "InternalServerError", fault.message))
            return
        if self._generation.given == 0:
            self._open_stream()
        self._connection.send(self._answer.error(fault.message))
        self._connection.send(b"data: [DONE]\n\n")
        self._connection.end_stream()

    def _exit(self, fault: Exit) -> None:
        self._log.raw(fault.message)
        sys.stdout.flush()
        if fault.exit_code < 0:
            os.kill(os.getpid(), signal.Signals(-fault.exit_code))
        os._exit(fault.exit_code)
