"""Where the rows of new labels start: at the base's class that looks most alike (DriveDiTFit's SSEI)."""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import Tensor

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, write_json
from edgekit.core.run import Run
from edgekit.dataset import open_dataset
from edgekit.generators.adapters.adapter import Adapter
from edgekit.generators.adapters.driveditfit import ssei
from edgekit.generators.conditions import LabelCondition
from edgekit.generators.generator import Generator
from edgekit.generators.open import open_generator
from edgekit.generators.sampling import sample
from edgekit.tune.config import Objective, TuneConfig
from edgekit.tune.data import Frame, read_frames


def start_labels(
    config: TuneConfig, run: Run, adapter: Adapter, old: LabelCondition, frames: list[Frame]
) -> None:
    """Chooses a class of the base for each new label and writes the rows.

    old: the condition that the base had. The choice is kept in ``run.state``. Raises UserError for a class
    or label without pictures.
    """
    path = run.state / "choice.json"
    if path.exists():
        return adapter.start_labels(ssei.Choice(**read_json(path)))
    generator, how = adapter.generator, config.ssei
    encoder = ssei.colour_histogram() if how.encoder == "histogram" else ssei.clip(how.encoder)
    if encoder.stand_in:
        run.note(f"SSEI looks with a stand-in: {encoder.name}")
    size = tuple(side * generator.codec.factor for side in generator.size)
    labels = [
        _pictures([f for f in frames if f.asked == name], size, how.per) for name in adapter.config.labels
    ]
    if config.class_data:
        datasets = [open_dataset(i.out) for i in run.inputs["class_data"]]
        known = read_frames(datasets, "train", True, config.condition, Objective())
        classes = [_pictures([f for f in known if f.asked == name], size, how.per) for name in old.names]
        if empty := [name for name, pictures in zip(old.names, classes, strict=True) if not len(pictures)]:
            raise UserError(
                f"tune: class_data shows nothing of the base's class {empty[0]!r}",
                f"{len(empty)} of {len(old.names)} classes have no frame",
                "name more class_data, or leave it out: the base then paints its classes",
            )
    else:
        run.note(f"SSEI: the base painted {how.paint} pictures of each of its {len(old.names)} classes")
        classes = _painted(config, run, old, how.paint, how.steps)
    choice = ssei.choose(classes, labels, encoder, how.per, config.seed)
    write_json(path, asdict(choice))
    adapter.start_labels(choice)


def _pictures(frames: list[Frame], size: tuple[int, int], most: int) -> Tensor:
    """uint8 [n, H, W, 3]"""
    found = [torch.from_numpy(frame.pixels(*size)) for frame in frames[:most]]
    return torch.stack(found) if found else torch.empty(0, *size, 3, dtype=torch.uint8)


def _painted(config: TuneConfig, run: Run, old: LabelCondition, count: int, steps: int) -> list[Tensor]:
    base: Generator = open_generator(run.input("base"))  # again: the adapter's table knows the new labels
    found = []
    for number, name in enumerate(old.names):
        seeds = [(config.seed * 1_000 + number) * 1_000 + i for i in range(count)]
        found.append(sample(base, base.condition.encode([name] * count), steps, 1.5, seeds))
    return found
