"""BitFit (Ben Zaken et al., ACL 2022): the bias vectors of a frozen denoiser."""

from __future__ import annotations

from edgekit.generators.adapters.adapter import Adapter
from edgekit.generators.adapters.config import BitFit
from edgekit.generators.adapters.sites import biases, scale_shift_tables
from edgekit.generators.generator import Generator


class BitFitAdapter(Adapter):
    kind = "bitfit"

    def __init__(self, config: BitFit, generator: Generator, seed: int):
        super().__init__(config, generator)
        self.train_table(config.table, config.labels, seed)
        self.train_in_place(biases(generator.denoiser))
        if config.scale_shift:
            self.train_in_place(scale_shift_tables(generator.denoiser))


def attach(config: BitFit, generator: Generator, seed: int) -> BitFitAdapter:
    return BitFitAdapter(config, generator, seed)
