"""One small model for all tests of this floor: windowed, odd grid, two decoder layers."""

import numpy as np
import pytest
import torch

from edgekit.models.checkpoint import save_checkpoint
from edgekit.models.nano import WINDOWED, WINDOWED_CONTRACT, build_nano


@pytest.fixture(scope="session")
def model():
    torch.set_num_threads(1)
    model = build_nano(WINDOWED, seed=3)
    with torch.no_grad():  # louder, so that images and prompts change the answer
        model.lm_head.weight.mul_(12)
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.mul_(3)
    return model


@pytest.fixture(scope="session")
def checkpoint(model, tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("nano"), model, WINDOWED_CONTRACT, card={"title": "Test"})


@pytest.fixture(scope="session")
def frames():
    """Four RGB uint8 frames that differ in colour and layout, one of them of another size."""
    draw = np.random.default_rng(5)
    out = []
    for height, width in ((196, 308), (196, 308), (196, 308), (280, 440)):
        frame = np.full((height, width, 3), draw.integers(0, 255, 3), dtype=np.uint8)
        for _ in range(6):
            y, x = draw.integers(0, height - 40), draw.integers(0, width - 40)
            frame[y : y + 40, x : x + 40] = draw.integers(0, 255, 3)
        out.append(frame)
    return out
