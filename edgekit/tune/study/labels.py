"""CA-LoRA's second half on the drawn world: label maps read off the tuned model, and what they are worth.

A label generator learns from the few target pictures; then it labels what the model paints. An oracle, a segmenter
trained on as many drawn pictures as one likes, says how right those maps are; and a small segmenter learns from the
few real pictures alone, or with as many painted pairs.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from edgekit.generators.generator import Generator
from edgekit.generators.labeller.config import LabellerConfig
from edgekit.generators.labeller.predict import sample_pairs
from edgekit.generators.labeller.train import train_labeller
from edgekit.generators.open import open_generator
from edgekit.generators.quality.distance import miou
from edgekit.generators.quality.downstream import Segmenter, train_segmenter
from edgekit.tune.data import squeezed
from edgekit.tune.study.ground import Ground
from edgekit.tune.study.pictures import pictures
from edgekit.tune.study.world import CLASSES, Picture

DECODER = LabellerConfig(
    classes=list(CLASSES), every=1, sampling_steps=20, hidden=64, heads=4, feed_forward=128, queries=16, rounds=1,
    steps=300, batch=4, learning_rate=1e-3, flip=False, scales=(1.0, 1.0),
)  # fmt: skip
ORACLE, PAIRS, HELD_OUT, STEPS = 3000, 64, 128, 400
_SEED = 41


def mapped(drawn: list[Picture], side: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [N, H, W, 3] and label maps uint8 [N, H, W] at the generator's size."""
    height, width = side
    maps = [
        np.asarray(Image.fromarray(p.mask).resize((width, height), Image.Resampling.NEAREST)) for p in drawn
    ]
    return np.stack([squeezed(p.rgb, height, width) for p in drawn]), np.stack(maps)


def oracle(ground: Ground) -> Segmenter:
    """Knows the source and the target from pictures that no arm sees."""
    drawn = [*pictures("source", ORACLE // 2, 20_011), *pictures(ground.target, ORACLE // 2, 20_011)]
    return train_segmenter(*mapped(drawn, ground.side), len(CLASSES), _SEED, steps=3 * STEPS)


def worth(ground: Ground, generator: Generator) -> dict[str, float]:
    """label_miou: of generated maps against the oracle's; segmenter_with: mIoU on held-out pictures of a segmenter
    of the few real pictures and as many painted ones."""
    few = list(pictures(ground.target, ground.study.pictures, 2 * ground.seed))
    real, maps = mapped(few, ground.side)
    # The base knows captions, not lists of classes; the decoder is told of classes by the maps alone.
    examples = [
        (torch.from_numpy(rgb), torch.from_numpy(mask), p.caption)
        for rgb, mask, p in zip(real, maps, few, strict=True)
    ]
    decoder = train_labeller(generator, examples, DECODER, _SEED)
    asked = [ground.frames[i % len(ground.frames)].asked for i in range(PAIRS)]
    cond = generator.condition.encode(asked)
    seeds = [2_000_003 + i for i in range(PAIRS)]
    pairs = sample_pairs(generator, decoder, cond, ground.study.guidance, seeds, sampler=ground.sampler)
    painted, said = (x.numpy() for x in pairs)
    judge = ground.kept("oracle", oracle)
    told = {"label_miou": miou(judge.predict(painted), said, len(CLASSES))}
    test, truth = mapped(list(pictures(ground.target, HELD_OUT, 30_011)), ground.side)
    half = min(len(real), PAIRS)
    both = train_segmenter(
        np.concatenate([real, painted[:half]]),
        np.concatenate([maps, said[:half]]),
        len(CLASSES),
        _SEED,
        steps=STEPS,
    )
    told["segmenter_with"] = miou(truth, both.predict(test), len(CLASSES))
    return told


def yardsticks(ground: Ground) -> dict[str, float]:
    """The same from the untuned base, the segmenter of real pictures alone, and how right the oracle is."""
    test, truth = mapped(list(pictures(ground.target, HELD_OUT, 30_011)), ground.side)
    real, maps = mapped(list(pictures(ground.target, ground.study.pictures, 2 * ground.seed)), ground.side)
    alone = train_segmenter(real, maps, len(CLASSES), _SEED, steps=STEPS)
    judge = ground.kept("oracle", oracle)
    untuned = worth(ground, open_generator(ground.base))
    return {
        "oracle": miou(truth, judge.predict(test), len(CLASSES)),
        "segmenter_alone": miou(truth, alone.predict(test), len(CLASSES)),
        **{f"untuned_{key}": value for key, value in untuned.items()},
    }


def look(ground: Ground, generator: Generator, adapter, latents) -> tuple[dict, dict]:
    torch.manual_seed(_SEED)
    told = ground.once("labels", yardsticks)
    return worth(ground, generator), {"yardsticks": told}
