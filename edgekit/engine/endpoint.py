"""An Answerer behind an OpenAI-compatible port: a served teacher, or a served student."""

from __future__ import annotations

import base64
import io
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, ClassVar

import numpy as np
from PIL import Image
from pydantic import Field

from edgekit.core.contract import Contract
from edgekit.core.errors import UserError
from edgekit.core.label import json_schema, parse_answer
from edgekit.core.recipe import Config
from edgekit.engine.answerer import Answer
from edgekit.engine.chat import clean
from edgekit.engine.pixels import resize
from edgekit.engine.pressure import Gate
from edgekit.engine.repair import repair_text

MAX_TOKENS = 256  # a canonical answer takes about 110 of Qwen's tokens
MAX_REPLY = 1 << 20  # bytes
MAX_WAIT_S = 30.0  # of what a busy port may ask for
SAID = 2000  # characters of an answer that are shown to the model again
BUSY = {429, 502, 503, 504}
NO_TALK = {
    400,
    413,
    422,
}  # of a second turn: a port of one turn (edgekit serve over a Bundle), or it got too long


class Endpoint(Config):
    """Where it is. A key never stands in a recipe: ``api_key_env`` names the variable that holds it.

    A run goes on where it was with another place, key or pace: the model and the pictures decide the answers.
    """

    operational: ClassVar[tuple[str, ...]] = ("url", "api_key_env", "timeout_s", "tries", "parallel")

    url: str = Field(pattern=r"^https?://")  # up to /v1
    model: str
    api_key_env: str | None = None
    timeout_s: float = Field(60.0, gt=0, le=600)
    tries: int = Field(3, ge=1, le=10)
    parallel: int = Field(4, ge=1, le=64)  # questions under way at once
    width: int = 448  # images are sent at this size
    height: int = 252
    # of one question; more than 1: a crop of the light goes as a picture of its own, else as an inset
    pictures: int = Field(1, ge=1, le=8)


def key_of(endpoint: Endpoint) -> str | None:
    """The key that it asks for, None where it asks for none. Raises UserError where its variable is not set."""
    if not endpoint.api_key_env:
        return None
    key = os.environ.get(endpoint.api_key_env)
    if not key:
        raise UserError(
            f"endpoint {endpoint.url}: no key",
            f"the environment variable {endpoint.api_key_env} is not set",
            f"export {endpoint.api_key_env}=…, or leave api_key_env out",
        )
    return key


class EndpointAnswerer:
    """Asks over HTTP (edgekit.engine.answerer.Answerer): chat completions, temperature 0, label schema.

    contract: the size that images are sent at; pictures: how many one question may hold. Raises UserError
    where the port cannot be reached, does not know the model, or answers with an error.
    """

    def __init__(
        self,
        url: str,
        model: str,
        api_key: str | None = None,
        *,
        contract: Contract | None = None,
        timeout_s: float = 60.0,
        tries: int = 3,
        parallel: int = 4,
        pictures: int = 1,
    ):
        import httpx

        self.url, self.name, self.tries, self.batch = url.rstrip("/"), model, tries, parallel
        self.contract, self.pictures = contract or Contract(), pictures
        self._gate = Gate(parallel)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # A proxy named in the environment is for the world outside, not for this machine's own ports.
        local = httpx.URL(self.url).host in ("localhost", "127.0.0.1", "::1")
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 10.0)),
            headers=headers,
            trust_env=not local,
        )

    @classmethod
    def of(cls, endpoint: Endpoint, contract: Contract | None = None) -> EndpointAnswerer:
        """From a recipe. Raises UserError where the named variable is not set."""
        return cls(
            endpoint.url, endpoint.model, key_of(endpoint),
            contract=contract or Contract(width=endpoint.width, height=endpoint.height),
            timeout_s=endpoint.timeout_s, tries=endpoint.tries, parallel=endpoint.parallel, pictures=endpoint.pictures,
        )  # fmt: skip

    def answer(
        self, images: Sequence[np.ndarray | Sequence[np.ndarray]], prompts: Sequence[str]
    ) -> list[Answer]:
        """One Answer each, in order; see the protocol. An image may be a list of up to ``pictures`` of them: the
        frame, then crops of it (edgekit.library.aids), which keep their shape.

        An answer that does not parse is asked for once more in the same conversation (``passes`` is 2 then); where
        the second does not parse either, ``label`` is None and ``text`` is the first. At most ``batch`` questions
        (the recipe's ``parallel``) are under way, fewer while the port says that it is busy. The first failure
        takes back those that wait.
        """
        asked = [[image] if isinstance(image, np.ndarray) else list(image) for image in images]
        if len(asked) != len(prompts):
            raise ValueError(f"{len(asked)} images and {len(prompts)} prompts")
        most = max(map(len, asked), default=1)
        if most > self.pictures or not all(asked):
            raise ValueError(
                f"{most} pictures in a question, and this port is asked with 1 to {self.pictures}"
            )
        with ThreadPoolExecutor(min(self.batch, max(len(asked), 1))) as pool:
            waiting = [pool.submit(self._one, *question) for question in zip(asked, prompts, strict=True)]
            try:
                wait(waiting, return_when=FIRST_EXCEPTION)
            finally:
                pool.shutdown(cancel_futures=True)  # none is left where all went well
        failed = [done.exception() for done in waiting if not done.cancelled() and done.exception()]
        if failed:
            raise failed[0]
        return [done.result() for done in waiting]

    def close(self) -> None:
        self._client.close()

    def _one(self, pictures: list[np.ndarray], prompt: str) -> Answer:
        messages = self._messages(pictures, prompt)
        with self._gate:
            text = self.chat(messages)
            label = parse_answer(text)
            if label is not None:
                return Answer(text, label, passes=1)
            second = self._again(messages, text)
        label = None if second is None else parse_answer(second)
        return Answer(text if label is None else second, label, passes=1 if second is None else 2)

    def _again(self, messages: list[dict[str, Any]], text: str) -> str | None:
        """The second answer; None where the port takes no conversation."""
        whole = text.encode(errors="replace").decode()  # a model can write half a surrogate pair
        said = {"role": "assistant", "content": clean(whole)[:SAID] or "(nothing)"}
        try:
            return self.chat([*messages, said, {"role": "user", "content": clean(repair_text(text))}])
        except _Refused as error:
            if error.status in NO_TALK:
                return None
            raise

    def _messages(self, pictures: list[np.ndarray], prompt: str) -> list[dict[str, Any]]:
        shown = [resize(pictures[0], self.contract), *(self._bounded(p) for p in pictures[1:])]
        parts = [{"type": "image_url", "image_url": {"url": _data_url(picture)}} for picture in shown]
        return [
            {"role": "system", "content": self.contract.system_prompt},
            {"role": "user", "content": [*parts, {"type": "text", "text": clean(prompt)}]},
        ]

    def _bounded(self, picture: np.ndarray) -> np.ndarray:
        """A further picture, of at most as many pixels as the first; its shape is kept."""
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"want RGB uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
        height, width = picture.shape[:2]
        scale = (self.contract.width * self.contract.height / (width * height)) ** 0.5
        if scale >= 1:
            return picture
        size = (max(1, int(width * scale)), max(1, int(height * scale)))
        return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))

    def chat(
        self,
        messages: list[dict[str, Any]],
        schema: dict[str, Any] | None = None,
        name: str = "scene_label",
        max_tokens: int = MAX_TOKENS,
    ) -> str:
        """What the port says next in a conversation, held to a JSON schema (the label's where None is given).

        A busy port is asked again after 1, 2, 4 … seconds, or as many as it says. Raises UserError as the class does.
        """
        import httpx

        held = {"name": name, "strict": True, "schema": json_schema() if schema is None else schema}
        question = {
            "model": self.name, "temperature": 0, "max_tokens": max_tokens, "messages": messages,
            "response_format": {"type": "json_schema", "json_schema": held},
        }  # fmt: skip
        status, body, wanted = 0, b"", 0.0
        for attempt in range(self.tries):
            if attempt:
                time.sleep(max(min(2.0 ** (attempt - 1), 8.0), wanted))
            try:
                status, body, wanted = self._send(question)
            except httpx.HTTPError as error:
                self._gate.busy()
                if attempt + 1 < self.tries:
                    continue
                raise UserError(
                    f"endpoint {self.url}: not reachable",
                    f"{type(error).__name__}: {error} ({self.tries} tries)",
                    "start the server (edgekit serve), or mend endpoint.url",
                ) from None
            if status not in BUSY:
                break
            self._gate.busy()
        words = " ".join(body.decode(errors="replace").split())[:200]
        if status != 200:
            raise _Refused(
                f"endpoint {self.url}: HTTP {status}",
                words or "no words",
                _advice(status, self.name),
                status,
            )
        try:
            text = json.loads(body)["choices"][0]["message"]["content"] or ""
            if not isinstance(text, str):
                raise TypeError
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            raise UserError(
                f"endpoint {self.url}: not a chat completion",
                words,
                "name an OpenAI-compatible URL, up to /v1",
            ) from None
        self._gate.fine()
        return text

    def _send(self, question: dict[str, Any]) -> tuple[int, bytes, float]:
        """(status, body, seconds that the port asks to wait); a body is read up to a bound."""
        body = bytearray()
        with self._client.stream("POST", f"{self.url}/chat/completions", json=question) as reply:
            for part in reply.iter_bytes():
                body += part
                if len(body) > MAX_REPLY:
                    raise UserError(
                        f"endpoint {self.url}: not a chat completion",
                        f"the reply is over {MAX_REPLY} bytes, and an answer takes about 1,000",
                        "name an OpenAI-compatible URL, up to /v1",
                    )
        wanted = reply.headers.get("Retry-After", "")
        seconds = float(wanted) if wanted.isascii() and wanted.isdigit() else 0.0  # a date says nothing here
        return reply.status_code, bytes(body), min(seconds, MAX_WAIT_S)


class _Refused(UserError):
    """The port answered, and with an error."""

    def __init__(self, what: str, why: str, do: str, status: int):
        super().__init__(what, why, do)
        self.status = status


def _data_url(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _advice(status: int, model: str) -> str:
    if status in (401, 403):
        return "name the variable that holds the port's key: endpoint.api_key_env"
    if status >= 500:
        return "look into the server's own log, and start the same command again: what was answered is kept"
    return f"check that the server serves a model named {model!r} and takes images"
