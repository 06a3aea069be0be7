"""Sizes of generators for plans, from published shapes, nano sizes or the files of a folder. Light: no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from edgekit.core.errors import UserError
from edgekit.core.run import find_input
from edgekit.generators.config import NanoGenerator

# FLOP a second. CPU: one core of a common server; a GPU at 35 % of 300 TFLOP/s.
CPU, GPU = 25e9, 0.35 * 300e12
ONE_DEVICE = 80  # GB of a common data-centre GPU


class Cost(NamedTuple):
    """denoiser, others (text encoders, VAE): parameters; flop: of one forward pass of one picture; classes: labels
    that it is asked with (a guess where nothing tells)."""

    denoiser: float
    others: float
    flop: float
    classes: int = 10

    @property
    def big(self) -> bool:
        return self.denoiser > 1e8


# By a mark in the name. FLOP at each model's own size, two a multiply-add: rough figures for a plan, which says
# that they are estimates.
PUBLISHED = {
    "dit-xl-2": Cost(675e6, 84e6, 237e9, 1000),
    "pixart": Cost(611e6, 4.85e9, 1.1e12),
    "stable-diffusion-xl": Cost(2567e6, 901e6, 6.0e12),
    "sdxl": Cost(2567e6, 901e6, 6.0e12),
    "kolors": Cost(2579e6, 6.3e9, 6.0e12),
    "stable-diffusion-3": Cost(2028e6, 5.7e9, 8.9e12),
    "stable-diffusion": Cost(860e6, 207e6, 0.8e12),
}
_PER_LAYER = {"dit": 18, "pixart": 16, "mmdit": 36}  # parameters of a block, in squares of its width


def of_nano(nano: NanoGenerator) -> Cost:
    """By formula; position tables, embeddings and norms are left out."""
    others = 0.0 if nano.arch == "dit" else 2e5
    if nano.arch == "unet":
        weights = 60.0 * sum(w * w for w in nano.unet_widths)
        return Cost(weights, others, 2 * weights * (nano.size / 4) ** 2)
    weights = float(_PER_LAYER[nano.arch] * nano.layers * nano.width**2)
    # adaLN (6 of a DiT's 18, half of an MM-DiT's third) works once a picture, not once a token.
    return Cost(weights, others, 2 * weights * 0.67 * (nano.size // nano.patch) ** 2)


def cost_of(base: str | None, nano: NanoGenerator | None = None) -> Cost:
    """Of a nano's sizes; of a base by its name, or by its files; where nothing is known, of a default nano."""
    if nano is not None:
        return of_nano(nano)
    low = (base or "").lower()
    if found := next((cost for mark, cost in PUBLISHED.items() if mark in low), None):
        return found
    try:
        root = find_input(base or "")
    except UserError:
        return of_nano(NanoGenerator())
    for folder in (root, root / "generator", root / "out" / "generator"):
        if (folder / "model_index.json").is_file():
            return _of_files(folder)
    return of_nano(NanoGenerator())


def _of_files(folder: Path) -> Cost:
    """Bytes of the weight files over four, tokens from the denoiser's config."""
    sizes = {p.parent.name: p.stat().st_size / 4 for p in folder.glob("*/*.safetensors")}
    name = next((n for n in ("transformer", "unet") if n in sizes), None)
    if name is None:
        return of_nano(NanoGenerator())
    weights = sizes.pop(name)
    config = json.loads((folder / name / "config.json").read_text())
    size, patch = config.get("sample_size", 32), config.get("patch_size", 4)
    size = size[0] if isinstance(size, list) else size
    classes = config.get("num_embeds_ada_norm") or Cost._field_defaults["classes"]
    return Cost(weights, sum(sizes.values()), 2 * 0.67 * weights * (size / patch) ** 2, classes)
