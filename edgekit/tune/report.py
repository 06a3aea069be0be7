"""What a tuning did: the loss over noise times before and after, and the same samples from both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from edgekit.generators.generator import Generator
from edgekit.generators.process import Betas, Process, matched_t
from edgekit.generators.sampling import sample
from edgekit.tune.config import Objective, Report
from edgekit.tune.data import Frame, Latents

BINS = 10
_CELL, _HEAD, _SIDE = 112, 46, 84  # pixels: a picture's least side, the words above, the words beside


def edges(process: Process) -> list[int]:
    """BINS + 1 noise times that part all of them evenly."""
    last = len(process) if isinstance(process, Betas) else 1000
    return [round(i * last / BINS) for i in range(BINS + 1)]


@torch.no_grad()
def squares(
    generator: Generator, latents: Latents, frames: Sequence[Frame], reference: Process, low: float, high: float,
    seed: int, null: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """(squared error of what the denoiser predicts, mean over channels [N, h, w]; the objects' masks [N, h, w],
    None where there is no object), on the CPU.

    low, high: noise times of ``reference``; under another schedule the generator is asked at the t that is as noisy,
    as errors at equal t are not comparable. (Where its schedule has no such noise, at the nearest that it has.)
    Times and noise follow from the seed and the number of frames alone. null: asked with nothing.
    """
    process, condition, device = generator.process, generator.condition, generator.device
    draw = torch.Generator().manual_seed(seed)
    frames = list(frames)
    objective = Objective(object_weight=float(any(frame.boxes for frame in frames)))
    x0, mask = latents.batch(frames, [False] * len(frames), objective)
    t = reference.sample_t(len(frames), draw, (low, high))
    eps = torch.randn(x0.shape, generator=draw)
    if process != reference:
        t = matched_t(t, reference, process).round().long()
    found = []
    for at in range(0, len(frames), 16):
        z, e, s = (x[at : at + 16].to(device) for x in (x0, eps, t))
        x_t = process.noise(z, e, s)
        cond = condition.null(len(z)) if null else condition.encode([f.asked for f in frames[at : at + 16]])
        said = generator.predict(x_t, s, cond)[:, : z.shape[1]]
        found.append((said - process.target(z, e, s)).square().mean(1).cpu())
    return torch.cat(found), None if mask is None else mask[:, 0]


def loss_by_t(
    generator: Generator, latents: Latents, frames: Sequence[Frame], reference: Process, seed: int
) -> list[float]:
    """The mean squared error in each tenth of the noise times of ``reference``, over ``frames`` (see ``squares``).

    Two calls with one seed are a paired comparison.
    """
    bounds = edges(reference)
    spans = enumerate(zip(bounds, bounds[1:], strict=False))
    return [
        round(
            squares(generator, latents, frames, reference, *span, 1_000 * seed + number)[0].mean().item(), 6
        )
        for number, span in spans
    ]


def asked_of(frames: Sequence[Frame], count: int) -> list[Frame]:
    """At most ``count`` frames, evenly spread over those that are asked with different words."""
    different = list({frame.asked: frame for frame in sorted(frames, key=lambda f: f.asked)}.values())
    count = min(count, len(different))
    return [different[i * len(different) // count] for i in range(count)]


def paint(generator: Generator, asked: list[str], report: Report, seed: int) -> Tensor:
    """uint8 [N, H, W, 3] on the CPU: a picture of each, from its own seed."""
    cond = generator.condition.encode(asked)
    seeds = [1_000 * seed + i for i in range(len(asked))]
    return sample(generator, cond, report.steps, report.guidance, seeds, batch=8).cpu()


def effect(base: Tensor, adapted: Tensor) -> dict[str, float]:
    """How far the same seeds' pictures moved, in grey levels of 255."""
    gap = (base.float() - adapted.float()).abs()
    return {"mean_grey_levels": round(gap.mean().item(), 4), "largest": gap.max().item()}


def sheet(rows: dict[str, np.ndarray], heads: list[str], path: Path) -> None:
    """A PNG: a row of pictures (N, H, W, 3) under each name of ``rows``, columns headed by ``heads``."""
    h, w = next(iter(rows.values())).shape[1:3]
    scale = max(1, -(-_CELL // min(h, w)))
    h, w = h * scale, w * scale
    paper = Image.new("RGB", (_SIDE + len(heads) * (w + 4), _HEAD + len(rows) * (h + 4)), (24, 26, 28))
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(11)
    for column, head in enumerate(heads):
        pen.multiline_text(
            (_SIDE + column * (w + 4), 3), _broken(pen, head, w, font), font=font, fill=(236, 236, 230)
        )
    for number, (name, pictures) in enumerate(rows.items()):
        top = _HEAD + number * (h + 4)
        told = _broken(pen, name, _SIDE - 8, font)
        pen.multiline_text(
            (4, top + h // 2 - 6 * len(told.split("\n"))), told, font=font, fill=(236, 236, 230)
        )
        for column, picture in enumerate(pictures):
            image = Image.fromarray(np.ascontiguousarray(picture)).resize((w, h), Image.Resampling.NEAREST)
            paper.paste(image, (_SIDE + column * (w + 4), top))
    paper.save(path)


def _broken(pen: ImageDraw.ImageDraw, text: str, width: int, font) -> str:
    """``text`` in three lines at most."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if pen.textlength(longer, font=font) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines if len(lines) <= 3 else [*lines[:2], lines[2] + " ..."])
