"""BitFit (Ben Zaken et al., ACL 2022): the bias vectors of a frozen denoiser."""

from __future__ import annotations

from edgekit.core.errors import UserError
from edgekit.generators.adapters.adapter import Adapter
from edgekit.generators.adapters.config import BitFit
from edgekit.generators.adapters.sites import biases, scale_shift_tables
from edgekit.generators.generator import Generator


class BitFitAdapter(Adapter):
    kind = "bitfit"

    def __init__(self, config: BitFit, generator: Generator, seed: int):
        super().__init__(config, generator)
        tables = scale_shift_tables(generator.denoiser) if config.scale_shift else {}
        if config.scale_shift and not tables:
            raise UserError(
                "bitfit: scale_shift=true",
                f"a {type(generator.denoiser).__name__} has no such tables",
                "leave method.scale_shift out",
            )
        self.train_table(config.table, config.labels, seed)
        self.train_in_place(biases(generator.denoiser) | tables)


def attach(config: BitFit, generator: Generator, seed: int) -> BitFitAdapter:
    return BitFitAdapter(config, generator, seed)
