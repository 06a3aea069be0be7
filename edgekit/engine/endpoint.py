"""An Answerer behind an OpenAI-compatible port: a served teacher, or a served student."""

from __future__ import annotations

import base64
import io
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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

MAX_TOKENS = 256  # a canonical answer takes about 110 of Qwen's tokens
BUSY = {429, 502, 503, 504}


class Endpoint(Config):
    """Where it is. A key never stands in a recipe: ``api_key_env`` names the variable that holds it."""

    url: str = Field(pattern=r"^https?://")  # up to /v1
    model: str
    api_key_env: str | None = None
    timeout_s: float = Field(60.0, gt=0, le=600)
    tries: int = Field(3, ge=1, le=10)
    parallel: int = Field(4, ge=1, le=64)  # questions under way at once
    width: int = 448  # images are sent at this size
    height: int = 252


class EndpointAnswerer:
    """Asks over HTTP (edgekit.engine.answerer.Answerer): chat completions, temperature 0, label schema.

    contract: the size that images are sent at. Raises UserError where the port cannot be reached,
    does not know the model, or answers with an error.
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
    ):
        import httpx

        self.url, self.name, self.tries, self.batch = url.rstrip("/"), model, tries, parallel
        self.contract = contract or Contract()
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
        key = None
        if endpoint.api_key_env:
            key = os.environ.get(endpoint.api_key_env)
            if not key:
                raise UserError(
                    f"endpoint {endpoint.url}: no key",
                    f"the environment variable {endpoint.api_key_env} is not set",
                    f"export {endpoint.api_key_env}=…, or leave api_key_env out",
                )
        return cls(
            endpoint.url, endpoint.model, key,
            contract=contract or Contract(width=endpoint.width, height=endpoint.height),
            timeout_s=endpoint.timeout_s, tries=endpoint.tries, parallel=endpoint.parallel,
        )  # fmt: skip

    def answer(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> list[Answer]:
        """One Answer each, in order, ``batch`` (the recipe's ``parallel``) questions at a time. See the protocol."""
        with ThreadPoolExecutor(min(self.batch, max(len(images), 1))) as pool:
            return list(pool.map(self._one, images, prompts))

    def close(self) -> None:
        self._client.close()

    def _one(self, image: np.ndarray, prompt: str) -> Answer:
        text = self._post(self._question(image, prompt))
        return Answer(text, parse_answer(text), passes=1)

    def _question(self, image: np.ndarray, prompt: str) -> dict[str, Any]:
        buffer = io.BytesIO()
        Image.fromarray(resize(image, self.contract)).save(buffer, "PNG")
        data = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
        schema = {"name": "scene_label", "strict": True, "schema": json_schema()}
        return {
            "model": self.name,
            "temperature": 0,
            "max_tokens": MAX_TOKENS,
            "messages": [
                {"role": "system", "content": self.contract.system_prompt},
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": data}},
                        {"type": "text", "text": clean(prompt)},
                    ],
                },
            ],
            "response_format": {"type": "json_schema", "json_schema": schema},
        }

    def _post(self, question: dict[str, Any]) -> str:
        """The answer's text; a busy server is asked again after 1, 2, 4 … seconds."""
        import httpx

        reply = None
        for attempt in range(self.tries):
            if attempt:
                time.sleep(min(2.0 ** (attempt - 1), 8.0))
            try:
                reply = self._client.post(f"{self.url}/chat/completions", json=question)
            except httpx.HTTPError as error:
                if attempt + 1 < self.tries:
                    continue
                raise UserError(
                    f"endpoint {self.url}: not reachable",
                    f"{type(error).__name__}: {error} ({self.tries} tries)",
                    "start the server (edgekit serve), or mend endpoint.url",
                ) from None
            if reply.status_code not in BUSY:
                break
        if reply.status_code != 200:
            raise UserError(
                f"endpoint {self.url}: HTTP {reply.status_code}",
                " ".join(reply.text.split())[:200] or "no words",
                f"check that the server serves a model named {self.name!r} and takes images",
            )
        try:
            return reply.json()["choices"][0]["message"]["content"] or ""
        except (ValueError, KeyError, IndexError, TypeError):
            raise UserError(
                f"endpoint {self.url}: not a chat completion",
                " ".join(reply.text.split())[:200],
                "name an OpenAI-compatible URL, up to /v1",
            ) from None
