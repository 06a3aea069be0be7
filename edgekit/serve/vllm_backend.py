"""The back end that asks vLLM, over a Unix socket that only this user can reach."""

from __future__ import annotations

import base64
import io
import re

import httpx
from PIL import Image

from edgekit.core.contract import Contract
from edgekit.core.label import SLOTS, answer_pieces, parse_answer, to_answer
from edgekit.serve.request import Asked
from edgekit.serve.vllm_process import VllmProcess
from edgekit.serve.wire import Completion, Refused


def answer_pattern() -> str:
    """A regular expression of the canonical answers, and of nothing else.

    Not the JSON schema: its grammar leaves blanks and the order of keys to the server, and the
    model was taught one spelling.
    """
    pieces = [re.sub(r"([{}])", r"\\\1", piece) for piece in answer_pieces()]
    out = pieces[0]
    for piece, options in zip(pieces[1:], SLOTS.values(), strict=True):
        out += f"({'|'.join(options)}){piece}"
    return out


class Vllm:
    """Forwards one image and one text; the image goes as the very pixels that the contract makes."""

    kind = "vllm"

    def __init__(self, process: VllmProcess, contract: Contract, name: str, places: int, timeout_s: float):
        self.process, self.contract, self.name, self.places = process, contract, name, places
        self.client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(process.socket)),
            base_url="http://vllm",
            timeout=timeout_s,
        )

    async def answer(self, asked: Asked) -> Completion:
        try:
            reply = await self.client.post("/v1/chat/completions", json=self._body(asked))
        except httpx.TimeoutException:
            raise Refused(504, "no answer in time") from None
        except httpx.TransportError as error:
            raise Refused(503, f"vLLM does not answer: {type(error).__name__}") from None
        if reply.status_code != 200:
            raise _refusal(reply)
        return _completion(reply.json(), enforced=asked.free_format is None)

    def _body(self, asked: Asked) -> dict:
        png = io.BytesIO()
        Image.fromarray(asked.image).save(png, "PNG", compress_level=1)
        url = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": asked.text}]
        body = {
            "model": self.name,
            "messages": [{"role": "user", "content": content}],
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "seed": asked.seed,
            # generation_config.json of larger models sets one: the answer is to be the plain greedy one.
            "repetition_penalty": 1.0,
        }
        if asked.max_tokens is not None:
            body["max_tokens"] = asked.max_tokens
        if asked.free_format is None:
            body["structured_outputs"] = {"regex": answer_pattern()}
        else:
            body["response_format"] = asked.free_format
        return body

    def failure(self) -> str | None:
        return self.process.failure()


def _refusal(reply: httpx.Response) -> Refused:
    """vLLM's own error; its 400s are the client's, anything else is ours."""
    try:
        message = str(reply.json()["error"]["message"])[:500]
    except (ValueError, KeyError, TypeError):
        message = "vLLM answered in an unknown form"
    return Refused(400 if reply.status_code == 400 else 502, message)


def _completion(body: dict, enforced: bool) -> Completion:
    choice, usage = body["choices"][0], body["usage"]
    text = choice["message"]["content"] or ""
    if enforced and (label := parse_answer(text)):
        text = to_answer(label)  # coherent: an arrow follows its light, as every Answerer tells it
    finish = "length" if choice["finish_reason"] == "length" else "stop"
    return Completion(text, finish, usage["prompt_tokens"], usage["completion_tokens"])
