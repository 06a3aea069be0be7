"""What is measured of every arm alike: the error on held-out pictures, and what its samples look like.

Noise, noise times and the samples' seeds are the same for all arms, seeds and methods: differences are paired.
Distances between pictures are in the features of a small scene classifier, a stand-in for Inception: they order
arms of one study and mean nothing beside a published FID.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgekit.core.errors import UserError
from edgekit.core.files import read_json, write_json
from edgekit.core.run import Run
from edgekit.dataset import Dataset, open_dataset
from edgekit.generators.adapters.files import load_adapter
from edgekit.generators.conditions import LabelCondition
from edgekit.generators.generator import Generator
from edgekit.generators.open import open_generator
from edgekit.generators.quality.distance import frechet, kernel, precision_recall
from edgekit.generators.quality.scenes import SceneNet, train_scene_net
from edgekit.generators.sampling import sample
from edgekit.tune import report
from edgekit.tune.config import Condition, Objective, TuneConfig
from edgekit.tune.data import Frame, Latents, read_frames, squeezed, words_of
from edgekit.tune.study import looks
from edgekit.tune.study.pictures import pictures
from edgekit.tune.study.world import STYLES, VIEWS

NET_PICTURES = 4000  # of the toy world, that the scene classifier learns from
SEED = 17  # of all that is measured: the same for every arm and seed
KEPT = 8  # samples that are kept for the figure


class Measure:
    """Measures finished trainings on one base and target; called with the directory of each."""

    def __init__(self, config: TuneConfig, run: Run, on: str, target: str, datasets: list[Dataset]):
        self.study, self.run, self.base = config.study, run, run.input("base") / on
        self.drawn = target != "drives"
        torch.set_num_threads(config.train.threads)
        generator = open_generator(self.base)
        condition = Condition(label="{tags}") if self.drawn else config.condition
        self.labels = isinstance(generator.condition, LabelCondition)
        by_split = {
            split: read_frames(
                datasets,
                split,
                self.labels,
                condition,
                Objective(object_weight=float("boxes" in self.study.looks)),
            )
            for split in ("train", "dev")
        }
        learned = {f.asked for f in by_split["train"]}
        dev = [f for f in by_split["dev"] if not self.labels or f.asked in learned]
        if not dev:
            raise UserError("study: nothing to measure on", "the dev splits hold 0 frames", "name other data")
        step = max(1, len(dev) // self.study.held_out)
        self.frames: list[Frame] = dev[::step][: self.study.held_out]
        self.world = [open_dataset(run.input("base") / "world")] if "forgets" in self.study.looks else []
        side = tuple(s * generator.codec.factor for s in generator.size)
        self.real = np.stack([frame.pixels(*side) for frame in self.frames])
        self.net = self._scene_net(by_split["train"], side)
        self.real_features = self.net.features(self.real).pooled

    def once(self, name: str, make: Callable[[Measure], dict]) -> dict[str, Any]:
        """What is a matter of the base alone: made for the first arm, and kept beside the study's runs."""
        place = self.run.state / f"{name}-{self.base.name}.json"
        if not place.is_file():
            write_json(place, make(self))
        return read_json(place)

    def __call__(self, inner: Path, name: str) -> dict[str, Any]:
        """{"numbers": {column: value}, "loss_by_t": [...], what the looks gave}."""
        generator = open_generator(self.base)
        adapter = load_adapter(inner / "out" / "adapter", generator)
        tuned = read_json(inner / "out" / "tune.json")
        latents = Latents(generator)
        by_t = report.loss_by_t(generator, latents, self.frames, SEED)
        asked = [self.frames[i % len(self.frames)].asked for i in range(self.study.samples)]
        painted = self._paint(generator, asked).numpy()
        numbers = {
            "parameters": tuned["parameters"]["trainable"],
            "loss": float(np.mean(by_t)),
            **self._likeness(painted, asked),
        }
        told: dict[str, Any] = {"loss_by_t": by_t, "facts": tuned["facts"]}
        for look in self.study.looks:
            more, kept = looks.LOOKS[look](self, generator, adapter, latents)
            numbers |= more
            told |= kept
        np.savez_compressed(inner / "samples.npz", painted=painted[:KEPT], asked=np.array(asked[:KEPT]))
        return told | {"numbers": {key: round(float(value), 6) for key, value in numbers.items()}}

    def _paint(self, generator: Generator, asked: list[str]) -> Tensor:
        """uint8 [N, H, W, 3]; picture i begins with the noise of seed i in every arm."""
        study, done = self.study, []
        for at in range(0, len(asked), 64):
            cond = generator.condition.encode(asked[at : at + 64])
            seeds = [1_000_003 + at + i for i in range(len(asked[at : at + 64]))]
            done.append(sample(generator, cond, study.steps, study.guidance, seeds, batch=64))
        return torch.cat(done)

    def _likeness(self, painted: np.ndarray, asked: list[str]) -> dict[str, float]:
        fake, real = self.net.features(painted).pooled, self.real_features
        precision, recall = precision_recall(real, fake)
        told = {"frechet": frechet(real, fake), "kid": kernel(real, fake, seed=SEED)[0],
                "precision": precision, "recall": recall}  # fmt: skip
        wanted = self._factors([self.frames[i % len(self.frames)] for i in range(len(asked))])
        said = self.net.predict(painted)
        for factor, classes in wanted.items():
            told[f"right_{factor}"] = float(np.mean(np.asarray(said[factor]) == np.asarray(classes)))
        return told

    # --- the scene classifier: what stands in for a backbone ---

    def _factors(self, frames: list[Frame]) -> dict[str, list[int]]:
        if self.drawn:
            tags = [frame.row.tags for frame in frames]
            return {"style": [STYLES.index(t[0]) for t in tags], "view": [VIEWS.index(t[1]) for t in tags]}
        words = [words_of(frame.row.tags) for frame in frames]
        return {key: [self.names[key].index(w[key]) for w in words] for key in ("weather", "time")}

    def _scene_net(self, train: list[Frame], side: tuple[int, int]) -> SceneNet:
        """Trained once a study, base and target, on pictures that no arm is measured on."""
        if self.drawn:
            self.names = {"style": list(STYLES), "view": list(VIEWS)}
            images, targets = [], {"style": [], "view": []}
            for of, count in (("source", NET_PICTURES), ("weather", NET_PICTURES // 4)):
                for picture in pictures(of, count, seed=10_007):
                    images.append(squeezed(picture.rgb, *side))
                    targets["style"].append(STYLES.index(picture.style))
                    targets["view"].append(VIEWS.index(picture.view))
        else:
            seen = [words_of(frame.row.tags) for frame in [*train, *self.frames]]
            self.names = {key: sorted({w[key] for w in seen}) for key in ("weather", "time")}
            images = [frame.pixels(*side) for frame in train]
            targets = self._factors(train)
        net = train_scene_net(np.stack(images), targets, self.names, seed=SEED)
        right = net.predict(self.real)
        wanted = self._factors(self.frames)
        self.net_accuracy = {k: float(np.mean(np.asarray(right[k]) == np.asarray(wanted[k]))) for k in wanted}
        told = ", ".join(f"{factor} {share:.2f}" for factor, share in self.net_accuracy.items())
        self.run.note(
            f"the scene classifier (a stand-in for Inception) is right on held-out pictures: {told}"
        )
        return net
