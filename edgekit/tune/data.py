"""Frames of Datasets as a generator learns them: latents, what they are asked with, masks of their objects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from edgekit.core.errors import UserError, suggestion
from edgekit.core.files import read_jsonl
from edgekit.dataset import Dataset, Sample
from edgekit.dataset.tags import words_of
from edgekit.generators.adapters.driveditfit.mask import object_mask
from edgekit.generators.generator import Generator
from edgekit.tune.config import Condition, Objective

# A word that is wrong of the mirrored picture. Cautious: "right ahead" counts too.
_SIDED = re.compile(r"\b(left|right)|[左右]", re.IGNORECASE)
_CACHE_BYTES = 2 << 30


@dataclass(frozen=True)
class Frame:
    """asked: a label or a caption; boxes: of objects, in pixels of the Dataset's image; size: its (H, W)."""

    row: Sample
    data: Dataset
    asked: str
    boxes: tuple[tuple[float, ...], ...]

    @property
    def sided(self) -> bool:
        """Whether what is asked tells left from right."""
        return bool(_SIDED.search(self.asked))

    @property
    def size(self) -> tuple[int, int]:
        return self.data.contract.height, self.data.contract.width

    def pixels(self, height: int, width: int, flip: bool = False) -> np.ndarray:
        """RGB uint8 (height, width, 3): squeezed, not cropped, so that a wide road keeps its sides."""
        array = squeezed(self.data.image(self.row), height, width)
        return (array[:, ::-1] if flip else array).copy()


def squeezed(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """RGB uint8 of any size to (height, width, 3)."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def read_frames(
    datasets: list[Dataset], split: str, labels: bool, condition: Condition, objective: Objective
) -> list[Frame]:
    """The split's frames, asked by label or by caption. Raises UserError where objects are wanted and no
    Dataset knows any, or none of such a class."""
    frames, known, classes = [], False, set()
    for data in datasets:
        path = data.root / "truth.jsonl"
        truth = {row["id"]: row for row in read_jsonl(path)} if path.is_file() else {}
        known = known or bool(truth)
        classes |= {t["class"] for told in truth.values() for t in told.get("things", ())}
        for row in data.rows(split):
            told = truth.get(row.id, {})
            asked = (condition.label if labels else condition.caption).format(**words_of(row.tags))
            if not labels and condition.descriptions:
                asked = told.get("description") or asked
            boxes = _boxes(told.get("things", ()), objective) if objective.object_weight else ()
            frames.append(Frame(row, data, asked, boxes))
    if objective.object_weight and frames and not known:
        raise UserError(
            "tune: objective.object_weight > 0, and no object is known",
            f"none of {len(datasets)} Datasets has a truth.jsonl with boxes",
            "name data that edgekit render wrote, or set objective.object_weight: 0",
        )
    if objective.object_weight and frames and (strange := sorted(set(objective.objects) - classes)):
        raise UserError(
            f"tune: objective.objects has {strange[0]!r}, and no frame shows one",
            suggestion(strange[0], sorted(classes)),
            "mend objective.objects, or leave it out for all",
        )
    return frames


def _boxes(things: Sequence[dict], objective: Objective) -> tuple[tuple[float, ...], ...]:
    """Of what is seen: a thing without a pixel of its own is behind another. Where nothing is known of masks, the
    box of the whole thing."""
    wanted = [t for t in things if not objective.objects or t["class"] in objective.objects]
    return tuple(tuple(t.get("box_visible") or t["box"]) for t in wanted if t.get("pixels") != 0)


def order(count: int, batch: int, step: int, seed: int) -> list[int]:
    """Indices of step ``step``: consecutive slices of one permutation per epoch."""
    out: list[int] = []
    while len(out) < batch:
        epoch, offset = divmod(step * batch + len(out), count)
        permutation = np.random.default_rng([seed, epoch]).permutation(count)
        out += permutation[offset : offset + batch - len(out)].tolist()
    return out


class Latents:
    """Frames encoded one at a time, so that a latent does not depend on its batch; kept while they fit."""

    def __init__(self, generator: Generator):
        self.generator = generator
        self.size = tuple(side * generator.codec.factor for side in generator.size)  # (H, W) in pixels
        self._kept: dict[tuple[str, str, bool], Tensor] = {}
        self._room = _CACHE_BYTES

    def of(self, frame: Frame, flip: bool = False) -> Tensor:
        """[C, h, w] float32 on the CPU."""
        key = (str(frame.data.root), frame.row.id, flip)
        if key in self._kept:
            return self._kept[key]
        pixels = torch.from_numpy(frame.pixels(*self.size, flip))
        z = self.generator.codec.encode(pixels[None].to(self.generator.device))[0].float().cpu()
        if (size := z.numel() * 4) <= self._room:
            self._kept[key], self._room = z, self._room - size
        return z

    def batch(
        self, frames: list[Frame], flips: list[bool], objective: Objective
    ) -> tuple[Tensor, Tensor | None]:
        """x_0 [B, C, h, w] and the objects' mask [B, 1, h, w] (None where it has no weight)."""
        x0 = torch.stack([self.of(f, flip) for f, flip in zip(frames, flips, strict=True)])
        if not objective.object_weight:
            return x0, None
        masks = [
            object_mask([f.boxes], f.size, self.generator.size, min_cells=objective.min_cells, flip=[flip])
            for f, flip in zip(frames, flips, strict=True)
        ]
        return x0, torch.cat(masks)


def flips_of(frames: list[Frame], chance: float, draw: torch.Generator) -> list[bool]:
    """Which are mirrored; one number a frame is drawn, whether it may be or not."""
    drawn = torch.rand(len(frames), generator=draw) < chance
    return [bool(d) and not f.sided for d, f in zip(drawn, frames, strict=True)]
