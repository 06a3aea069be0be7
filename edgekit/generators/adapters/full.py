"""Full fine-tuning: every parameter of the denoiser, so that the other methods have something to beat."""

from __future__ import annotations

from edgekit.generators.adapters.adapter import Adapter
from edgekit.generators.adapters.config import Full
from edgekit.generators.generator import Generator


class FullAdapter(Adapter):
    """All parameters in place; fixed position codes are buffers and stay. Its file is a whole denoiser."""

    kind = "full"

    def __init__(self, config: Full, generator: Generator, seed: int):
        super().__init__(config, generator)
        self.train_table(False, config.labels, seed)
        self.train_in_place(dict(generator.denoiser.named_parameters()))


def attach(config: Full, generator: Generator, seed: int) -> FullAdapter:
    return FullAdapter(config, generator, seed)
