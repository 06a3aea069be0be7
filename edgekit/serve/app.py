"""The web front: who may ask, how much, in which order; and OpenAI's routes."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import traceback
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from edgekit.serve.backend import Backend
from edgekit.serve.config import Limits
from edgekit.serve.metrics import Metrics
from edgekit.serve.request import Asked, read_request
from edgekit.serve.wire import Completion, Refused, completion_body, models_body, stream_lines

log = logging.getLogger("edgekit.serve")

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_UNFORESEEN = "an unforeseen error; the server's log tells more"


class Queue:
    """``places`` requests at work, ``limit`` more waiting; one beyond that is refused at once."""

    def __init__(self, places: int, limit: int):
        self.places, self.limit = places, limit
        self.inside, self.at_work = 0, 0
        self._turn = asyncio.Semaphore(places)

    @property
    def waiting(self) -> int:
        return self.inside - self.at_work

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Held from before the body is read, so that bodies in memory are bounded too."""
        if self.inside >= self.places + self.limit:
            raise Refused(
                429, f"{self.inside} requests are here already; try again", headers={"Retry-After": "1"}
            )
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        async with self._turn:
            self.at_work += 1
            try:
                yield
            finally:
                self.at_work -= 1


def make_app(backend: Backend, name: str, limits: Limits, token: str | None = None) -> FastAPI:
    """The application; ``token`` None lets everybody in who reaches the (loopback) port."""
    app = FastAPI(title="edgekit serve", docs_url=None, redoc_url=None, openapi_url=None)
    queue, metrics, created = Queue(backend.places, limits.queue), Metrics(backend.kind), int(time.time())

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return JSONResponse(error.body(), error.status, error.headers)

    @app.exception_handler(HTTPException)
    async def no_such_route(request: Request, error: HTTPException) -> Response:
        what = f"{request.method} {request.url.path}: {error.detail}"
        return await refused(request, Refused(error.status_code, what))

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        return await refused(request, Refused(500, _UNFORESEEN))

    @app.get("/health")
    async def health() -> Response:
        failure = backend.failure()
        return PlainTextResponse(failure or "ok", 503 if failure else 200)

    @app.get("/metrics")
    async def read_metrics(request: Request) -> Response:
        check_caller(request, token)
        return PlainTextResponse(
            metrics.text(queue.waiting, queue.at_work), media_type="text/plain; version=0.0.4"
        )

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        check_caller(request, token)
        return JSONResponse(models_body(name, created))

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        began, status = time.perf_counter(), 500
        try:
            check_caller(request, token)
            async with queue.admitted():
                body = await read_body(request, limits)
                asked = await asyncio.to_thread(read_request, body, name, backend.contract, limits)
                async with queue.turn():
                    done = await _answer(backend, asked, limits)
            status = 200
            metrics.tokens["prompt"] += done.prompt_tokens
            metrics.tokens["completion"] += done.completion_tokens
            return _reply(name, asked, done)
        except Refused as error:
            status = error.status
            raise
        finally:
            metrics.count(status, time.perf_counter() - began)

    return app


async def _answer(backend: Backend, asked: Asked, limits: Limits) -> Completion:
    if failure := backend.failure():
        raise Refused(503, failure)
    try:
        async with asyncio.timeout(limits.answer_s):
            return await backend.answer(asked)
    except TimeoutError:
        raise Refused(504, f"no answer within {limits.answer_s:.0f} s") from None
    except Refused:
        raise
    except Exception as error:  # one line a request: with a traceback each, one client floods the log
        last = traceback.extract_tb(error.__traceback__)[-1]
        log.error("%r (%s, line %s)", error, last.filename, last.lineno)
        raise Refused(500, _UNFORESEEN) from None


def _reply(name: str, asked: Asked, done: Completion) -> Response:
    identity, now = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
    if asked.stream:
        lines = stream_lines(identity, now, name, done, asked.with_usage)
        return StreamingResponse(lines, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
    return JSONResponse(completion_body(identity, now, name, done))


def check_caller(request: Request, token: str | None) -> None:
    """Raises Refused 401 without the token. Without a token a web page must not get in either.

    A page that the user's browser shows can reach loopback ports: under a name of its own that
    resolves to 127.0.0.1 (refused by the Host header), or blindly (refused by the content type).
    """
    if token is not None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), token.encode()):
            raise Refused(401, "a token is needed: Authorization: Bearer …", code="invalid_api_key")
    elif request.headers.get("host", "").rsplit(":", 1)[0] not in _LOOPBACK:
        raise Refused(403, "this server answers on loopback only; give it a token to change that")
    if request.method == "POST" and not request.headers.get("content-type", "").startswith(
        "application/json"
    ):
        raise Refused(415, "content-type must be application/json")


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body, at most ``limits.body_mb``. Raises Refused: 413; 408 where it does not arrive; 499 (nginx's
    number) where the client hangs up in the middle of it.

    What is too large is read on and thrown away for a while: a client that is still sending would
    otherwise see a broken connection instead of the answer.
    """
    limit, parts, size = limits.body_mb * 1e6, [], 0
    too_large = Refused(413, f"the body is over {limits.body_mb} MB")
    try:
        async with asyncio.timeout(limits.read_s):
            async for part in request.stream():
                size += len(part)
                if size <= limit:
                    parts.append(part)
                elif size > 8 * limit:
                    raise too_large
                else:
                    parts.clear()
    except TimeoutError:
        raise too_large if size > limit else Refused(408, "the body did not arrive in time") from None
    except ClientDisconnect:
        raise Refused(499, "the client hung up") from None
    if size > limit:
        raise too_large
    return b"".join(parts)
