"""A Bundle that answers: onnxruntime and numpy, no torch, no transformers. One image at a time.

The prompt's keys and values are kept while an answer is decoded; each further pass runs only the
tokens behind the first one that changed. The last answer of a video is a good draft for the next
frame: where the scene has not changed, one decoder call is the whole answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from edgekit.core.errors import UserError
from edgekit.core.label import SLOTS, SceneLabel, parse_answer
from edgekit.engine.answerer import Answer
from edgekit.engine.bundle_files import open_bundle
from edgekit.engine.chat import END, positions, prompt_ids
from edgekit.engine.pixels import pixel_values
from edgekit.engine.slots import Grammar, answer_of, decode, first_guess
from edgekit.engine.vision_inputs import VisionShape, vision_inputs


class Reading:
    """One prompt with its image, as the decoder has read it so far; grown and rewound by ``extend``.

    Cache arrays are (1, kv_heads, T, head_dim), keys and values of each layer in turn.
    """

    def __init__(self, embedded: np.ndarray, where: np.ndarray, after: int, empty: list[np.ndarray]):
        self.embedded, self.where, self.after = embedded, where, after  # (1, P, H), (3, P), next position
        self.cache = empty
        self.tokens: list[int] = []  # answer tokens in the cache, behind the prompt
        self.logits: np.ndarray | None = None  # (len(tokens) + 1, V): row k scores token k


class BundleAnswerer:
    """Answers with an exported Bundle (edgekit.engine.answerer.Answerer).

    path: a Bundle's folder, a Run or ``package:NAME``; threads: onnxruntime's, its own choice where
    None; fast: the approximate decoder, where the Bundle has one. ``last_timing`` holds the last
    answer's preprocess_ms, vision_ms, prefill_ms, decode_ms and passes.
    Raises UserError for files that are not what was exported, and for a schema not read here.
    """

    batch = 1  # images at a time

    def __init__(self, path: str | Path, threads: int | None = None, fast: bool = False):
        files = open_bundle(path)
        self.files, self.name, self.contract, self.info = files, files.name, files.contract, files.info
        self.tokenizer = Tokenizer.from_file(str(files.path("tokenizer.json")))
        self.grammar = Grammar.of(
            lambda text: self.tokenizer.encode(text, add_special_tokens=False).ids,
            self.tokenizer.token_to_id(END),
        )
        decoder = "decoder-fast.onnx" if fast else "decoder.onnx"
        if decoder not in files.info["files"]:
            raise UserError(
                f"{path}: there is no fast decoder in this Bundle",
                "it was exported without accuracy_level",
                "export it with accuracy_level: 4, or leave out fast",
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        self._vision, self._embedding, self._decoder = (
            onnxruntime.InferenceSession(str(files.path(name)), options, providers=["CPUExecutionProvider"])
            for name in ("vision.onnx", "embedding.onnx", decoder)
        )
        model = files.info["model"]
        self._image_token = model["image_token_id"]
        self._stop = set(model["stop_token_ids"])
        shape = (1, model["kv_heads"], 0, model["head_dim"])
        self._empty = [np.zeros(shape, np.float32) for _ in range(2 * model["layers"])]
        self._past = [f"past.{i}.{part}" for i in range(model["layers"]) for part in ("key", "value")]
        # All that depends on the grid alone, once: the contract has one image size.
        self._grid_inputs = vision_inputs(VisionShape(**model["vision"]), self.contract.grid)
        self.last_timing: dict[str, float] = {}

    def answer(
        self, images: Sequence[np.ndarray], prompts: Sequence[str], draft: SceneLabel | None = None
    ) -> list[Answer]:
        """One Answer each, in order; the text is always canonical JSON. See the protocol.

        draft: what the answer probably is (a video's last one); it changes the number of passes,
        never the answer.
        """
        return [self._answer(image, prompt, draft) for image, prompt in zip(images, prompts, strict=True)]

    def _answer(self, image: np.ndarray, prompt: str, draft: SceneLabel | None) -> Answer:
        guess = first_guess() if draft is None else {slot: getattr(draft, slot) for slot in SLOTS}
        reading = self.read(image, prompt)
        began = time.perf_counter()
        spent: list[float] = []

        def score(tokens: list[list[int]], which: Sequence[int]) -> list[np.ndarray]:
            rows = [self.score(reading, tokens[0])]
            spent.append(time.perf_counter() - began)
            return rows

        values, sure, passes = decode(self.grammar, score, [guess])[0]
        # The first pass reads the prompt and its guess together: it is the prefill.
        self.last_timing["prefill_ms"] = 1e3 * spent[0]
        self.last_timing["decode_ms"] = 1e3 * (spent[-1] - spent[0])
        self.last_timing["passes"] = passes
        text, label = answer_of(values)
        return Answer(text, label, sure, passes)

    def free_answer(self, image: np.ndarray, prompt: str, max_tokens: int = 96) -> Answer:
        """The greedy answer without the grammar; ``label`` is None where the text does not parse."""
        written = list(self.write(image, prompt, max_tokens))
        text = self.tokenizer.decode(written)
        return Answer(text, parse_answer(text), passes=len(written) + 1)

    def write(self, image: np.ndarray, prompt: str, max_tokens: int = 96) -> Iterator[int]:
        """Greedy token ids one by one, up to a stop token, which is left out."""
        reading = self.read(image, prompt)
        began = time.perf_counter()
        row = self.extend(reading, [])[-1]
        self.last_timing["prefill_ms"] = 1e3 * (time.perf_counter() - began)
        self.last_timing |= {"decode_ms": 0.0, "passes": 1}
        for left in reversed(range(max_tokens)):
            token = int(np.argmax(row))
            if token in self._stop:
                return
            yield token
            if not left:
                return
            began = time.perf_counter()
            row = self.extend(reading, [token])[-1]
            self.last_timing["decode_ms"] += 1e3 * (time.perf_counter() - began)
            self.last_timing["passes"] += 1

    def read(self, image: np.ndarray, prompt: str) -> Reading:
        """Preprocesses, sees and embeds; the decoder has not run yet. image: RGB uint8, any size."""
        began = time.perf_counter()
        pixels, _ = pixel_values([image], self.contract)
        ids = np.asarray(prompt_ids(prompt, self.contract, self.tokenizer), dtype=np.int64)
        where, after = positions(ids, self._image_token, self.contract)
        prepared = time.perf_counter()
        seen = self._vision.run(None, {"input": pixels, **self._grid_inputs})[0]  # (image_tokens, H)
        embedded = self._embed(ids)
        embedded[0, ids == self._image_token] = seen
        done = time.perf_counter()
        self.last_timing = {
            "preprocess_ms": 1e3 * (prepared - began),
            "vision_ms": 1e3 * (done - prepared),
        }
        return Reading(embedded, where, after, self._empty)

    def score(self, reading: Reading, tokens: list[int]) -> np.ndarray:
        """Logits (len(tokens), V): row k scores token k, given the prompt and the tokens before it.

        Keeps what the reading already holds of these tokens, and forgets the rest.
        """
        held = reading.tokens
        same = 0
        while same < min(len(held), len(tokens) - 1) and held[same] == tokens[same]:
            same += 1
        if reading.logits is not None and same < len(held):
            keep = reading.embedded.shape[1] + same
            reading.cache = [np.ascontiguousarray(array[:, :, :keep]) for array in reading.cache]
            reading.tokens, reading.logits = held[:same], reading.logits[: same + 1]
        rest = tokens[same:-1]
        if rest or reading.logits is None:
            self.extend(reading, rest)
        return reading.logits[: len(tokens)]

    def extend(self, reading: Reading, tokens: list[int]) -> np.ndarray:
        """Runs the decoder on ``tokens`` (with the prompt before them the first time).

        Returns the new rows of logits, (new, V): the last one scores what would come next.
        """
        done = len(reading.tokens)
        where = np.tile(reading.after + done + np.arange(len(tokens)), (3, 1))
        embedded = self._embed(np.asarray(tokens, dtype=np.int64))
        if reading.logits is None:
            embedded = np.concatenate([reading.embedded, embedded], axis=1)
            where = np.concatenate([reading.where, where], axis=1)
        fresh = len(tokens) + (reading.logits is None)
        feed = {
            "inputs_embeds": embedded,
            "position_ids": where[:, None].astype(np.int64),  # (3, 1, S)
            "rows": np.arange(embedded.shape[1] - fresh, embedded.shape[1]),
            **dict(zip(self._past, reading.cache, strict=True)),
        }
        logits, *reading.cache = self._decoder.run(None, feed)
        reading.tokens = [*reading.tokens, *tokens]
        before = reading.logits
        reading.logits = logits[0] if before is None else np.concatenate([before, logits[0]])
        return logits[0]

    def _embed(self, ids: np.ndarray) -> np.ndarray:
        """(n) → (1, n, H) float32."""
        return self._embedding.run(None, {"input_ids": ids[None]})[0]
