"""An Answerer behind an OpenAI-compatible port: a served teacher, or a served student."""

from __future__ import annotations

import base64
import io
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from edgekit.engine.refusal import Refused, of_one, words_of
from edgekit.engine.repair import repair_text

MAX_TOKENS = 256  # a canonical answer takes about 110 of Qwen's tokens
MAX_REPLY = 1 << 20  # bytes
MAX_WAIT_S = 30.0  # of what a busy port may ask for
SAID = 2000  # characters of an answer that are shown to the model again
BUSY = {429, 502, 503, 504}
MOST_REFUSED = 32  # questions in a row: then it is the port, not their pictures


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

    def key(self) -> str | None:
        """Raises UserError where the named variable is not set, or holds what no HTTP header can carry."""
        if not self.api_key_env:
            return None
        key = os.environ.get(self.api_key_env)
        if not key:
            raise UserError(
                f"endpoint {self.url}: no key",
                f"the environment variable {self.api_key_env} is not set",
                f"export {self.api_key_env}=…, or leave api_key_env out",
            )
        if strange := sum(not "!" <= sign <= "~" for sign in key):
            raise UserError(
                f"endpoint {self.url}: the key cannot be sent",
                f"{strange} of the {len(key)} characters in {self.api_key_env} are blanks or not ASCII",
                f"export {self.api_key_env}=… anew, as the port gave it, or leave api_key_env out",
            )
        return key


class EndpointAnswerer:
    """Asks over HTTP (edgekit.engine.answerer.Answerer): chat completions, temperature 0, label schema.

    contract: the size that images are sent at; pictures: how many one question may hold; proven: the port has
    answered before (a caller who has its answers may say so), so that a refusal is about its question. Raises
    UserError where the port cannot be reached, does not know the model, or answers with an error.
    """

    apart = True  # no question's answer depends on what else is asked with it

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
        self.proven, self._refused = False, 0  # refused: questions in a row
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
        """From a recipe. Raises UserError as ``Endpoint.key`` does."""
        return cls(
            endpoint.url, endpoint.model, endpoint.key(),
            contract=contract or Contract(width=endpoint.width, height=endpoint.height),
            timeout_s=endpoint.timeout_s, tries=endpoint.tries, parallel=endpoint.parallel, pictures=endpoint.pictures,
        )  # fmt: skip

    def answer(
        self,
        images: Sequence[np.ndarray | Sequence[np.ndarray]],
        prompts: Sequence[str],
        answered: Callable[[int, Answer], None] | None = None,
    ) -> list[Answer]:
        """One Answer each, in order; see the protocol. An image may be a list of up to ``pictures`` of them: the
        frame, then crops of it (edgekit.library.aids), which keep their shape.

        An answer that does not parse is asked for once more in the same conversation (``passes`` is 2 then); where
        the second does not parse either, ``label`` is None and ``text`` is the first. At most ``batch`` questions
        (the recipe's ``parallel``) are under way, fewer while the port says that it is busy.

        A question that a proven port refuses (HTTP 400, 413, 422, or no completion in the reply) is an abstention
        whose ``text`` says so, in up to ``MOST_REFUSED`` in a row. Of a port that has not answered yet, and for
        any other failure, UserError is raised; those that wait are then taken back.

        answered: told each answer and its place as it comes, before a failure or Ctrl-C is raised too; one call at
        a time, from a thread of its own.
        """
        asked = [[image] if isinstance(image, np.ndarray) else list(image) for image in images]
        if len(asked) != len(prompts):
            raise ValueError(f"{len(asked)} images and {len(prompts)} prompts")
        most = max(map(len, asked), default=1)
        if most > self.pictures or not all(asked):
            raise ValueError(
                f"{most} pictures in a question, and this port is asked with 1 to {self.pictures}"
            )
        answers: dict[int, Answer] = {}
        # They wait for the port's first answer, whatever the order they come in.
        refused: dict[int, Refused] = {}

        def give(place: int, answer: Answer) -> None:
            answers[place] = answer
            if answered is not None:
                answered(place, answer)

        def take(place: int, told: Answer | Refused) -> None:
            if isinstance(told, Refused):
                refused[place] = told
            else:
                self.proven, self._refused = True, 0
                give(place, told)
            while self.proven and refused and not ended.is_set():
                first = min(refused)
                if self._refused == MOST_REFUSED:
                    ended.set()
                    one = refused[first]
                    raise UserError(one.what, f"{one.why} (after {MOST_REFUSED} such in a row)", one.do)
                self._refused += 1
                give(first, refused.pop(first).answer())

        ended, over, lock, failures = threading.Event(), threading.Event(), threading.Lock(), []

        def ask(place: int) -> None:
            if ended.is_set():
                return
            try:
                told = self._one(asked[place], prompts[place])
                with lock:
                    take(place, told)
            except BaseException as error:
                ended.set()
                failures.append(error)

        def ask_all() -> None:
            try:
                with ThreadPoolExecutor(min(self.batch, max(len(asked), 1))) as pool:
                    for place in range(len(asked)):
                        pool.submit(ask, place)
            finally:
                over.set()

        # Ctrl-C breaks into the main thread, wherever that is: here it only waits, and each thread hands on what it
        # was told. (An interrupted join() makes Python 3.11 believe that the thread has ended.)
        asking = threading.Thread(target=ask_all)
        try:
            asking.start()
            _until(over)
        except BaseException:
            ended.set()
            # What is under way is worked on, and may be paid for: it is waited for and kept.
            if asking.is_alive():
                _until(over)
            raise
        if failures:
            raise failures[0]
        if refused:
            raise refused[min(refused)]
        return [answers[i] for i in range(len(asked))]

    def close(self) -> None:
        self._client.close()

    def _one(self, pictures: list[np.ndarray], prompt: str) -> Answer | Refused:
        """Refused: what is said of this one question; other failures are raised."""
        messages = self._messages(pictures, prompt)
        with self._gate:
            try:
                text = self.chat(messages)
            except Refused as error:
                if error.said is None:
                    raise
                return error
            label = parse_answer(text)
            if label is not None:
                return Answer(text, label, passes=1)
            second = self._again(messages, text)
        label = None if second is None else parse_answer(second)
        return Answer(text if label is None else second, label, passes=1 if second is None else 2)

    def _again(self, messages: list[dict[str, Any]], text: str) -> str | None:
        """The second answer; None where the port takes no conversation (edgekit serve over a Bundle), or not this
        one: it got too long."""
        whole = text.encode(errors="replace").decode()  # a model can write half a surrogate pair
        said = {"role": "assistant", "content": clean(whole)[:SAID] or "(nothing)"}
        try:
            return self.chat([*messages, said, {"role": "user", "content": clean(repair_text(text))}])
        except Refused as error:
            if error.said is None:
                raise
            return None

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
        if status != 200:
            words = words_of(body) or "no words"
            what = f"endpoint {self.url}: HTTP {status}"
            raise Refused(what, words, _advice(status, self.name), of_one(status, words))
        try:
            message = json.loads(body)["choices"][0]["message"]
            text = message["content"] or message.get("refusal") or ""
            if not isinstance(text, str):
                raise TypeError
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise self._odd(words_of(body)) from None
        self._gate.fine()
        return text

    def _send(self, question: dict[str, Any]) -> tuple[int, bytes, float]:
        """(status, body, seconds that the port asks to wait); a body is read up to a bound."""
        body = bytearray()
        with self._client.stream("POST", f"{self.url}/chat/completions", json=question) as reply:
            for part in reply.iter_bytes():
                body += part
                if len(body) > MAX_REPLY:
                    raise self._odd(f"the reply is over {MAX_REPLY} bytes, and an answer takes about 1,000")
        wanted = reply.headers.get("Retry-After", "")
        seconds = float(wanted) if wanted.isascii() and wanted.isdigit() else 0.0  # a date says nothing here
        return reply.status_code, bytes(body), min(seconds, MAX_WAIT_S)

    def _odd(self, why: str) -> Refused:
        what = f"endpoint {self.url}: not a chat completion"
        said = of_one(200, f"not a chat completion: {why}")
        return Refused(what, why, "name an OpenAI-compatible URL, up to /v1", said)


def _until(over: threading.Event) -> None:
    """Waits, awake now and then: a signal that another thread was given does not wake the main one, which alone
    hears of it."""
    while not over.wait(0.05):
        pass


def _data_url(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _advice(status: int, model: str) -> str:
    if status in (401, 403):
        return "name the variable that holds the port's key: endpoint.api_key_env"
    if status == 429:
        return "ask fewer at once (endpoint.parallel) or more often (endpoint.tries)"
    if status >= 500:
        return "look into the server's own log"
    return f"check that the server serves a model named {model!r} and takes images"
