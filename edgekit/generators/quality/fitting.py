"""How the small networks of this package are trained."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def fit(
    net: nn.Module, loss_of: Callable[[torch.Generator], Tensor], steps: int, learning_rate: float, seed: int,
    threads: int | None = None,
) -> None:  # fmt: skip
    """AdamW with decay 1e-4 on a cosine to 0, in place; ``net`` is left in eval mode.

    loss_of: a step's loss, of what it draws from the one stream of ``seed``. threads: of torch, for this call
    (None: as they are); the same seed and threads give the same bytes.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        draw = torch.Generator().manual_seed(seed)
        optimiser = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        net.train()
        for _ in range(steps):
            optimiser.zero_grad()
            loss_of(draw).backward()
            optimiser.step()
            schedule.step()
        net.eval()
    finally:
        torch.set_num_threads(before)
