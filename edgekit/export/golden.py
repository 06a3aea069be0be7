"""Golden frames: what torch says about a few frames, by transformers' own forward and generate."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import GenerationConfig

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, write_json
from edgekit.core.label import SLOTS
from edgekit.core.progress import track
from edgekit.dataset import Dataset, Sample
from edgekit.engine.chat import prompt_ids
from edgekit.engine.pixels import pixel_values
from edgekit.models.answerer import TorchAnswerer
from edgekit.models.checkpoint import Loaded


@dataclass(frozen=True)
class Golden:
    """One frame. free: greedy ids without the grammar; answer: canonical JSON under the grammar;

    tokens: the answer's ids; logits: (len(tokens), V) float32, row k scores token k.
    """

    row: Sample
    free: list[int]
    answer: str
    tokens: list[int]
    logits: np.ndarray


def choose_golden(data: Dataset, frames: int) -> list[Sample]:
    """``frames`` test rows, evenly spaced. Raises UserError where there are fewer."""
    rows = data.rows("test")
    if len(rows) < frames:
        raise UserError(
            "export: too few golden frames",
            f"{frames} are asked for, the Dataset's test split has {len(rows)}",
            "give a Dataset with a larger test split, or lower frames",
        )
    return [rows[i * len(rows) // frames] for i in range(frames)]


@torch.no_grad()
def reference(
    loaded: Loaded, data: Dataset, rows: list[Sample], max_tokens: int, stop: list[int]
) -> list[Golden]:
    """What ``loaded`` (float32) says about each row; ``stop``: ids that end a free answer.

    Replaces the model's generation_config. Raises UserError where its logits are not finite.
    """
    model, answerer, out = loaded.model, TorchAnswerer(loaded, batch=1), []
    greedy = GenerationConfig(
        max_new_tokens=max_tokens, do_sample=False, eos_token_id=stop, pad_token_id=stop[0]
    )
    # What a call leaves open is taken from the model's own: Qwen's has a repetition penalty.
    model.generation_config = greedy
    for row in track(rows, "golden answers in torch", unit="frame"):
        image = data.image(row)
        answer = answerer.answer([image], [row.user_text])[0]
        tokens = loaded.grammar.tokens({slot: getattr(answer.seen, slot) for slot in SLOTS})
        prompt = prompt_ids(row.user_text, loaded.contract, loaded.tokenizer)
        ids = _inputs(loaded, image, prompt)
        free = model.generate(**ids, generation_config=greedy)[0, len(prompt) :].tolist()
        while free and free[-1] in stop:
            free.pop()
        whole = model(**_inputs(loaded, image, prompt + tokens[:-1])).logits[0, len(prompt) - 1 :]
        if not bool(whole.isfinite().all()):
            raise UserError(
                f"export: {loaded.name} has no finite logits on frame {row.id}",
                f"{int((~whole.isfinite()).sum())} of {whole.numel()} are NaN or infinite, in torch and float32",
                "the checkpoint is damaged: train or quantize it again",
            )
        out.append(Golden(row, free, answer.text, tokens, whole.float().numpy()))
    return out


def stop_tokens(source: Path, loaded: Loaded) -> list[int]:
    """Ids that end an answer: the chat template's own, and what generation_config.json names."""
    path = source / "generation_config.json"
    named = read_json(path).get("eos_token_id") if path.is_file() else None
    named = [] if named is None else [named] if isinstance(named, int) else list(named)
    return sorted({loaded.grammar.end, *named})


def _inputs(loaded: Loaded, image: np.ndarray, ids: list[int]) -> dict[str, torch.Tensor]:
    pixels, grids = pixel_values([image], loaded.contract)
    tokens = torch.tensor([ids])
    return {
        "input_ids": tokens,
        "attention_mask": torch.ones_like(tokens),
        "pixel_values": torch.from_numpy(pixels),
        "image_grid_thw": torch.from_numpy(grids),
        "mm_token_type_ids": (tokens == loaded.model.config.image_token_id).int(),
    }


def write_golden(folder: Path, data: Dataset, golden: list[Golden], steps: int) -> None:
    """Writes frames, prompts, answers and the first ``steps`` rows of logits."""
    folder.mkdir(parents=True, exist_ok=True)
    table, logits = [], {}
    for number, one in enumerate(golden):
        frame = f"{number:02d}.jpg"
        shutil.copyfile(data.image_path(one.row), folder / frame)
        logits[f"{number:02d}"] = one.logits[:steps]
        table.append(
            {
                "frame": frame,
                "id": one.row.id,
                "prompt": one.row.user_text,
                "answer": one.answer,
                "tokens": one.tokens,
                "free_tokens": one.free,
            }
        )
    write_json(folder / "golden.json", table)
    np.savez(folder / "logits.npz", **logits)
