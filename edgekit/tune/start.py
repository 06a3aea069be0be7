"""Where the rows of new labels start: at the base's class that looks most alike (DriveDiTFit's SSEI)."""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import Tensor

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, write_json
from edgekit.core.progress import bar
from edgekit.core.run import Run
from edgekit.dataset import open_dataset
from edgekit.generators.adapters.adapter import Adapter
from edgekit.generators.adapters.driveditfit import ssei
from edgekit.generators.conditions import LabelCondition
from edgekit.generators.draws import draw_of
from edgekit.generators.generator import Generator
from edgekit.generators.open import open_generator
from edgekit.generators.sampling import sample
from edgekit.tune.config import Objective, TuneConfig
from edgekit.tune.data import Frame, read_frames


def start_labels(
    config: TuneConfig, run: Run, adapter: Adapter, old: LabelCondition, frames: list[Frame]
) -> None:
    """Chooses a class of the base for each label that it does not know and writes the rows.

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
    draw = draw_of(config.seed, "ssei")

    def seen(frames: list[Frame], names: list[str]) -> list[Tensor]:
        return [_pictures([f for f in frames if f.asked == name], size, how.per, draw) for name in names]

    labels = seen(frames, adapter.new_labels)
    if config.class_data:
        datasets = [open_dataset(i.out) for i in run.inputs["class_data"]]
        known = read_frames(datasets, "train", True, config.condition, Objective())
        classes = seen(known, old.names)
        if empty := [name for name, pictures in zip(old.names, classes, strict=True) if not len(pictures)]:
            raise UserError(
                f"tune: class_data shows nothing of the base's class {empty[0]!r}",
                f"{len(empty)} of {len(old.names)} classes have no frame",
                "name more class_data, or leave it out: the base then paints its classes",
            )
    else:
        run.note(f"SSEI: the base painted {how.paint} pictures of each of its {len(old.names)} classes")
        classes = _painted(config, run, generator, old)
    choice = ssei.choose(classes, labels, encoder, how.per, config.seed)
    write_json(path, asdict(choice))
    adapter.start_labels(choice)


def _pictures(frames: list[Frame], size: tuple[int, int], most: int, draw: torch.Generator) -> Tensor:
    """uint8 [n, H, W, 3] of at most ``most`` of them, drawn: the first ones may all be of one drive."""
    drawn = torch.randperm(len(frames), generator=draw)[:most].tolist()
    found = [torch.from_numpy(frames[i].pixels(*size)) for i in drawn]
    return torch.stack(found) if found else torch.empty(0, *size, 3, dtype=torch.uint8)


def _painted(config: TuneConfig, run: Run, generator: Generator, old: LabelCondition) -> list[Tensor]:
    """uint8 [n, H, W, 3] of each class, on the CPU."""
    how = config.ssei
    # Opened again: the adapter's table knows the new labels.
    base = open_generator(run.input("base"), generator.dtype, generator.device)
    found = []
    with bar("classes of the base", len(old.names), "class") as shown:
        for number, name in enumerate(old.names):
            seeds = [(config.seed * 1_000 + number) * 1_000 + i for i in range(how.paint)]
            cond = base.condition.encode([name] * how.paint)
            found.append(sample(base, cond, how.steps, 1.5, seeds).cpu())
            shown.update()
    return found
