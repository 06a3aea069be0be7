"""Small generators for tests of adapters, every parameter drawn: a zero layer would hide what an adapter does."""

import copy
import functools

import torch

from edgekit.generators.config import NanoGenerator
from edgekit.generators.nano import build_nano_generator

SIZES = dict(
    size=16, patch=4, width=32, layers=4, heads=2, unet_widths=(16, 16, 32), text_width=32, text_tokens=8
)
ARCHS = ("dit", "pixart", "unet", "mmdit")
LABELS = ["clear day", "rain night", "fog day"]


def base(arch="dit", seed=0, **sizes):
    """A Generator of 16 x 16 pixels (4 x 4 tokens); a DiT answers to LABELS."""
    generator = build_nano_generator(
        NanoGenerator(arch=arch, **(SIZES | sizes)), seed, LABELS if arch == "dit" else ()
    )
    draw = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in generator.denoiser.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    return generator


@functools.cache
def _tiny(arch):
    small = dict(unet_layers=(1, 1), unet_widths=(16, 32, 32)) if arch == "unet" else dict(layers=2)
    # A UNet of 8 pixels gives other last digits once its weights need no gradient: torch changes its convolution.
    generator = base(arch, size=16 if arch == "unet" else 8, **small)
    batch(generator)  # texts are encoded once
    return generator


def tiny(arch="pixart"):
    """A copy of the smallest Generator of ``arch``; built once."""
    return copy.deepcopy(_tiny(arch))


def batch(generator, n=3, seed=0):
    """(x_t, t, cond) that ``generator.predict`` takes."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, generator.channels, *generator.size, generator=draw)
    if generator.arch == "mmdit":
        t = 1000 * torch.rand(n, generator=draw)
    else:
        t = torch.randint(0, 1000, (n,), generator=draw)
    asked = [i % 2 for i in range(n)] if generator.arch == "dit" else ["rain", "night street", "fog"][:n]
    return x, t, generator.condition.encode(asked)


def predicted(generator, **kwargs):
    x, t, cond = batch(generator, **kwargs)
    with torch.no_grad():
        return generator.predict(x, t, cond)
