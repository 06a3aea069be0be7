"""Rows to tensors: prompt and answer ids, what is learned from, pixels, dense targets.

Which rows a step sees, and how they are augmented, depends on (seed, step) alone: a killed run goes
on exactly where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from PIL import Image

from edgekit.core.contract import Contract
from edgekit.core.files import inside
from edgekit.core.label import SLOTS, TASK_OF
from edgekit.dataset import Dataset, Sample
from edgekit.distill.augment import augment, sided
from edgekit.distill.config import Augment, Dense
from edgekit.distill.dense import cells, crop
from edgekit.engine.chat import positions, prompt_ids
from edgekit.engine.pixels import patchify, resize
from edgekit.engine.slots import Grammar

CPU = torch.device("cpu")


def training_device() -> torch.device:
    """The accelerator where there is one, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or CPU


@dataclass
class Row:
    """A sample and the Dataset that holds its image (and, where rendered, its class ids)."""

    sample: Sample
    data: Dataset
    classes: dict[str, int] | None

    def image(self) -> np.ndarray:
        return self.data.image(self.sample)

    def ids(self) -> np.ndarray | None:
        """Class ids uint8 (H, W), or None where the Dataset has no id maps."""
        if self.classes is None:
            return None
        name = self.sample.images[0].replace("images/", "ids/").rsplit(".", 1)[0] + ".png"
        path = inside(self.data.root, name)
        if not path.is_file():
            return None
        with Image.open(path) as image:
            return (np.asarray(image).astype(np.uint16) // 1000).astype(np.uint8)


@dataclass
class Batch:
    """input_ids, attention_mask (B, L); position_ids (3, B, L); pixel_values (ΣP, 1176);
    where (B, L) bool: positions whose *next* token is learned; targets and weights at those
    positions, flat; dense (B·cells, classes) or None; image pixels for controls."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    position_ids: torch.Tensor
    pixel_values: torch.Tensor
    image_grid_thw: torch.Tensor
    where: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    value: torch.Tensor  # bool, flat: the target is (part of) a slot's value that is scored
    dense: torch.Tensor | None

    def to(self, device: torch.device) -> Batch:
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return Batch(**{k: None if v is None else v.to(device) for k, v in moved.items()})


def order(count: int, batch: int, step: int, seed: int) -> list[int]:
    """Indices of step ``step``: consecutive slices of one permutation per epoch."""
    out: list[int] = []
    position = step * batch
    while len(out) < batch:
        epoch, offset = divmod(position + len(out), count)
        permutation = np.random.default_rng([seed, epoch]).permutation(count)
        out += permutation[offset : offset + batch - len(out)].tolist()
    return out


class Batcher:
    """Builds batches for one contract and tokenizer, on ``device``."""

    def __init__(
        self,
        contract: Contract,
        tokenizer,
        grammar: Grammar,
        skeleton_weight: float,
        device: torch.device = CPU,
    ):
        self.contract, self.tokenizer, self.grammar = contract, tokenizer, grammar
        self.skeleton_weight, self.device = skeleton_weight, device
        self.pad = tokenizer.token_to_id("<|endoftext|>")
        self.image_token = tokenizer.token_to_id("<|image_pad|>")
        self._prompts: dict[str, list[int]] = {}

    def prompt(self, text: str) -> list[int]:
        if text not in self._prompts:
            self._prompts[text] = prompt_ids(text, self.contract, self.tokenizer)
        return self._prompts[text]

    def windows(
        self, rows: list[Row], how: Augment, rng: np.random.Generator, dense: Dense
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(pixel_values, image_grid_thw, targets) of one window a frame, for the warm-up."""
        width, height = dense.warmup_crop
        contract = self.contract.model_copy(update={"width": width, "height": height})
        images, maps = [], []
        for row in rows:
            image, ids = augment(resize(row.image(), self.contract), row.ids(), how, rng)
            image, ids = crop(image, ids, row.classes, dense.warmup_crop, rng)
            images.append(image)
            maps.append(cells(ids, row.classes, contract, dense.min_pixels))
        pixels = torch.from_numpy(patchify(np.stack(images), contract))
        grids = torch.tensor([contract.grid] * len(rows))
        targets = torch.from_numpy(np.concatenate(maps))
        return pixels.to(self.device), grids.to(self.device), targets.to(self.device)

    def _answer(self, sample: Sample) -> tuple[list[int], list[float], list[bool]]:
        """Answer ids, their weights, and which are values of a task that counts."""
        values = {slot: getattr(sample.label, slot) for slot in SLOTS}
        ids = self.grammar.tokens(values)
        weights = [self.skeleton_weight * sample.weight] * len(ids)
        scored = [False] * len(ids)
        for slot, (first, last) in self.grammar.spans(values).items():
            mark = sample.tasks[TASK_OF[slot]]
            counts = mark.status != "dropped"
            # The token after the value tells its end ("5" or "50"): it belongs to the value.
            for k in range(first, last + 1):
                weights[k] = mark.confidence * sample.weight if counts else 0.0
                scored[k] = counts and k < last
        return ids, weights, scored

    def batch(
        self,
        rows: list[Row],
        how: Augment | None = None,
        rng: np.random.Generator | None = None,
        dense: Dense | None = None,
        pixels: str = "true",
    ) -> Batch:
        """pixels: ``true``, or ``blank`` (grey images: the control that a seeing model must fail)."""
        images, maps = [], []
        for row in rows:
            image, ids = resize(row.image(), self.contract), row.ids() if dense else None
            if how is not None and rng is not None:
                image, ids = augment(image, ids, how, rng, mirror=not sided(row.sample.label))
            images.append(np.full_like(image, 127) if pixels == "blank" else image)
            maps.append(cells(ids, row.classes, self.contract, dense.min_pixels) if dense else None)
        sequences = [(self.prompt(r.sample.user_text), *self._answer(r.sample)) for r in rows]
        length = max(len(p) + len(a) for p, a, _, _ in sequences)
        ids_out = torch.full((len(rows), length), self.pad)
        mask = torch.zeros((len(rows), length), dtype=torch.long)
        place = torch.zeros((3, len(rows), length), dtype=torch.long)
        weights, value = torch.zeros((len(rows), length)), torch.zeros((len(rows), length), dtype=torch.bool)
        for i, (prompt, answer, weight, scored) in enumerate(sequences):
            whole = prompt + answer
            ids_out[i, : len(whole)] = torch.tensor(whole)
            mask[i, : len(whole)] = 1
            place[:, i, : len(whole)] = torch.from_numpy(positions(whole, self.image_token, self.contract)[0])
            # Position k predicts token k+1.
            weights[i, len(prompt) - 1 : len(whole) - 1] = torch.tensor(weight)
            value[i, len(prompt) - 1 : len(whole) - 1] = torch.tensor(scored)
        where = weights > 0
        following = torch.roll(ids_out, -1, dims=1)
        return Batch(
            input_ids=ids_out,
            attention_mask=mask,
            position_ids=place,
            pixel_values=torch.from_numpy(patchify(np.stack(images), self.contract)),
            image_grid_thw=torch.tensor([self.contract.grid] * len(rows)),
            where=where,
            targets=following[where],
            weights=weights[where],
            value=value[where],
            dense=torch.from_numpy(np.concatenate(maps)) if dense else None,
        ).to(self.device)
