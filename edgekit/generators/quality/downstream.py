"""What painted pictures are worth to a model that learns from them: a small segmenter, and boxes of its maps.

Train it once on real pictures and once on real and painted ones, with the same seed and steps, and compare
``miou`` and ``mean_average_precision`` on held-out real pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import find_objects, label
from torch import Tensor, nn

from edgekit.core.errors import UserError
from edgekit.generators.quality.distance import Boxes
from edgekit.generators.quality.features import batches
from edgekit.generators.quality.fitting import fit

IGNORE = 255  # of a mask: nothing is known there
_MULTIPLE = 4  # two halvings


class _UNet(nn.Module):
    """[N, 3, H, W] in -1..1, H and W multiples of 4 -> logits [N, C, H, W] (Ronneberger et al. 2015, smaller)."""

    def __init__(self, classes: int):
        super().__init__()
        self.down1 = _block(3, 16)
        self.down2 = _block(16, 32, stride=2)
        self.down3 = _block(32, 64, stride=2)
        self.middle = _block(64, 64)
        self.up2 = _block(64 + 32, 32)
        self.up1 = _block(32 + 16, 16)
        self.head = nn.Conv2d(16, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(one)
        three = self.middle(self.down3(two))
        two = self.up2(torch.cat([F.interpolate(three, scale_factor=2), two], dim=1))
        return self.head(self.up1(torch.cat([F.interpolate(two, scale_factor=2), one], dim=1)))


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.GroupNorm(8, after), nn.ReLU())


class Segmenter:
    """A trained segmenter of ``classes`` classes, for pictures of any size."""

    def __init__(self, classes: int):
        self.classes, self.net = classes, _UNet(classes).eval()

    @torch.no_grad()
    def probabilities(self, images: np.ndarray, batch: int = 64) -> np.ndarray:
        """uint8 [N, H, W, 3] -> float32 [N, classes, H, W]."""
        h, w = np.shape(images)[1:3]
        parts = [self.net(_input(part)).softmax(dim=1)[:, :, :h, :w] for part in batches(images, batch)]
        return torch.cat(parts).numpy()

    def predict(self, images: np.ndarray, batch: int = 64) -> np.ndarray:
        """uint8 [N, H, W, 3] -> class ids, uint8 [N, H, W]."""
        return np.concatenate(
            [
                self.probabilities(part, batch).argmax(axis=1).astype(np.uint8)
                for part in batches(images, batch)
            ]
        )


def train_segmenter(
    images: np.ndarray, masks: np.ndarray, classes: int, seed: int = 0, steps: int = 400, batch: int = 16,
    learning_rate: float = 3e-3, flip: bool = False, threads: int | None = None,
) -> Segmenter:  # fmt: skip
    """A Segmenter of pictures uint8 [N, H, W, 3] and masks uint8 [N, H, W]: class ids, 255 where nothing is known.

    Trained by ``fit``; the mean cross entropy over a batch's known pixels. Pictures are drawn
    with the seed, with replacement, so that ``steps`` and not their number is what a run costs. flip: mirror half
    of them. threads: of torch, for this call. Raises UserError for masks that do not fit or know nothing.
    """
    images, masks = np.asarray(images), np.asarray(masks)
    _check(images, masks, classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        found = Segmenter(classes)

    def loss_of(draw: torch.Generator) -> Tensor:
        rows = torch.randint(len(images), (batch,), generator=draw).numpy()
        x, wanted = _input(images[rows]), torch.from_numpy(masks[rows].astype(np.int64))
        if flip:
            mirrored = (torch.rand(batch, generator=draw) < 0.5)[:, None, None]
            wanted = torch.where(mirrored, wanted.flip(2), wanted)
            width = wanted.shape[2]  # only the picture is mirrored, not what pads it
            turned = torch.cat([x[..., :width].flip(3), x[..., width:]], dim=3)
            x = torch.where(mirrored[:, None], turned, x)
        logits = found.net(x)[:, :, : wanted.shape[1], : wanted.shape[2]]
        known = (wanted != IGNORE).sum().clamp_min(1)
        return F.cross_entropy(logits, wanted, ignore_index=IGNORE, reduction="sum") / known

    fit(found.net, loss_of, steps, learning_rate, seed, threads)
    return found


def boxes_of(
    mask: np.ndarray, classes: Sequence[int], probabilities: np.ndarray | None = None, least: int = 1
) -> Boxes:
    """Boxes of the connected components (4 neighbours) of each class in ``classes`` on a label map [H, W].

    probabilities: [C, H, W]; a box's score is the mean of its class's over its component, 1 without them. least:
    pixels of a component; smaller ones are left out. Two objects that touch become one box.
    """
    mask = np.asarray(mask)
    boxes, names, scores = [], [], []
    for name in classes:
        parts, _ = label(mask == name)
        for number, (rows, columns) in enumerate(find_objects(parts), start=1):
            part = parts[rows, columns] == number
            if part.sum() < least:
                continue
            boxes.append((columns.start, rows.start, columns.stop, rows.stop))
            names.append(name)
            scores.append(1.0 if probabilities is None else probabilities[name, rows, columns][part].mean())
    return Boxes(
        np.array(boxes, dtype=np.float64).reshape(-1, 4), np.array(names, dtype=np.int64),
        np.array(scores, dtype=np.float64),
    )  # fmt: skip


def _input(images: np.ndarray) -> Tensor:
    """uint8 [N, H, W, 3] -> [N, 3, H', W'] in -1..1, its last row and column repeated to multiples of 4."""
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    down, right = (-side % _MULTIPLE for side in x.shape[2:])
    return F.pad(x, (0, right, 0, down), mode="replicate")


def _check(images: np.ndarray, masks: np.ndarray, classes: int) -> None:
    what = "segmenter: the masks do not fit the pictures"
    if images.ndim != 4 or masks.shape != images.shape[:3] or not len(images):
        raise UserError(
            what, f"pictures {images.shape}, masks {masks.shape}", "give a class id for every pixel"
        )
    known = masks[masks != IGNORE]
    if not known.size:
        raise UserError(
            "segmenter: nothing to learn", "no pixel of the masks is known", "give labelled masks"
        )
    if known.max() >= classes:
        raise UserError(
            what, f"ids up to {known.max()}, of {classes} classes", "raise classes, or mend the ids"
        )
