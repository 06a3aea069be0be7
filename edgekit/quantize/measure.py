"""What a model says on frames: answers, and the logits of the labelled answer's tokens."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from edgekit.core.label import SLOTS
from edgekit.core.progress import track
from edgekit.dataset import Dataset, Sample
from edgekit.engine.chat import prompt_ids
from edgekit.engine.pixels import pixel_values
from edgekit.models.answerer import TorchAnswerer
from edgekit.models.checkpoint import Loaded


class Said(NamedTuple):
    """answers: texts; logits: per frame (answer tokens, V) float32."""

    answers: list[str]
    logits: list[np.ndarray]


def answer_tokens(row: Sample, loaded: Loaded) -> list[int]:
    return loaded.grammar.tokens({slot: getattr(row.label, slot) for slot in SLOTS})


def conversation(data: Dataset, row: Sample, loaded: Loaded) -> dict[str, torch.Tensor]:
    """A frame with its prompt and labelled answer, as ``model.forward`` takes it; batch of one."""
    prompt = prompt_ids(row.user_text, loaded.contract, loaded.tokenizer)
    ids = torch.tensor([prompt + answer_tokens(row, loaded)])
    pixels, grids = pixel_values([data.image(row)], loaded.contract)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": torch.from_numpy(pixels).to(loaded.model.dtype),
        "image_grid_thw": torch.from_numpy(grids),
        "mm_token_type_ids": (ids == loaded.model.config.image_token_id).int(),
    }


def listen(loaded: Loaded, data: Dataset, rows: list[Sample], what: str) -> Said:
    """Asks the model about each frame, one at a time."""
    answerer = TorchAnswerer(loaded, batch=1)
    answers, logits = [], []
    for row in track(rows, what, unit="frame"):
        image = data.image(row)
        answers.append(answerer.answer([image], [row.user_text])[0].text)
        ids = torch.tensor([prompt_ids(row.user_text, loaded.contract, loaded.tokenizer)])
        logits += answerer.score(answerer.read([image], ids), [answer_tokens(row, loaded)], [0])
    return Said(answers, logits)


def mean_difference(a: Said, b: Said) -> float:
    """Mean |Δlogit| over frames, answer tokens and vocabulary, to three digits."""
    mean = np.mean([np.abs(x - y).mean() for x, y in zip(a.logits, b.logits, strict=True)])
    return float(f"{mean:.3g}")


def share_equal(a: Said, b: Said) -> float:
    return float(np.mean([x == y for x, y in zip(a.answers, b.answers, strict=True)]))
