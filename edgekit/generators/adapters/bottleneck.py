"""AdaptFormer (Chen et al., NeurIPS 2022): a bottleneck beside or behind each feed-forward layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from edgekit.generators.adapters.adapter import Adapter
from edgekit.generators.adapters.config import Bottleneck
from edgekit.generators.adapters.sites import blocks
from edgekit.generators.draws import draw_of
from edgekit.generators.generator import Generator

_BRANCH = "bottleneck"


class Branch(nn.Module):
    """scale * up(relu(down(x))): [.., D] -> [.., D]; ``up`` is zero at the start."""

    def __init__(self, features: int, width: int, scale: float, draw: torch.Generator):
        super().__init__()
        self.scale = scale
        self.down = skip_init(nn.Linear, features, width)  # torch's own start would draw from the global seed
        self.up = skip_init(nn.Linear, width, features)
        with torch.no_grad():
            nn.init.kaiming_uniform_(self.down.weight, a=5**0.5, generator=draw)
            for zero in (self.down.bias, self.up.weight, self.up.bias):
                zero.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.up(F.relu(self.down(x.to(self.down.weight.dtype)))).to(x.dtype)


class BottleneckAdapter(Adapter):
    """One branch a block, on the image stream's feed-forward. A nonlinearity cannot be folded."""

    kind = "adapter"

    def __init__(self, config: Bottleneck, generator: Generator, seed: int):
        super().__init__(config, generator)
        self.train_table(config.table, config.labels, seed)
        parallel = config.placement == "parallel"
        # AdaptFormer's 0.1 beside the layer; behind it nothing needs damping (neither paper states it).
        scale = (0.1 if parallel else 1.0) if config.scale is None else config.scale
        draw = draw_of(seed, "bottleneck")
        self.layers, self._hooks = [], []
        for name, block in blocks(generator.denoiser):
            out = block.ff.net[2].weight  # [D, 4D]
            branch = Branch(out.shape[0], config.width, scale, draw).to(out.device)
            block.ff.add_module(_BRANCH, branch)
            self.layers.append(block.ff)
            self.added |= {f"{name}.ff.{_BRANCH}.{n}": p for n, p in branch.named_parameters()}
            self._hooks.append(block.ff.register_forward_hook(_parallel if parallel else _sequential))

    def changes_nothing(self) -> bool:
        if self.moved_in_place():
            return False
        return all(not p.any() for name, p in self.added.items() if ".up." in name)

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()
        for layer in self.layers:
            delattr(layer, _BRANCH)


def _parallel(layer: nn.Module, args: tuple, output: Tensor) -> Tensor:
    return output + layer.bottleneck(args[0])


def _sequential(layer: nn.Module, args: tuple, output: Tensor) -> Tensor:
    return output + layer.bottleneck(output)


def attach(config: Bottleneck, generator: Generator, seed: int) -> BottleneckAdapter:
    return BottleneckAdapter(config, generator, seed)
