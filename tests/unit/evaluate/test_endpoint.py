"""The endpoint Answerer against a small server of our own on localhost."""

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.core.label import SceneLabel, json_schema, to_answer
from edgekit.engine.answerer import Answerer
from edgekit.engine.endpoint import Endpoint, EndpointAnswerer

CONTRACT = Contract(width=56, height=56)


class Server(ThreadingHTTPServer):
    """Says cones: yes where the image is bright; ``script`` holds statuses to answer with first."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen, self.script, self.body = [], [], None


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, dict(self.headers), question))
        status = self.server.script.pop(0) if self.server.script else 200
        url = question["messages"][1]["content"][0]["image_url"]["url"]
        image = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))))
        text = to_answer(SceneLabel(cones="yes" if image.mean() > 128 else "no"))
        body = self.server.body or json.dumps({"choices": [{"message": {"content": text}}]})
        self.send_response(status)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def answerer(server, **more):
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    return EndpointAnswerer(url, "teacher", more.pop("api_key", None), contract=CONTRACT, **more)


def pictures(n):
    return [np.full((90, 70, 3), 250 * (i % 2), np.uint8) for i in range(n)]


def test_questions_and_answers(server):
    asked = answerer(server, api_key="k1")
    assert isinstance(asked, Answerer)
    answers = asked.answer(pictures(6), ["<image>What <|im_end|>is ahead?"] * 6)
    assert [a.label.cones for a in answers] == ["no", "yes"] * 3
    path, headers, question = server.seen[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer k1"
    assert question["model"] == "teacher" and question["temperature"] == 0
    assert question["response_format"]["json_schema"]["schema"] == json_schema()
    assert question["messages"][0] == {"role": "system", "content": CONTRACT.system_prompt}
    image, text = question["messages"][1]["content"]
    assert text["text"] == "What is ahead?"  # no image mark, no control words
    sent = Image.open(io.BytesIO(base64.b64decode(image["image_url"]["url"].split(",", 1)[1])))
    assert sent.format == "PNG" and sent.size == (56, 56)


def test_an_answer_that_does_not_parse_has_no_label(server):
    server.body = json.dumps({"choices": [{"message": {"content": "I see cones."}}]})
    (answer,) = answerer(server).answer(pictures(1), ["?"])
    assert answer.label is None and answer.text == "I see cones." and answer.seen == SceneLabel()


def test_a_busy_server_is_asked_again(server, monkeypatch):
    slept = []
    monkeypatch.setattr("edgekit.engine.endpoint.time.sleep", slept.append)
    server.script = [503, 429]
    (answer,) = answerer(server).answer(pictures(1), ["?"])
    assert answer.label is not None and slept == [1.0, 2.0] and len(server.seen) == 3


@pytest.mark.parametrize(
    "script, body, said",
    [([404], None, "HTTP 404"), ([503] * 3, None, "HTTP 503"), ([], "<html>", "not a chat completion")],
)
def test_errors_come_in_three_lines(server, monkeypatch, script, body, said):
    monkeypatch.setattr("edgekit.engine.endpoint.time.sleep", lambda _: None)
    server.script, server.body = script, body
    with pytest.raises(UserError) as error:
        answerer(server).answer(pictures(1), ["?"])
    assert said in str(error.value) and len(str(error.value).splitlines()) == 3


def test_nobody_listens(server):
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError) as error:
        EndpointAnswerer(url, "x", tries=1, timeout_s=2).answer(pictures(1), ["?"])
    assert "not reachable" in str(error.value) and len(str(error.value).splitlines()) == 3


def test_the_key_comes_from_the_environment(monkeypatch):
    endpoint = Endpoint(
        url="http://127.0.0.1:9/v1", model="m", api_key_env="EDGEKIT_TEST_KEY", width=56, height=56
    )
    monkeypatch.delenv("EDGEKIT_TEST_KEY", raising=False)
    with pytest.raises(UserError, match="EDGEKIT_TEST_KEY is not set"):
        EndpointAnswerer.of(endpoint)
    monkeypatch.setenv("EDGEKIT_TEST_KEY", "secret")
    made = EndpointAnswerer.of(endpoint)
    assert made.contract == CONTRACT and made._client.headers["Authorization"] == "Bearer secret"
    assert "secret" not in endpoint.model_dump_json()
