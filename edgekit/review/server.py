"""The review page's server: one page, the queue as JSON, images by row id, answers by POST.

On loopback it asks for nothing but refuses foreign Host headers (DNS rebinding); anywhere else it needs a
token. What changes something wants a JSON body from the page's own origin, so that no other page in the
same browser can answer in the person's name. No path comes from outside: rows are named by id.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from edgekit.core.errors import UserError
from edgekit.core.label import SLOTS, TASKS
from edgekit.core.port import TOKEN, is_loopback
from edgekit.review.human import Correction, now, parse
from edgekit.review.queue import Review, history_of
from edgekit.review.strip import Pictures

_PAGE = Path(__file__).with_name("page.html")
BODY_BYTES, READ_S, CONNECTIONS = 16_384, 10.0, 32


class Refused(Exception):
    """An answer with a status and words."""

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status = status


def need_token(host: str, token: str | None) -> None:
    """Raises UserError where others reach the page and there is no token."""
    if token is None and not is_loopback(host):
        raise UserError(
            f"edgekit review: {host} can be reached by others, and there is no token",
            f"{TOKEN} is not set, so anyone could answer in your name",
            f"set it (export {TOKEN}=$(openssl rand -hex 16)), or leave --host at 127.0.0.1",
        )


def make_app(review: Review, by: str, token: str | None = None) -> FastAPI:
    """The application; ``token`` None lets everybody in who reaches the (loopback) port."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    pictures = Pictures(review.data)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return JSONResponse({"error": str(error)}, error.status)

    @app.middleware("http")
    async def at_the_door(request: Request, ahead) -> Response:
        try:
            check_caller(request, token)
            answer = await ahead(request)
        except Refused as error:
            answer = await refused(request, error)
        nonce = getattr(request.state, "nonce", "")
        script = f"'nonce-{nonce}'" if nonce else "'none'"
        answer.headers.update({
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Content-Security-Policy": (
                f"default-src 'none'; img-src 'self' blob:; connect-src 'self'; script-src {script}; "
                f"style-src {script}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
            ),
        })  # fmt: skip
        return answer

    @app.get("/")
    async def page(request: Request) -> Response:
        request.state.nonce = secrets.token_urlsafe(16)
        return HTMLResponse(_PAGE.read_text().replace("{{nonce}}", request.state.nonce))

    @app.get("/queue.json")
    async def queue() -> Response:
        vocabulary = {task: {slot: SLOTS[slot] for slot in slots} for task, slots in TASKS.items()}
        return JSONResponse({"what": review.what, "tasks": vocabulary, "by": by, **review.progress()})

    @app.get("/entry/{number}.json")
    async def entry(number: int) -> Response:
        if not 0 <= number < len(review.entries):
            raise Refused(404, f"the queue has {len(review.entries)} entries")
        return JSONResponse(entry_body(review, number))

    @app.get("/image")
    async def image(id: str, small: bool = False) -> Response:
        row = review.rows.get(id)
        if row is None:
            raise Refused(404, "no such row")
        try:
            if small:
                return Response(await run_in_threadpool(pictures.small, row), media_type="image/jpeg")
            data, kind = await run_in_threadpool(pictures.whole, row)
            return Response(data, media_type=kind)
        except (UserError, OSError):
            raise Refused(404, "its image cannot be read") from None

    @app.post("/answer")
    async def answer(request: Request) -> Response:
        body = await read_body(request)
        try:
            given = parse(body)
            key, task = given["id"], given["task"]
            if not isinstance(key, str) or not isinstance(task, str) or key not in review.rows:
                raise ValueError("no such row")
            correction = Correction(key, task, given["slots"], by, now())
            if correction.slots is None:
                raise ValueError("no slots; /undo withdraws an answer")
            await run_in_threadpool(review.answer, [correction])
        except KeyError as error:
            raise Refused(422, f"the answer lacks {error}") from None
        except UserError:
            raise Refused(422, "its image cannot be read: there is nothing to answer about") from None
        except ValueError as error:
            raise Refused(422, str(error)) from None
        return JSONResponse(review.progress())

    @app.post("/undo")
    async def undo(request: Request) -> Response:
        await read_body(request)
        last = await run_in_threadpool(review.answers.undo, by)
        places = {(e.id, e.task): n for n, e in enumerate(review.entries)}
        place = places.get((last.id, last.task)) if last else None
        return JSONResponse({"undone": place, **review.progress()})

    return app


def entry_body(review: Review, number: int) -> dict:
    """One question as the page shows it; strip and times are of rows that the Dataset holds."""
    entry, row = review.entries[number], review.rows[review.entries[number].id]
    strip = [review.rows[i] for i in entry.strip if i in review.rows] or [row]
    given = review.answers.newest(entry.id, entry.task)
    histories = {task: history_of(row, task) for task in TASKS}
    histories[entry.task] = entry.history or histories[entry.task]
    return {
        "number": number, "id": entry.id, "task": entry.task, "why": entry.why, "priority": entry.priority,
        "t_s": row.t_s, "speed_mps": row.speed_mps, "tags": row.tags, "drive": row.drive, "frame": row.frame,
        "strip": [{"id": r.id, "t_s": r.t_s, "light": r.label.light} for r in strip],
        "histories": histories, "slots": review.slots(entry.id, entry.task),
        "answered": None if given is None else {"by": given.by, "t": given.t},
    }  # fmt: skip


def check_caller(request: Request, token: str | None) -> None:
    """Raises Refused for who may not come in. The page itself holds no data, and is given to all who may
    reach the port: it brings the token with each request after that."""
    host = request.headers.get("host", "")
    if token is not None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if request.url.path != "/" and not hmac.compare_digest(given.encode(), token.encode()):
            raise Refused(401, f"this page asks for {TOKEN}: open it with ?token=…")
    elif not is_loopback(urlsplit("//" + host).hostname or ""):
        raise Refused(403, "open this page by its loopback address")
    if request.method == "GET":
        return
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "content-type must be application/json")
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    if site != "same-origin" or (origin is not None and urlsplit(origin).netloc != host):
        raise Refused(403, "answers are taken from this server's own page only")


async def read_body(request: Request) -> bytes:
    """The body, at most BODY_BYTES. Raises Refused: 413; 408 where it does not arrive."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(READ_S):
            async for part in request.stream():
                size += len(part)
                if size > BODY_BYTES:
                    raise Refused(413, f"the body is over {BODY_BYTES} bytes")
                parts.append(part)
    except TimeoutError:
        raise Refused(408, "the body did not arrive in time") from None
    return b"".join(parts)


def server_of(app: FastAPI) -> uvicorn.Server:
    """Not yet running: ``server.run(sockets=[door])`` serves until a signal or ``should_exit``."""
    return uvicorn.Server(uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, lifespan="off",
        timeout_graceful_shutdown=2, limit_concurrency=CONNECTIONS, h11_max_incomplete_event_size=65_536,
    ))  # fmt: skip
