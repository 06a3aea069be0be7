"""What all arms on one base and target are measured on: held-out frames, seeds, and a scene classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, write_json
from edgekit.core.run import Run
from edgekit.dataset import Dataset, open_dataset
from edgekit.generators.conditions import LabelCondition
from edgekit.generators.generator import Generator
from edgekit.generators.open import open_generator
from edgekit.generators.quality.scenes import SceneNet, targets_of, train_scene_net
from edgekit.generators.sampling import sample
from edgekit.tune.config import Objective, TuneConfig
from edgekit.tune.data import Frame, read_frames, squeezed
from edgekit.tune.study.pictures import pictures
from edgekit.tune.study.words import WORLD
from edgekit.tune.study.world import STYLES, VIEWS

NET_PICTURES, NET_STEPS = 4000, 400  # of the toy world, and of the scene classifier's training on them
NET_SEED = 10_007  # of those pictures: none that the studies draw
SEED = 17  # of the classifier


class Ground:
    """frames: the held-out ones, real: their pictures uint8 [N, H, W, 3]; process: the base's; net: the classifier;
    side: (H, W) in pixels; labels: whether the base is asked with labels; sampler: None for the base's own."""

    def __init__(self, config: TuneConfig, run: Run, on: str, target: str, datasets: list[Dataset]):
        self.study, self.run, self.base = config.study, run, run.input("base") / on
        self.target, self.seed, self.drawn = target, config.seed, target != "drives"
        self.sampler = self.study.samplers.get(on)
        self._kept: dict[str, Any] = {}
        torch.set_num_threads(config.train.threads)
        generator = open_generator(self.base)
        self.process = generator.process
        condition = WORLD if self.drawn else config.condition
        objective = Objective(object_weight=float("boxes" in self.study.looks))
        self.labels = isinstance(generator.condition, LabelCondition)
        train, dev, test = (
            read_frames(datasets, split, self.labels, condition, objective)
            for split in ("train", "dev", "test")
        )
        learned = {frame.asked for frame in train}
        dev = [frame for frame in [*dev, *test] if not self.labels or frame.asked in learned]
        if not dev:
            raise UserError(
                "study: nothing to measure on", "the dev and test splits hold 0 frames", "name other data"
            )
        count = min(self.study.held_out, len(dev))
        self.frames: list[Frame] = [dev[i * len(dev) // count] for i in range(count)]
        self.world = [open_dataset(run.input("base") / "world")] if "forgets" in self.study.looks else []
        self.side = tuple(s * generator.codec.factor for s in generator.size)  # (H, W) in pixels
        self.real = np.stack([frame.pixels(*self.side) for frame in self.frames])
        self.net = self._scene_net(train)
        self.real_features = self.net.features(self.real).pooled

    def once(self, name: str, make: Callable[[Ground], dict]) -> dict[str, Any]:
        """What is a matter of base and target alone: made for the first arm, and kept with the study."""
        place = self.run.state / f"{name}-{self.base.name}-{self.target}.json"
        if not place.is_file():
            write_json(place, make(self))
        return read_json(place)

    def kept(self, name: str, make: Callable[[Ground], Any]) -> Any:
        """As ``once``, for what no file holds: made once a process."""
        if name not in self._kept:
            self._kept[name] = make(self)
        return self._kept[name]

    def paint(self, generator: Generator, asked: list[str]) -> Tensor:
        """uint8 [N, H, W, 3]; picture i begins with the noise of seed i in every arm."""
        study, done = self.study, []
        for at in range(0, len(asked), 64):
            cond = generator.condition.encode(asked[at : at + 64])
            seeds = [1_000_003 + at + i for i in range(len(asked[at : at + 64]))]
            done.append(sample(generator, cond, study.steps, study.guidance, seeds, self.sampler, batch=64))
        return torch.cat(done)

    # --- the scene classifier: what stands in for a backbone ---

    def wanted(self, frames: list[Frame]) -> dict[str, list[int]]:
        """{factor: index of each frame's word}."""
        if self.drawn:
            tags = [frame.row.tags for frame in frames]
            return {"style": [STYLES.index(t[0]) for t in tags], "view": [VIEWS.index(t[1]) for t in tags]}
        return targets_of([frame.row.tags for frame in frames], self.names)[0]

    def _scene_net(self, train: list[Frame]) -> SceneNet:
        """Trained once a study, base and target, on pictures that no arm is measured on."""
        if self.drawn:
            self.names = {"style": list(STYLES), "view": list(VIEWS)}
            drawn = [
                *pictures("source", NET_PICTURES, NET_SEED),
                *pictures(
                    self.target, NET_PICTURES // 4, NET_SEED
                ),  # else it would be blind to what is measured
            ]
            images = [squeezed(picture.rgb, *self.side) for picture in drawn]
            targets = {
                "style": [STYLES.index(picture.style) for picture in drawn],
                "view": [VIEWS.index(picture.view) for picture in drawn],
            }
        else:
            targets, self.names = targets_of([frame.row.tags for frame in train])
            images = [frame.pixels(*self.side) for frame in train]
        net = train_scene_net(np.stack(images), targets, self.names, seed=SEED, steps=NET_STEPS)
        right = net.accuracy(self.real, self.wanted(self.frames))
        told = ", ".join(f"{factor} {share:.2f}" for factor, share in right.items())
        self.run.note(
            f"the scene classifier (a stand-in for Inception) is right on held-out pictures: {told}"
        )
        return net
