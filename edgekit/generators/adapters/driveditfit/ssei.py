"""Similarity-driven start of scenario embeddings (SSEI): from the pre-trained class that looks most alike.

DriveDiTFit eq. 12: i*(j) = argmax_i cos(z_i, z_j) over mean image features, the denominator's second norm read
as that of scenario j. Features come from an encoder given by the caller; the paper's is CLIP ViT-L/14.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.core.errors import UserError
from edgekit.generators.adapters.driveditfit.config import LabelStart


@dataclass(frozen=True)
class Encoder:
    """images uint8 (N, H, W, 3) → features (N, F), under the name that reports give it.

    stand_in: it is not the image tower that the method was published with.
    """

    name: str
    features: Callable[[Tensor], Tensor]
    stand_in: bool = True


@dataclass(frozen=True)
class Choice:
    """For each scenario the class whose row it starts from, and the cosine between their mean features."""

    rows: list[int]
    cosines: list[float]
    encoder: str
    stand_in: bool

    def collisions(self) -> dict[int, list[int]]:
        """{class row: the scenarios that share it}, where more than one does. Allowed, and told."""
        shared: dict[int, list[int]] = {}
        for scenario, row in enumerate(self.rows):
            shared.setdefault(row, []).append(scenario)
        return {row: scenarios for row, scenarios in shared.items() if len(scenarios) > 1}


def choose(
    classes: list[Tensor], scenarios: list[Tensor], encoder: Encoder, per: int = 100, seed: int = 0
) -> Choice:
    """The most similar class of each scenario. Each entry holds one class's images, uint8 (n, H, W, 3).

    At most ``per`` images of each are looked at, drawn with ``seed``. Raises UserError for one without images.
    """
    generator = torch.Generator().manual_seed(seed)
    means = {
        what: torch.stack([mean_feature(images, encoder, per, generator) for images in groups])
        for what, groups in (("classes", classes), ("scenarios", scenarios))
    }  # [K, F] and [M, F]
    rows, cosines = nearest(means["classes"], means["scenarios"])
    return Choice(rows.tolist(), cosines.tolist(), encoder.name, encoder.stand_in)


def mean_feature(images: Tensor, encoder: Encoder, per: int, generator: torch.Generator) -> Tensor:
    """(F) of unit length: the mean of unit-length features of at most ``per`` images (n, H, W, 3)."""
    if not len(images):
        raise UserError(
            "SSEI: a class or scenario without images", "its mean feature is over 0 images",
            "give at least one image of each, or another method.label_start",
        )  # fmt: skip
    drawn = torch.randperm(len(images), generator=generator)[:per]
    with torch.no_grad():
        features = torch.cat([encoder.features(images[part]) for part in drawn.split(50)])
    return F.normalize(F.normalize(features.double(), dim=-1).mean(0), dim=0)


def nearest(classes: Tensor, scenarios: Tensor) -> tuple[Tensor, Tensor]:
    """classes (K, F), scenarios (M, F) → rows (M) and their cosines (M). Lengths do not count; ties: the first."""
    cosine = F.normalize(scenarios.double(), dim=1) @ F.normalize(classes.double(), dim=1).T  # [M, K]
    rows = cosine.argmax(dim=1)
    return rows, cosine.gather(1, rows[:, None])[:, 0]


def start_rows(
    old: Tensor, how: LabelStart, count: int, choice: Choice | None, generator: torch.Generator
) -> Tensor:
    """(count + 1, D): a new label table from the old (K + 1, D). Its last row is the old null row, copied.

    how: ``ssei`` copies the rows of ``choice``; ``random_rows`` copies rows of classes drawn at random; zero, kaiming
    and xavier are what the paper compares with (Fig. 6). Raises UserError for ``ssei`` without a full choice.
    """
    old = old.detach()
    rows = torch.zeros(count, old.shape[1])
    if how == "ssei":
        if choice is None or len(choice.rows) != count:
            raise UserError(
                f"SSEI for {count} scenarios",
                f"rows are chosen for {len(choice.rows) if choice else 0} of them",
                "choose() with the images of every scenario, or set method.label_start: normal",
            )
        rows = old[choice.rows]
    elif how == "random_rows":
        rows = old[torch.randint(len(old) - 1, (count,), generator=generator)]
    elif how == "kaiming":
        nn.init.kaiming_uniform_(rows, a=math.sqrt(5), generator=generator)
    elif how == "xavier":
        nn.init.xavier_uniform_(rows, generator=generator)
    return torch.cat([rows.to(old), old[-1:]])


def colour_histogram(bins: int = 8) -> Encoder:
    """A stand-in without weights: the share of pixels in each of ``bins`` ranges of each colour, (N, 3·bins)."""

    def features(images: Tensor) -> Tensor:
        n = len(images)
        # One histogram per image and colour, by one count over their joint index.
        level = images.long() * bins // 256  # [N, H, W, 3] in 0..bins-1
        slot = torch.arange(3 * n, device=images.device).view(n, 1, 1, 3) * bins + level
        counts = torch.bincount(slot.flatten(), minlength=3 * n * bins).view(n, 3 * bins)
        return counts / (images.shape[1] * images.shape[2])

    return Encoder(f"colour histogram, {bins} bins", features)


def network(model: Callable[[Tensor], Tensor], name: str, stand_in: bool = True) -> Encoder:
    """Features of a given network: images (N, 3, H, W) in [-1, 1] → (N, …), averaged over whatever is spatial."""

    def features(images: Tensor) -> Tensor:
        found = model(images.permute(0, 3, 1, 2).float() / 127.5 - 1)
        return found.flatten(2).mean(-1) if found.ndim > 2 else found

    return Encoder(name, features, stand_in)


def clip(source: str) -> Encoder:
    """The image tower of a CLIP model (a folder, or a hub name such as ``openai/clip-vit-large-patch14``)."""
    from transformers import CLIPVisionModelWithProjection

    tower = CLIPVisionModelWithProjection.from_pretrained(source, use_safetensors=True).eval()
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)  # of CLIP's training images
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)

    def features(images: Tensor) -> Tensor:
        # The whole picture, squeezed: a crop of the middle would lose a wide road's sides.
        side = tower.config.image_size
        x = images.permute(0, 3, 1, 2).float() / 255  # [N, 3, H, W]
        x = F.interpolate(x, (side, side), mode="bicubic", antialias=True).clamp(0, 1)
        return tower((x - mean) / std).image_embeds

    return Encoder(f"CLIP image tower {source}", features, stand_in=False)
