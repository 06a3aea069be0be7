"""The port: who may be let in, taking it before anything costly starts, and leaving it cleanly."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from edgekit.core.errors import EdgekitError, UserError
from edgekit.core.port import TOKEN, is_loopback, token_of
from edgekit.serve.backend import Backend


def read_token(host: str) -> str | None:
    """$EDGEKIT_TOKEN. Raises UserError where the host is reachable from outside and there is none."""
    token = token_of()
    if token is None and not is_loopback(host):
        raise UserError(
            f"edgekit serve: {host} can be reached by others, and there is no token",
            f"{TOKEN} is not set",
            f"set it (export {TOKEN}=$(openssl rand -hex 16)), or listen on 127.0.0.1",
        )
    return token


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and Ctrl-C end the block from anywhere in it, once; it is then left normally."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's; whoever runs us in another one stops us otherwise
        return
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        if not stopped:  # a second signal must not interrupt the cleaning up
            stopped = True
            raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen(app: FastAPI, door: socket.socket, backend: Backend, drain_s: float) -> None:
    """Serves until a signal comes; then no new connection, and requests under way get ``drain_s``.

    Raises EdgekitError where the back end ends by itself: exit 1, so that systemd starts it again.
    """
    settings = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=int(drain_s),
        lifespan="off", h11_max_incomplete_event_size=65536,
    )  # fmt: skip
    server = uvicorn.Server(settings)
    asyncio.run(_serve(server, door, backend))
    if failure := backend.failure():
        raise EdgekitError("edgekit serve: the back end ended", failure, "start it again; its log tells more")


async def _serve(server: uvicorn.Server, door: socket.socket, backend: Backend) -> None:
    async def watch() -> None:
        while not backend.failure():
            await asyncio.sleep(1)
        server.should_exit = True

    watching = asyncio.create_task(watch())
    try:
        await server.serve(sockets=[door])
    finally:
        watching.cancel()
