"""The front with a back end that is a few lines long: routes, order, limits, counters."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time

import httpx
import pytest
from PIL import Image

from edgekit.core.contract import Contract
from edgekit.core.label import UNKNOWN, parse_answer, to_answer
from edgekit.engine.answerer import Answer
from edgekit.models.tokenizer import nano_tokenizer
from edgekit.serve.app import make_app
from edgekit.serve.backend import InProcess
from edgekit.serve.config import Limits

CONTRACT = Contract(width=56, height=56)


class Slow:
    """An Answerer that knows nothing, and takes its time."""

    name, contract = "slow", CONTRACT

    def __init__(self, seconds: float = 0.0, fails: bool = False):
        self.seconds, self.fails, self.at_work, self.most = seconds, fails, 0, 0

    def answer(self, images, prompts):
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        time.sleep(self.seconds)
        self.at_work -= 1
        if self.fails:
            raise RuntimeError("a secret path: /home/someone")
        return [Answer(to_answer(UNKNOWN), UNKNOWN) for _ in images]


def question(**changes) -> dict:
    out = io.BytesIO()
    Image.new("RGB", (56, 56), "red").save(out, "PNG")
    image = "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
    content = [{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": "What is ahead?"}]
    return {"model": "edgekit", "messages": [{"role": "user", "content": content}], **changes}


class Server:
    """The application, asked without a network; several requests at once where a list is given."""

    def __init__(self, answerer=None, token=None, **limits):
        self.backend = InProcess(answerer or Slow(), nano_tokenizer())
        self.app = make_app(self.backend, "edgekit", Limits(**limits), token)

    def ask(self, requests: list[tuple], headers: dict | None = None, host: str = "127.0.0.1:8000"):
        async def go():
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url=f"http://{host}", headers=headers
            ) as client:
                calls = [client.request(method, path, **dict(more)) for method, path, *more in requests]
                return await asyncio.gather(*calls)

        return asyncio.run(go())

    def get(self, path: str, **more):
        return self.ask([("GET", path)], **more)[0]

    def chat(self, count: int = 1, headers: dict | None = None, **changes):
        asked = ("POST", "/v1/chat/completions", ("json", question(**changes)))
        return self.ask([asked] * count, headers=headers)


def test_an_answer_in_openais_form():
    (reply,) = Server().chat()
    told = reply.json()
    assert reply.status_code == 200 and told["object"] == "chat.completion" and told["model"] == "edgekit"
    (choice,) = told["choices"]
    assert choice["finish_reason"] == "stop" and parse_answer(choice["message"]["content"]) == UNKNOWN
    usage = told["usage"]
    assert usage["prompt_tokens"] > CONTRACT.image_tokens and usage["completion_tokens"] > 20
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_an_answer_may_be_cut_short():
    (reply,) = Server().chat(max_tokens=5)
    told = reply.json()
    assert told["choices"][0]["finish_reason"] == "length" and told["usage"]["completion_tokens"] == 5
    assert to_answer(UNKNOWN).startswith(told["choices"][0]["message"]["content"])


def test_a_stream_is_the_same_answer_in_events():
    (reply,) = Server().chat(stream=True, stream_options={"include_usage": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in reply.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    first, last, usage = (json.loads(line) for line in lines[:-1])
    assert parse_answer(first["choices"][0]["delta"]["content"]) == UNKNOWN
    assert last["choices"][0]["finish_reason"] == "stop" and usage["usage"]["total_tokens"] > 0


def test_models_health_and_an_unknown_route():
    server = Server()
    assert [m["id"] for m in server.get("/v1/models").json()["data"]] == ["edgekit"]
    assert server.get("/health").status_code == 200
    reply = server.get("/v1/embeddings")
    assert reply.status_code == 404 and "/v1/embeddings" in reply.json()["error"]["message"]
    assert server.get("/openapi.json").status_code == 404


def test_a_failed_back_end_is_a_503():
    server = Server()
    server.backend.failure = lambda: "it ended"
    assert server.get("/health").status_code == 503
    assert server.chat()[0].status_code == 503


def test_a_token_is_asked_for_everywhere_but_at_health():
    server = Server(token="sesame")
    assert server.get("/health").status_code == 200
    for path in ("/v1/models", "/metrics"):
        assert server.get(path).status_code == 401
    assert server.chat()[0].json()["error"]["type"] == "authentication_error"
    assert server.chat(headers={"Authorization": "Bearer sesam"})[0].status_code == 401
    right = {"Authorization": "Bearer sesame"}
    assert server.chat(headers=right)[0].status_code == 200
    assert server.get("/v1/models", headers=right, host="10.0.0.7").status_code == 200


def test_a_web_page_of_another_origin_does_not_get_in():
    server = Server()
    assert server.get("/v1/models", host="evil.example").status_code == 403
    blind = ("POST", "/v1/chat/completions", ("content", json.dumps(question())))
    assert server.ask([blind], headers={"content-type": "text/plain"})[0].status_code == 415


def test_a_body_over_the_limit_is_a_413():
    server = Server(body_mb=0.001)
    reply = server.ask([("POST", "/v1/chat/completions", ("json", {"x": "y" * 2000}))])[0]
    assert reply.status_code == 413
    far = server.ask([("POST", "/v1/chat/completions", ("json", {"x": "y" * 20000}))])[0]
    assert far.status_code == 413


def test_one_at_a_time_and_all_are_answered():
    answerer = Slow(0.01)
    assert [r.status_code for r in Server(answerer).chat(8)] == [200] * 8
    assert answerer.most == 1


def test_a_full_queue_is_a_429():
    replies = Server(Slow(0.2), queue=1).chat(4)
    assert sorted(r.status_code for r in replies) == [200, 200, 429, 429]
    busy = next(r for r in replies if r.status_code == 429)
    assert busy.headers["retry-after"] == "1" and busy.json()["error"]["type"] == "rate_limit_error"


def test_a_late_answer_is_a_504_and_the_next_one_waits_for_it():
    answerer = Slow(0.3)
    server = Server(answerer, answer_s=0.05)
    assert server.chat()[0].status_code == 504
    assert server.chat()[0].status_code == 504 and answerer.most == 1


def test_a_fault_is_a_500_that_tells_nothing():
    (reply,) = Server(Slow(fails=True)).chat()
    assert reply.status_code == 500 and "secret" not in reply.text
    assert reply.json()["error"]["type"] == "server_error"


def test_a_fault_of_one_request_is_one_line_in_the_log(caplog):
    server = Server(Slow(fails=True))
    transport = httpx.ASGITransport(server.app)  # an error that gets through is uvicorn's traceback

    async def go():
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post("/v1/chat/completions", json=question())

    assert asyncio.run(go()).status_code == 500
    (told,) = [record.getMessage() for record in caplog.records if record.name == "edgekit.serve"]
    assert "RuntimeError('a secret path" in told and "test_app.py" in told and "\n" not in told
    assert 'status="500"} 1' in server.get("/metrics").text


def test_a_client_that_hangs_up_in_mid_body_is_a_499():
    server, came = Server(), iter([{"type": "http.request", "body": b"{", "more_body": True}])
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"",
             "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]}  # fmt: skip

    async def receive():
        return next(came, {"type": "http.disconnect"})

    async def send(message):
        """Nobody is there."""

    asyncio.run(server.app(scope, receive, send))
    page = server.get("/metrics").text
    assert 'status="499"} 1' in page and 'status="500"' not in page
    assert server.chat()[0].status_code == 200


@pytest.mark.parametrize("changes", [{"temperature": 0.5}, {"response_format": {"type": "text"}}])
def test_what_a_bundle_cannot_do_is_a_400(changes):
    assert Server().chat(**changes)[0].status_code == 400


def test_the_counters_add_up():
    server = Server()
    server.chat(3)
    server.chat(model="other")
    lines = server.get("/metrics").text.splitlines()
    assert 'edgekit_requests_total{backend="bundle",status="200"} 3' in lines
    assert 'edgekit_requests_total{backend="bundle",status="404"} 1' in lines
    assert 'edgekit_errors_total{backend="bundle"} 1' in lines
    assert 'edgekit_answer_seconds_count{backend="bundle"} 3' in lines
    assert 'edgekit_answer_seconds_bucket{backend="bundle",le="+Inf"} 3' in lines
    assert 'edgekit_requests_waiting{backend="bundle"} 0' in lines
    # Buckets are cumulative.
    counts = [int(line.rsplit(" ", 1)[1]) for line in lines if "_bucket" in line]
    assert counts == sorted(counts)
