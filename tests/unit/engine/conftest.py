"""A port of the tests' own, which answers as a test says, and an endpoint that asks it."""

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from edgekit.core.contract import Contract
from edgekit.core.label import SceneLabel, to_answer
from edgekit.engine.endpoint import EndpointAnswerer

CONTRACT = Contract(width=112, height=56)
GOOD = to_answer(SceneLabel(cones="yes"))
FILTERED = json.dumps({"error": {"message": "content filter", "code": 400}}).encode()


class Port(ThreadingHTTPServer):
    """Answers as ``reply(question)`` says: (status, content or whole body as bytes, headers); status 0 hangs up."""

    def __init__(self, reply):
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply, self.asked, self.most, self._inside = reply, [], 0, 0
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        port, question = self.server, json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with port.lock:
            port.asked.append(question)
            port._inside += 1
            port.most = max(port.most, port._inside)
        try:
            status, said, headers = port.reply(question)
        finally:
            with port.lock:
                port._inside -= 1
        if not status:
            self.close_connection = True
            return
        body = said
        if isinstance(said, str):
            body = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass  # the client has read enough

    def log_message(self, *args):
        pass


@pytest.fixture
def opened():
    """A function: reply -> (port, answerer); all are closed at the end."""
    made = []

    def start(reply, **more):
        port = Port(reply)
        thread = threading.Thread(target=port.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        answerer = EndpointAnswerer(port.url, "teacher", contract=CONTRACT, **more)
        made.append((port, thread, answerer))
        return port, answerer

    yield start
    for port, thread, answerer in made:
        answerer.close()
        port.shutdown()
        port.server_close()
        thread.join()


@pytest.fixture
def slept(monkeypatch):
    naps = []
    monkeypatch.setattr("edgekit.engine.endpoint.time.sleep", naps.append)
    return naps


def frames(n=1):
    return [np.full((90, 160, 3), i, np.uint8) for i in range(n)]


def decoded(question):
    parts = question["messages"][1]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1])))) for url in urls]


def shade(question):
    """The number of the frame that is asked about (see ``frames``)."""
    return int(decoded(question)[0][0, 0, 0])


def refusing(which, status=400, body=FILTERED):
    return lambda question: (status, body, {}) if shade(question) in which else (200, GOOD, {})
