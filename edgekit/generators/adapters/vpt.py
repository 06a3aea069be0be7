"""Visual prompt tuning, deep (Jia et al., ECCV 2022), as the DiffFit paper's baseline uses it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.generators.adapters.adapter import Adapter
from edgekit.generators.adapters.config import Vpt
from edgekit.generators.adapters.sites import first_blocks, sites
from edgekit.generators.draws import draw_of
from edgekit.generators.generator import Generator

_TOKENS = "prompt_tokens"
_SPREAD = 0.02  # of the first values, N(0, 0.02); neither paper states them for a diffusion model


class VptAdapter(Adapter):
    """n learned tokens join the image tokens at the input of each of the first blocks and leave behind it.

    Not the identity at the start (an extra token takes part in attention at once), and not foldable.
    """

    kind = "vpt"

    def __init__(self, config: Vpt, generator: Generator, seed: int):
        super().__init__(config, generator)
        denoiser = generator.denoiser
        found = first_blocks(denoiser, config.depth, "vpt")
        self.train_table(config.table, config.labels, seed)
        if config.final:
            for site in sites(denoiser, ["final", "final_adaln"]):
                self.train_in_place({f"{site.name}.{n}": p for n, p in site.module.named_parameters()})
        draw = draw_of(seed, "tokens")
        self.blocks = [block for _, block in found]
        self._hooks = []
        for name, block in found:
            like = block.ff.net[2].weight  # [D, 4D]
            tokens = torch.randn(config.tokens, like.shape[0], generator=draw) * _SPREAD  # [n, D]
            block.register_parameter(_TOKENS, nn.Parameter(tokens.to(like.device)))
            self.added[f"{name}.{_TOKENS}"] = getattr(block, _TOKENS)
            self._hooks += [
                block.register_forward_pre_hook(_join, with_kwargs=True),
                block.register_forward_hook(_leave),
            ]

    def changes_nothing(self) -> bool:
        return False

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()
        for block in self.blocks:
            delattr(block, _TOKENS)


def _join(block: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    x = args[0] if args else kwargs["hidden_states"]  # [B, N, D]
    tokens = block.prompt_tokens.to(x.dtype).expand(len(x), -1, -1)  # [B, n, D]
    x = torch.cat([x, tokens], dim=1)
    return ((x, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": x})


def _leave(block: nn.Module, args: tuple, output: Tensor) -> Tensor:
    return output[:, : -len(block.prompt_tokens)]


def attach(config: Vpt, generator: Generator, seed: int) -> VptAdapter:
    return VptAdapter(config, generator, seed)
