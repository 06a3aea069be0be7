"""The live page: one small HTML file, the newest frame as a JPEG, a few numbers as JSON; nothing else.

Only GET, only these three paths, at most a few connections at a time, no resource from elsewhere.
On loopback it asks for nothing but refuses foreign Host headers (DNS rebinding); anywhere else it
needs EDGEKIT_TOKEN, given as ``?token=…`` or as a bearer token.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from edgekit.core.errors import UserError
from edgekit.core.port import is_loopback, token_of
from edgekit.demo.view import View

_PAGE = Path(__file__).with_name("page.html")
_CONNECTIONS = 16
_TIMEOUT_S = 5.0


def check_host(host: str) -> str | None:
    """The token that the page must ask for, None on loopback. Raises UserError: open, and no token."""
    token = token_of()
    if is_loopback(host):
        return token
    if token is None:
        raise UserError(
            f"demo: page.host {host} is open to the network",
            "EDGEKIT_TOKEN is not set, so anyone could watch",
            "set EDGEKIT_TOKEN, or leave page.host at 127.0.0.1",
        )
    return token


class PageServer:
    """Serves a View in threads of its own; ``url`` is where. Close it with ``close``."""

    def __init__(self, view: View, host: str, port: int):
        token = check_host(host)
        try:
            self._server = _Server((host, port), _Handler)
        except OSError as error:
            raise UserError(
                f"demo: the page cannot listen on {host}:{port}",
                str(error),
                "set page.port=0 for any free port",
            ) from None
        self._server.view, self._server.token = view, token
        self.url = f"http://{host}:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, name="demo-page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = _CONNECTIONS
    view: View
    token: str | None

    def __init__(self, *args):
        self._room = threading.Semaphore(_CONNECTIONS)
        super().__init__(*args)

    def process_request(self, request, client_address) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)  # too many at once: hang up
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request, client_address) -> None:
        """A browser that hangs up in the middle is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT_S
    server_version = "edgekit"
    sys_version = ""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if not self._allowed(parse_qs(url.query)):
            return
        if url.path == "/":
            nonce = secrets.token_urlsafe(16)
            self._send(200, "text/html; charset=utf-8", _PAGE.read_text().replace("{{nonce}}", nonce), nonce)
        elif url.path == "/state.json":
            self._send(200, "application/json", json.dumps(self.server.view.state()))
        elif url.path == "/frame.jpg":
            jpeg = self.server.view.jpeg()
            self._send(200 if jpeg else 404, "image/jpeg", jpeg)
        else:
            self._send(404, "text/plain", "not found")

    def _allowed(self, query: dict[str, list[str]]) -> bool:
        token = self.server.token
        if token is not None:
            given = (
                self.headers.get("Authorization", "").removeprefix("Bearer ") or query.get("token", [""])[0]
            )
            if not hmac.compare_digest(given.encode(), token.encode()):
                self._send(401, "text/plain", "this page asks for EDGEKIT_TOKEN: open it with ?token=…")
                return False
        elif not is_loopback(urlsplit("//" + self.headers.get("Host", "")).hostname or ""):
            self._send(403, "text/plain", "open this page by its loopback address")
            return False
        return True

    def _send(self, code: int, kind: str, body: str | bytes, nonce: str = "") -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header(
            "Content-Security-Policy",
            f"default-src 'none'; img-src 'self' blob:; connect-src 'self'; script-src 'nonce-{nonce}'; "
            f"style-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'",
        )
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the run's log is not a web server's."""
