"""What stands behind the port: one protocol, and the back end that answers in this process."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer

from edgekit.core.contract import Contract
from edgekit.engine.answerer import Answerer
from edgekit.engine.chat import prompt_ids
from edgekit.serve.request import Asked
from edgekit.serve.wire import Completion, Refused


class Backend(Protocol):
    """kind: for metrics; places: requests that it works on at once."""

    kind: str
    contract: Contract
    places: int

    async def answer(self, asked: Asked) -> Completion:
        """Raises Refused for what this back end cannot do."""
        ...

    def failure(self) -> str | None:
        """Why it cannot answer any more, or None while it can."""
        ...


class InProcess:
    """An Answerer (a Bundle) in this process: slot decoding, so an answer always holds the schema.

    One request at a time, in a worker thread: the runtime below takes the cores by itself.
    """

    kind = "bundle"
    places = 1

    def __init__(self, answerer: Answerer, tokenizer: Tokenizer):
        self.answerer, self.tokenizer, self.contract = answerer, tokenizer, answerer.contract
        # One thread: an answer that came too late for its asker is still finished before the next.
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="answer")

    @classmethod
    def open(cls, folder: Path) -> InProcess:
        """Loads a Bundle. Raises UserError where it is none, or another contract's."""
        from edgekit.engine.bundle import BundleAnswerer

        return cls(BundleAnswerer(folder), Tokenizer.from_file(str(folder / "tokenizer.json")))

    async def answer(self, asked: Asked) -> Completion:
        if asked.free_format is not None:
            raise Refused(400, "a Bundle answers in the label's own JSON only", "response_format")
        if asked.temperature:
            raise Refused(400, "a Bundle answers greedily: temperature must be 0", "temperature")
        loop = asyncio.get_running_loop()
        (answer,) = await loop.run_in_executor(self.worker, self.answerer.answer, [asked.image], [asked.text])
        ids = self.tokenizer.encode(answer.text, add_special_tokens=False).ids
        text, finish, written = answer.text, "stop", len(ids) + 1  # and the end token
        if asked.max_tokens is not None and asked.max_tokens < written:
            written, finish = asked.max_tokens, "length"
            text = self.tokenizer.decode(ids[:written])
        asked_ids = prompt_ids(asked.text, self.contract, self.tokenizer)
        return Completion(text, finish, len(asked_ids), written)

    def failure(self) -> str | None:
        return None
